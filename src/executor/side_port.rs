//! [`SidePort`]: the way from a channel of an operator to what reads it.

use std::sync::Arc;

use crate::api::collector::{SideBatch, SideOutput};
use crate::channel::frame::{Batch, Control};
use crate::channel::push::{Context, Local, Push};
use crate::clock::Timestamp;
use crate::metrics::Count;

/// One channel's readers, their event type forgotten.
pub(crate) trait SidePort {
    /// Passes on what was emitted.
    fn hand_on(&mut self, output: &mut dyn SideOutput, born: Timestamp, context: &mut Context);
    /// The readers, for all that needs no type.
    fn readers(&mut self) -> &mut dyn Readers;
    fn readers_ref(&self) -> &dyn Readers;
}

/// What a [`Push`] can do without an event.
pub(crate) trait Readers {
    fn control(&mut self, control: Control, context: &mut Context);
    fn local(&mut self, call: Local, context: &mut Context);
    fn tick(&mut self, context: &mut Context);
    fn flush(&mut self, context: &mut Context) -> bool;
    fn blocked(&self) -> bool;
    fn deadline(&self) -> Option<Timestamp>;
}

/// The readers of one channel.
pub(crate) struct Port<T> {
    next: Typed<T>,
    batch: Batch<T>,
    emitted: Arc<Count>,
}

struct Typed<T>(Box<dyn Push<T>>);

impl<T> Port<T> {
    /// `emitted` counts what is passed on.
    pub(crate) fn new(next: Box<dyn Push<T>>, emitted: Arc<Count>) -> Self {
        Self { next: Typed(next), batch: Batch::default(), emitted }
    }
}

impl<T: 'static> SidePort for Port<T> {
    fn hand_on(&mut self, output: &mut dyn SideOutput, born: Timestamp, context: &mut Context) {
        let output = output
            .as_any()
            .downcast_mut::<SideBatch<T>>()
            .expect("the plan made the output and its port with one type");
        if output.events.is_empty() {
            return;
        }
        std::mem::swap(&mut self.batch.events, &mut output.events);
        std::mem::swap(&mut self.batch.roots, &mut output.roots);
        self.batch.born = born;
        self.emitted.add(self.batch.len() as u64);
        self.next.0.push(&mut self.batch, context);
        self.batch.clear();
    }

    fn readers(&mut self) -> &mut dyn Readers {
        &mut self.next
    }

    fn readers_ref(&self) -> &dyn Readers {
        &self.next
    }
}

impl<T> Readers for Typed<T> {
    fn control(&mut self, control: Control, context: &mut Context) {
        self.0.control(control, context);
    }
    fn local(&mut self, call: Local, context: &mut Context) {
        self.0.local(call, context);
    }
    fn tick(&mut self, context: &mut Context) {
        self.0.tick(context);
    }
    fn flush(&mut self, context: &mut Context) -> bool {
        self.0.flush(context)
    }
    fn blocked(&self) -> bool {
        self.0.blocked()
    }
    fn deadline(&self) -> Option<Timestamp> {
        self.0.deadline()
    }
}
