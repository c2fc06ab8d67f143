//! [`Operating`]: an operator of the user with state and timers by key.

use std::sync::Arc;

use crate::api::collector::Collector;
use crate::api::emit::Emit;
use crate::api::instance::Instance;
use crate::api::output::Output;
use crate::api::side_output::DeclaredOutput;
use crate::channel::key::hash_key;
use crate::clock::{Clock, Timestamp};
use crate::error::BoxError;
use crate::executor::component::Due;
use crate::executor::keyed::{AtKey, KeyedLogic, StateOf};
use crate::state::{At, Cell, KeyedOperator, Moment, TimerIndex};
use crate::time::EventTime;

pub(crate) struct Operating<O: KeyedOperator> {
    operator: O,
    index: TimerIndex<O::Key>,
    clock: Arc<dyn Clock>,
    /// The key and number of the timer that `is_due` has found.
    found: Option<(O::Key, u64)>,
}

impl<O: KeyedOperator> Operating<O> {
    pub(crate) fn new(operator: O, clock: Arc<dyn Clock>) -> Self {
        Self { operator, index: TimerIndex::default(), clock, found: None }
    }
}

impl<O: KeyedOperator> KeyedLogic for Operating<O> {
    type Key = O::Key;
    type In = O::In;
    type Out = O::Out;
    type Value = Cell<O::State, O::Timer>;
    type Stored = Cell<O::State, O::Timer>;
    const SIDE_OUTPUTS: &'static [DeclaredOutput] = O::SIDE_OUTPUTS;
    const NEEDS_EVENT_TIME: bool = O::NEEDS_EVENT_TIME;

    fn expires(cell: &mut Self::Value) -> bool {
        cell.expire()
    }

    fn restored(cell: &mut Self::Value, then: Timestamp, now: Timestamp) {
        cell.timers.restored(then, now);
    }

    fn setup(&mut self, instance: &Instance, kept: &StateOf<Self>) -> Result<(), BoxError> {
        let mut next = Some((0, 0));
        while let Some(from) = next {
            next = kept.visit(from, |key, cell| {
                cell.timers
                    .hints()
                    .for_each(|(at, number)| self.index.restored(at, number, key.clone()));
            });
        }
        self.operator.setup(instance)
    }

    #[inline(always)]
    fn apply(
        &mut self,
        AtKey { key, hash, store }: AtKey<'_, Self>,
        event: O::In,
        out: &mut Collector<O::Out>,
    ) -> Result<(), BoxError> {
        let time = out.time();
        let mut at = At::<O>::new(key, hash, store, &mut self.index, &*self.clock, time);
        let applied = self.operator.apply(event, &mut at, &mut Emit::new(out, None));
        at.tidy();
        applied
    }

    fn is_due(&mut self, due: Due, store: &mut StateOf<Self>) -> bool {
        while self.found.is_none() {
            let next = match due {
                Due::At(now) => self.index.next_due(now),
                Due::Rest => self.index.next_of_rest(),
            };
            let Some((number, key)) = next else { return false };
            let Some(place) = store.find(hash_key(&key), &key) else { continue };
            let is_set = |cell: &Cell<_, _>| cell.timers.hints().any(|(_, of)| of == number);
            if store.at(place).is_some_and(is_set) {
                self.found = Some((key, number));
            }
        }
        true
    }

    fn fire(
        &mut self,
        store: &mut StateOf<Self>,
        out: &mut Output<O::Out>,
    ) -> Result<(), BoxError> {
        let Some((key, number)) = self.found.take() else { return Ok(()) };
        let hash = hash_key(&key);
        let place = store.find(hash, &key);
        // It may have been cleared since it was found.
        let cell = place.and_then(|place| store.at_mut(place));
        let Some((moment, timer)) = cell.and_then(|cell| cell.timers.take(number)) else {
            return Ok(());
        };
        let (time, passed) = match moment {
            Moment::Event(time) => (Some(time), self.index.passed_on),
            Moment::Clock(_) => (None, None),
        };
        let mut at = At::<O>::new(key, hash, store, &mut self.index, &*self.clock, time);
        // Readers have been told that nothing older than this follows.
        let emit_at = time.map(|time| passed.map_or(time, |passed| time.max(passed)));
        let fired = self.operator.on_timer(timer, &mut at, &mut Emit::new(out, emit_at));
        at.peek();
        at.tidy();
        fired
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.index.deadline()
    }

    fn advance(&mut self, to: EventTime) {
        self.index.watermark = Some(to);
    }

    fn has_advanced(&mut self) {
        self.index.passed_on = self.index.watermark;
    }
}
