//! A unit of state under an envelope that knows whose it is, so that a part in another's place is found out.
//!
//! ```text
//! body of the envelope:   length of identity (u64)  │  identity (execution, checkpoint, name)  │  state
//! file of one part:       envelope
//! file of several:        envelope  │  envelope  │  …      the manifest knows where each begins and ends
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{
    super::{
        encoded::EncodedState,
        fields::{Fields, FieldsOut},
        manifest::{Location, PartKind, PartRecord},
        store_error::StoreError,
        unit::{NameOfVersion1, PartName},
    },
    files::Files,
    layout::{self, Attempt, Place},
};
use crate::id::{CheckpointId, ExecutionId};
use crate::storage::codec::{self, CodecError, CodecId};
use crate::storage::envelope::{self, FormatError, Kind};
use crate::storage::{DiskEntry, DiskFile};

/// A part that is being written into a file of its own. Its bytes come piece by piece, and how many there are stands before
/// them: that is written last, or all at once where one piece is enough.
#[derive(Debug)]
pub(super) struct Begun<'a> {
    files: &'a Files,
    file: Box<dyn DiskFile>,
    path: PathBuf,
    record: PartRecord,
    /// Over all that stands behind the head.
    body: crc32fast::Hasher,
    body_bytes: u64,
    /// What is not in the file yet.
    waiting: Vec<u8>,
    is_in_pieces: bool,
}

/// So much goes to the file at once.
const PIECE_BYTES: usize = 64 << 10;

impl<'a> Begun<'a> {
    pub(super) fn begin(
        files: &'a Files,
        attempt: Attempt,
        name: &PartName,
        codec: CodecId,
    ) -> Result<Self, StoreError> {
        let directory = attempt.path(files.root());
        files.create_dir(&directory)?;
        let record = record(attempt, name, codec, 0, 0, layout::part_file(name));
        let path = directory.join(&record.at.file);
        let mut part = Self {
            files,
            file: files.create(&path)?,
            path,
            record,
            body: crc32fast::Hasher::new(),
            body_bytes: 0,
            // No file is this long, so one that was not finished is no part.
            waiting: envelope::head(&KIND, codec, u64::MAX).to_vec(),
            is_in_pieces: false,
        };
        part.append_to_body(&prefix(attempt, name)?)?;
        Ok(part)
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.record.bytes += bytes.len() as u64;
        self.append_to_body(bytes)
    }

    fn append_to_body(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.body.update(bytes);
        self.body_bytes += bytes.len() as u64;
        if self.waiting.len() + bytes.len() < PIECE_BYTES {
            self.waiting.extend_from_slice(bytes);
            return Ok(());
        }
        self.is_in_pieces = true;
        self.write_out()?;
        self.files.append(&*self.file, &self.path, bytes)
    }

    fn write_out(&mut self) -> Result<(), StoreError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let written = self.files.append(&*self.file, &self.path, &self.waiting);
        self.waiting.clear();
        written
    }

    /// Its content is durable on return, its name once the checkpoint is committed.
    pub(super) fn finish(mut self) -> Result<PartRecord, StoreError> {
        let head = envelope::head(&KIND, self.record.codec, self.body_bytes);
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&head);
        checksum.combine(&self.body);
        self.record.checksum = checksum.finalize();
        self.waiting.extend_from_slice(&self.record.checksum.to_le_bytes());
        if self.is_in_pieces {
            self.write_out()?;
            self.files.write_at(&*self.file, &self.path, 0, &head)?;
        } else {
            self.waiting[..head.len()].copy_from_slice(&head);
            self.write_out()?;
        }
        self.files.sync(&*self.file, &self.path)?;
        Ok(self.record)
    }
}

/// Writes several parts, which share a file and its synchronization. Each is in it as it would be in its own.
pub(super) fn write_together(
    files: &Files,
    attempt: Attempt,
    parts: &[(PartName, EncodedState)],
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
        for piece in [&before[..], &state.bytes, &checksum.to_le_bytes()] {
            content.extend_from_slice(piece);
        }
        let place = Place { file: &file, range: Some(start..content.len() as u64) };
        let bytes = state.bytes.len() as u64;
        records.push(record(attempt, name, state.codec, bytes, checksum, place.to_string()));
    }

    let directory = attempt.path(files.root());
    files.create_dir(&directory)?;
    files.write_synced(&directory.join(&file), &[&content])?;
    Ok(records)
}

/// Where the checkpoints lie that a manifest refers to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside<'a> {
    pub(super) root: &'a Path,
    /// The checkpoint of the manifest, and the directory in which it lies, whatever that is called by now.
    pub(super) own: (Attempt, &'a Path),
}

impl Beside<'_> {
    /// The directory of the checkpoint for which a part was written.
    pub(super) fn directory_of(&self, at: &Location) -> PathBuf {
        match Attempt::of_location(at) {
            attempt if attempt == self.own.0 => self.own.1.to_owned(),
            attempt => attempt.path(self.root),
        }
    }

    /// The file in which a part lies, for messages.
    pub(super) fn path(&self, record: &PartRecord) -> PathBuf {
        self.directory_of(&record.at).join(layout::file_of(&record.at))
    }
}

