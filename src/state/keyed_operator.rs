//! [`KeyedOperator`]: what a user implements for state and timers by key, and [`At`], through which it reaches them.

use std::fmt;
use std::time::Duration;

use crate::api::emit::Emit;
use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::key::Key;
use crate::api::side_output::DeclaredOutput;
use crate::api::state::State;
use crate::checkpoint::{CodecError, Shape, Stored, ValueReader};
use crate::clock::Clock;
use crate::error::BoxError;
use crate::state::key_timers::{KeyTimers, Moment, TimerIndex};
use crate::state::store::{Found, KeyedStore};
use crate::state::stored_value::StoredValue;
use crate::state::time_to_live::{Since, TimeToLive};
use crate::time::EventTime;

/// An operator with a state of its own for each key, and timers by key. The engine keeps both: they are part of
/// checkpoints, and move to another instance with their key when the job is started at another parallelism.
///
/// ```
/// use std::time::Duration;
/// use streamwork::{At, BoxError, Emit, EventTime, Guarantee, Job, KeyedOperator};
///
/// /// Reports a sensor that has said nothing for a minute, with the number of its readings.
/// struct Silent;
///
/// impl KeyedOperator for Silent {
///     type Key = u64;
///     type In = (u64, i64);
///     type Out = (u64, u64);
///     type State = (u64, Option<EventTime>);
///     type Timer = ();
///     const NEEDS_EVENT_TIME: bool = true;
///
///     fn apply(&mut self, _: (u64, i64), at: &mut At<'_, Self>, _: &mut Emit<'_, (u64, u64)>)
///         -> Result<(), BoxError>
///     {
///         let deadline = at.time().ok_or("a reading without a time")? + Duration::from_secs(60);
///         let (readings, before) = at.state();
///         *readings += 1;
///         if let Some(before) = before.replace(deadline) {
///             at.clear_timer(before, &());
///         }
///         at.set_timer(deadline, ());
///         Ok(())
///     }
///     fn on_timer(&mut self, (): (), at: &mut At<'_, Self>, out: &mut Emit<'_, (u64, u64)>)
///         -> Result<(), BoxError>
///     {
///         let (readings, _) = *at.state();
///         out.emit((*at.key(), readings));
///         at.forget();
///         Ok(())
///     }
/// }
///
/// let job = Job::new("sensors");
/// job.from_iter("readings", || [(7, 0), (8, 1_000), (8, 50_000), (8, 70_000)])
///     .event_time(|(_, ms)| EventTime::from_unix_ms(*ms), |watermarks| watermarks)
///     .key_by(|(sensor, _)| *sensor)
///     .keyed_operator("silent", || Silent)
///     .for_each(|(sensor, readings)| println!("{sensor} is silent after {readings} readings"));
/// let report = job.run(Guarantee::default())?;
/// // 7 when 70 seconds have passed, and 8 when the input is over.
/// assert_eq!(report.metrics.sum("silent", |m| m.emitted), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Events of one key are applied in the order in which they arrive at the instance, and one key lives on one instance
/// (state K1).
///
/// [`KeyedHarness`](crate::testkit::KeyedHarness) tests one by itself.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an operator with state by key",
    note = "implement `KeyedOperator` for it"
)]
pub trait KeyedOperator: Sized + 'static {
    /// The key, as `key_by` takes it from an event.
    type Key: Key;
    /// The events it applies.
    type In: Event;
    /// The events it emits.
    type Out: Event;
    /// The state of one key. The default is that of a key that was never seen.
    type State: State + Default;
    /// What a timer is for; `()` if there is only one kind, or none.
    type Timer: State + Eq + Clone;

    /// Its outputs beside the main one.
    const SIDE_OUTPUTS: &'static [DeclaredOutput] = &[];

    /// Whether the plan refuses it on a stream without event time, where [`At::time`] is `None` and timers in event time
    /// fire at the end only.
    const NEEDS_EVENT_TIME: bool = false;

    /// The version in which its state is stored, and how states of earlier versions are read; see [`Stored`]. Timers and
    /// keys have no versions (state P1).
    ///
    /// ```
    /// use streamwork::{At, BoxError, Emit, KeyedOperator, Stored};
    ///
    /// struct Average;
    ///
    /// impl KeyedOperator for Average {
    ///     type Key = u64;
    ///     type In = (u64, u64);
    ///     type Out = (u64, u64);
    ///     /// The sum and the number of values; in version 1 there was the sum alone.
    ///     type State = (u64, u64);
    ///     type Timer = ();
    ///     fn stored() -> Stored<Self::State> {
    ///         Stored::version(2).migrate_from(1, |sum: u64| (sum, 1))
    ///     }
    ///     fn apply(&mut self, (key, n): (u64, u64), at: &mut At<'_, Self>, out: &mut Emit<'_, (u64, u64)>)
    ///         -> Result<(), BoxError>
    ///     {
    ///         let (sum, values) = at.state();
    ///         (*sum, *values) = (*sum + n, *values + 1);
    ///         out.emit((key, *sum / *values));
    ///         Ok(())
    ///     }
    /// }
    /// ```
    fn stored() -> Stored<Self::State> {
        Stored::default()
    }

    /// How long the state of a key lives; for ever, if nothing is said. Timers live until they fire (state O12).
    fn time_to_live() -> Option<TimeToLive> {
        None
    }

    /// Called on the instance's own thread, before its first event.
    ///
    /// # Errors
    /// An error is a failure of the job's start, or of a restart.
    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        let _ = instance;
        Ok(())
    }

    /// Applies an event to the state of its key.
    ///
    /// # Errors
    /// What an error or a panic means is for the guarantee to say; outputs of the call are discarded. The state is as
    /// it was if nothing of it has been changed; the engine does not copy it beforehand (state K6).
    fn apply(
        &mut self,
        event: Self::In,
        at: &mut At<'_, Self>,
        out: &mut Emit<'_, Self::Out>,
    ) -> Result<(), BoxError>;

    /// A timer has fired, and is gone.
    ///
    /// # Errors
    /// An error counts as a failed call; with checkpoints it rolls the job back. The timer is not set again.
    fn on_timer(
        &mut self,
        timer: Self::Timer,
        at: &mut At<'_, Self>,
        out: &mut Emit<'_, Self::Out>,
    ) -> Result<(), BoxError> {
        let _ = (timer, at, out);
        Ok(())
    }
}

