//! The event log between the outside world and the jobs: partitioned, append-only, durable.
//!
//! One [`EventLog`] writes a directory; any number of [`LogReader`]s, in this process or others, read it,
//! each at its own offsets, from an [`Offset`] or from a time. There is no server and no setup: a log is a
//! directory of files.
//!
//! ```
//! # fn main() -> Result<(), streamwork::log::LogError> {
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! # let dir = dir.path();
//! use streamwork::log::{EventLog, LogOptions, LogReader, Offset};
//!
//! let mut log = EventLog::create_or_open(dir, LogOptions::default())?;
//! for (account, cents) in [(7_u32, 250_u64), (7, 990)] {
//!     log.append(account % log.partitions(), 1_700_000_000_000, &(account, cents))?;
//! }
//! log.sync()?;
//!
//! let mut reader = LogReader::<(u32, u64)>::open(dir)?;
//! let mut records = Vec::new();
//! let next = reader.read(3, Offset::ZERO, 1000, &mut records)?;
//! assert_eq!(records[1].event, (7, 990));
//! assert_eq!(next, reader.end(3)?);
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! *To the writer.* Records that [`sync`](EventLog::sync) has covered are durable: after kill -9 or a power
//! failure they are there, in order, or there is an error that names the file and the place; the log is never
//! silently shorter. [`Fsync`] can choose other times at which records become durable. A record that was
//! appended and not synced may or may not survive a crash. A writer that starts again therefore has to find
//! out what it has already written; [`EventLog::end`] is one way.
//!
//! *To readers.* They see a record only once it is durable, so a record that a job has read cannot vanish in
//! a crash; that is what exactly-once needs of its source. The exception is [`Fsync::Never`], under which
//! they see records that were written to the operating system: these survive kill -9 but not a power failure.
//! Readers never see half a record, one out of order, or one whose checksum does not match.
//!
//! *Not promised.* That a producer which repeats itself does not append an event twice. That a disk which
//! claims to have synced has done so. That a log has only one writer on a network file system without working
//! locks.
//!
//! # How it works
//!
//! ```text
//!                      one process                     │                any process
//!                                                      │
//!  append(p, …) ─► buffer of p ─► last segment ─► fsync ─► end mark of p ─► LogReader::read(p, …)
//!                                    │                 │        (how far)       ▲
//!                     full: index,   ▼                 │                        │
//!                     new segment   older segments ─────────────────────────────┘
//!                                    │                 │  (the bytes; by offset or by time)
//!                     retention:     ▼                 │
//!                     oldest go      ×                 │
//! ```
//!
//! If much is appended between two syncs, the disk does not idle until the second one: a thread of the writer
//! begins to sync earlier. That changes neither what is promised, nor what readers see, nor how errors are
//! handled.
//!
//! The end mark, 48 bytes per partition, makes the promises cheap: readers stop there, and the repair after a
//! crash learns from it which records had been durable. A bad record after the mark is the trace of a crash:
//! it is cut off and reported ([`EventLog::repairs`]). A bad or missing record before the mark is damage:
//! [`LogError::Corrupt`], and nothing is changed. A log whose mark is lost can still be opened for writing;
//! then it counts as damage if good records follow a bad one.
//!
//! | file | what | lost or damaged |
//! |---|---|---|
//! | `LOCK` | locked by the running writer | made again; the running writer is fenced when another opens the log |
//! | `WRITER` | a random number of the newest writer | the running writer stops; made again by the next |
//! | `meta` | number of partitions, identity, version, codec | refused if there are records |
//! | `partition-00000/00000000000000000000.log` | the records from that offset on | refused |
//! | `partition-00000/00000000000000000000.index` | sparse index of offsets and times of a full segment | made again |
//! | `partition-00000/end` | the end mark | readers are refused until a writer has made it again |
//!
//! Other files in these directories are left alone, and listed by [`LogSurvey`]. A directory in the place of
//! a file, and a dangling link, are refused by name.
//!
//! All numbers in files are little endian; every file carries a version and the id of the codec, and everything read back is
//! under a CRC-32. Payloads are bincode with fixed-width integers.
//!
//! *Invariants.* Only the last segment of a partition is ever written. A segment, an index or the meta file appears whole or
//! not at all. The mark is never ahead of the disk. Readers write nothing. After a failed write nothing is written any more.
//!
//! The design follows Kafka's log (Kreps et al., "Kafka: a Distributed Messaging System for Log Processing", NetDB 2011,
//! section 3.1) with its high watermark kept in a file, and never retries a failed fsync (Rebello et al., "Can Applications
//! Recover from fsync Failures?", ATC 2020).

// What a user meets.
mod error;
mod identity;
mod offset;
mod options;
mod reader;
mod writer;

// What these two are made of, one partition at a time.
mod early;
mod partition;
mod partition_reader;
mod recovery;
mod retention;
mod survey;

// The files, from the directory down to the bytes of a record.
mod meta;
mod ownership;
mod segment;

mod cursor;
mod index;
mod mark;

mod frame;

mod codec;
mod disk;

#[cfg(test)]
mod fault_tests;

pub use error::LogError;
pub use identity::LogId;
pub(crate) use offset::Limit;
pub use offset::{Offset, Record};
pub use options::{Fsync, LogOptions, PARTITIONS_DEFAULT, PARTITIONS_MAX, Retention};
pub use reader::LogReader;
pub use recovery::RepairReport;
pub use retention::Removed;
pub use survey::{LogSurvey, PartitionSurvey, SegmentSurvey};
pub use writer::EventLog;
