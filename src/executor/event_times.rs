//! [`EventTimes`]: the component that asks events for their times, fills the column of times with them, and makes
//! watermarks from them. It changes no event, and works on batches in place.

use std::sync::Arc;
use std::vec::Drain;

use crate::api::apply_loop::{Pass, apply_each};
use crate::api::collector::Collector;
use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::watermark_strategy::WatermarkStrategy;
use crate::channel::frame::Batch;
use crate::channel::ledger::Ledger;
use crate::channel::moves::retain_in_place;
use crate::checkpoint::{CodecId, EncodedState, Snapshot, state_snapshot};
use crate::clock::{Clock, Timestamp};
use crate::delivery::terms::Commits;
use crate::error::{BoxError, Permanent};
use crate::executor::blueprint::StateShape;
use crate::executor::component::{Component, SavedTimers};
use crate::metrics::{Counters, Registry};
use crate::time::EventTime;
use crate::time::generator::{Generator, Maxima};

type TimeOf<T> = Arc<dyn Fn(&T) -> EventTime + Send + Sync>;

/// Passes events on, and notes their times.
pub(crate) struct EventTimes<T> {
    time_of: TimeOf<T>,
    strategy: WatermarkStrategy<T>,
    clock: Arc<dyn Clock>,
    registry: Arc<Registry>,
    counters: Arc<Counters>,
    generator: Generator,
    /// The moment of the batch at hand.
    now: Timestamp,
    unix_ms: u64,
}

impl<T> EventTimes<T> {
    pub(crate) fn new(
        time_of: TimeOf<T>,
        strategy: WatermarkStrategy<T>,
        clock: Arc<dyn Clock>,
        registry: Arc<Registry>,
    ) -> Self {
        let now = clock.now();
        let generator = Generator::new(strategy.rules, now);
        let counters = Arc::default();
        Self { time_of, strategy, clock, registry, counters, generator, now, unix_ms: 0 }
    }

    /// Reads the clocks, once for all events of a batch.
    fn look(&mut self) {
        self.now = self.clock.now();
        if self.strategy.rules.future_at_most.is_some() {
            self.unix_ms = self.clock.unix_ms();
        }
    }

    /// Notes the time of an event, and returns the one that it carries from here on.
    fn note(&mut self, event: &T) -> EventTime {
        let time = (self.time_of)(event);
        let partition = self.strategy.partition_of.as_ref().map_or(0, |of| of(event));
        match &self.strategy.mark_of {
            None => {
                let future = self.generator.event(partition, time, self.now, self.unix_ms);
                self.counters.future_stamped.add(u64::from(future));
                if future { EventTime::MAX } else { time }
            }
            Some(mark_of) => {
                self.generator.mark(partition, mark_of(event, time), self.now);
                time
            }
        }
    }
}

impl<T: Event> Component for EventTimes<T> {
    type In = T;
    type Out = T;

    fn state_shape(_: Commits) -> StateShape {
        StateShape::of::<Maxima>()
    }

    fn setup(
        &mut self,
        instance: &Instance,
        state: Option<&EncodedState>,
    ) -> Result<SavedTimers, BoxError> {
        self.counters = self.registry.counters(&instance.name);
        if let Some(encoded) = state {
            let maxima = encoded.decode::<Maxima>().map_err(Permanent::new)?;
            self.generator.restore(maxima, self.clock.now());
        }
        Ok(SavedTimers::new())
    }

    fn apply_each(
        &mut self,
        events: &mut Drain<'_, T>,
        out: &mut Collector<T>,
        tracked: bool,
    ) -> Pass {
        self.look();
        apply_each(events, out, tracked, |event, out| {
            let time = self.note(&event);
            out.emit_at(time, event);
            Ok(())
        })
    }

    fn in_place() -> bool {
        true
    }

    fn apply_in_place(&mut self, batch: &mut Batch<T>, handled: &mut usize, _: &mut Ledger) {
        self.look();
        // Earlier times of the stream are replaced.
        let times = &mut batch.columns.times;
        times.resize(batch.events.len(), EventTime::MIN);
        retain_in_place(&mut batch.events, |event| {
            let at = *handled;
            *handled += 1;
            times[at] = self.note(event);
            true
        });
    }

    fn watermarks(&mut self) -> Option<&mut Generator> {
        Some(&mut self.generator)
    }

    fn watermark_due(&self) -> Option<Timestamp> {
        self.generator.deadline()
    }

    fn snapshot(&mut self, _: SavedTimers, codec: CodecId) -> Option<Box<dyn Snapshot>> {
        Some(state_snapshot(self.generator.maxima(), codec))
    }
}
