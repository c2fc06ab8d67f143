//! The position of a record in its partition, and the record that a reader gets.
//!
//! Owns the two types that every user of the log meets. Never touches a file.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a record within its partition: 0 for the first one ever appended, then one more for each.
///
/// Offsets have no gaps and are never used twice, not even for records that retention has removed. A job that wants to
/// continue where it was keeps one offset per partition in its state.
///
/// ```
/// use streamwork::log::Offset;
///
/// let first = Offset::ZERO;
/// assert_eq!(first.next(), Offset::new(1));
/// assert_eq!(Offset::new(7).get(), 7);
/// assert!(first < first.next());
/// assert_eq!(Offset::new(7).to_string(), "7");
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Offset(u64);

impl Offset {
    /// The offset of the first record of a partition.
    pub const ZERO: Offset = Offset(0);

    /// The offset with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Offset(number)
    }

    /// The offset after every record; no record has it.
    pub(super) const LAST: Offset = Offset(u64::MAX);

    /// The plain number, for counters and for the outside world.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset of the record that follows.
    ///
    /// The largest offset, 2⁶⁴ − 1, is after every record and belongs to none: a partition that reaches it,
    /// after 58,000 years of ten million records a second, refuses every event, and a record of this offset
    /// is refused as damage. It is therefore its own next, and reading from there finds nothing.
    #[must_use]
    pub const fn next(self) -> Self {
        Offset(self.0.saturating_add(1))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One event as a reader gets it, with its offset and its time.
///
/// ```
/// use streamwork::log::{Offset, Record};
///
/// let record = Record { offset: Offset::ZERO, timestamp_ms: 1_700_000_000_000, event: "paid" };
/// assert_eq!(record.event, "paid");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<E> {
    /// Its offset in its partition.
    pub offset: Offset,
    /// The time that the writer gave it, in milliseconds since the Unix epoch. The log does not take it from
    /// a clock, and records need not be in order of time.
    pub timestamp_ms: i64,
    /// The event itself.
    pub event: E,
}

/// How much is read in one go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) records: usize,
    /// Encoded. The record that reaches it is the last.
    pub(crate) bytes: usize,
}