/// What is kept of a key: the state, and the timers that are set. Either may be absent.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(bound = "S: State, T: State")]
pub(crate) struct Cell<S, T> {
    pub(crate) state: Option<S>,
    pub(crate) timers: KeyTimers<T>,
}

impl<S, T> Cell<S, T> {
    fn empty() -> Self {
        Self { state: None, timers: KeyTimers::default() }
    }

    /// The time of the state is over. Whether nothing is left.
    pub(crate) fn expire(&mut self) -> bool {
        self.state = None;
        self.timers.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.state.is_none() && self.timers.is_empty()
    }
}

impl<S: State, T: State> StoredValue for Cell<S, T> {
    type Value = Self;
    type State = S;

    fn read(
        reader: &mut ValueReader<'_>,
        state: impl FnOnce(&mut ValueReader<'_>) -> Result<S, CodecError>,
    ) -> Result<Self, CodecError> {
        reader.begin_struct(2)?;
        reader.field("state")?;
        let state = reader.has_some()?.then(|| state(reader)).transpose()?;
        reader.field("timers")?;
        Ok(Self { state, timers: reader.read()? })
    }

    fn shape(state: &str) -> Option<String> {
        let timers = Shape::of::<KeyTimers<T>>()?;
        Some(format!("{{state: option({state}), timers: {timers}}}"))
    }

    fn shape_within(value: &str) -> Option<&str> {
        let timers = Shape::of::<KeyTimers<T>>()?;
        let state = value.strip_prefix("{state: option(")?;
        state.strip_suffix(&*format!("), timers: {timers}}}"))
    }
}

/// The cells of an operator.
pub(crate) type Cells<O> = KeyedStore<
    <O as KeyedOperator>::Key,
    Cell<<O as KeyedOperator>::State, <O as KeyedOperator>::Timer>,
>;

/// The key at hand, its state and its timers. An operator reaches no other key than this one.
pub struct At<'a, O: KeyedOperator> {
    pub(crate) key: O::Key,
    hash: u64,
    cells: &'a mut Cells<O>,
    index: &'a mut TimerIndex<O::Key>,
    clock: &'a dyn Clock,
    time: Option<EventTime>,
    /// Where the cell of the key is, once that is known.
    found: Option<Option<Found>>,
}

impl<'a, O: KeyedOperator> At<'a, O> {
    pub(crate) fn new(
        key: O::Key,
        hash: u64,
        cells: &'a mut Cells<O>,
        index: &'a mut TimerIndex<O::Key>,
        clock: &'a dyn Clock,
        time: Option<EventTime>,
    ) -> Self {
        Self { key, hash, cells, index, clock, time, found: None }
    }

