//! A source whose bad records are events: [`WithBadRecords`] makes them part of its output, and [`Fork`]
//! separates the two kinds again.
//!
//! ```text
//!   source ─ records ─▶ WithBadRecords ─ Ok(event), Err(bad record) ─▶ source instance ─▶ Fork ─▶ readers of events
//!                                                                                           └──▶ readers of bad records
//! ```
//! In between a bad record is an event like any other. So each guarantee applies to it as to events: it is
//! kept for replay, its position is made durable first, it is before or after a barrier. If nothing reads the
//! bad records of a source, it has neither of the two.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use crate::api::bad_record::BadRecord;
use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::side_output::{STAYS, SideEvents};
use crate::api::source::{Next, OnStop};
use crate::api::source_output::{Rejected, SourceOutput};
use crate::channel::frame::{Batch, Control};
use crate::channel::push::{Context, InstanceCall, Push, Stage};
use crate::checkpoint::{CodecId, Part};
use crate::clock::{Timestamp, earlier};
use crate::error::{BoxError, Failure};
use crate::executor::blueprint::StateShape;
use crate::executor::side_port::SidePort;
use crate::executor::source_component::SourceComponent;
use crate::id::InstanceName;
use crate::metrics::Counters;

/// An event of a source, or a bad record. Boxed, since it is rare and would make every event as large.
pub(crate) type EventOrBadRecord<T> = Result<T, Box<BadRecord>>;

/// Adapter for a source whose bad records are read.
pub(crate) struct WithBadRecords<C: SourceComponent> {
    source: C,
    name: InstanceName,
    output: SourceOutput<C::Out>,
}

impl<C: SourceComponent> WithBadRecords<C> {
    pub(crate) fn new(source: C, name: InstanceName) -> Self {
        Self { source, name, output: SourceOutput::new() }
    }

    /// Moves what the source has emitted into the output of the adapter.
    fn hand_on(&mut self, out: &mut SourceOutput<EventOrBadRecord<C::Out>>) {
        out.emit_all(self.output.events.drain(..).map(Ok));
        out.weigh(self.output.bytes);
        for rejected in self.output.rejected.drain(..) {
            match rejected {
                Rejected::Raw(record, _, cause) => {
                    let instance = self.name.clone();
                    let failure = Failure { instance, callback: "get_events", cause };
                    out.emit(Err(Box::new(BadRecord { record, failure })));
                }
                Rejected::Event(event, cause) => {
                    out.rejected.push(Rejected::Event(Ok(event), cause));
                }
                Rejected::Record(cause) => out.rejected.push(Rejected::Record(cause)),
                Rejected::Skipped(cause) => out.rejected.push(Rejected::Skipped(cause)),
            }
        }
        out.watermark = out.watermark.max(self.output.watermark.take());
        out.idle |= std::mem::take(&mut self.output.idle);
    }
}

impl<C: SourceComponent> SourceComponent for WithBadRecords<C> {
    type Out = EventOrBadRecord<C::Out>;
    type State = C::State;
    const REWINDABLE: bool = C::REWINDABLE;
    const STATE: &str = C::STATE;
    const HAS_SPLITS: bool = C::HAS_SPLITS;

    fn state_shape() -> StateShape {
        C::state_shape()
    }
    fn setup(&mut self, instance: &Instance, state: Option<Self::State>) -> Result<(), BoxError> {
        self.source.setup(instance, state)
    }
    fn get_events(
        &mut self,
        out: &mut SourceOutput<Self::Out>,
        now: Timestamp,
    ) -> Result<Next, BoxError> {
        self.output.ask(out.room());
        let (source, output) = (&mut self.source, &mut self.output);
        let next = catch_unwind(AssertUnwindSafe(|| source.get_events(output, now)));
        // Also after a panic: events that a source emitted before it and cannot read again must be sent.
        self.hand_on(out);
        next.unwrap_or_else(|payload| resume_unwind(payload))
    }
    fn on_stop(&mut self) -> OnStop {
        self.source.on_stop()
    }
    fn state(&self) -> Self::State {
        self.source.state()
    }
    fn parts(state: Self::State, of: &InstanceName, codec: CodecId) -> Vec<Part> {
        C::parts(state, of, codec)
    }
    fn checkpointed(&mut self, state: &Self::State) -> Result<(), BoxError> {
        self.source.checkpointed(state)
    }
    fn bytes_of(events: &[Self::Out]) -> usize {
        let bytes = |event: &Self::Out| match event {
            Ok(event) => C::bytes_of(std::slice::from_ref(event)),
            Err(bad) => size_of::<BadRecord>().saturating_add(bad.record.bytes.len()),
        };
        events.iter().map(bytes).fold(0, usize::saturating_add)
    }
}

