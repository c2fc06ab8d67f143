//! [`Faults`]: what may go wrong in a simulation.

use std::collections::BTreeSet;

/// One kind of thing that may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// A callback returns an error, with or without having done its work.
    Error,
    /// A callback panics, before or after its work.
    Panic,
    /// An instance does nothing for up to some seconds.
    Stall,
    /// The process is killed between any two steps or in any operation of the disk; what was
    /// written is there.
    Kill,
    /// The same with the machine: what was not synchronized may be gone or torn.
    PowerFailure,
    /// An operation of the disk fails, once or for a while, done or not done.
    DiskError,
    /// After a crash a bit of the newest checkpoint is wrong, where there is an older one to fall
    /// back to.
    Damage,
    /// The clock is suddenly up to a day ahead: the machine had been asleep.
    ClockJump,
    /// The job is asked to stop and is started again; no fault, but it must lose nothing.
    Stop,
    /// A checkpoint is asked for; no fault either.
    Checkpoint,
}

impl Fault {
    /// In the order in which they are declared.
    pub(super) const ALL: [Self; 10] = [
        Self::Error,
        Self::Panic,
        Self::Stall,
        Self::Kill,
        Self::PowerFailure,
        Self::DiskError,
        Self::Damage,
        Self::ClockJump,
        Self::Stop,
        Self::Checkpoint,
    ];

    /// Whether it may happen without end.
    pub(super) fn is_harmless(self) -> bool {
        self == Self::Checkpoint
    }
}

/// What may go wrong in a history, and how often at most. The seed decides which of the kinds a
/// history has, when, and where.
///
/// ```
/// use streamwork::testkit::{Fault, Faults};
///
/// let no_crashes = Faults::all().without(Fault::Kill).without(Fault::PowerFailure);
/// let two_panics = Faults::only([Fault::Panic]).at_most(2);
/// assert_ne!(no_crashes, two_panics);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    pub(super) kinds: BTreeSet<Fault>,
    pub(super) at_most: u32,
}

impl Default for Faults {
    fn default() -> Self {
        Self::all()
    }
}

impl Faults {
    /// Every kind, at most 8 faults a history.
    pub fn all() -> Self {
        Self { kinds: BTreeSet::from(Fault::ALL), at_most: 8 }
    }

    /// Nothing but what the order of steps brings.
    pub fn none() -> Self {
        Self { kinds: BTreeSet::new(), at_most: 0 }
    }

    /// These kinds.
    pub fn only(kinds: impl IntoIterator<Item = Fault>) -> Self {
        Self { kinds: kinds.into_iter().collect(), at_most: 8 }
    }

    /// All but this kind.
    pub fn without(mut self, kind: Fault) -> Self {
        self.kinds.remove(&kind);
        self
    }

    /// At most so many faults a history. Once they are used up a job must come to its end.
    pub fn at_most(mut self, faults: u32) -> Self {
        self.at_most = faults;
        self
    }
}
