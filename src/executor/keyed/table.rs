//! Tables: a value by key that changes with each event, and the ways to read it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::changed::Changed;
use crate::api::collector::Collector;
use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::key::Key;
use crate::api::output::Output;
use crate::api::state::State;
use crate::channel::key::hash_key;
use crate::checkpoint::{CodecError, ValueReader};
use crate::clock::{Clock, Timestamp};
use crate::error::BoxError;
use crate::executor::component::Due;
use crate::executor::keyed::{AtKey, KeyedLogic, StateOf};
use crate::state::{Bare, StoredValue};

/// How the value of a key follows from its events. Shared by all instances.
pub(crate) trait TableUpdate<T>: Send + Sync + 'static {
    /// What is kept.
    type Value: State;
    /// What is shown of it.
    type Row: Event;

    fn first(&self, event: T) -> Self::Value;
    fn next(&self, value: &mut Self::Value, event: T);
    fn row(&self, value: &Self::Value) -> Self::Row;
}

/// The key and its value after this event.
#[inline(always)]
fn updated<'a, T, U: TableUpdate<T>, L: KeyedLogic<Value = U::Value>>(
    at: AtKey<'a, L>,
    update: &U,
    event: T,
) -> (&'a L::Key, &'a mut U::Value) {
    let (first, next) =
        (|event| update.first(event), |value: &mut _, event| update.next(value, event));
    at.store.update(at.hash, at.key, event, first, next)
}

/// Emits each new value.
pub(crate) struct Updates<K, T, U> {
    update: Arc<U>,
    types: std::marker::PhantomData<fn(T) -> K>,
}

impl<K, T, U> Updates<K, T, U> {
    pub(crate) fn new(update: Arc<U>) -> Self {
        Self { update, types: std::marker::PhantomData }
    }
}

impl<K: Key, T: 'static, U: TableUpdate<T>> KeyedLogic for Updates<K, T, U> {
    type Key = K;
    type In = T;
    type Out = (K, U::Row);
    type Value = U::Value;
    type Stored = Bare<U::Value>;

    #[inline(always)]
    fn apply(
        &mut self,
        at: AtKey<'_, Self>,
        event: T,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), BoxError> {
        let (key, value) = updated(at, &*self.update, event);
        out.emit((key.clone(), self.update.row(value)));
        Ok(())
    }
}

/// Emits each change.
pub(crate) struct Changes<K, T, U> {
    update: Arc<U>,
    types: std::marker::PhantomData<fn(T) -> K>,
}

impl<K, T, U> Changes<K, T, U> {
    pub(crate) fn new(update: Arc<U>) -> Self {
        Self { update, types: std::marker::PhantomData }
    }
}

impl<K: Key, T: 'static, U: TableUpdate<T>> KeyedLogic for Changes<K, T, U> {
    type Key = K;
    type In = T;
    type Out = Changed<K, U::Row>;
    type Value = U::Value;
    type Stored = Bare<U::Value>;

    #[inline(always)]
    fn apply(
        &mut self,
        at: AtKey<'_, Self>,
        event: T,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), BoxError> {
        let (update, mut old) = (&*self.update, None);
        let (key, value) = at.store.update(
            at.hash,
            at.key,
            event,
            |event| update.first(event),
            |value, event| {
                old = Some(update.row(value));
                update.next(value, event);
            },
        );
        out.emit(Changed { key: key.clone(), old, new: Some(update.row(value)) });
        Ok(())
    }
}

/// Emits all values when the input is over.
pub(crate) struct AtEnd<K, T, U> {
    update: Arc<U>,
    /// All has been emitted.
    over: bool,
    types: std::marker::PhantomData<fn(T) -> K>,
}

impl<K, T, U> AtEnd<K, T, U> {
    pub(crate) fn new(update: Arc<U>) -> Self {
        Self { update, over: false, types: std::marker::PhantomData }
    }
}

impl<K: Key, T: 'static, U: TableUpdate<T>> KeyedLogic for AtEnd<K, T, U> {
    type Key = K;
    type In = T;
    type Out = (K, U::Row);
    type Value = U::Value;
    type Stored = Bare<U::Value>;

    #[inline(always)]
    fn apply(
        &mut self,
        at: AtKey<'_, Self>,
        event: T,
        _: &mut Collector<Self::Out>,
    ) -> Result<(), BoxError> {
        updated(at, &*self.update, event);
        Ok(())
    }

    fn is_due(&mut self, due: Due, _: &mut StateOf<Self>) -> bool {
        due == Due::Rest && !self.over
    }

    /// What is emitted leaves the state, or the next run would emit it again.
    fn fire(
        &mut self,
        store: &mut StateOf<Self>,
        out: &mut Output<Self::Out>,
    ) -> Result<(), BoxError> {
        let update = &*self.update;
        self.over = !store.drain_some(|key, value| {
            let row = update.row(&value);
            out.emit((key, row));
        });
        Ok(())
    }
}

