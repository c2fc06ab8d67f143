//! The one writer of a log.
//!
//! It owns the partitions and decides when to stop writing; `ownership` says whether it is still the only
//! writer. After a failed write, fsync or rename the content of the disk is unknown, so the writer is
//! *poisoned*: it touches nothing any more, not even when dropped, and every call returns the reason. Opening
//! the log again reads what is on the disk.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::early::EarlySync;
use super::error::LogError;
use super::meta::{self, Meta};
use super::options::{Fsync, LogOptions, PARTITIONS_DEFAULT};
use super::ownership::Ownership;
use super::partition::PartitionWriter;
use super::recovery::{RepairReport, recover};
use super::retention::Removed;
use super::segment::PartitionDir;
use super::{LogId, Offset, disk};
use crate::storage::{Disk, RealDisk};

/// The single writer of a log of events `E`.
///
/// It is not shared: threads that append to the same log take turns, behind a mutex or a channel. Reading is done by any
/// number of [`LogReader`](super::LogReader)s, here or in other processes.
///
/// Dropping it does what [`close`](Self::close) does, but can only log an error.
///
/// ```
/// # fn main() -> Result<(), streamwork::log::LogError> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// use streamwork::log::{EventLog, LogOptions, Offset};
///
/// let mut log = EventLog::create_or_open(dir.path(), LogOptions { partitions: Some(2), ..LogOptions::default() })?;
/// assert_eq!(log.append(0, 1_700_000_000_000, &"paid".to_string())?, Offset::ZERO);
/// assert_eq!(log.append(0, 1_700_000_000_500, &"refunded".to_string())?, Offset::new(1));
/// log.sync()?; // Only now are both on disk, and visible to readers.
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping the writer closes the log"]
pub struct EventLog<E> {
    dir: PathBuf,
    options: LogOptions,
    partitions: Vec<PartitionWriter>,
    repairs: Vec<RepairReport>,
    /// Bytes appended since the last sync.
    unsynced_bytes: u64,
    /// The number of bytes after which the log syncs without being asked.
    sync_bytes: u64,
    early: EarlySync,
    poison: Option<String>,
    id: LogId,
    /// Held until the writer is gone.
    ownership: Ownership,
    _event: PhantomData<fn(&E)>,
}

impl<E> EventLog<E> {
    /// Opens the log in a directory for writing, or makes a new one. Cuts off what a crash has left at the
    /// end of a partition, and reports it in [`repairs`](Self::repairs).
    ///
    /// It reads the last segment of every partition.
    ///
    /// # Errors
    ///
    /// [`LogError::Locked`] if there is a writer already; [`LogError::InvalidOptions`];
    /// [`LogError::PartitionCountMismatch`]; [`LogError::Corrupt`] if records are damaged or missing that had been durable
    /// (see the table in the [module's docs](super)); [`LogError::UnsupportedFormat`]; [`LogError::Io`].
    pub fn create_or_open(dir: impl AsRef<Path>, options: LogOptions) -> Result<Self, LogError> {
        Self::create_or_open_on(Arc::new(RealDisk), dir, options)
    }

    /// Opens or makes a log on the caller's disk, for tests that let it fail and for simulations; there is an
    /// example at [`LogReader::open_on`](super::LogReader::open_on).
    ///
    /// # Errors
    ///
    /// As [`create_or_open`](Self::create_or_open).
    pub fn create_or_open_on(
        disk: Arc<dyn Disk>,
        dir: impl AsRef<Path>,
        options: LogOptions,
    ) -> Result<Self, LogError> {
        options.validate()?;
        let dir = disk::absolute(dir.as_ref())?;
        disk::create_dir(&*disk, &dir)?;
        let mut ownership = Ownership::take(&disk, &dir)?;
        let Meta { partitions, id } = agree_on_partitions(&disk, &dir, options.partitions)?;
        // Before anything is looked at that a writer who has lost his lock could still change.
        ownership.announce()?;

        let mut repairs = Vec::new();
        let mut writers = Vec::new();
        for number in 0..partitions {
            let partition = PartitionDir::of(&disk, &dir, number);
            let mut found = recover(&partition)?;
            repairs.extend(found.repair.take());
            writers.push(PartitionWriter::resume(partition, found));
        }
        let sync_bytes = match options.fsync {
            Fsync::Always => 0,
            Fsync::EveryBytes(bytes) => bytes,
            Fsync::GroupCommit | Fsync::Never => u64::MAX,
        };
        Ok(EventLog {
            dir,
            options,
            partitions: writers,
            repairs,
            unsynced_bytes: 0,
            sync_bytes,
            early: EarlySync::default(),
            poison: None,
            id,
            ownership,
            _event: PhantomData,
        })
    }

