//! [`KeyedHarness`]: one operator with state by key, fed by hand, and restored from its state after every event.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Debug};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::channel::frame::Batch;
use crate::checkpoint::{HashRange, decode_from};
use crate::clock::{Clock, Timestamp};
use crate::error::BoxError;
use crate::executor::keyed::operator::Operating;
use crate::executor::keyed::{Keyed, KeyedLogic, KeyedStart, KeysOf, StateOf};
use crate::job::keyed::keys_of;
use crate::state::{KeyedOperator, KeyedState, KeyedStore, Restore};
use crate::testkit::harness::codec_of;
use crate::testkit::harness::fed::{Fed, KeyedPart, Start, Starts};
use crate::time::EventTime;

/// Feeds a [`KeyedOperator`] step by step, returns what each step emits, and says what is left of its state.
///
/// There are two instances of the operator, and both get every step. One goes on; the other is built anew after each
/// event, watermark and pause, from the bytes that a checkpoint would store. If they emit something else, the operator
/// keeps something outside of the state of the key, or a state that its bytes do not give back.
///
/// ```
/// use std::time::Duration;
/// use streamwork::testkit::{KeyedHarness, StateLeft};
/// use streamwork::{At, BoxError, Emit, EventTime, KeyedOperator};
///
/// /// Counts the clicks of a user in a session, which is over when nothing has come for a minute.
/// struct Sessions;
///
/// impl KeyedOperator for Sessions {
///     type Key = u64;
///     type In = (u64, EventTime);
///     type Out = (u64, u32);
///     type State = (u32, Option<EventTime>);
///     type Timer = ();
///     const NEEDS_EVENT_TIME: bool = true;
///
///     fn apply(&mut self, (_, time): Self::In, at: &mut At<'_, Self>, _: &mut Emit<'_, Self::Out>)
///         -> Result<(), BoxError>
///     {
///         let end = time + Duration::from_secs(60);
///         let (clicks, before) = at.state();
///         *clicks += 1;
///         if let Some(before) = before.replace(end) {
///             at.clear_timer(before, &());
///         }
///         at.set_timer(end, ());
///         Ok(())
///     }
///     fn on_timer(&mut self, (): (), at: &mut At<'_, Self>, out: &mut Emit<'_, Self::Out>)
///         -> Result<(), BoxError>
///     {
///         let (clicks, _) = *at.state();
///         out.emit((*at.key(), clicks));
///         at.forget();
///         Ok(())
///     }
/// }
///
/// let second = |n: i64| EventTime::from_unix_ms(n * 1_000);
/// let mut sessions = KeyedHarness::new(|(user, _)| *user, || Sessions).event_time(|(_, time)| *time);
/// sessions.events([(7, second(0)), (8, second(30)), (7, second(40))])?;
/// let left = sessions.left()?;
/// assert_eq!((left.entries, left.timers), (2, 2));
///
/// assert_eq!(sessions.watermark(second(95))?, [(8, 1)]);
/// assert_eq!(sessions.finish()?, [(7, 2)]);
/// assert_eq!(sessions.left()?, StateLeft::NOTHING);
/// # Ok::<(), BoxError>(())
/// ```
///
/// After a step that has returned an error the harness is of no more use, as an instance is under a guarantee by
/// checkpoints.
pub struct KeyedHarness<O: KeyedOperator> {
    starts: Starts<Operated<O>>,
    time: Option<TimeOf<O>>,
    /// `None` before the first step.
    both: Option<Both<O>>,
    over: bool,
}

struct Both<O: KeyedOperator> {
    goes_on: Fed<Operated<O>>,
    /// After every step.
    put_back: Fed<Operated<O>>,
}

type TimeOf<O> = Box<dyn Fn(&<O as KeyedOperator>::In) -> EventTime>;