/// Emits the newest value of each key that has changed, at most once in a time.
pub(crate) struct AtMostEvery<K, T, U> {
    update: Arc<U>,
    every: Duration,
    clock: Arc<dyn Clock>,
    /// Keys with a change that was not emitted, and when it is due, in order.
    unsent: VecDeque<(Timestamp, K)>,
    types: std::marker::PhantomData<fn(T)>,
}

/// A value, and whether it has changed since it was emitted.
#[derive(Serialize, Deserialize)]
#[serde(bound = "V: State")]
pub(crate) struct Unsent<V> {
    value: V,
    unsent: bool,
}

impl<V: State> StoredValue for Unsent<V> {
    type Value = Self;
    type State = V;

    fn read(
        reader: &mut ValueReader<'_>,
        state: impl FnOnce(&mut ValueReader<'_>) -> Result<V, CodecError>,
    ) -> Result<Self, CodecError> {
        reader.begin_struct(2)?;
        reader.field("value")?;
        let value = state(reader)?;
        reader.field("unsent")?;
        Ok(Self { value, unsent: reader.read()? })
    }

    fn shape(state: &str) -> Option<String> {
        Some(format!("{{value: {state}, unsent: bool}}"))
    }

    fn shape_within(value: &str) -> Option<&str> {
        value.strip_prefix("{value: ")?.strip_suffix(", unsent: bool}")
    }
}

impl<K, T, U> AtMostEvery<K, T, U> {
    pub(crate) fn new(update: Arc<U>, every: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { update, every, clock, unsent: VecDeque::new(), types: std::marker::PhantomData }
    }
}

impl<K: Key, T: 'static, U: TableUpdate<T>> KeyedLogic for AtMostEvery<K, T, U> {
    type Key = K;
    type In = T;
    type Out = (K, U::Row);
    type Value = Unsent<U::Value>;
    type Stored = Unsent<U::Value>;

    fn setup(&mut self, _: &Instance, kept: &StateOf<Self>) -> Result<(), BoxError> {
        let due = self.clock.now().after(self.every);
        let mut next = Some((0, 0));
        while let Some(from) = next {
            next = kept.visit(from, |key, value| {
                if value.unsent {
                    self.unsent.push_back((due, key.clone()));
                }
            });
        }
        Ok(())
    }

    #[inline(always)]
    fn apply(
        &mut self,
        at: AtKey<'_, Self>,
        event: T,
        _: &mut Collector<Self::Out>,
    ) -> Result<(), BoxError> {
        let (update, mut is_first) = (&*self.update, true);
        let (key, _) = at.store.update(
            at.hash,
            at.key,
            event,
            |event| Unsent { value: update.first(event), unsent: true },
            |kept, event| {
                update.next(&mut kept.value, event);
                is_first = !std::mem::replace(&mut kept.unsent, true);
            },
        );
        if is_first {
            self.unsent.push_back((self.clock.now().after(self.every), key.clone()));
        }
        Ok(())
    }

    fn is_due(&mut self, due: Due, _: &mut StateOf<Self>) -> bool {
        self.unsent.front().is_some_and(|(at, _)| match due {
            Due::At(now) => *at <= now,
            Due::Rest => true,
        })
    }

    fn fire(
        &mut self,
        store: &mut StateOf<Self>,
        out: &mut Output<Self::Out>,
    ) -> Result<(), BoxError> {
        let Some((_, key)) = self.unsent.pop_front() else { return Ok(()) };
        let found = store.find(hash_key(&key), &key);
        let found = found.filter(|found| !store.is_over(*found));
        let kept = found.and_then(|found| store.at_mut(found));
        // One whose time was over, and that came again, is in the list twice.
        if let Some(kept) = kept.filter(|kept| kept.unsent) {
            kept.unsent = false;
            let row = self.update.row(&kept.value);
            out.emit((key, row));
        }
        Ok(())
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.unsent.front().map(|(at, _)| *at)
    }
}

/// Emits what a function of the state of the key and the event returns.
pub(crate) struct Scan<K, T, V, F> {
    f: Arc<F>,
    types: std::marker::PhantomData<fn(T, V) -> K>,
}

impl<K, T, V, F> Scan<K, T, V, F> {
    pub(crate) fn new(f: Arc<F>) -> Self {
        Self { f, types: std::marker::PhantomData }
    }
}

impl<K, T, V, I, F> KeyedLogic for Scan<K, T, V, F>
where
    K: Key,
    T: 'static,
    V: State + Default,
    I: IntoIterator<Item: Event>,
    F: Fn(&mut V, T) -> I + Send + Sync + 'static,
{
    type Key = K;
    type In = T;
    type Out = I::Item;
    type Value = V;
    type Stored = Bare<V>;

    #[inline(always)]
    fn apply(
        &mut self,
        at: AtKey<'_, Self>,
        event: T,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), BoxError> {
        let (_, value) = at.store.upsert(at.hash, at.key, V::default);
        out.emit_all((self.f)(value, event));
        Ok(())
    }
}
