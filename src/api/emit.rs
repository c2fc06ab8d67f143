//! [`Emit`]: what an operator with state by key emits into.

use crate::api::event::Event;
use crate::api::output::Output;
use crate::api::side_output::SideOutput;

/// What a [`KeyedOperator`](crate::KeyedOperator) emits into. An [`Output`] without timers and tokens, which belong to
/// an instance and not to a key.
#[derive(Debug)]
pub struct Emit<'a, T> {
    output: &'a mut Output<T>,
}

impl<'a, T> Emit<'a, T> {
    pub(crate) fn new(output: &'a mut Output<T>) -> Self {
        Self { output }
    }

    /// As [`Output::emit`].
    #[inline]
    pub fn emit(&mut self, event: T) {
        self.output.emit(event);
    }

    /// As [`Output::emit_all`].
    #[inline]
    pub fn emit_all(&mut self, events: impl IntoIterator<Item = T>) {
        self.output.emit_all(events);
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
