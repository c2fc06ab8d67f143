//! [`Table`]: a value by key that changes with each event, and the verbs of a keyed stream that make one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::api::aggregate::{Aggregate, Aggregates};
use crate::api::changed::Changed;
use crate::api::event::Event;
use crate::api::key::Key;
use crate::api::state::State;
use crate::checkpoint::Stored;
use crate::clock::Clock;
use crate::executor::keyed::KeyedLogic;
use crate::executor::keyed::table::{AtEnd, AtMostEvery, Changes, Scan, TableUpdate, Updates};
use crate::executor::stored_form::SaidAt;
use crate::job::keyed::KeyedStream;
use crate::job::make::KeyedForm;
use crate::job::stream::Stream;
use crate::state::{KeyedOperator, StoredValue, TimeToLive};

/// A value by key that changes with each event. What goes out of it is chosen where it is read: each new value
/// ([`updates`](Table::updates)), the value before as well ([`changes`](Table::changes)), the newest ones from time to
/// time ([`at_most_every`](Table::at_most_every)), or all of them when the input is over ([`at_end`](Table::at_end)).
///
/// The engine keeps the values. They are part of checkpoints, and move to another instance with their keys when the job is
/// started at another parallelism. Each call of one of these methods adds a component with values of its own.
///
/// ```
/// use streamwork::{Guarantee, Job};
/// use streamwork::testkit::Collected;
///
/// let counts = Collected::new();
/// let job = Job::new("words");
/// let words = job.from_iter("words", || ["a", "b", "a"].map(String::from));
/// words.key_by(|word| word.clone()).count().at_end().sink("counts", counts.factory());
/// job.run(Guarantee::default())?;
/// let mut counts = counts.events();
/// counts.sort();
/// assert_eq!(counts, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `S` is what is stored of a key: the value itself, except for an [`aggregate`](KeyedStream::aggregate), which stores
/// its accumulators.
#[must_use = "a table that nothing reads does nothing"]
pub struct Table<K, V, S = V> {
    make: Arc<dyn MakeTable<K, V, S>>,
    form: KeyedForm<S>,
}

impl<K, V, S> Clone for Table<K, V, S> {
    fn clone(&self) -> Self {
        Self { make: Arc::clone(&self.make), form: self.form.clone() }
    }
}

impl<K, V, S> fmt::Debug for Table<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Table")
    }
}

/// Makes the component of a table for a way to read it.
trait MakeTable<K, V, S> {
    fn updates(&self, form: KeyedForm<S>) -> Stream<(K, V)>;
    fn changes(&self, form: KeyedForm<S>) -> Stream<Changed<K, V>>;
    fn at_most_every(&self, every: Duration, form: KeyedForm<S>) -> Stream<(K, V)>;
    fn at_end(&self, form: KeyedForm<S>) -> Stream<(K, V)>;
}

struct Made<K, T, U> {
    stream: KeyedStream<K, T>,
    verb: &'static str,
    update: Arc<U>,
}

impl<K: Key, T: Event, U: TableUpdate<T>> Made<K, T, U> {
    fn add<L: KeyedLogic<Key = K, In = T, Stored: StoredValue<State = U::Value>>>(
        &self,
        form: KeyedForm<U::Value>,
        logic: impl Fn(Arc<U>, Arc<dyn Clock>) -> L + Send + Sync + 'static,
    ) -> Stream<L::Out> {
        let update = Arc::clone(&self.update);
        let logic = move |clock| logic(Arc::clone(&update), clock);
        self.stream.add_keyed(self.verb, form, logic)
    }
}

impl<K: Key, T: Event, U: TableUpdate<T>> MakeTable<K, U::Row, U::Value> for Made<K, T, U> {
    fn updates(&self, form: KeyedForm<U::Value>) -> Stream<(K, U::Row)> {
        self.add(form, |update, _| Updates::new(update))
    }
    fn changes(&self, form: KeyedForm<U::Value>) -> Stream<Changed<K, U::Row>> {
        self.add(form, |update, _| Changes::new(update))
    }
    fn at_most_every(&self, every: Duration, form: KeyedForm<U::Value>) -> Stream<(K, U::Row)> {
        self.add(form, move |update, clock| AtMostEvery::new(update, every, clock))
    }
    fn at_end(&self, form: KeyedForm<U::Value>) -> Stream<(K, U::Row)> {
        self.add(form, |update, _| AtEnd::new(update))
    }
}

impl<K: Event, V: Event, S> Table<K, V, S> {
    /// The version in which the values are stored, and how values of earlier versions are read; see [`Stored`] for an
    /// example. It holds for the components that are added to this table afterwards (state P1).
    pub fn stored(self, stored: Stored<S>) -> Self {
        Self { form: KeyedForm { stored, ..self.form }, ..self }
    }

    /// How long the value of a key lives; see [`TimeToLive`]. A key whose time is over begins anew with its next event, and
    /// is not emitted by [`at_end`](Self::at_end) and [`at_most_every`](Self::at_most_every). It holds for the components
    /// that are added to this table afterwards (state O12).
    pub fn time_to_live(self, ttl: TimeToLive) -> Self {
        Self { form: KeyedForm { time_to_live: Some(ttl), ..self.form }, ..self }
    }

