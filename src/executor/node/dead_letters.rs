//! Events that fail and are emitted as dead letters, where the job asks for it (`on_error`).
//!
//! `apply` takes its event by value, so the copy for a dead letter is made before. A batch is copied as a whole, in
//! a separate loop: the loop over the component stays as it is, and a component without dead letters only checks
//! an `Option` per batch.
//!
//! A dead letter is an output of the event that failed: it has the event's root, lies on the same side of every
//! barrier, and is done when its readers have handled it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::api::columns::Row;
use crate::api::dead_letter::DeadLetter;
use crate::api::event::Event;
use crate::channel::push::Context;
use crate::error::{Cause, Failure};
use crate::executor::component::Component;
use crate::executor::node::Node;

/// Copies of the events of one batch.
pub(super) struct Copies<T> {
    /// The last event first, so that the copy that is needed next is at the end.
    reversed: Vec<T>,
    total: usize,
}

impl<T> Default for Copies<T> {
    fn default() -> Self {
        Self { reversed: Vec::new(), total: 0 }
    }
}

impl<T: Event> Copies<T> {
    fn make(&mut self, events: &[T]) {
        self.total = events.len();
        self.reversed.extend(events.iter().rev().cloned());
    }

    /// Drops the copies that were not needed.
    pub(super) fn clear(&mut self) {
        self.reversed.clear();
    }

    /// The copy of the event at this index. Called in ascending order, at most once for each.
    pub(super) fn of(&mut self, event: usize) -> Option<T> {
        self.reversed.truncate(self.total - event);
        self.reversed.pop()
    }
}

impl<C: Component> Node<C> {
    /// Copies the events of a batch, if copies are needed. Returns whether the batch can be run: not if an event
    /// cannot be cloned, which is fatal.
    pub(super) fn copy_events(&mut self, events: &[C::In], context: &mut Context) -> bool {
        let Some(copies) = &mut self.copies else { return true };
        let copied = catch_unwind(AssertUnwindSafe(|| copies.make(events)));
        if let Err(payload) = copied {
            context.fail(self.failure("clone", Cause::panic(payload)));
            return false;
        }
        true
    }

    /// Emits an event that failed as a dead letter. Its outputs have been discarded.
    pub(super) fn dead_letter(
        &mut self,
        event: C::In,
        row: Row,
        failure: Failure,
        context: &mut Context,
    ) {
        self.counters.failed.add(1);
        self.counters.dead_lettered.add(1);
        tracing::debug!(%failure, "dead letter");
        let letter = DeadLetter { event, failure, attempts: 1 };
        let deliveries = self.collector.emit_dead_letter(letter, row);
        if let Some(root) = row.root.filter(|root| !root.is_none()) {
            // The deliveries of the dead letter take the place of that of the event.
            context.ledger.change(root, i64::from(deliveries) - 1);
        }
    }
}
