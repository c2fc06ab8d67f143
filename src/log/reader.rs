//! A reader of a log: all partitions, each read at an offset of the caller's choice.
//!
//! It keeps no offset and writes nothing: the offset belongs to the state of the job that reads.

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::disk;
use super::error::LogError;
use super::meta::{self, Meta};
use super::partition_reader::PartitionReader;
use super::{Limit, LogId, Offset, Record};
use crate::storage::{Disk, RealDisk};

/// Reads events `E` from a log that this or another process may be writing.
///
/// Any number of readers may be open; they take no lock, write nothing, and do not disturb the writer or each
/// other. Each keeps one file and one buffer per partition that it reads, so it is fastest to continue where
/// the last `read` ended; at another offset it first searches for the record.
///
/// The events must be of the type that was written. Another type is noticed only where its bytes do not fit.
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
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    id: LogId,
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
        Self::open_on(Arc::new(RealDisk), dir)
    }

    /// Opens the log in a directory on the caller's disk, for tests and simulations.
    ///
    /// ```
    /// # fn main() -> Result<(), streamwork::log::LogError> {
    /// use std::sync::Arc;
    /// use streamwork::log::{EventLog, LogReader, Offset};
    /// use streamwork::testkit::SimulatedDisk;
    ///
    /// let disk = Arc::new(SimulatedDisk::new());
    /// let mut log = EventLog::create_or_open_on(disk.clone(), "/log", Default::default())?;
    /// log.append(0, 0, &"durable".to_string())?;
    /// log.sync()?;
    /// disk.lose_power(7);
    /// assert_eq!(LogReader::<String>::open_on(disk, "/log")?.read(0, Offset::ZERO, 9, &mut Vec::new())?, Offset::new(1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_on(disk: Arc<dyn Disk>, dir: impl AsRef<Path>) -> Result<Self, LogError> {
        let given = dir.as_ref();
        let dir = disk::absolute(given)?;
        let Some(Meta { partitions, id }) = meta::read(&*disk, &dir)? else {
            return Err(LogError::NotALog { dir: given.to_owned() });
        };
        let open = |number| PartitionReader::open(&disk, &dir, id, number);
        let partitions = (0..partitions).map(open).collect::<Result<_, _>>()?;
        Ok(LogReader { disk, dir, id, partitions, _event: PhantomData })
    }

    /// The directory of the log, from the root on.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The identity of this log. Store it together with offsets, since they mean nothing in another log.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.id
    }

    /// Checks that the log that was opened is still the one in its directory. A reader of a removed log finds
    /// nothing new and no error, since its files stay open; so call this now and then while you wait for
    /// records.
    ///
    /// ```
    /// # fn main() -> Result<(), streamwork::log::LogError> {
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// # let dir = dir.path().join("log");
    /// use streamwork::log::{EventLog, LogError, LogReader};
    ///
    /// EventLog::<String>::create_or_open(&dir, Default::default())?.close()?;
    /// let reader = LogReader::<String>::open(&dir)?;
    /// reader.check()?;
    /// std::fs::remove_dir_all(&dir).expect("removed");
    /// assert!(matches!(reader.check(), Err(LogError::NotALog { .. })));
    /// EventLog::<String>::create_or_open(&dir, Default::default())?.close()?;
    /// assert!(matches!(reader.check(), Err(LogError::MadeAnew { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`LogError::MadeAnew`] if there is another log; [`LogError::NotALog`] if there is none; another error
    /// that keeps it from being read.
    pub fn check(&self) -> Result<(), LogError> {
        meta::check(&*self.disk, &self.dir, self.id)
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

    /// The offset after the last record that can be read now: where the next one will be.
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
    /// Timestamps need not be in order. All records before the returned offset are older, and some after it
    /// may be older too: reading from there misses no record of that time or later.
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

    /// The checksum of a record, also of one on disk that readers do not see yet; `None` if there is no such
    /// record.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub(crate) fn checksum(
        &mut self,
        partition: u32,
        offset: Offset,
    ) -> Result<Option<u32>, LogError> {
        self.partition(partition)?.checksum(offset)
    }

    /// The checksum of the record that was read last in a partition, if one was read.
    pub(crate) fn last_checksum(&self, partition: u32) -> Option<u32> {
        self.partitions.get(partition as usize).and_then(PartitionReader::last_checksum)
    }

    fn partition(&mut self, partition: u32) -> Result<&mut PartitionReader, LogError> {
        let partitions = self.partitions();
        self.partitions
            .get_mut(partition as usize)
            .ok_or(LogError::NoSuchPartition { partition, partitions })
    }
}

impl<E: DeserializeOwned> LogReader<E> {
    /// Adds up to `max` records of a partition, from offset `from` on, to the end of `into`, and returns the
    /// offset to continue from. That is `from` itself if there is nothing new, which costs one small read; it
    /// does not wait.
    ///
    /// An offset beyond the end is not an error: there is no record yet.
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
        let most = Limit { records: max, bytes: usize::MAX };
        self.partition(partition)?.read(from, most, into).map(|(next, _)| next)
    }

    /// As [`read`](LogReader::read), but stops after the record with which the records reach this number of
    /// encoded bytes. Also returns the number of bytes.
    pub(crate) fn read_some(
        &mut self,
        partition: u32,
        from: Offset,
        most: Limit,
        into: &mut Vec<Record<E>>,
    ) -> Result<(Offset, usize), LogError> {
        self.partition(partition)?.read(from, most, into)
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
