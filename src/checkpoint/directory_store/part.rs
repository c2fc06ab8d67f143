//! One instance's state under an envelope that knows whose it is, so that a part in another's place is found out.
//!
//! ```text
//! body of the envelope:   length of identity (u64)  │  identity (execution, checkpoint, name)  │  state
//! file of one part:       envelope
//! file of several:        envelope  │  envelope  │  …      the manifest knows where each begins and ends
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    super::{
        manifest::{PartName, PartRecord},
        store_error::StoreError,
    },
    files::Files,
    layout::{self, Attempt, Place},
};
use crate::id::{CheckpointId, ExecutionId};
use crate::storage::DiskEntry;
use crate::storage::codec::{self, CodecError};
use crate::storage::envelope::{self, FormatError, Kind};

/// Writes a part into a file of its own; its content is durable on return, its name once the checkpoint is committed.
pub(super) fn write(
    files: &Files,
    attempt: Attempt,
    name: &PartName,
    state: &[u8],
) -> Result<PartRecord, StoreError> {
    let Frame { before, checksum } = Frame::around(attempt, name, state)?;
    let record = record(name, state, checksum, layout::part_file(name));

    let directory = attempt.path(files.root());
    files.create_dir(&directory)?;
    let path = directory.join(&record.file);
    files.write_synced(&path, &[&before, state, &checksum.to_le_bytes()])?;
    Ok(record)
}

/// As [`write`] for several parts, which share a file and its synchronization. Each is in it as it would be in its own.
pub(super) fn write_together(
    files: &Files,
    attempt: Attempt,
    parts: &[(PartName, Vec<u8>)],
) -> Result<Vec<PartRecord>, StoreError> {
    let Some((first, _)) = parts.first() else {
        return Ok(Vec::new());
    };
    let file = layout::shared_file(first);
    let mut content = Vec::new();
    let mut records = Vec::with_capacity(parts.len());
    for (name, state) in parts {
        let Frame { before, checksum } = Frame::around(attempt, name, state)?;
        let start = content.len() as u64;
        for piece in [&before[..], state, &checksum.to_le_bytes()] {
            content.extend_from_slice(piece);
        }
        let place = Place { file: &file, range: Some(start..content.len() as u64) };
        records.push(record(name, state, checksum, place.to_string()));
    }

    let directory = attempt.path(files.root());
    files.create_dir(&directory)?;
    files.write_synced(&directory.join(&file), &[&content])?;
    Ok(records)
}

/// Reads and verifies a part. The outer error is the disk's, the inner one the file's.
pub(super) fn read(
    files: &Files,
    attempt: Attempt,
    record: &PartRecord,
) -> Result<Result<Vec<u8>, FormatError>, StoreError> {
    read_in(files, &attempt.path(files.root()), attempt, record)
}

/// As [`read`], where the attempt lies in a directory of another name.
pub(super) fn read_in(
    files: &Files,
    directory: &Path,
    attempt: Attempt,
    record: &PartRecord,
) -> Result<Result<Vec<u8>, FormatError>, StoreError> {
    let Some(Place { file, range }) = Place::parse(&record.file) else {
        return Ok(Err(missing(record)));
    };
    let path = directory.join(file);
    let found = match &range {
        None => files.read(&path)?,
        Some(range) => files.read_range(&path, range.clone())?,
    };
    Ok(match found {
        None => Err(missing(record)),
        // The file ends within the range: what there is of it is not believed, whatever it says of itself.
        Some(bytes) if range.is_some_and(|range| range.end - range.start != bytes.len() as u64) => {
            Err(FormatError::Length { what: KIND.what })
        }
        Some(bytes) => state(attempt, record, bytes),
    })
}

/// The file in which a part lies, for messages.
pub(super) fn path(directory: &Path, record: &PartRecord) -> PathBuf {
    directory.join(Place::parse(&record.file).map_or(&*record.file, |place| place.file))
}

/// Whether a part is there as far as its length tells, which is known before it is looked at.
pub(super) fn is_among(
    entries: &[DiskEntry],
    attempt: Attempt,
    record: &PartRecord,
) -> Result<bool, CodecError> {
    let prefix = prefix(attempt, &record.name)?;
    let bytes = record.bytes.checked_add(prefix.len() as u64 + envelope::OVERHEAD_BYTES);
    let Some(Place { file, range }) = Place::parse(&record.file) else {
        return Ok(false);
    };
    let holds = |entry: &DiskEntry| match &range {
        None => Some(entry.bytes) == bytes,
        Some(range) => Some(range.end - range.start) == bytes && range.end <= entry.bytes,
    };
    Ok(entries.iter().any(|entry| !entry.is_dir && entry.name == file && holds(entry)))
}

fn state(attempt: Attempt, record: &PartRecord, mut file: Vec<u8>) -> Result<Vec<u8>, FormatError> {
    let body = envelope::open(&KIND, &file)?;
    let wrong_length = FormatError::Length { what: KIND.what };
    let Some((identity, state)) = split_identity(body) else {
        return Err(wrong_length);
    };
    let found: Identity = codec::decode(identity)?;
    let expected = Identity::new(attempt, &record.name);
    if found != expected {
        return Err(FormatError::Misplaced {
            expected: expected.to_string(),
            found: found.to_string(),
        });
    }
    if state.len() as u64 != record.bytes {
        return Err(wrong_length);
    }
    // The envelope's checksum is in the last four bytes; the manifest must have seen the same.
    let checksum_at = file.len() - record.checksum.to_le_bytes().len();
    if file[checksum_at..] != record.checksum.to_le_bytes() {
        return Err(FormatError::Checksum { what: KIND.what });
    }
    let state_at = checksum_at - state.len();
    file.truncate(checksum_at);
    file.drain(..state_at);
    Ok(file)
}

fn record(name: &PartName, state: &[u8], checksum: u32, file: String) -> PartRecord {
    PartRecord { name: name.clone(), bytes: state.len() as u64, checksum, file }
}

/// What is written around a state.
struct Frame {
    before: Vec<u8>,
    checksum: u32,
}

impl Frame {
    fn around(attempt: Attempt, name: &PartName, state: &[u8]) -> Result<Self, CodecError> {
        let prefix = prefix(attempt, name)?;
        let mut before = envelope::head(&KIND, (prefix.len() + state.len()) as u64).to_vec();
        before.extend_from_slice(&prefix);
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&before);
        checksum.update(state);
        Ok(Self { before, checksum: checksum.finalize() })
    }
}

fn prefix(attempt: Attempt, name: &PartName) -> Result<Vec<u8>, CodecError> {
    let identity = codec::encode(&Identity::new(attempt, name))?;
    let mut prefix = (identity.len() as u64).to_le_bytes().to_vec();
    prefix.extend_from_slice(&identity);
    Ok(prefix)
}

fn split_identity(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = body.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

fn missing(record: &PartRecord) -> FormatError {
    FormatError::Missing { expected: format!("part {}", record.name) }
}

/// Whose part it is, written inside the part.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    execution: ExecutionId,
    checkpoint: CheckpointId,
    name: PartName,
}

impl Identity {
    fn new(attempt: Attempt, name: &PartName) -> Self {
        Self { execution: attempt.execution, checkpoint: attempt.checkpoint, name: name.clone() }
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { execution, checkpoint, name } = self;
        write!(f, "part {name} of checkpoint {checkpoint} of execution {execution}")
    }
}

const KIND: Kind = Kind { what: "part", magic: *b"STRWPART", version: 1, oldest: 1 };
