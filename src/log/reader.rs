//! A reader of a log: all partitions, each read at an offset of the caller's choice.
//!
//! Keeps no offset of its own and writes nothing: where to go on is part of the state of the job that reads.

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::error::LogError;
use super::meta;
use super::partition_reader::PartitionReader;
use super::segment::PartitionDir;
use super::{Offset, Record};

/// Reads events `E` from a log that this or another process may be writing.
///
/// Any number of readers may be open; they take no lock, write nothing, and do not disturb the writer or each other. Each
/// keeps one file and one buffer per partition that it reads, so reading on where the last `read` ended is the fast way; at
/// another offset it first looks for the place.
///
/// The events must be of the type that was written. A type that differs is found only where its bytes do not fit.
///
/// ```
/// # fn main() -> Result<(), streamwork::log::LogError> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// # let mut log = streamwork::log::EventLog::create_or_open(dir.path(), Default::default())?;
/// # for word in ["to", "be", "or", "not"] { log.append(0, 0, &word.to_string())?; }
/// # log.sync()?;
/// use streamwork::log::{LogReader, Offset};
///
/// let mut reader = LogReader::<String>::open(dir.path())?;
/// let mut records = Vec::new();
/// let next = reader.read(0, Offset::ZERO, 3, &mut records)?;
/// assert_eq!(next, Offset::new(3));
/// assert_eq!(records[2].event, "or");
///
/// records.clear();
/// let next = reader.read(0, next, 3, &mut records)?;
/// assert_eq!(records.len(), 1);
/// assert_eq!(reader.read(0, next, 3, &mut records)?, next, "nothing new yet");
/// # Ok(())
/// # }
/// ```
pub struct LogReader<E> {
    dir: PathBuf,
    partitions: Vec<PartitionReader>,
    _event: PhantomData<fn() -> E>,
}

impl<E> LogReader<E> {
    /// Opens the log in a directory for reading.
    ///
    /// # Errors
    ///
    /// [`LogError::NotALog`] if no log was created there yet; [`LogError::Corrupt`], [`LogError::UnsupportedFormat`],
    /// [`LogError::Io`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, LogError> {
        let dir = dir.as_ref().to_owned();
        let Some(partitions) = meta::partitions(&dir)? else {
            return Err(LogError::NotALog { dir });
        };
        let open = |number| PartitionReader::open(PartitionDir::of(&dir, number));
        let partitions = (0..partitions).map(open).collect::<Result<_, _>>()?;
        Ok(LogReader { dir, partitions, _event: PhantomData })
    }

    /// How many partitions the log has; they are numbered from 0.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        u32::try_from(self.partitions.len()).expect("there are at most 4096 partitions")
    }

    /// The offset of the first record that retention has not removed; equal to [`end`](Self::end) if there is none.
    ///
    /// # Errors
    ///
    /// [`LogError::NoSuchPartition`], [`LogError::Io`].
    pub fn earliest(&mut self, partition: u32) -> Result<Offset, LogError> {
        self.partition(partition)?.earliest()
    }

    /// The offset behind the last record that can be read at this moment: where the next one will be.
    ///
    /// # Errors
    ///
    /// [`LogError::NoSuchPartition`], [`LogError::Corrupt`], [`LogError::Io`].
    pub fn end(&mut self, partition: u32) -> Result<Offset, LogError> {
        self.partition(partition)?.end()
    }

    /// The offset of the first record whose timestamp is `timestamp_ms` or later, or the [`end`](Self::end) if there is none
    /// yet.
    ///
    /// Timestamps need not be in order. Then records before the returned offset are all older, and among those behind it
    /// some may be older too: reading on from there misses none that is as young as asked for.
    ///
    /// Costs one small file per full segment, and a walk through at most 64 KiB of one of them or through all of the segment
    /// being written.
    ///
    /// ```
    /// # fn main() -> Result<(), streamwork::log::LogError> {
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// # let mut log = streamwork::log::EventLog::create_or_open(dir.path(), Default::default())?;
    /// use streamwork::log::{LogReader, Offset};
    ///
    /// for timestamp_ms in [100, 300, 200, 400] {
    ///     log.append(0, timestamp_ms, &"event".to_string())?;
    /// }
    /// log.sync()?;
    ///
    /// let mut reader = LogReader::<String>::open(dir.path())?;
    /// assert_eq!(reader.seek_to_time(0, 150)?, Offset::new(1));
    /// assert_eq!(reader.seek_to_time(0, 301)?, Offset::new(3));
    /// assert_eq!(reader.seek_to_time(0, 401)?, reader.end(0)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`LogError::NoSuchPartition`], [`LogError::Corrupt`], [`LogError::Io`].
    pub fn seek_to_time(&mut self, partition: u32, timestamp_ms: i64) -> Result<Offset, LogError> {
        self.partition(partition)?.seek_to_time(timestamp_ms)
    }

    fn partition(&mut self, partition: u32) -> Result<&mut PartitionReader, LogError> {
        let partitions = self.partitions();
        self.partitions
            .get_mut(partition as usize)
            .ok_or(LogError::NoSuchPartition { partition, partitions })
    }
}

impl<E: DeserializeOwned> LogReader<E> {
    /// Adds up to `max` records of a partition, from offset `from` on, to the end of `into`, and returns the offset to go on
    /// from. That is `from` itself when there is nothing new, which costs one small read; it does not wait.
    ///
    /// Offsets beyond the end are not an error: nothing is there yet.
    ///
    /// # Errors
    ///
    /// Nothing was added when an error is returned: records before the damaged one come first, and the error with the next
    /// call. [`LogError::OffsetGone`] if retention has removed the record; [`LogError::Corrupt`] if what was written there is
    /// damaged; [`LogError::Decode`] if it is of another type; [`LogError::NoSuchPartition`]; [`LogError::Io`].
    pub fn read(
        &mut self,
        partition: u32,
        from: Offset,
        max: usize,
        into: &mut Vec<Record<E>>,
    ) -> Result<Offset, LogError> {
        self.partition(partition)?.read(from, max, into)
    }
}

impl<E> fmt::Debug for LogReader<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partitions = self.partitions.len();
        f.debug_struct("LogReader")
            .field("dir", &self.dir)
            .field("partitions", &partitions)
            .finish_non_exhaustive()
    }
}
