//! A batch handled where it lies: one loop of the component over all of it, no collector in between.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::channel::frame::Batch;
use crate::channel::push::Context;
use crate::error::Cause;
use crate::executor::component::Component;
use crate::executor::node::Node;
use crate::id::Root;

impl<C: Component> Node<C> {
    /// Runs the batch as far as it goes; the rest becomes pending. What lies before an event that
    /// panics goes on, and the new value of the component takes up what lies behind it.
    pub(super) fn run_in_place(&mut self, batch: &mut Batch<C::In>, context: &mut Context) {
        while let Some(component) = self.component.as_mut().filter(|_| !batch.is_empty()) {
            let (events, mut handled) = (batch.len(), 0);
            let swept = catch_unwind(AssertUnwindSafe(|| {
                component.apply_in_place(batch, &mut handled, &mut context.ledger);
            }));
            self.counters.processed.add(handled as u64);
            self.counters.delivered.add((handled - usize::from(swept.is_err())) as u64);
            let Err(payload) = swept else { return self.pass_on(batch, context) };
            // The event at hand is gone; its root is not, nor are those of events that did not stay.
            let unread = events - handled;
            let written = batch.events.len() - unread;
            let root = batch.roots.get(handled - 1).copied().unwrap_or(Root::NONE);
            if !batch.roots.is_empty() {
                batch.roots.drain(written..handled);
            }
            let mut rest = batch.split_off(written);
            self.pass_on(batch, context);
            std::mem::swap(batch, &mut rest);
            let failure = self.failure("apply", Cause::panic(payload));
            self.event_failed(root, failure.clone(), context);
            self.on_panic(failure, context);
            if context.fatal.is_some() {
                break;
            }
        }
        if !batch.is_empty() {
            self.pending.append(batch);
        }
    }

    /// Passes on what lies in the batch. What goes in comes out, so the two types are one.
    fn pass_on(&mut self, batch: &mut Batch<C::In>, context: &mut Context) {
        let copies = i64::from(self.collector.accounts.copies());
        if copies != 1 {
            batch.roots.iter().for_each(|root| context.ledger.change(*root, copies - 1));
        }
        if batch.is_empty() {
            return;
        }
        self.counters.emitted.add(batch.len() as u64);
        let batch: &mut dyn Any = batch;
        let batch = batch.downcast_mut::<Batch<C::Out>>().expect("what is in place has one type");
        self.next.push(batch, context);
    }
}
