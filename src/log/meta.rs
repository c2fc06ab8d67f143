//! The directory of a log: which log it is, how many partitions it has, and its birth.
//!
//! ```text
//!   <log>/LOCK, WRITER      who may write; see `ownership`
//!   <log>/meta              number of partitions, identity, format version, codec; written last when a log is created
//!   <log>/partition-00000/  segments, time indexes, end mark
//!
//!   meta     0          8         10      12           16         32      36
//!            ┌──────────┬─────────┬───────┬────────────┬──────────┬───────┐
//!            │ SWLOGMET │ version │ codec │ partitions │ identity │ crc32 │   version 1 has no identity
//!            └──────────┴─────────┴───────┴────────────┴──────────┴───────┘
//! ```
//!
//! A log without its `meta` was never finished. It is then created again, but only if no partition holds a record: a lost
//! `meta` is not taken for a new log.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Offset;
use super::codec::CODEC_ID;
use super::disk;
use super::error::LogError;
use super::frame::part;
use super::identity::LogId;
use super::mark::{Mark, MarkWriter};
use super::options::PARTITIONS_MAX;
use super::segment::{PartitionDir, SEGMENT_HEADER_BYTES};
use crate::storage::Disk;

const MAGIC: [u8; 8] = *b"SWLOGMET";
/// The version that new logs have. Version 1 is read too; a log keeps the version that it was created with, since an
/// identity that comes later would tell readers that it is another log.
const VERSION: u16 = 2;
/// Where it says how many partitions there are.
const PARTITIONS_AT: usize = 12;
const IDENTITY_AT: usize = 16;

/// What a log says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) partitions: u32,
    pub(super) id: LogId,
}

/// Where the checksum of a file of this version stands: behind everything else.
fn checksum_at(version: u16) -> Option<usize> {
    match version {
        1 => Some(IDENTITY_AT),
        VERSION => Some(IDENTITY_AT + 16),
        _ => None,
    }
}

/// What the log says of itself, or `None` if there is no log yet.
pub(super) fn read(disk: &dyn Disk, log: &Path) -> Result<Option<Meta>, LogError> {
    let path = file_of(log);
    let Some(bytes) = disk::read_whole(disk, &path)? else {
        return Ok(None);
    };
    if bytes.len() < IDENTITY_AT || bytes[..8] != MAGIC {
        return Err(LogError::corrupt(&path, 0, "this does not describe an event log"));
    }
    let (version, codec) =
        (u16::from_le_bytes(part(&bytes, 8)), u16::from_le_bytes(part(&bytes, 10)));
    let checksum_at = checksum_at(version);
    // A version that is not known keeps its checksum at the end too, or it could not be told from damage.
    let end = checksum_at.unwrap_or(bytes.len().saturating_sub(4));
    let matches =
        bytes.len() == end + 4 && bytes[end..] == crc32fast::hash(&bytes[..end]).to_le_bytes();
    if !matches {
        let reason = "the description of the log does not match its checksum";
        return Err(LogError::corrupt(&path, 0, reason));
    }
    if checksum_at.is_none() || codec != CODEC_ID {
        return Err(LogError::UnsupportedFormat { path, version, codec });
    }
    let partitions = u32::from_le_bytes(part(&bytes, PARTITIONS_AT));
    if !(1..=PARTITIONS_MAX).contains(&partitions) {
        let reason = format!("it speaks of {partitions} partitions, not of 1 to {PARTITIONS_MAX}");
        return Err(LogError::corrupt(&path, PARTITIONS_AT as u64, reason));
    }
    let id = match version {
        1 => LogId::UNKNOWN,
        _ => LogId::from_bytes(part(&bytes, IDENTITY_AT)),
    };
    Ok(Some(Meta { partitions, id }))
}

/// Whether the log of this identity is still the one in its directory.
pub(super) fn check(disk: &dyn Disk, log: &Path, opened: LogId) -> Result<(), LogError> {
    match read(disk, log)? {
        Some(Meta { id, .. }) if id == opened => Ok(()),
        Some(Meta { id: found, .. }) => {
            Err(LogError::MadeAnew { dir: log.to_owned(), opened, found })
        }
        None => Err(LogError::NotALog { dir: log.to_owned() }),
    }
}

/// Makes an empty log, with an identity of its own. The caller holds the lock.
pub(super) fn create(disk: &Arc<dyn Disk>, log: &Path, partitions: u32) -> Result<Meta, LogError> {
    refuse_records_without_meta(disk, log)?;
    disk::sync_above(&**disk, log)?;
    for number in 0..partitions {
        let dir = PartitionDir::of(disk, log, number);
        disk::create_dir(&**disk, &dir.path)?;
        dir.create_segment(Offset::ZERO)?;
        let empty = Mark {
            end: Offset::ZERO,
            segment: Offset::ZERO,
            position: SEGMENT_HEADER_BYTES,
            durable: Offset::ZERO,
        };
        MarkWriter::open(&**disk, &dir.path, &empty)?;
        disk::sync_dir(&**disk, &dir.path)?;
    }
    // Before there is a log, all of it is durable.
    disk::sync_dir(&**disk, log)?;
    let meta = Meta { partitions, id: LogId::drawn_from(&**disk) };
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&CODEC_ID.to_le_bytes());
    bytes.extend_from_slice(&partitions.to_le_bytes());
    bytes.extend_from_slice(&meta.id.to_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    disk::create_whole(&**disk, &file_of(log), &bytes)?;
    Ok(meta)
}

/// Whether something of this name in the directory of a log of this many partitions is a part of it.
pub(super) fn is_of_a_log(name: &OsStr, partitions: u32) -> bool {
    let Some(name) = name.to_str() else { return false };
    let number = name.strip_prefix("partition-").filter(|digits| digits.len() == 5);
    ["LOCK", "WRITER", "WRITER.tmp", "meta", "meta.tmp"].contains(&name)
        || number.is_some_and(|number| number.parse().is_ok_and(|n: u32| n < partitions))
}

fn refuse_records_without_meta(disk: &Arc<dyn Disk>, log: &Path) -> Result<(), LogError> {
    let there = disk::names(&**disk, log)?;
    for dir in (0..PARTITIONS_MAX).map(|number| PartitionDir::of(disk, log, number)) {
        if !there.iter().any(|name| dir.path.ends_with(name)) {
            continue;
        }
        for base in dir.segments()? {
            let path = dir.segment(base);
            let bytes = disk::length(&*disk::open(&**disk, &path)?, &path)?;
            if base != Offset::ZERO || bytes > SEGMENT_HEADER_BYTES {
                return Err(LogError::corrupt(
                    &file_of(log),
                    0,
                    "it is missing, although the log holds records",
                ));
            }
        }
    }
    Ok(())
}

fn file_of(log: &Path) -> PathBuf {
    log.join("meta")
}