/// Reads and verifies a part. The outer error is the disk's, the inner one the file's.
pub(super) fn read(
    files: &Files,
    beside: Beside<'_>,
    record: &PartRecord,
) -> Result<Result<EncodedState, FormatError>, StoreError> {
    let attempt = Attempt::of_location(&record.at);
    let Some(Place { file, range }) = Place::parse(&record.at.file) else {
        return Ok(Err(missing(record)));
    };
    if attempt > beside.own.0 {
        // No checkpoint knows of what a later one wrote.
        return Ok(Err(missing(record)));
    }
    let path = beside.directory_of(&record.at).join(file);
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

/// Whether a part is there as far as its length tells, which is known before it is looked at.
pub(super) fn is_among(entries: &[DiskEntry], record: &PartRecord) -> Result<bool, CodecError> {
    let attempt = Attempt::of_location(&record.at);
    let with = |prefix: usize| record.bytes.checked_add(prefix as u64 + envelope::OVERHEAD_BYTES);
    let lengths = [
        with(prefix(attempt, &record.name)?.len()),
        with(prefix_of_version_1(attempt, &record.name)?),
    ];
    let Some(Place { file, range }) = Place::parse(&record.at.file) else {
        return Ok(false);
    };
    let holds = |entry: &DiskEntry| match &range {
        None => lengths.contains(&Some(entry.bytes)),
        Some(range) => lengths.contains(&Some(range.end - range.start)) && range.end <= entry.bytes,
    };
    Ok(entries.iter().any(|entry| !entry.is_dir && entry.name == file && holds(entry)))
}

fn state(
    attempt: Attempt,
    record: &PartRecord,
    mut file: Vec<u8>,
) -> Result<EncodedState, FormatError> {
    let body = envelope::open(&KIND, &file)?;
    let wrong_length = FormatError::Length { what: KIND.what };
    let Some((identity, state)) = split_identity(body) else {
        return Err(wrong_length);
    };
    let found = Identity::from_bytes(envelope::version(&file), identity)?;
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
    let codec = envelope::codec(&file);
    if codec != record.codec {
        return Err(FormatError::UnknownCodec { what: KIND.what, found: codec });
    }
    let state_at = checksum_at - state.len();
    file.truncate(checksum_at);
    file.drain(..state_at);
    Ok(EncodedState { codec, bytes: file })
}

fn record(
    of: Attempt,
    name: &PartName,
    codec: CodecId,
    bytes: u64,
    checksum: u32,
    file: String,
) -> PartRecord {
    let at = Location::new(of.execution, of.checkpoint, file);
    PartRecord {
        name: name.clone(),
        bytes,
        checksum,
        at,
        codec,
        watermark: None,
        cut_at: None,
        kind: PartKind::Whole,
    }
}

/// What is written around a state.
struct Frame {
    before: Vec<u8>,
    checksum: u32,
}

impl Frame {
    fn around(attempt: Attempt, name: &PartName, state: &EncodedState) -> Result<Self, CodecError> {
        let EncodedState { codec, bytes: state } = state;
        let prefix = prefix(attempt, name)?;
        let body_bytes = (prefix.len() + state.len()) as u64;
        let mut before = envelope::head(&KIND, *codec, body_bytes).to_vec();
        before.extend_from_slice(&prefix);
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&before);
        checksum.update(state);
        Ok(Self { before, checksum: checksum.finalize() })
    }
}

fn prefix(attempt: Attempt, name: &PartName) -> Result<Vec<u8>, CodecError> {
    let identity = Identity::new(attempt, name).to_bytes()?;
    let mut prefix = (identity.len() as u64).to_le_bytes().to_vec();
    prefix.extend_from_slice(&identity);
    Ok(prefix)
}

/// The length that it had in version 1.
fn prefix_of_version_1(attempt: Attempt, name: &PartName) -> Result<usize, CodecError> {
    let Attempt { execution, checkpoint } = attempt;
    let instance = 0_u64;
    let identity = codec::encode(&(execution, checkpoint, &name.component, instance))?;
    Ok(size_of::<u64>() + identity.len())
}

fn split_identity(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = body.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

fn missing(record: &PartRecord) -> FormatError {
    FormatError::Missing { expected: format!("part {}", record.name) }
}

/// Whose part it is, written inside the part.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    execution: ExecutionId,
    checkpoint: CheckpointId,
    name: PartName,
}

/// As version 1 wrote it.
#[derive(Deserialize)]
struct IdentityOfVersion1 {
    execution: ExecutionId,
    checkpoint: CheckpointId,
    name: NameOfVersion1,
}

impl Identity {
    fn new(attempt: Attempt, name: &PartName) -> Self {
        Self { execution: attempt.execution, checkpoint: attempt.checkpoint, name: name.clone() }
    }

    fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        let out = FieldsOut::default().put(1, &self.execution)?.put(2, &self.checkpoint)?;
        Ok(out.put_bytes(3, &self.name.to_bytes()?)?.into_bytes())
    }

    fn from_bytes(version: u16, bytes: &[u8]) -> Result<Self, FormatError> {
        if version == 1 {
            let IdentityOfVersion1 { execution, checkpoint, name } = codec::decode(bytes)?;
            return Ok(Self { execution, checkpoint, name: name.into() });
        }
        let mut fields = Fields::of("identity of a part", bytes)?;
        let (execution, checkpoint) = (fields.take(1)?, fields.take(2)?);
        let name = PartName::from_bytes(fields.take_bytes(3)?)?;
        fields.end()?;
        Ok(Self { execution, checkpoint, name })
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { execution, checkpoint, name } = self;
        write!(f, "part {name} of checkpoint {checkpoint} of execution {execution}")
    }
}

const KIND: Kind =
    Kind { what: "part", magic: *b"STRWPART", version: 2, oldest: 1, codecs: envelope::STATES };