/// What is left of the state of an operator; see [`KeyedHarness::left`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateLeft {
    /// The keys that have a state or a timer.
    pub entries: usize,
    /// The timers that are set, of all keys.
    pub timers: usize,
    /// The bytes of keys, states and timers, as a checkpoint stores them.
    pub bytes: usize,
}

impl StateLeft {
    /// No key has a state or a timer.
    pub const NOTHING: Self = Self { entries: 0, timers: 0, bytes: 0 };
}

impl<O: KeyedOperator> fmt::Debug for KeyedHarness<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedHarness").field("over", &self.over).finish_non_exhaustive()
    }
}

impl<O: KeyedOperator<Out: PartialEq + Debug>> KeyedHarness<O> {
    /// For events that have these keys.
    pub fn new(
        key: impl Fn(&O::In) -> O::Key + Send + Sync + 'static,
        factory: impl Fn() -> O + 'static,
    ) -> Self {
        let (keys, factory) = (keys_of(key), Rc::new(factory));
        let starts =
            move |parts: &[KeyedPart], clock: &Arc<dyn Clock>| start(parts, clock, &keys, &factory);
        Self { starts: Rc::new(starts), time: None, both: None, over: false }
    }

    /// The time that each event has, as on a stream with event time. Without this there are no times.
    ///
    /// # Panics
    /// After the first step.
    #[must_use]
    pub fn event_time(self, time: impl Fn(&O::In) -> EventTime + 'static) -> Self {
        assert!(self.both.is_none(), "event time is to be given before the first step");
        Self { time: Some(Box::new(time)), ..self }
    }

    /// Applies an event. Returns what is emitted, also by timers that are due then.
    ///
    /// # Errors
    /// An error or a panic of a callback; a state that cannot be stored or restored; an operator that needs event time,
    /// and there is none.
    ///
    /// # Panics
    /// If the operator that is put back emits something else, or the input is over.
    pub fn event(&mut self, event: O::In) -> Result<Vec<O::Out>, BoxError> {
        self.events([event])
    }

    /// Applies events: in one batch, and one at a time where the operator is put back.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    ///
    /// # Panics
    /// As [`event`](Self::event).
    pub fn events(
        &mut self,
        events: impl IntoIterator<Item = O::In>,
    ) -> Result<Vec<O::Out>, BoxError> {
        let mut batch = Batch::default();
        for event in events {
            batch.columns.times.extend(self.time.as_ref().map(|time| time(&event)));
            batch.events.push(event);
        }
        let mut single = Batch::default();
        let (events, times) = (batch.events.clone(), batch.columns.times.clone());
        let Both { goes_on, put_back } = self.both()?;
        goes_on.push(&mut batch)?;
        for (number, event) in events.into_iter().enumerate() {
            single.columns.times.extend(times.get(number));
            single.events.push(event);
            put_back.push(&mut single)?;
            put_back.put_back()?;
            single.clear();
        }
        self.emitted()
    }

    /// A watermark comes: timers in event time that are due fire.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    ///
    /// # Panics
    /// As [`event`](Self::event).
    pub fn watermark(&mut self, to: EventTime) -> Result<Vec<O::Out>, BoxError> {
        self.step(|fed| fed.watermark(to))
    }

    /// This much processing time passes: timers in processing time that become due fire.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    ///
    /// # Panics
    /// As [`event`](Self::event).
    pub fn pause(&mut self, time: Duration) -> Result<Vec<O::Out>, BoxError> {
        self.step(|fed| fed.pause(time))
    }

    /// The input is over: timers in event time fire, as [`At::set_timer`](crate::At::set_timer) says. Only
    /// [`left`](Self::left) may follow.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    ///
    /// # Panics
    /// As [`event`](Self::event).
    pub fn finish(&mut self) -> Result<Vec<O::Out>, BoxError> {
        let Both { goes_on, put_back } = self.both()?;
        goes_on.end()?;
        put_back.end()?;
        self.over = true;
        self.emitted()
    }