    /// The key.
    pub fn key(&self) -> &O::Key {
        &self.key
    }

    /// The time of the event at hand, or of the timer; `None` on a stream without event time, and for a timer in
    /// processing time. [`EventTime::MAX`] stands for a time that was too far in the future.
    pub fn time(&self) -> Option<EventTime> {
        self.time
    }

    /// The state of the key, to be changed; made by `Default` if there is none (state O1).
    pub fn state(&mut self) -> &mut O::State {
        if self.cells.expiry().is_some() {
            self.renew();
        }
        self.cell().state.get_or_insert_default()
    }

    /// Where states live for a time: drops one that is over, and counts the time from now.
    fn renew(&mut self) {
        let found = self.place();
        let is_over = self.cells.is_over(found);
        let cell = self.cell();
        cell.state.take_if(|_| is_over);
        let how = if cell.state.is_none() { Since::Created } else { Since::Written };
        self.cells.touch(found, how);
    }

    /// The state of the key if there is one, and its time is not over. Makes and changes nothing (state O1).
    pub fn peek(&mut self) -> Option<&O::State> {
        let found = self.find().filter(|found| !self.cells.is_over(*found))?;
        self.cells.touch(found, Since::Read);
        self.cells.at(found)?.state.as_ref()
    }

    /// Removes the state and all timers of the key (state O2).
    pub fn forget(&mut self) {
        if let Some(found) = self.find() {
            self.cells.remove(found);
            self.found = Some(None);
        }
    }

    /// Calls `on_timer` when no event of this time or before it can follow: when the watermark is later (state O4).
    /// Set twice for one time, a timer fires once. A timer that is due already fires after the events at hand, not
    /// within this call (state O5). Timers fire in the order of their times, and of one time in the order in which they
    /// were set (state O6); all that are due fire before the watermark is passed on. When the input is over all of them
    /// fire, and those that are set meanwhile if they are not later than the last one that was set before (state O10).
    pub fn set_timer(&mut self, at: EventTime, timer: O::Timer) {
        self.set(Moment::Event(at), timer);
    }

    /// Calls `on_timer` after this much processing time, never before (state O8). Several timers that are set like this
    /// are several. After a restart each waits for the rest of its time. Those that are not due when the input is over
    /// do not fire.
    pub fn set_timer_after(&mut self, after: Duration, timer: O::Timer) {
        self.set(Moment::Clock(self.clock.now().after(after)), timer);
    }

    /// Clears the timer of this time; nothing happens if there is none (state O4).
    pub fn clear_timer(&mut self, at: EventTime, timer: &O::Timer) {
        let has = |cell: &Cell<_, _>| cell.timers.has(Moment::Event(at), timer);
        if self.find().and_then(|found| self.cells.at(found)).is_some_and(has) {
            self.cell().timers.clear(Moment::Event(at), timer);
        }
    }

    /// Clears all timers of this kind, in event time and in processing time.
    pub fn clear_timers(&mut self, timer: &O::Timer) {
        if self.find().is_some() {
            self.cell().timers.clear_all(timer);
        }
    }

    /// The watermark: no event older than this follows. None before the first one (state O7).
    pub fn watermark(&self) -> Option<EventTime> {
        self.index.watermark
    }

    fn set(&mut self, at: Moment, timer: O::Timer) {
        let number = self.index.next_number;
        if self.cell().timers.set(at, number, timer) {
            self.index.add(at, self.key.clone());
        }
    }

    fn find(&mut self) -> Option<Found> {
        *self.found.get_or_insert_with(|| self.cells.find(self.hash, &self.key))
    }

    fn cell(&mut self) -> &mut Cell<O::State, O::Timer> {
        let found = self.place();
        self.cells.at_mut(found).expect("the place is that of the cell")
    }

    /// The place of the cell, which is made if there is none.
    fn place(&mut self) -> Found {
        self.find().unwrap_or_else(|| {
            self.cells.upsert(self.hash, self.key.clone(), Cell::empty);
            let found = self.cells.find(self.hash, &self.key);
            self.found = Some(found);
            found.expect("it has just been added")
        })
    }

    /// Called at the end of the user's call: a cell without state and timers is no entry.
    pub(crate) fn tidy(&mut self) {
        if let Some(Some(found)) = self.found
            && self.cells.at(found).is_some_and(Cell::is_empty)
        {
            self.cells.remove(found);
        }
    }
}

impl<O: KeyedOperator<Key: fmt::Debug>> fmt::Debug for At<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("At").field("key", &self.key).finish_non_exhaustive()
    }
}
