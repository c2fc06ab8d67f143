//! What tells a log from every other, also from one that was made later in the same directory.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The identity of a log: drawn at random when it is created, and kept in its `meta` file.
///
/// Positions in a log mean nothing in another one, so who stores positions stores this beside them. A copy has the identity
/// of its original. A log of format version 1 has none; [`LogId::UNKNOWN`] stands for it.
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

    pub(super) fn random() -> Self {
        LogId(random_id())
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

/// A number that nobody else has drawn, never zero. The standard library seeds its hashers from the system's source of
/// randomness, once per thread; time and process tell apart what was forked since then.
pub(crate) fn random_id() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let half = || {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u128(since.as_nanos());
        hasher.write_u32(process::id());
        u128::from(hasher.finish())
    };
    (half() << 64 | half()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_drawn_twice_on_any_thread() {
        let draw = || (0..1000).map(|_| random_id()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
        let drawn = threads.into_iter().flat_map(|thread| thread.join().expect("it draws"));
        let different: std::collections::HashSet<_> = drawn.collect();
        assert_eq!(different.len(), 4000);
    }
}
