//! A batch that is handled in place: one loop of the component over all events, without a collector.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::channel::frame::Batch;
use crate::channel::push::Context;
use crate::error::Cause;
use crate::executor::component::Component;
use crate::executor::node::Node;
use crate::executor::node::event_time::note_replayable;

impl<C: Component> Node<C> {
    /// Runs the batch as far as possible; the rest becomes pending. If an event panics, the outputs of the events
    /// before it are passed on, and the rebuilt component continues with the events after it.
    pub(super) fn run_in_place(&mut self, batch: &mut Batch<C::In>, context: &mut Context) {
        while let Some(component) = self.component.as_mut().filter(|_| !batch.is_empty()) {
            let (events, timed) = (batch.len(), !batch.columns.times.is_empty());
            let mut handled = 0;
            let swept = catch_unwind(AssertUnwindSafe(|| {
                component.apply_in_place(batch, &mut handled, &mut context.ledger);
            }));
            self.counters.processed.add(handled as u64);
            self.counters.delivered.add((handled - usize::from(swept.is_err())) as u64);
            let Err(payload) = swept else { return self.pass_on(batch, context) };
            // The event that panicked is gone, and so are events without an output. Their entries are removed here.
            let unread = events - handled;
            let written = batch.events.len() - unread;
            let root = batch.columns.root(handled - 1);
            batch.columns.remove(written..handled);
            let mut rest = batch.split_off(written);
            if !timed {
                // Where the component makes the times, it has made none for these.
                rest.columns.times.clear();
            }
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

    /// Passes the batch on. Of a component that works in place `In` and `Out` are the same type.
    fn pass_on(&mut self, batch: &mut Batch<C::In>, context: &mut Context) {
        let copies = i64::from(self.collector.accounts.copies());
        if copies != 1 {
            batch.columns.roots.iter().for_each(|root| context.ledger.change(*root, copies - 1));
        }
        if batch.is_empty() {
            return;
        }
        self.counters.emitted.add(batch.len() as u64);
        note_replayable(&mut self.component, &mut self.replayable, &batch.columns, context);
        let batch: &mut dyn Any = batch;
        let batch = batch.downcast_mut::<Batch<C::Out>>().expect("what is in place has one type");
        self.next.push(batch, context);
    }
}
