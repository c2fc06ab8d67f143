//! Write-ahead positions: one small file per source instance, a record appended per call, one synchronization per record.
//!
//! ```text
//! envelope (name)  │  record  │  record  │  …  │  record, perhaps cut short
//!                     marker (4)  length (u64)  execution (u64)  codec (u8)  position  CRC-32 of all before
//! ```
//!
//! The first record of every execution, the first after a failure, and the first that would make the file too
//! long go into a new file, which replaces the old one by rename. So no record is ever appended after a
//! damaged one, and the first record of a file was complete when the file got its name: only a *later* last
//! record can have been cut short by a crash.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::{
    super::{
        encoded::EncodedState,
        store_error::StoreError,
        unit::{NameOfVersion1, PartName},
    },
    files::{Files, failed},
    layout,
};
use crate::id::ExecutionId;
use crate::storage::DiskFile;
use crate::storage::codec::{self, Bincode, Codec, CodecId};
use crate::storage::envelope::{self, FormatError, Kind};

/// The files that are open for appending.
#[derive(Debug, Default)]
pub(super) struct Positions {
    open: Mutex<HashMap<PartName, Slot>>,
}

/// The open file of one instance; empty before its first record, and after a failure.
type Slot = Arc<Mutex<Option<Log>>>;

#[derive(Debug)]
struct Log {
    file: Box<dyn DiskFile>,
    bytes: usize,
}

impl Positions {
    /// Appends a record, durably.
    pub(super) fn write(
        &self,
        files: &Files,
        execution: ExecutionId,
        name: &PartName,
        position: &EncodedState,
    ) -> Result<(), StoreError> {
        let record = record(execution, position);
        let slot = self.slot(name);
        let mut slot = slot.lock();
        // Any failure below leaves the slot empty: the file is not used again, and the next record begins a
        // new one.
        let log = match slot.take() {
            Some(log) if log.bytes + record.len() <= BYTES_MAX => append(files, log, name, &record),
            _ => begin(files, name, &record),
        };
        *slot = Some(log?);
        Ok(())
    }

    /// Drops the open files: an execution has ended.
    pub(super) fn close(&self) {
        self.open.lock().clear();
    }

    fn slot(&self, name: &PartName) -> Slot {
        let mut open = self.open.lock();
        if let Some(slot) = open.get(name) {
            return Arc::clone(slot);
        }
        Arc::clone(open.entry(name.clone()).or_default())
    }
}

/// The newest position that was written completely.
pub(super) fn read(files: &Files, name: &PartName) -> Result<Option<EncodedState>, StoreError> {
    let path = path(files, name);
    let Some(bytes) = files.read(&path)? else {
        return Ok(None);
    };
    newest(name, &bytes).map(Some).map_err(|source| StoreError::unreadable(path, source))
}

fn append(files: &Files, mut log: Log, name: &PartName, record: &[u8]) -> Result<Log, StoreError> {
    log.file.append(record).map_err(|source| failed("write", &path(files, name))(source))?;
    log.file.sync().map_err(|source| failed("synchronize", &path(files, name))(source))?;
    log.bytes += record.len();
    Ok(log)
}

fn begin(files: &Files, name: &PartName, record: &[u8]) -> Result<Log, StoreError> {
    let directory = files.root().join(layout::POSITIONS);
    files.create_dir(&directory)?;
    files.sync_dir(files.root())?;
    let head = envelope::seal(&KIND, &name.to_bytes()?);
    let file = files.replace(&path(files, name), &[&head, record])?;
    Ok(Log { file, bytes: head.len() + record.len() })
}

fn path(files: &Files, name: &PartName) -> std::path::PathBuf {
    files.root().join(layout::POSITIONS).join(layout::position_file(name))
}

/// The owner of the file and the newest position in it, as recorded in the file.
pub(super) fn newest_of_any(file: &[u8]) -> Result<(PartName, EncodedState), FormatError> {
    let (body, _) = envelope::open_first(&KIND, file)?;
    let name = name_in(file, body)?;
    let position = newest(&name, file)?;
    Ok((name, position))
}

/// The name in the envelope of a file.
fn name_in(file: &[u8], body: &[u8]) -> Result<PartName, FormatError> {
    match envelope::version(file) {
        1 => Ok(codec::decode::<NameOfVersion1>(body)?.into()),
        _ => PartName::from_bytes(body),
    }
}

fn newest(name: &PartName, file: &[u8]) -> Result<EncodedState, FormatError> {
    let (body, mut rest) = envelope::open_first(&KIND, file)?;
    let found = name_in(file, body)?;
    if found != *name {
        return Err(FormatError::Misplaced {
            expected: format!("positions of {name}"),
            found: format!("positions of {found}"),
        });
    }
    let damaged = || FormatError::Checksum { what: KIND.what };
    let (mut newest, after) = split_record(rest).ok_or_else(damaged)?;
    rest = after;
    while let Some((position, after)) = split_record(rest) {
        newest = position;
        rest = after;
    }
    // The rest is a record that was cut short, unless a complete one follows somewhere: then it was damaged
    // later, and the events of the complete one have been emitted.
    if holds_a_record(rest) {
        return Err(damaged());
    }
    let (codec, bytes) = match (envelope::version(file), newest) {
        (1, position) => (Bincode::ID, position),
        (_, [codec, position @ ..]) => (CodecId(*codec), position),
        (_, []) => return Err(damaged()),
    };
    if !envelope::STATES.contains(&codec) {
        return Err(FormatError::UnknownCodec { what: KIND.what, found: codec });
    }
    Ok(EncodedState { codec, bytes: bytes.to_vec() })
}

fn holds_a_record(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| split_record(&bytes[at..]).is_some())
}

fn record(execution: ExecutionId, position: &EncodedState) -> Vec<u8> {
    let EncodedState { codec, bytes } = position;
    let mut record = Vec::with_capacity(RECORD_OVERHEAD_BYTES + bytes.len());
    record.extend_from_slice(&MARKER);
    record.extend_from_slice(&(bytes.len() as u64 + 1).to_le_bytes());
    record.extend_from_slice(&execution.0.to_le_bytes());
    record.push(codec.0);
    record.extend_from_slice(bytes);
    let checksum = crc32fast::hash(&record);
    record.extend_from_slice(&checksum.to_le_bytes());
    record
}

/// The position in the record that `bytes` begin with, behind its codec, and what follows it; `None` if they do not begin with a whole one.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(&MARKER)?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (_execution, rest) = rest.split_first_chunk::<8>()?;
    let (position, rest) = rest.split_at_checked(length)?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let covered = &bytes[..bytes.len() - rest.len() - checksum.len()];
    (crc32fast::hash(covered) == u32::from_le_bytes(*checksum)).then_some((position, rest))
}

const KIND: Kind = Kind {
    what: "position file",
    magic: *b"STRWPOSI",
    version: 2,
    oldest: 1,
    codecs: envelope::OURS,
};

/// The maximum length of the file; beyond it a new one is begun.
const BYTES_MAX: usize = 64 * 1024;

/// The first bytes of every record, by which a record is found after a damaged one.
const MARKER: [u8; 4] = *b"POS\n";

const RECORD_OVERHEAD_BYTES: usize = 25;
