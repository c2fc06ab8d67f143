//! [`KeyedStream`]: a stream whose events have a key. Only here an operator can have state by key.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use crate::api::event::Event;
use crate::api::key::Key;
use crate::api::operator::{Operator, StatefulOperator};
use crate::api::sink::{IdempotentSink, Sink, TransactionalSink};
use crate::channel::key::hash_key;
use crate::channel::outbox::Overflow;
use crate::clock::Clock;
use crate::error::BoxError;
use crate::executor::keyed::operator::Operating;
use crate::executor::keyed::{Keyed, KeyedLogic, KeysOf};
use crate::executor::stored_form::SaidAt;
use crate::job::graph::StateScope;
use crate::job::make::{KeyedForm, ValueHooks, keyed_operator};
use crate::job::stream::{SinkHandle, Stream};
use crate::state::{KeyedOperator, StoredValue};

/// A stream whose events have a key of type `K`; made by [`Stream::key_by`].
///
/// The events are distributed by key to the next component, which may have several instances: all events
/// of a key reach the same instance, in order. A component that changes the events (`map`, an operator)
/// returns a [`Stream`] without a key, since the key was a function of its input; set a key again if you
/// need one. [`filter`](KeyedStream::filter) and [`inspect`](KeyedStream::inspect) change no event and
/// keep the key.
///
/// ```
/// use streamwork::{Guarantee, Job};
///
/// let job = Job::new("counts");
/// let numbers = job.from_iter("numbers", || (0..100_u64).map(|n| n % 5));
/// let counts = numbers.key_by(|n| *n).count().updates().parallelism(4);
/// counts.for_each(|(n, count)| println!("{n}: {count}"));
/// job.run(Guarantee::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The engine keeps state by key: that of tables, such as this one, of [`scan`](KeyedStream::scan), and of
/// [`KeyedOperator`].
///
/// After a `map` there is no key any more. So an operator with state by key does not compile there, and an
/// operator with state has one instance:
///
/// ```compile_fail,E0308
/// # use streamwork::{Job, KeyedStream};
/// let job = Job::new("no key");
/// let numbers = job.from_iter("numbers", || 0..9_u64).key_by(|n| n % 3);
/// let keyed: KeyedStream<u64, u64> = numbers.map(|n| n / 3);
/// ```
#[must_use = "a stream that nothing reads is refused when the job is run"]
pub struct KeyedStream<K, T> {
    stream: Stream<T>,
    /// How the keys of the events are taken, for each component that emits them.
    keys: Vec<KeysOf<K, T>>,
}

impl<K, T> Clone for KeyedStream<K, T> {
    fn clone(&self) -> Self {
        Self { stream: self.stream.clone(), keys: self.keys.clone() }
    }
}

impl<K, T> fmt::Debug for KeyedStream<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyedStream").field(&self.stream).finish()
    }
}

impl<K, T: Event> KeyedStream<K, T> {
    /// A stream that is distributed by a key of this type.
    pub(super) fn of(stream: Stream<T>, keys: KeysOf<K, T>) -> Self {
        let keys = stream.origins().map(|_| Arc::clone(&keys)).collect();
        Self { stream, keys }
    }

    /// The same keys on a stream from as many components.
    fn with(&self, stream: Stream<T>) -> Self {
        Self { stream, keys: self.keys.clone() }
    }

    /// Adds an operator with state; each instance has the state of its keys. See [`StatefulOperator`]. It
    /// can be restored only with the parallelism that it had at the checkpoint, unlike a
    /// [`keyed_operator`](KeyedStream::keyed_operator).
    pub fn stateful<O: StatefulOperator<In = T>>(
        &self,
        name: impl Into<String>,
        factory: impl Fn() -> O + Send + Sync + 'static,
    ) -> Stream<O::Out> {
        self.stream.add_stateful(name.into(), factory, StateScope::Keys)
    }

    /// As [`Stream::operator`], with events distributed by key.
    pub fn operator<O: Operator<In = T>>(
        &self,
        name: impl Into<String>,
        factory: impl Fn() -> O + Send + Sync + 'static,
    ) -> Stream<O::Out> {
        self.stream.operator(name, factory)
    }

