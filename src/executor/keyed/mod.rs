//! [`Keyed`]: a component whose state by key the engine owns. What it does with an event and the state of its key
//! is a [`KeyedLogic`]: a table (`table`), a scan, or an operator of the user (`operator`).

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::vec::Drain;

use crate::api::apply_loop::{Pass, apply_each};
use crate::api::collector::Collector;
use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::key::Key;
use crate::api::output::Output;
use crate::api::side_output::DeclaredOutput;
use crate::api::state::State;
use crate::checkpoint::EncodedState;
use crate::clock::{Clock, Timestamp, earlier};
use crate::delivery::terms::Commits;
use crate::error::BoxError;
use crate::executor::blueprint::StateShape;
use crate::executor::component::{Component, Due, SavedTimers};
use crate::state::{KeyedStore, StoredValue};
use crate::time::EventTime;

pub(crate) mod operator;
pub(crate) mod table;

/// Takes the keys of events, and their routing hashes. One dynamic call per batch. If it panics, what it has
/// written by then belongs to the events before the one at hand.
pub(crate) type KeysOf<K, T> = Arc<dyn Fn(&[T], &mut Vec<(u64, K)>) + Send + Sync>;

/// What a component with state by key is built from. Clones have the same state.
pub(crate) struct KeyedStart<K, V> {
    pub(crate) store: Rc<RefCell<KeyedStore<K, V>>>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl<K, V> Clone for KeyedStart<K, V> {
    fn clone(&self) -> Self {
        Self { store: Rc::clone(&self.store), clock: Arc::clone(&self.clock) }
    }
}

/// What is done with an event and the state of its key.
pub(crate) trait KeyedLogic: 'static {
    type Key: Key;
    type In;
    type Out: Event;
    /// What is kept of a key.
    type Value: State;
    /// How that is made of the user's state.
    type Stored: StoredValue<Value = Self::Value>;

    /// Its outputs beside the main one.
    const SIDE_OUTPUTS: &'static [DeclaredOutput] = &[];

    /// Whether the plan refuses it on a stream without event time.
    const NEEDS_EVENT_TIME: bool = false;

    /// A value has come out of a checkpoint that was cut at `then`, by a clock that stands at `now`.
    fn restored(_value: &mut Self::Value, _then: Timestamp, _now: Timestamp) {}

    /// The time of a value is over. Whether nothing is left of it.
    fn expires(_: &mut Self::Value) -> bool {
        true
    }

    /// Called before the first event, with what was restored.
    fn setup(&mut self, _: &Instance, _: &StateOf<Self>) -> Result<(), BoxError> {
        Ok(())
    }

    fn apply(
        &mut self,
        at: AtKey<'_, Self>,
        event: Self::In,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), BoxError>;

    /// See [`Component::is_due`].
    fn is_due(&mut self, _: Due, _: &mut StateOf<Self>) -> bool {
        false
    }

    /// See [`Component::fire`].
    fn fire(&mut self, _: &mut StateOf<Self>, _: &mut Output<Self::Out>) -> Result<(), BoxError> {
        Ok(())
    }

    /// See [`Component::next_due`].
    fn next_due(&self) -> Option<Timestamp> {
        None
    }

    /// See [`Component::advance`].
    fn advance(&mut self, _: EventTime) {}

    /// See [`Component::has_advanced`].
    fn has_advanced(&mut self) {}
}

/// The state of all keys of an instance.
pub(crate) type StateOf<L> = KeyedStore<<L as KeyedLogic>::Key, <L as KeyedLogic>::Value>;

/// The key of the event at hand, its hash, and the state of all keys.
pub(crate) struct AtKey<'a, L: KeyedLogic + ?Sized> {
    pub(crate) key: L::Key,
    pub(crate) hash: u64,
    pub(crate) store: &'a mut StateOf<L>,
}

/// A logic, the state that it works on, and how events are taken apart.
pub(crate) struct Keyed<L: KeyedLogic, In, S> {
    logic: L,
    store: Rc<RefCell<StateOf<L>>>,
    keys_of: KeysOf<L::Key, In>,
    /// The event of the logic in an event of the stream.
    split: S,
    keys: Vec<(u64, L::Key)>,
    clock: Arc<dyn Clock>,
}

impl<L: KeyedLogic, In, S> Keyed<L, In, S> {
    pub(crate) fn new(
        logic: L,
        KeyedStart { store, clock }: KeyedStart<L::Key, L::Value>,
        keys_of: KeysOf<L::Key, In>,
        split: S,
    ) -> Self {
        Self { logic, store, keys_of, split, keys: Vec::new(), clock }
    }
}

impl<L, In, S> Component for Keyed<L, In, S>
where
    L: KeyedLogic,
    In: Event,
    S: Fn(In) -> L::In + 'static,
{
    type In = In;
    type Out = L::Out;
    const SIDE_OUTPUTS: &'static [DeclaredOutput] = L::SIDE_OUTPUTS;
    const NEEDS_EVENT_TIME: bool = L::NEEDS_EVENT_TIME;

    fn state_shape(_: Commits) -> StateShape {
        StateShape::of::<(L::Key, L::Value)>()
    }

    fn setup(
        &mut self,
        instance: &Instance,
        _: Option<&EncodedState>,
    ) -> Result<SavedTimers, BoxError> {
        self.logic.setup(instance, &self.store.borrow()).map(|()| SavedTimers::new())
    }

    fn apply_each(
        &mut self,
        events: &mut Drain<'_, In>,
        out: &mut Collector<L::Out>,
        tracked: bool,
    ) -> Pass {
        let Self { logic, store, keys_of, split, keys, clock } = self;
        keys.clear();
        // All hashes first: then the look-ups do not wait for one another (state B2.1). An event whose key cannot be
        // taken fails below, when it is its turn.
        let _ = catch_unwind(AssertUnwindSafe(|| keys_of(events.as_slice(), keys)));
        let mut store = store.borrow_mut();
        if let Some(expiry) = store.expiry() {
            expiry.clock(clock.now());
        }
        let in_event_time = store.expires_in_event_time();
        let mut taken = keys.drain(..);
        apply_each(events, out, tracked, |event, out| {
            let (hash, key) = match taken.next() {
                Some(taken) => taken,
                None => one_key(keys_of, &event)?,
            };
            if in_event_time && let Some(expiry) = store.expiry() {
                expiry.event(out.time());
            }
            logic.apply(AtKey { key, hash, store: &mut store }, split(event), out)
        })
    }

    fn is_due(&mut self, due: Due) -> bool {
        let mut store = self.store.borrow_mut();
        if let Due::At(now) = due {
            store.clean_up(now);
        }
        self.logic.is_due(due, &mut store)
    }
    fn fire(&mut self, out: &mut Output<L::Out>) -> Result<(), BoxError> {
        self.logic.fire(&mut self.store.borrow_mut(), out)
    }
    fn next_due(&self) -> Option<Timestamp> {
        earlier(self.logic.next_due(), self.store.borrow().cleanup_due())
    }
    fn advance(&mut self, to: EventTime) {
        if let Some(expiry) = self.store.borrow_mut().expiry() {
            expiry.watermark(to);
        }
        self.logic.advance(to);
    }
    fn has_advanced(&mut self) {
        self.logic.has_advanced();
    }
}

/// The key of an event that had none among those of its batch: its key function panics, now again.
#[cold]
fn one_key<K, In>(keys_of: &KeysOf<K, In>, event: &In) -> Result<(u64, K), BoxError> {
    let mut keys = Vec::new();
    keys_of(std::slice::from_ref(event), &mut keys);
    keys.pop().ok_or_else(|| "the event has no key".into())
}