/// The end of such a source: events go one way, bad records the other.
pub(crate) struct Fork<T> {
    events: Box<dyn Push<T>>,
    batch: Batch<T>,
    /// The bad records of this batch, and the port of their readers.
    bad_records: Box<dyn SideEvents>,
    port: Box<dyn SidePort>,
    /// The source's.
    counters: Arc<Counters>,
}

impl<T: Event> Fork<T> {
    /// Between a source that counts here and its readers.
    pub(crate) fn new(
        events: Box<dyn Push<T>>,
        (bad_records, port): (Box<dyn SideEvents>, Box<dyn SidePort>),
        counters: Arc<Counters>,
    ) -> Self {
        Self { events, batch: Batch::default(), bad_records, port, counters }
    }

    /// Separates a batch. One delivery is outstanding under each root; here it becomes known how many it
    /// makes.
    fn deal_out(&mut self, batch: &mut Batch<EventOrBadRecord<T>>, context: &mut Context) {
        let aside = self
            .bad_records
            .batch_of::<BadRecord>()
            .expect("the plan refuses bad records that are read as something else");
        let (events_make, bad_make) = (self.events.copies(), aside.copies);
        let columns = std::mem::take(&mut batch.columns);
        for (at, event) in batch.events.drain(..).enumerate() {
            let row = columns.row(at);
            let deliveries = match event {
                Ok(event) => {
                    self.batch.events.push(event);
                    self.batch.columns.push(row);
                    events_make
                }
                Err(bad) => {
                    aside.push(*bad, row, STAYS);
                    bad_make
                }
            };
            if let Some(root) = row.root {
                context.ledger.change(root, i64::from(deliveries) - 1);
            }
        }
        self.batch.born = batch.born;
        let bad = aside.events.len() as u64;
        self.counters.rejected.add(bad);
        self.counters.failed_calls.add(bad);
        self.counters.dead_lettered.add(bad);
    }
}

impl<T> Stage for Fork<T> {
    fn control(&mut self, control: Control, context: &mut Context) {
        self.events.control(control, context);
        self.port.stage().control(control, context);
    }

    fn call_instance(&mut self, call: InstanceCall, context: &mut Context) {
        self.events.call_instance(call, context);
        self.port.stage().call_instance(call, context);
    }

    fn tick(&mut self, context: &mut Context) {
        self.events.tick(context);
        self.port.stage().tick(context);
    }

    fn flush(&mut self, context: &mut Context) -> bool {
        self.events.flush(context) | self.port.stage().flush(context)
    }

    fn blocked(&self) -> bool {
        self.events.blocked() || self.port.stage_ref().blocked()
    }

    fn lets_barrier_through(&self) -> bool {
        self.events.lets_barrier_through() && self.port.stage_ref().lets_barrier_through()
    }

    fn deadline(&self) -> Option<Timestamp> {
        earlier(self.events.deadline(), self.port.stage_ref().deadline())
    }
}

impl<T: Event> Push<EventOrBadRecord<T>> for Fork<T> {
    fn push(&mut self, batch: &mut Batch<EventOrBadRecord<T>>, context: &mut Context) {
        self.deal_out(batch, context);
        self.port.hand_on(&mut *self.bad_records, self.batch.born, context);
        if !self.batch.is_empty() {
            self.events.push(&mut self.batch, context);
            self.batch.clear();
        }
    }

    fn copies(&self) -> u32 {
        1
    }

    fn room(&self) -> usize {
        self.events.room()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::source::Source;
    use crate::api::source_output::BYTES_MAX;
    use crate::executor::source_component::NonRewindable;

    /// Emits events of more than half of what it may emit in one go, as long as they are welcome.
    struct Heavy;

    impl Source for Heavy {
        type Out = u8;
        fn get_events(&mut self, out: &mut SourceOutput<u8>) -> Result<Next, BoxError> {
            while out.room() > 0 {
                out.emit_weighing(1, BYTES_MAX / 2 + 1);
            }
            Ok(Next::Now)
        }
    }

    #[test]
    fn each_call_has_the_same_room_in_bytes_and_what_it_weighs_is_handed_on() {
        let name = InstanceName::new("heavy", 0);
        let mut source = WithBadRecords::new(NonRewindable(Heavy), name);
        let mut out = SourceOutput::new();
        for _ in 0..3 {
            out.ask(100);
            source.get_events(&mut out, Timestamp(0)).expect("it does not fail");
            assert_eq!(out.events.drain(..).count(), 2);
            assert_eq!((out.room(), out.bytes), (0, 2 * (BYTES_MAX / 2 + 1)));
        }
    }
}