    /// The directory of the log, to open readers on.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The identity of this log.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.id
    }

    /// How many partitions the log has; they are numbered from 0.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        u32::try_from(self.partitions.len()).expect("there are at most 4096 partitions")
    }

    /// What was cut off when the log was opened; empty after a clean end.
    #[must_use]
    pub fn repairs(&self) -> &[RepairReport] {
        &self.repairs
    }

    /// The offset that the next record of the partition gets. Readers may not see the records before it yet.
    ///
    /// # Errors
    ///
    /// [`LogError::NoSuchPartition`].
    pub fn end(&self, partition: u32) -> Result<Offset, LogError> {
        let found = self.partitions.get(partition as usize);
        found.map(PartitionWriter::next).ok_or_else(|| self.no_such_partition(partition))
    }

    /// Writes everything appended to the operating system: it survives the end of the process, however it
    /// ends, but not a power failure. Readers see it only under [`Fsync::Never`].
    ///
    /// # Errors
    ///
    /// [`LogError::Io`] or [`LogError::Fenced`], after which the writer is poisoned; [`LogError::Poisoned`].
    pub fn flush(&mut self) -> Result<(), LogError> {
        self.check()?;
        self.check_owned()?;
        let written =
            self.partitions.iter_mut().try_for_each(|partition| partition.write_out(&self.options));
        self.poison_by(written)
    }

    /// Returns when everything appended is durable, and visible to readers. One fsync for each partition with
    /// new records.
    ///
    /// # Errors
    ///
    /// [`LogError::Io`], after which the writer is poisoned and what was appended since the last successful `sync` may or
    /// may not be there; [`LogError::Fenced`], the same; [`LogError::Poisoned`].
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.check()?;
        self.check_owned()?;
        self.unsynced_bytes = 0;
        let durable = self.early.finish().and_then(|()| {
            let mut partitions = self.partitions.iter_mut();
            partitions.try_for_each(|partition| partition.make_durable(&self.options))
        });
        self.poison_by(durable)?;
        // What was written while another writer took over is not in the log that there is now.
        self.check_owned()
    }

    /// Removes the old segments that [`Retention`](super::Retention) no longer allows, in all partitions, and
    /// returns what was removed.
    ///
    /// ```
    /// # fn main() -> Result<(), streamwork::log::LogError> {
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// use streamwork::log::{EventLog, LogOptions, LogReader, Offset, Retention};
    ///
    /// let retention = Retention { max_partition_bytes: Some(1000), ..Retention::default() };
    /// let options = LogOptions { segment_bytes: 100, ..LogOptions::default() };
    /// let mut log = EventLog::create_or_open(dir.path(), LogOptions { retention, ..options })?;
    /// for number in 0..1000_u64 {
    ///     log.append(0, 0, &number)?;
    /// }
    /// log.sync()?;
    /// assert_eq!(log.apply_retention()?.segments, 0, "full segments have already seen to it");
    /// assert!(LogReader::<u64>::open(dir.path())?.earliest(0)? > Offset::new(900));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Readers of a removed segment get [`LogError::OffsetGone`] (one that has the file open finishes it
    /// first).
    ///
    /// # Errors
    ///
    /// [`LogError::Io`] if a file could not be removed; the log is fine and goes on. [`LogError::Fenced`] and
    /// [`LogError::Poisoned`].
    pub fn apply_retention(&mut self) -> Result<Removed, LogError> {
        self.check()?;
        self.check_owned()?;
        let now = SystemTime::now();
        let mut removed = Removed::default();
        for partition in &mut self.partitions {
            removed += partition.retain(&self.options.retention, now)?;
        }
        Ok(removed)
    }

    /// Makes everything durable and ends the writer; the lock is free when it returns.
    ///
    /// # Errors
    ///
    /// As [`sync`](Self::sync).
    pub fn close(mut self) -> Result<(), LogError> {
        self.finish()
    }

    fn finish(&mut self) -> Result<(), LogError> {
        self.sync()?;
        let settled = self.partitions.iter_mut().try_for_each(PartitionWriter::settle);
        self.poison_by(settled)
    }

    #[inline]
    fn check(&self) -> Result<(), LogError> {
        match &self.poison {
            None => Ok(()),
            Some(cause) => Err(LogError::Poisoned { dir: self.dir.clone(), cause: cause.clone() }),
        }
    }

    /// Ends all further writing if the log has another writer.
    fn check_owned(&mut self) -> Result<(), LogError> {
        let owned = self.ownership.check();
        self.poison_by(owned)
    }

    /// Ends all further writing if a step that changes the disk has failed.
    #[inline]
    fn poison_by<T>(&mut self, result: Result<T, LogError>) -> Result<T, LogError> {
        if let Err(error) = &result {
            self.poison = Some(error.to_string());
        }
        result
    }

    #[cold]
    fn no_such_partition(&self, partition: u32) -> LogError {
        LogError::NoSuchPartition { partition, partitions: self.partitions() }
    }
}

