//! [`Emit`]: what an operator with state by key emits into.

use crate::api::event::Event;
use crate::api::output::Output;
use crate::api::side_output::SideOutput;
use crate::time::EventTime;

/// What a [`KeyedOperator`](crate::KeyedOperator) emits into. An [`Output`] without timers and tokens, which belong to
/// an instance and not to a key.
#[derive(Debug)]
pub struct Emit<'a, T> {
    output: &'a mut Output<T>,
    /// The time of what is emitted, if it is not that of the event at hand.
    time: Option<EventTime>,
}

impl<'a, T> Emit<'a, T> {
    pub(crate) fn new(output: &'a mut Output<T>, time: Option<EventTime>) -> Self {
        Self { output, time }
    }

    /// Emits an event on the main output. On a stream with event time it has the time of the event at hand, or of the
    /// timer; if the timer was set behind the watermark, that of the watermark (state O5, O6).
    #[inline]
    pub fn emit(&mut self, event: T) {
        match self.time {
            None => self.output.emit(event),
            Some(time) => self.output.emit_at(time, event),
        }
    }

    /// Emits all of these on the main output, like [`emit`](Emit::emit) for each.
    #[inline]
    pub fn emit_all(&mut self, events: impl IntoIterator<Item = T>) {
        match self.time {
            None => self.output.emit_all(events),
            Some(time) => events.into_iter().for_each(|event| self.output.emit_at(time, event)),
        }
    }

    /// As [`Output::emit_at`].
    #[inline]
    pub fn emit_at(&mut self, time: EventTime, event: T) {
        self.output.emit_at(time, event);
    }

    /// As [`Output::emit_to`].
    ///
    /// # Panics
    /// If the operator has not declared a side output of this name and type.
    pub fn emit_to<E: Event>(&mut self, output: SideOutput<E>, event: E) {
        self.output.emit_to(output, event);
    }

    /// As [`Output::room`].
    #[inline]
    pub fn room(&self) -> usize {
        self.output.room()
    }
}
