//! [`DeadLetter`]: an event that failed too often.

use crate::error::Failure;

/// An event that failed as often as the guarantee allows, with the last failure.
///
/// Goes to the sink given by [`Stream::dead_letters`](crate::Stream::dead_letters); without one it
/// is traced as an error and counted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetter<T> {
    /// The event as its source emitted it.
    pub event: T,
    /// Who failed on it last, and what that one said.
    pub failure: Failure,
    /// How often it was tried.
    pub attempts: u32,
}