impl<E: Serialize> EventLog<E> {
    /// Adds an event to the end of a partition and returns its offset. `timestamp_ms` is the event's time, in milliseconds
    /// since the Unix epoch; [`seek_to_time`](super::LogReader::seek_to_time) finds it by that, and order is not required.
    ///
    /// Whether the event is durable when this returns, and when readers see it, depends on [`Fsync`]; by
    /// default it is neither durable nor visible before [`sync`](Self::sync).
    ///
    /// # Errors
    ///
    /// [`LogError::RecordTooLarge`] and [`LogError::Encode`] refuse this event, [`LogError::NoSuchPartition`]
    /// this number: the log is unchanged and stays usable. So does [`LogError::Corrupt`], of a partition
    /// whose files claim that no offset is left. [`LogError::Io`] and [`LogError::Fenced`] poison the writer;
    /// [`LogError::Poisoned`] says that it was.
    #[inline]
    pub fn append(
        &mut self,
        partition: u32,
        timestamp_ms: i64,
        event: &E,
    ) -> Result<Offset, LogError> {
        self.check()?;
        if self
            .partitions
            .get(partition as usize)
            .is_none_or(|found| found.is_full(self.options.segment_bytes))
        {
            self.make_room(partition)?;
        }
        let target = &mut self.partitions[partition as usize];
        let offset = target.next();
        let bytes = target.push(timestamp_ms, event, self.options.max_record_bytes)?;
        if target.is_brimming(self.options.buffer_bytes) {
            self.write_out(partition)?;
        }
        self.unsynced_bytes += bytes as u64;
        if self.unsynced_bytes >= self.sync_bytes {
            self.sync()?;
        }
        Ok(offset)
    }

    /// Writes the buffer of a partition to the operating system.
    fn write_out(&mut self, partition: u32) -> Result<(), LogError> {
        self.check_owned()?;
        let full = &mut self.partitions[partition as usize];
        let written = full
            .write_out(&self.options)
            .and_then(|()| full.sync_early(&mut self.early, &self.options));
        self.poison_by(written)
    }

    #[cold]
    fn make_room(&mut self, partition: u32) -> Result<(), LogError> {
        self.check_owned()?;
        let Some(full) = self.partitions.get_mut(partition as usize) else {
            return Err(self.no_such_partition(partition));
        };
        let rolled = self.early.finish().and_then(|()| full.roll(&self.options));
        self.poison_by(rolled)?;
        let full = &mut self.partitions[partition as usize];
        // An old file that cannot be removed endangers no record: the next roll tries again.
        if let Err(error) = full.retain(&self.options.retention, SystemTime::now()) {
            tracing::warn!(partition, error = %error, "cannot remove an old segment of the event log");
        }
        Ok(())
    }
}

impl<E> Drop for EventLog<E> {
    fn drop(&mut self) {
        if self.poison.is_some() {
            return;
        }
        if let Err(error) = self.finish() {
            tracing::error!(log = %self.dir.display(), error = %error, "cannot bring the end of the event log to disk");
        }
    }
}

/// The existing log, or a new one with the requested number of partitions.
fn agree_on_partitions(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    requested: Option<u32>,
) -> Result<Meta, LogError> {
    match (meta::read(&**disk, dir)?, requested) {
        (Some(Meta { partitions: stored, .. }), Some(requested)) if stored != requested => {
            Err(LogError::PartitionCountMismatch { dir: dir.to_owned(), stored, requested })
        }
        (Some(meta), _) => Ok(meta),
        (None, requested) => meta::create(disk, dir, requested.unwrap_or(PARTITIONS_DEFAULT)),
    }
}
