//! Segments: the files of a partition, named by the offset of their first record.
//!
//! ```text
//!   <log>/partition-00003/00000000000000001500.log
//!
//!   0           8         10       12          16             24         28      32
//!   ┌───────────┬─────────┬────────┬───────────┬──────────────┬──────────┬───────┬────────────────
//!   │ SWLOGSEG  │ version │ codec  │ partition │ first offset │ reserved │ crc32 │ frames …
//!   └───────────┴─────────┴────────┴───────────┴──────────────┴──────────┴───────┴────────────────
//! ```
//!
//! Owns names and headers. A segment appears under its name only with its whole header on disk, so a bad header is damage
//! and never the trace of a crash. Only the last segment of a partition is ever written to.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Offset;
use super::codec::CODEC_ID;
use super::disk;
use super::error::LogError;
use super::frame::part;
use crate::storage::{Disk, DiskFile};

/// Where the first frame of every segment begins.
pub(super) const SEGMENT_HEADER_BYTES: u64 = 32;

/// The version of all files of the log but `meta` and `WRITER`, which have their own.
pub(super) const FORMAT_VERSION: u16 = 1;

const MAGIC: [u8; 8] = *b"SWLOGSEG";
const EXTENSION: &str = "log";

/// The directory of one partition.
#[derive(Clone, Debug)]
pub(super) struct PartitionDir {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) number: u32,
    pub(super) path: PathBuf,
}

impl PartitionDir {
    pub(super) fn of(disk: &Arc<dyn Disk>, log: &Path, number: u32) -> Self {
        let disk = Arc::clone(disk);
        PartitionDir { disk, number, path: log.join(format!("partition-{number:05}")) }
    }

    /// The file of the segment that begins with this offset.
    pub(super) fn segment(&self, base: Offset) -> PathBuf {
        self.path.join(format!("{:020}.{EXTENSION}", base.get()))
    }

    /// The time index of that segment.
    pub(super) fn index(&self, base: Offset) -> PathBuf {
        self.path.join(format!("{:020}.index", base.get()))
    }

    /// The first offsets of all segments, ascending.
    ///
    /// Another process may add segments at one end and remove them at the other meanwhile. What is missing from the list
    /// although a later one is in it was added while listing: whoever finds such a gap lists once more before he believes it.
    pub(super) fn segments(&self) -> Result<Vec<Offset>, LogError> {
        loop {
            let names = disk::names(&*self.disk, &self.path)?;
            let bases = names.iter().filter_map(|name| base_of(name, EXTENSION));
            let mut bases: Vec<_> = bases.collect();
            bases.sort_unstable();
            // Removal goes from the front: as long as the first is there, none behind it was removed while listing.
            match bases.first() {
                Some(first) if !disk::is_there(&*self.disk, &self.segment(*first))? => {}
                _ => return Ok(bases),
            }
        }
    }

    /// Makes a new segment, durable before it is visible, and returns it open behind its header.
    pub(super) fn create_segment(&self, base: Offset) -> Result<Box<dyn DiskFile>, LogError> {
        disk::create_whole(&*self.disk, &self.segment(base), &header(self.number, base))
    }

    /// Refuses a file that is not the segment that its name says.
    pub(super) fn check_header(&self, file: &dyn DiskFile, base: Offset) -> Result<(), LogError> {
        let path = self.segment(base);
        let mut found = [0; SEGMENT_HEADER_BYTES as usize];
        let bytes = disk::read_at(file, &path, 0, &mut found)?;
        if bytes < found.len() {
            return Err(LogError::corrupt(&path, bytes as u64, "the segment's header is cut off"));
        }
        if found[..8] != MAGIC {
            return Err(LogError::corrupt(&path, 0, "this is not a segment of an event log"));
        }
        if found[28..] != crc32fast::hash(&found[..28]).to_le_bytes() {
            return Err(LogError::corrupt(
                &path,
                0,
                "the segment's header does not match its checksum",
            ));
        }
        let (version, codec) =
            (u16::from_le_bytes(part(&found, 8)), u16::from_le_bytes(part(&found, 10)));
        if (version, codec) != (FORMAT_VERSION, CODEC_ID) {
            return Err(LogError::UnsupportedFormat { path, version, codec });
        }
        if found != header(self.number, base) {
            return Err(LogError::corrupt(
                &path,
                0,
                "the segment belongs to another place in the log",
            ));
        }
        Ok(())
    }
}

/// The paths of what lies in a directory under names that are not of the log.
pub(super) fn foreign(
    disk: &dyn Disk,
    dir: &Path,
    is_ours: impl Fn(&OsStr) -> bool,
) -> Result<Vec<PathBuf>, LogError> {
    let names = disk::names(disk, dir)?;
    let foreign = names.iter().filter(|name| !is_ours(name));
    let mut found: Vec<_> = foreign.map(|name| dir.join(name)).collect();
    found.sort_unstable();
    Ok(found)
}

/// The first offset of the segment whose file, with this extension, has this name.
pub(super) fn base_of(name: &OsStr, extension: &str) -> Option<Offset> {
    let (digits, rest) = name.to_str()?.split_once('.')?;
    let number = digits.parse().ok()?;
    (digits.len() == 20 && rest == extension).then_some(Offset::new(number))
}

fn header(partition: u32, base: Offset) -> [u8; SEGMENT_HEADER_BYTES as usize] {
    let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes[10..12].copy_from_slice(&CODEC_ID.to_le_bytes());
    bytes[12..16].copy_from_slice(&partition.to_le_bytes());
    bytes[16..24].copy_from_slice(&base.get().to_le_bytes());
    let crc = crc32fast::hash(&bytes[..28]);
    bytes[28..].copy_from_slice(&crc.to_le_bytes());
    bytes
}