    /// As [`Stream::map`], with events distributed by key.
    pub fn map<U: Event>(&self, f: impl Fn(T) -> U + Send + Sync + 'static) -> Stream<U> {
        self.stream.map(f)
    }

    /// As [`Stream::try_map`], with events distributed by key.
    pub fn try_map<U: Event>(
        &self,
        f: impl Fn(T) -> Result<U, BoxError> + Send + Sync + 'static,
    ) -> Stream<U> {
        self.stream.try_map(f)
    }

    /// As [`Stream::flat_map`], with events distributed by key.
    pub fn flat_map<U: Event, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(T) -> I + Send + Sync + 'static,
    ) -> Stream<U> {
        self.stream.flat_map(f)
    }

    /// As [`Stream::filter`], before events are distributed by key; the key stays.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// let words = job.from_iter("words", || ["a", "", "b", "a"]).key_by(|word| *word);
    /// words.filter(|word| !word.is_empty()).for_each(|word| println!("{word}")).parallelism(2);
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn filter(&self, f: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        let f = Arc::new(f);
        let filter = move |stream: &Stream<T>| {
            let f = Arc::clone(&f);
            stream.filter(move |event| f(event))
        };
        self.with(self.stream.before_dealing(filter))
    }

    /// As [`Stream::inspect`], before events are distributed by key; the key stays.
    pub fn inspect(&self, f: impl Fn(&T) + Send + Sync + 'static) -> Self {
        let f = Arc::new(f);
        let inspect = move |stream: &Stream<T>| {
            let f = Arc::clone(&f);
            stream.inspect(move |event| f(event))
        };
        self.with(self.stream.before_dealing(inspect))
    }

    /// As [`Stream::sink`], with events distributed by key.
    pub fn sink<S: Sink<In = T>>(
        &self,
        name: impl Into<String>,
        factory: impl Fn() -> S + Send + Sync + 'static,
    ) -> SinkHandle {
        self.stream.sink(name, factory)
    }

    /// As [`Stream::idempotent_sink`], with events distributed by key: so the values of one key are written
    /// in order.
    pub fn idempotent_sink<S: IdempotentSink<In = T>>(
        &self,
        name: impl Into<String>,
        factory: impl Fn() -> S + Send + Sync + 'static,
    ) -> SinkHandle {
        self.stream.idempotent_sink(name, factory)
    }

    /// As [`Stream::transactional_sink`], with events distributed by key.
    pub fn transactional_sink<S: TransactionalSink<In = T>>(
        &self,
        name: impl Into<String>,
        factory: impl Fn() -> S + Send + Sync + 'static,
    ) -> SinkHandle {
        self.stream.transactional_sink(name, factory)
    }

    /// As [`Stream::for_each`], with events distributed by key.
    pub fn for_each(&self, f: impl Fn(T) + Send + Sync + 'static) -> SinkHandle {
        self.stream.for_each(f)
    }

    /// As [`Stream::try_for_each`], with events distributed by key.
    pub fn try_for_each(
        &self,
        f: impl Fn(T) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> SinkHandle {
        self.stream.try_for_each(f)
    }

    /// As [`Stream::merge`], for two streams with keys of one type: each keeps its key, delay, overflow and
    /// queue bound. So one instance of the next component gets the events of a key from both.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// let orders = job.from_iter("orders", || [(7_u64, "ordered")]).key_by(|(id, _)| *id);
    /// let payments = job.from_iter("payments", || [(7_u64, "paid")]).key_by(|(id, _)| *id);
    /// orders.merge(&payments).for_each(|(id, what)| println!("{id}: {what}")).parallelism(2);
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn merge(&self, other: &Self) -> Self {
        let stream = self.stream.merge(&other.stream);
        let keys = self.keys.iter().chain(&other.keys).take(stream.origins().count());
        Self { stream, keys: keys.cloned().collect() }
    }

    /// As [`Stream::delay`], on the way to the next component.
    pub fn delay(&self, by: Duration) -> Self {
        self.with(self.stream.delay(by))
    }

    /// As [`Stream::overflow`], on the way to the next component.
    pub fn overflow(&self, overflow: Overflow) -> Self {
        self.with(self.stream.overflow(overflow))
    }

    /// As [`Stream::queue_batches`], on the way to the next component.
    pub fn queue_batches(&self, batches: usize) -> Self {
        self.with(self.stream.queue_batches(batches))
    }
}

