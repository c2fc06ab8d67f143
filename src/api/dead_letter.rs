//! [`DeadLetter`]: an event that failed and is not tried again.

use crate::api::event::Event;
use crate::api::side_output::SideOutput;
use crate::error::Failure;

/// An event that failed and is not tried again, with its last failure. There are two ways to become one.
///
/// An operator or sink with [`OnError::DeadLetter`](crate::OnError::DeadLetter) makes one of every event for which it
/// returns an error. It is an event of the stream [`Stream::dead_letters`](crate::Stream::dead_letters) and travels
/// as any other: under every guarantee, to any operator or sink, as part of the same checkpoint.
///
/// At-least-once with the acknowledger makes one of every event of a source that failed `attempts_max` times,
/// and gives it to the sink of [`Stream::dead_letter_sink`](crate::Stream::dead_letter_sink); without such a
/// sink it is logged as an error and counted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetter<T> {
    /// The event, as the component received it or as its source emitted it.
    pub event: T,
    /// The last failure: component, instance, callback and cause.
    pub failure: Failure,
    /// How often it was tried; 1 if its component makes dead letters, since there is no second attempt then.
    pub attempts: u32,
}

impl<T: Event> DeadLetter<T> {
    /// The side output of a component that takes events of this type and makes dead letters of those that fail.
    pub(crate) const OUTPUT: SideOutput<Self> = SideOutput::new(DEAD_LETTERS);
}

/// The name of the side output for dead letters.
pub(crate) const DEAD_LETTERS: &str = "dead letters";
