//! [`Faults`]: what may go wrong in a simulation.

use std::collections::BTreeSet;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// A callback returns an error, before or after its work.
    Error,
    /// A callback panics, before or after its work.
    Panic,
    /// An instance does nothing for up to some seconds.
    Stall,
    /// The process is killed between any two steps or in any operation of the disk; everything that
    /// was written is kept.
    Kill,
    /// The power of the machine fails: data that was not synchronized may be lost or torn.
    PowerFailure,
    /// An operation of the disk fails, once or for a while, done or not done.
    DiskError,
    /// After a crash a bit of the newest checkpoint is flipped, if there is an older one to fall back to.
    Damage,
    /// The clock jumps up to a day ahead, as after the machine was suspended.
    ClockJump,
    /// The job is asked to stop and is started again; no fault, but it must lose nothing.
    Stop,
    /// A checkpoint is requested; no fault either.
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

/// The kinds of faults that a history may have, and how many at most. The seed decides which kinds
/// occur, when, and where.
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

    /// No faults: only the order of steps varies.
    pub fn none() -> Self {
        Self { kinds: BTreeSet::new(), at_most: 0 }
    }

    /// These kinds.
    pub fn only(kinds: impl IntoIterator<Item = Fault>) -> Self {
        Self { kinds: kinds.into_iter().collect(), at_most: 8 }
    }

    /// All except this kind.
    pub fn without(mut self, kind: Fault) -> Self {
        self.kinds.remove(&kind);
        self
    }

    /// At most this many faults in a history. After the last one a job must reach its end.
    pub fn at_most(mut self, faults: u32) -> Self {
        self.at_most = faults;
        self
    }
}