    /// Emits the key and its new value for each event that was applied (state K2).
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// let numbers = job.from_iter("numbers", || 0..100_u64);
    /// numbers.key_by(|n| n % 7).count().updates().for_each(|(key, count)| println!("{key}: {count}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn updates(&self) -> Stream<(K, V)> {
        self.make.updates(self.form.clone())
    }

    /// As [`updates`](Table::updates), with the value before, also if it is the same (state K2).
    pub fn changes(&self) -> Stream<Changed<K, V>> {
        self.make.changes(self.form.clone())
    }

    /// Emits the newest value of a key that has changed, at the latest this much processing time after its first
    /// change that was not emitted, and what is left when the input is over. Nothing is emitted for keys that did not
    /// change. Changes that were not emitted are part of the state; after a restart they are emitted within this time
    /// (state K4).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// let numbers = job.from_iter("numbers", || 0..100_u64);
    /// let counts = numbers.key_by(|n| n % 7).count();
    /// counts.at_most_every(Duration::from_secs(1)).named("counts").for_each(|(key, count)| println!("{key}: {count}"));
    /// let report = job.run(Guarantee::default())?;
    /// assert_eq!(report.metrics.sum("counts", |m| m.emitted), 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn at_most_every(&self, every: Duration) -> Stream<(K, V)> {
        self.make.at_most_every(every, self.form.clone())
    }

    /// Emits each key and its value once, when the input is over, in no particular order. A job that is stopped and
    /// started again emits them at the end of the input too, and not at the stop (state K5). The table is empty then.
    pub fn at_end(&self) -> Stream<(K, V)> {
        self.make.at_end(self.form.clone())
    }
}

impl<K: Key, T: Event> KeyedStream<K, T> {
    fn table<U: TableUpdate<T>>(
        &self,
        verb: &'static str,
        update: U,
    ) -> Table<K, U::Row, U::Value> {
        let make = Made { stream: self.clone(), verb, update: Arc::new(update) };
        let (stored, said_at) = (Stored::default(), SaidAt::Table);
        Table { make: Arc::new(make), form: KeyedForm { stored, said_at, time_to_live: None } }
    }

    /// The number of events of each key; see [`Table`].
    pub fn count(&self) -> Table<K, u64> {
        self.table("count", Counts)
    }

