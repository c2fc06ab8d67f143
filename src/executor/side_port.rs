//! [`SidePort`]: connects a side output of an operator to its readers.

use std::sync::Arc;

use crate::api::side_output::{SideBatch, SideEvents};
use crate::channel::frame::Batch;
use crate::channel::push::{Context, Push, Stage};
use crate::clock::Timestamp;
use crate::metrics::Count;

/// One side output's readers, with their event type erased.
pub(crate) trait SidePort {
    /// Passes on what was emitted.
    fn hand_on(&mut self, output: &mut dyn SideEvents, born: Timestamp, context: &mut Context);
    /// The readers, for all that needs no event type.
    fn stage(&mut self) -> &mut dyn Stage;
    fn stage_ref(&self) -> &dyn Stage;
}

/// The readers of one side output.
pub(crate) struct Port<T> {
    next: Box<dyn Push<T>>,
    batch: Batch<T>,
    emitted: Arc<Count>,
}

impl<T> Port<T> {
    /// `emitted` counts what is passed on.
    pub(crate) fn new(next: Box<dyn Push<T>>, emitted: Arc<Count>) -> Self {
        Self { next, batch: Batch::default(), emitted }
    }
}

impl<T: 'static> SidePort for Port<T> {
    fn hand_on(&mut self, output: &mut dyn SideEvents, born: Timestamp, context: &mut Context) {
        let output = output
            .as_any()
            .downcast_mut::<SideBatch<T>>()
            .expect("the plan made the output and its port with one type");
        if output.events.is_empty() {
            return;
        }
        std::mem::swap(&mut self.batch.events, &mut output.events);
        std::mem::swap(&mut self.batch.columns, &mut output.columns);
        self.batch.born = born;
        self.emitted.add(self.batch.len() as u64);
        self.next.push(&mut self.batch, context);
        self.batch.clear();
    }

    fn stage(&mut self) -> &mut dyn Stage {
        &mut *self.next
    }

    fn stage_ref(&self) -> &dyn Stage {
        &*self.next
    }
}