    /// Counts what a checkpoint would store now.
    ///
    /// # Errors
    /// A state that cannot be stored or restored.
    pub fn left(&mut self) -> Result<StateLeft, BoxError> {
        let Some(Both { goes_on, .. }) = &mut self.both else { return Ok(StateLeft::NOTHING) };
        let (mut left, bytes) = (StateLeft::NOTHING, Cell::new(0));
        let mut store = empty::<O>();
        for (part, of) in goes_on.save()?.by_key {
            let decode = |entry: &[u8], codec| {
                bytes.set(bytes.get() + entry.len());
                decode_from(entry, codec)
            };
            let at = Restore { now: Timestamp(0), cut_at: None };
            store.load_with(&part, of, at, decode, |_, cell, _| {
                left.entries += 1;
                left.timers += cell.timers.hints().count();
            })?;
        }
        Ok(StateLeft { bytes: bytes.get(), ..left })
    }

    fn step(
        &mut self,
        step: impl Fn(&mut Fed<Operated<O>>) -> Result<(), BoxError>,
    ) -> Result<Vec<O::Out>, BoxError> {
        let Both { goes_on, put_back } = self.both()?;
        step(goes_on)?;
        step(put_back)?;
        put_back.put_back()?;
        self.emitted()
    }

    fn both(&mut self) -> Result<&mut Both<O>, BoxError> {
        assert!(!self.over, "the input is over");
        if O::NEEDS_EVENT_TIME && self.time.is_none() {
            return Err("the operator needs event time: say it with `event_time`".into());
        }
        if self.both.is_none() {
            let start = || Fed::start(Rc::clone(&self.starts));
            self.both = Some(Both { goes_on: start()?, put_back: start()? });
        }
        Ok(self.both.as_mut().expect("both have just been started"))
    }

    /// What both have emitted.
    fn emitted(&self) -> Result<Vec<O::Out>, BoxError> {
        let Both { goes_on, put_back } = self.both.as_ref().ok_or("nothing was fed")?;
        let emitted = goes_on.emitted();
        assert_eq!(
            put_back.emitted(),
            emitted,
            "put back from its state after every step, the operator emits something else"
        );
        Ok(emitted)
    }
}

/// The operator as a component.
type Operated<O> = Keyed<
    Operating<O>,
    <O as KeyedOperator>::In,
    fn(<O as KeyedOperator>::In) -> <O as KeyedOperator>::In,
>;

fn empty<O: KeyedOperator>() -> StateOf<Operating<O>> {
    let codec = codec_of::<(O::Key, <Operating<O> as KeyedLogic>::Value)>();
    let store = KeyedStore::new(HashRange::ALL, codec, 0);
    store.with_time_to_live(O::time_to_live(), Operating::<O>::expires)
}

/// What an instance starts from that is put back from these parts.
fn start<O: KeyedOperator>(
    parts: &[KeyedPart],
    clock: &Arc<dyn Clock>,
    keys: &KeysOf<O::Key, O::In>,
    factory: &Rc<impl Fn() -> O + 'static>,
) -> Result<Start<Operated<O>>, BoxError> {
    let (mut store, now) = (empty::<O>(), clock.now());
    for (part, of) in parts {
        let at = Restore { now, cut_at: None };
        store.load(part, *of, at, |_, cell, then| Operating::<O>::restored(cell, then, now))?;
    }
    let start = KeyedStart { store: Rc::new(RefCell::new(store)), clock: Arc::clone(clock) };
    let keyed = Rc::clone(&start.store) as Rc<dyn KeyedState>;
    let (keys, factory) = (Arc::clone(keys), Rc::clone(factory));
    let component = move || -> Operated<O> {
        let operating = Operating::new(factory(), Arc::clone(&start.clock));
        Keyed::new(operating, start.clone(), Arc::clone(&keys), |event| event)
    };
    Ok(Start { factory: Box::new(component), keyed: Some(keyed) })
}