    /// A value of each key that starts from a clone of `init`, and that each event changes; see [`Table`].
    ///
    /// If the closure panics or fails after it has begun to change the value, the value stays as it is then, unless the
    /// guarantee rolls the job back (state K6).
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// let sales = job.from_iter("sales", || [("shop", 3_u64), ("shop", 4), ("kiosk", 1)].map(|(at, n)| (at.to_owned(), n)));
    /// let totals = sales.key_by(|(shop, _)| shop.clone()).fold(0, |total, (_, n)| *total += n);
    /// totals.updates().for_each(|(shop, total)| println!("{shop}: {total}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fold<V: State + Event + Sync>(
        &self,
        init: V,
        step: impl Fn(&mut V, T) + Send + Sync + 'static,
    ) -> Table<K, V> {
        self.table("fold", Folded { init, step })
    }

    /// A value of each key that its first event is, and that each later event changes; see [`Table`].
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// let bids = job.from_iter("bids", || [(7_u64, 30_u64), (7, 20), (8, 5)]);
    /// let highest = bids.key_by(|(auction, _)| *auction).reduce(|best, bid| if bid.1 > best.1 { *best = bid });
    /// highest.updates().for_each(|(auction, (_, price))| println!("{auction}: {price}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reduce(&self, step: impl Fn(&mut T, T) + Send + Sync + 'static) -> Table<K, T>
    where
        T: State,
    {
        self.table("reduce", Reduced(step))
    }

    /// The last event of each key; see [`Table`].
    pub fn latest(&self) -> Table<K, T>
    where
        T: State,
    {
        self.table("latest", Reduced(|kept: &mut T, event| *kept = event))
    }

    /// The event of each key of which this is largest; of equal ones the first (state K3). See [`Table`].
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// let moves = job.from_iter("moves", || [(7_u64, 10, "a"), (7, 5, "b")].map(|(id, at, to)| (id, at, to.to_owned())));
    /// let places = moves.key_by(|(id, ..)| *id).latest_by(|(_, at, _)| *at);
    /// places.updates().for_each(|(id, (.., to))| println!("{id} is in {to}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn latest_by<B: PartialOrd>(
        &self,
        by: impl Fn(&T) -> B + Send + Sync + 'static,
    ) -> Table<K, T>
    where
        T: State,
    {
        let newer = move |kept: &mut T, event: T| {
            if by(&event) > by(kept) {
                *kept = event;
            }
        };
        self.table("latest_by", Reduced(newer))
    }

    /// Several values over the events of each key, as one row; see [`Aggregates`] and [`Table`].
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// let bids = job.from_iter("bids", || [(7_u64, 30_u64), (7, 20), (8, 5)]);
    /// let stats = bids.key_by(|(auction, _)| *auction)
    ///     .aggregate(|of| (of.count(), of.sum(|(_, price)| *price), of.max(|(_, price)| *price)));
    /// stats.updates().for_each(|(auction, (n, sum, max))| println!("{auction}: {n} bids, {sum} in all, {max:?}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn aggregate<A: Aggregate<T>>(
        &self,
        of: impl FnOnce(&Aggregates<T>) -> A,
    ) -> Table<K, A::Value, A::Accumulator> {
        let aggregate = of(&Aggregates::new());
        self.table("aggregate", Aggregated(aggregate))
    }

    /// Emits what the closure returns of each event and the state of its key, which starts from its default: any number
    /// of events, such as an `Option` or a `Vec` (state K7).
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// let bids = job.from_iter("bids", || [(7_u64, 30_u64), (7, 20), (8, 5)]);
    /// // Each bid with the number of those before it, except the first.
    /// let later = bids.key_by(|(auction, _)| *auction).scan(|seen: &mut u64, bid| {
    ///     *seen += 1;
    ///     (*seen > 1).then_some((bid, *seen - 1))
    /// });
    /// later.for_each(|((auction, _), before)| println!("{auction}: {before}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scan<V, I>(&self, f: impl Fn(&mut V, T) -> I + Send + Sync + 'static) -> Stream<I::Item>
    where
        V: State + Default,
        I: IntoIterator<Item: Event> + 'static,
    {
        self.scan_stored(Stored::default(), f)
    }

    /// As [`scan`](KeyedStream::scan), with a version in which the state is stored, and how states of earlier versions
    /// are read; see [`Stored`] (state P1).
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// use streamwork::Stored;
    /// let job = Job::new("example");
    /// let bids = job.from_iter("bids", || [(7_u64, 30_u64), (7, 20), (8, 5)]);
    /// // In version 1 the state was a `u32`.
    /// let stored = Stored::version(2).migrate_from(1, |seen: u32| u64::from(seen));
    /// let numbered = bids.key_by(|(auction, _)| *auction).scan_stored(stored, |seen: &mut u64, bid| {
    ///     *seen += 1;
    ///     Some((bid, *seen))
    /// });
    /// numbered.for_each(|((auction, _), number)| println!("{auction}: {number}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scan_stored<V, I>(
        &self,
        stored: Stored<V>,
        f: impl Fn(&mut V, T) -> I + Send + Sync + 'static,
    ) -> Stream<I::Item>
    where
        V: State + Default,
        I: IntoIterator<Item: Event> + 'static,
    {
        let f = Arc::new(f);
        let form = KeyedForm { stored, said_at: SaidAt::Scan, time_to_live: None };
        self.add_keyed("scan", form, move |_| Scan::new(Arc::clone(&f)))
    }

    /// Adds an operator with state and timers by key; see [`KeyedOperator`].
    pub fn keyed_operator<O: KeyedOperator<Key = K, In = T>>(
        &self,
        name: impl Into<String>,
        factory: impl Fn() -> O + Send + Sync + 'static,
    ) -> Stream<O::Out> {
        self.add_operator(name.into(), factory)
    }
}

struct Counts;

impl<T: 'static> TableUpdate<T> for Counts {
    type Value = u64;
    type Row = u64;
    #[inline]
    fn first(&self, _: T) -> u64 {
        1
    }
    #[inline]
    fn next(&self, value: &mut u64, _: T) {
        *value += 1;
    }
    #[inline]
    fn row(&self, value: &u64) -> u64 {
        *value
    }
}

struct Folded<V, F> {
    init: V,
    step: F,
}

impl<T, V, F> TableUpdate<T> for Folded<V, F>
where
    V: State + Event + Sync,
    F: Fn(&mut V, T) + Send + Sync + 'static,
{
    type Value = V;
    type Row = V;
    fn first(&self, event: T) -> V {
        let mut value = self.init.clone();
        (self.step)(&mut value, event);
        value
    }
    #[inline]
    fn next(&self, value: &mut V, event: T) {
        (self.step)(value, event);
    }
    fn row(&self, value: &V) -> V {
        value.clone()
    }
}

struct Reduced<F>(F);

impl<T: State + Event, F: Fn(&mut T, T) + Send + Sync + 'static> TableUpdate<T> for Reduced<F> {
    type Value = T;
    type Row = T;
    fn first(&self, event: T) -> T {
        event
    }
    #[inline]
    fn next(&self, value: &mut T, event: T) {
        (self.0)(value, event);
    }
    fn row(&self, value: &T) -> T {
        value.clone()
    }
}

struct Aggregated<A>(A);

impl<T: 'static, A: Aggregate<T>> TableUpdate<T> for Aggregated<A> {
    type Value = A::Accumulator;
    type Row = A::Value;
    fn first(&self, event: T) -> A::Accumulator {
        let mut kept = self.0.empty();
        self.0.add(&mut kept, &event);
        kept
    }
    #[inline]
    fn next(&self, kept: &mut A::Accumulator, event: T) {
        self.0.add(kept, &event);
    }
    fn row(&self, kept: &A::Accumulator) -> A::Value {
        self.0.value(kept)
    }
}
