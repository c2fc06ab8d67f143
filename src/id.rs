//! The names of things: instances, executions, checkpoints, roots. No behaviour beyond printing.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Number of a checkpoint; grows by one with each attempt, never reused within a store.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct CheckpointId(pub u64);

/// Number of an execution: the run of the whole job between two (re)starts. It grows durably, so
/// that a late answer of an old execution is recognised everywhere.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ExecutionId(pub u64);

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One parallel instance of a component, as errors and metrics name it: `scorer[2]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceName {
    /// The component's name, unique in its job.
    pub component: Arc<str>,
    /// Which of its instances, from 0.
    pub instance: usize,
}

impl InstanceName {
    pub(crate) fn new(component: impl Into<Arc<str>>, instance: usize) -> Self {
        Self { component: component.into(), instance }
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.component, self.instance)
    }
}

/// What the acknowledger counts under: one emission of one event by one source instance, or one
/// group of them. A tracker's number (16 bits) and a dense sequence number (48 bits) in one word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Root(u64);

impl Root {
    /// The root of an event that is not tracked, such as one emitted from a timer without an anchor.
    pub(crate) const NONE: Self = Self(u64::MAX);
    /// The maximum number of trackers: for source instances, their replays, and instances that make group
    /// roots.
    pub(crate) const TRACKERS: usize = (1 << 16) - 1;
    const SEQUENCE_BITS: u32 = 48;

    pub(crate) fn new(tracker: usize, sequence: u64) -> Self {
        assert!(tracker < Self::TRACKERS, "the plan refuses more trackers than a root can name");
        assert!(sequence < 1 << Self::SEQUENCE_BITS, "2^48 events outlast any execution");
        Self((tracker as u64) << Self::SEQUENCE_BITS | sequence)
    }

    /// The roots of this many sequence numbers from this one on.
    pub(crate) fn range(tracker: usize, first: u64, roots: usize) -> impl Iterator<Item = Self> {
        let end = first + roots as u64;
        // Both ends are within bounds, so all between them are.
        let (first, end) = (Self::new(tracker, first), Self::new(tracker, end));
        (first.0..end.0).map(Self)
    }

    pub(crate) fn tracker(self) -> usize {
        (self.0 >> Self::SEQUENCE_BITS) as usize
    }

    pub(crate) fn sequence(self) -> u64 {
        self.0 & ((1 << Self::SEQUENCE_BITS) - 1)
    }

    /// How far it is after that root in the sequence of one tracker. If it is before that root, or of another
    /// tracker, the result is larger than any number of events in flight.
    #[inline]
    pub(crate) fn places_behind(self, first: Self) -> usize {
        usize::try_from(self.0.wrapping_sub(first.0)).unwrap_or(usize::MAX)
    }

    pub(crate) fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return f.write_str("no root");
        }
        write!(f, "{}#{}", self.tracker(), self.sequence())
    }
}
