//! The identity of a log. It differs from that of every other log, also of one that was made later in the
//! same directory.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::storage::Disk;

/// The identity of a log: drawn when it is created, and kept in its `meta` file.
///
/// Positions in a log mean nothing in another one, so store the identity together with positions. A copy has
/// the identity of its original. A log of format version 1 has none; [`LogId::UNKNOWN`] stands for it.
///
/// ```
/// # fn main() -> Result<(), streamwork::log::LogError> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// use streamwork::log::{EventLog, LogId, LogReader};
///
/// let log = EventLog::<String>::create_or_open(dir.path().join("a"), Default::default())?;
/// let other = EventLog::<String>::create_or_open(dir.path().join("b"), Default::default())?;
/// assert_ne!(log.id(), other.id());
/// assert_eq!(log.id(), LogReader::<String>::open(dir.path().join("a"))?.id());
/// assert_ne!(log.id(), LogId::UNKNOWN);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogId(u128);

impl LogId {
    /// The identity of every log that was created before logs had one.
    pub const UNKNOWN: LogId = LogId(0);

    pub(super) fn drawn_from(disk: &dyn Disk) -> Self {
        LogId(disk.draw_id())
    }

    pub(super) fn from_bytes(bytes: [u8; 16]) -> Self {
        LogId(u128::from_le_bytes(bytes))
    }

    pub(super) fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
