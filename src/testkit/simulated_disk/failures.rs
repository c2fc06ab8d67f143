//! [`DiskFailures`]: which operations of a simulated disk fail, and how.

use super::Fate;

/// How an operation of the disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// It is not done (of a write the first half is), and returns the error that the disk is full.
    Refuse,
    /// It is done, but returns an error: a synchronization that reports an earlier error.
    Deny,
    /// It is not done (of a write the first half is), and nothing works any more, as if the process had been
    /// killed here, until [`lose_process`](super::SimulatedDisk::lose_process) or
    /// [`lose_power`](super::SimulatedDisk::lose_power).
    Crash,
}

/// Which operations of a [`SimulatedDisk`](super::SimulatedDisk) fail. By default all from now on, as on a
/// full disk.
///
/// ```
/// use std::path::Path;
/// use streamwork::storage::Disk;
/// use streamwork::testkit::{DiskFailures, SimulatedDisk};
///
/// let disk = SimulatedDisk::new();
/// disk.fail(DiskFailures { after: 1, times: 1, ..DiskFailures::default() });
/// let file = disk.create(Path::new("/file"))?;
/// file.append(b"abcd").unwrap_err();
/// assert_eq!(disk.failures(), 1);
/// file.append(b"efgh")?;
/// assert_eq!(disk.read(Path::new("/file"))?, b"abefgh");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DiskFailures {
    /// How many operations work before the first failure. Default none.
    pub after: u64,
    /// How many operations fail then; later ones work again. Default all.
    pub times: u64,
    /// How they fail. Default [`DiskFault::Refuse`].
    pub fault: DiskFault,
    /// Which operations are counted and fail. Default [`DiskOperations::All`].
    pub operations: DiskOperations,
}

impl Default for DiskFailures {
    fn default() -> Self {
        Self {
            after: 0,
            times: u64::MAX,
            fault: DiskFault::Refuse,
            operations: DiskOperations::All,
        }
    }
}

/// A set of disk operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskOperations {
    /// All operations.
    All,
    /// Operations that change the content of the disk or make it durable; not those that open, read, list or
    /// lock.
    Changes,
}

impl DiskOperations {
    fn include(self, operation: &str) -> bool {
        self == Self::All || !["open", "read", "measure", "list", "lock"].contains(&operation)
    }
}

/// What is to fail, and what has.
#[derive(Debug, Default)]
pub(super) struct Failing {
    failures: Option<DiskFailures>,
    pub(super) failed: u64,
}

impl Failing {
    pub(super) fn new(failures: DiskFailures) -> Self {
        Self { failures: Some(failures), failed: 0 }
    }

    pub(super) fn end(&mut self) {
        self.failures = None;
    }

    /// What becomes of the next operation, if it is to fail.
    pub(super) fn next(&mut self, operation: &'static str) -> Option<Fate> {
        let failures = self.failures.as_mut()?;
        if !failures.operations.include(operation) {
            return None;
        }
        if failures.after > 0 {
            failures.after -= 1;
            return None;
        }
        failures.times = failures.times.checked_sub(1)?;
        self.failed += 1;
        Some(match failures.fault {
            DiskFault::Refuse => Fate::Refused,
            DiskFault::Deny => Fate::Denied,
            DiskFault::Crash => Fate::Killed { after: false },
        })
    }
}