/// What a user keeps of a key.
type UserState<L> = <<L as KeyedLogic>::Stored as StoredValue>::State;

impl<K: Key, T: Event> KeyedStream<K, T> {
    /// Adds a verb with state by key; its logic may need a clock.
    pub(super) fn add_keyed<L: KeyedLogic<Key = K, In = T>>(
        &self,
        verb: &'static str,
        form: KeyedForm<UserState<L>>,
        logic: impl Fn(Arc<dyn Clock>) -> L + Send + Sync + 'static,
    ) -> Stream<L::Out> {
        let made = self.add_logic(self.stream.verb_name(verb), form, logic);
        made.change_nodes(|node| node.verb = Some(verb));
        made
    }

    pub(super) fn add_operator<O: KeyedOperator<Key = K, In = T>>(
        &self,
        name: String,
        factory: impl Fn() -> O + Send + Sync + 'static,
    ) -> Stream<O::Out> {
        let form = KeyedForm {
            stored: O::stored(),
            said_at: SaidAt::Method,
            time_to_live: O::time_to_live(),
        };
        self.add_logic(name, form, move |clock| Operating::new(factory(), clock))
    }

    fn add_logic<L: KeyedLogic<Key = K, In = T>>(
        &self,
        name: String,
        form: KeyedForm<UserState<L>>,
        logic: impl Fn(Arc<dyn Clock>) -> L + Send + Sync + 'static,
    ) -> Stream<L::Out> {
        let made = match self.keys.split_first() {
            Some((keys, rest)) if rest.iter().all(|other| Arc::ptr_eq(keys, other)) => {
                let keys = Arc::clone(keys);
                let maker = keyed_operator::<_, _, L::Stored>(
                    move |start| {
                        Keyed::new(
                            logic(Arc::clone(&start.clock)),
                            start,
                            Arc::clone(&keys),
                            |event: T| event,
                        )
                    },
                    form,
                    ValueHooks { restored: L::restored, expires: L::expires },
                );
                self.stream.add_made(name, maker)
            }
            // Where they come from decides what their keys are, so the keys go along.
            _ => {
                let keys: KeysOf<K, (K, T)> = keys_of(|(key, _): &(K, T)| key.clone());
                let maker = keyed_operator::<_, _, L::Stored>(
                    move |start| {
                        Keyed::new(
                            logic(Arc::clone(&start.clock)),
                            start,
                            Arc::clone(&keys),
                            |(_, event)| event,
                        )
                    },
                    form,
                    ValueHooks { restored: L::restored, expires: L::expires },
                );
                self.with_keys().add_made(name, maker)
            }
        };
        made.change_nodes(|node| node.scope = StateScope::Keys);
        made
    }

    /// The events with their keys, distributed by them.
    fn with_keys(&self) -> Stream<(K, T)> {
        let each = self.stream.origins().zip(&self.keys).map(|(origin, keys)| {
            let keys = Arc::clone(keys);
            origin.map_before_dealing(
                move |event: T| {
                    let mut key = Vec::with_capacity(1);
                    keys(std::slice::from_ref(&event), &mut key);
                    let (_, key) = key.pop().expect("each event has a key");
                    (key, event)
                },
                |(key, _)| key.clone(),
            )
        });
        let merged = each.reduce(|all, one| all.merge(&one));
        merged.expect("a stream comes from somewhere")
    }
}

/// A function that takes a key of an event, for the events of a batch.
pub(crate) fn keys_of<K: Hash, T>(key: impl Fn(&T) -> K + Send + Sync + 'static) -> KeysOf<K, T> {
    Arc::new(move |events: &[T], keys: &mut Vec<(u64, K)>| {
        keys.extend(events.iter().map(|event| {
            let key = key(event);
            (hash_key(&key), key)
        }));
    })
}
