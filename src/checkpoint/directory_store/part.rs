//! One instance's state as a file that knows whose it is, so that a part in another's place is found out.
//!
//! ```text
//! body of the envelope:   length of identity (u64)  │  identity (execution, checkpoint, name)  │  state
//! ```

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    super::{
        codec::{self, CodecError},
        envelope::{self, FormatError, Kind},
        manifest::{PartName, PartRecord},
        store_error::StoreError,
    },
    files::Files,
    layout::{self, Attempt},
};
use crate::id::{CheckpointId, ExecutionId};

/// Writes a part; its content is durable on return, its name once the checkpoint is committed.
pub(super) fn write(
    files: &Files,
    attempt: Attempt,
    name: &PartName,
    state: &[u8],
) -> Result<PartRecord, StoreError> {
    let prefix = prefix(attempt, name)?;
    let head = envelope::head(&KIND, (prefix.len() + state.len()) as u64);
    let mut checksum = crc32fast::Hasher::new();
    for piece in [&head[..], &prefix, state] {
        checksum.update(piece);
    }
    let checksum = checksum.finalize();
    let record = PartRecord {
        name: name.clone(),
        bytes: state.len() as u64,
        checksum,
        file: layout::part_file(name),
    };

    let directory = attempt.path(files.root());
    files.create_dir(&directory)?;
    let path = directory.join(&record.file);
    files.write_synced(&path, &[&head, &prefix, state, &checksum.to_le_bytes()])?;
    Ok(record)
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
    if !layout::is_plain(&record.file) {
        return Ok(Err(missing(record)));
    }
    let path = directory.join(&record.file);
    Ok(match files.read(&path)? {
        None => Err(missing(record)),
        Some(file) => state(attempt, record, file),
    })
}

/// The length of a part's file, which is known before it is looked at.
pub(super) fn file_bytes(attempt: Attempt, record: &PartRecord) -> Result<u64, CodecError> {
    Ok(prefix(attempt, &record.name)?.len() as u64 + record.bytes + envelope::OVERHEAD_BYTES)
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
    // The envelope's checksum is in the file's last four bytes; the manifest must have seen the same.
    let checksum_at = file.len() - record.checksum.to_le_bytes().len();
    if file[checksum_at..] != record.checksum.to_le_bytes() {
        return Err(FormatError::Checksum { what: KIND.what });
    }
    let state_at = checksum_at - state.len();
    file.truncate(checksum_at);
    file.drain(..state_at);
    Ok(file)
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

const KIND: Kind = Kind { what: "part", magic: *b"STRWPART", version: 1 };
