//! Events that a component holds: deferred, and not answered yet.
//!
//! The engine keeps each of them, in the order in which they were deferred, from `defer` until the last answer.
//! So it knows which events a checkpoint has to store beside the state, which instances have not answered, and
//! when the end of the input may pass.
//!
//! `apply` takes its event by value, so the copy to be stored is made before. Then events are run one at a time,
//! so that the copy at hand is that of the event that is deferred. Where nothing is stored no copy is made, and
//! only a number is kept.
//!
//! Never calls a component, and never decides what becomes of an event that is not answered in time: the
//! guarantee does.

use std::collections::BTreeMap;
use std::iter::repeat;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::api::columns::Row;
use crate::api::event::Event;
use crate::api::held_events::{HeldEvents, Storable};
use crate::api::state::State;
use crate::api::token::{Deferred, Holder};
use crate::api::waker::Waker;
use crate::channel::frame::Batch;
use crate::channel::push::Context;
use crate::checkpoint::{
    CodecError, CodecId, EncodedState, Part, PartName, Snapshot, Unit, state_snapshot,
};
use crate::clock::Timestamp;
use crate::delivery::terms::HeldIn;
use crate::error::{Cause, Failure, Permanent};
use crate::executor::blueprint::StateShape;
use crate::executor::component::Component;
use crate::executor::node::Node;
use crate::id::{CheckpointId, InstanceName};
use crate::metrics::Counters;
use crate::sync::Mutex;
use crate::time::EventTime;

/// The name of the state that consists of held events, within its component.
const HELD: &str = "held events";

/// Its name on a stream with event time: the events, and then the time of each.
const TIMED: &str = "held events and times";

/// The name of the part of a checkpoint that stores the events held by an instance.
fn held_part_name(name: &InstanceName, state: &'static str) -> PartName {
    PartName::of(&*name.component, state, Unit::Instance(name.instance as u64))
}

/// Whether this part stores held events.
pub(crate) fn is_held_part(name: &PartName) -> bool {
    name.state == HELD || is_timed_part(name)
}

/// Whether this part stores held events with their times.
fn is_timed_part(name: &PartName) -> bool {
    name.state == TIMED
}

/// Held events as a checkpoint has stored them.
pub(crate) struct StoredEvents {
    encoded: EncodedState,
    has_times: bool,
}

impl StoredEvents {
    /// Read from the part of this name.
    pub(crate) fn of(name: &PartName, encoded: EncodedState) -> Self {
        Self { encoded, has_times: is_timed_part(name) }
    }
}

/// Events, and the time of each.
type Timed<E> = (Vec<E>, Vec<EventTime>);

/// How events are stored and read back.
pub(crate) struct HeldCodec<E> {
    snapshot: fn(Vec<E>, CodecId) -> Box<dyn Snapshot>,
    snapshot_timed: fn(Timed<E>, CodecId) -> Box<dyn Snapshot>,
    decode: fn(&EncodedState) -> Result<Vec<E>, CodecError>,
    decode_timed: fn(&EncodedState) -> Result<Timed<E>, CodecError>,
    pub(crate) shape: fn() -> StateShape,
}

impl<E> HeldCodec<E> {
    /// `None` if the operator does not store its events.
    pub(crate) fn of(events: HeldEvents<E>) -> Option<Self> {
        let mut found = Found(None);
        events.tell(&mut found);
        found.0
    }
}

struct Found<E>(Option<HeldCodec<E>>);

impl<E> Storable<E> for Found<E> {
    fn storable(&mut self)
    where
        E: State,
    {
        self.0 = Some(HeldCodec {
            snapshot: |events, codec| state_snapshot(events, codec),
            snapshot_timed: |timed, codec| state_snapshot(timed, codec),
            decode: EncodedState::decode::<Vec<E>>,
            decode_timed: EncodedState::decode::<Timed<E>>,
            shape: StateShape::of::<Vec<E>>,
        });
    }
}

/// The events that one instance has deferred and not answered. Tokens release them from any thread.
pub(crate) struct Held<E> {
    kept: Mutex<OpenEvents<E>>,
    counters: Arc<Counters>,
    waker: Waker,
}

struct OpenEvents<E> {
    /// A copy of the event that `apply` handles.
    at_hand: Option<E>,
    /// Its time; the least one where events have none.
    time: EventTime,
    /// By number, which is the order in which they were deferred.
    events: BTreeMap<u64, HeldEvent<E>>,
    next: u64,
    /// When the running batch began; kept only if `answer_within` is set.
    now: Timestamp,
    /// Whether the instance waits until no event is held.
    awaited: bool,
}

struct HeldEvent<E> {
    /// `None` where held events are not stored.
    event: Option<E>,
    time: EventTime,
    since: Timestamp,
    deferred: Weak<Deferred>,
}

impl<E> Held<E> {
    pub(crate) fn new(counters: Arc<Counters>, waker: Waker) -> Arc<Self> {
        counters.deferred.set(0);
        let kept = OpenEvents {
            at_hand: None,
            time: EventTime::MIN,
            events: BTreeMap::new(),
            next: 0,
            now: Timestamp(0),
            awaited: false,
        };
        Arc::new(Self { kept: Mutex::new(kept), counters, waker })
    }

    /// Whether no event is held. Otherwise the instance is woken when the last one is released.
    fn is_empty_or_awaited(&self) -> bool {
        let mut kept = self.kept.lock();
        kept.awaited = !kept.events.is_empty();
        !kept.awaited
    }

    fn since_when(&self) -> Option<Timestamp> {
        self.kept.lock().events.first_key_value().map(|(_, one)| one.since)
    }
}

impl<E: Send> Holder for Held<E> {
    fn hold(&self, deferred: Weak<Deferred>) -> u64 {
        let mut kept = self.kept.lock();
        let (number, event, since) = (kept.next, kept.at_hand.take(), kept.now);
        let time = kept.time;
        kept.next += 1;
        kept.events.insert(number, HeldEvent { event, time, since, deferred });
        self.counters.deferred.set(kept.events.len() as u64);
        number
    }

    fn release(&self, number: u64) {
        let mut kept = self.kept.lock();
        let released = kept.events.remove(&number);
        self.counters.deferred.set(kept.events.len() as u64);
        let wake = kept.awaited && kept.events.is_empty();
        drop(kept);
        // Outside the lock, since it may run a destructor of the user.
        drop(released);
        if wake {
            self.waker.notify();
        }
    }
}

/// A node's side of the events that its component holds.
pub(crate) struct Holding<E> {
    pub(crate) held: Arc<Held<E>>,
    /// What brings held events back after a restart.
    pub(crate) held_in: HeldIn,
    /// How they are stored; `None` if the operator does not store them.
    pub(crate) codec: Option<HeldCodec<E>>,
    /// How long an event may be held, if that is limited.
    pub(crate) answer_within: Option<Duration>,
    /// Events of the restored checkpoint that are applied once a checkpoint without them is complete.
    waiting: Vec<(E, EventTime)>,
    /// The first checkpoint that does not store them.
    without: Option<CheckpointId>,
    /// The job is suspended.
    suspended: bool,
}

impl<E: Event> Holding<E> {
    pub(crate) fn new(
        held: Arc<Held<E>>,
        held_in: HeldIn,
        codec: Option<HeldCodec<E>>,
        answer_within: Option<Duration>,
    ) -> Self {
        let (waiting, without, suspended) = (Vec::new(), None, false);
        Self { held, held_in, codec, answer_within, waiting, without, suspended }
    }

    /// Whether each event has to be copied, in case it is deferred.
    pub(super) fn copies(&self) -> bool {
        let stored = matches!(self.held_in, HeldIn::EveryCheckpoint | HeldIn::LastCheckpoint);
        stored && self.codec.is_some()
    }

    /// The job is suspended: the end of the input does not wait for events that the last checkpoint can store.
    pub(super) fn suspend(&mut self) {
        self.suspended = true;
    }

    /// Whether there are held events that are left to the next start.
    pub(super) fn leaves_some(&self) -> bool {
        self.suspended && self.copies() && self.how_many() > 0
    }

    /// Leaves the held events to the next process.
    fn leave(&mut self) {
        self.waiting.clear();
        let left = std::mem::take(&mut self.held.kept.lock().events);
        left.values()
            .filter_map(|one| one.deferred.upgrade())
            .for_each(|deferred| deferred.leave());
    }

    /// Copies of the held events and their times, in order; `None` if one of them was not copied.
    fn events(&self) -> Option<Timed<E>> {
        let kept = self.held.kept.lock();
        let open = kept.events.values().map(|one| Some((one.event.clone()?, one.time)));
        self.waiting.iter().cloned().map(Some).chain(open).collect()
    }

    fn how_many(&self) -> usize {
        self.waiting.len() + self.held.kept.lock().events.len()
    }
}

impl<C: Component> Node<C> {
    /// Restores the events that a checkpoint has stored.
    ///
    /// # Errors
    /// They cannot be decoded.
    pub(super) fn restore_held(
        &mut self,
        stored: Option<StoredEvents>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let (Some(stored), Some(codec)) = (stored, &self.holding.codec) else { return Ok(()) };
        let StoredEvents { encoded, has_times } = stored;
        let decoded = catch_unwind(AssertUnwindSafe(|| match has_times {
            true => (codec.decode_timed)(&encoded),
            false => (codec.decode)(&encoded).map(|events| (events, Vec::new())),
        }));
        let events: Vec<_> = match decoded {
            Ok(Ok((events, times))) => {
                events.into_iter().zip(times.into_iter().chain(repeat(EventTime::MIN))).collect()
            }
            Ok(Err(error)) => {
                return Err(self.failure("restore", Cause::error(Permanent::new(error))));
            }
            Err(payload) => return Err(self.failure("restore", Cause::panic(payload))),
        };
        match self.holding.held_in {
            HeldIn::LastCheckpoint => self.holding.waiting = events,
            _ => self.give_back(events, now),
        }
        Ok(())
    }

    /// Makes these events pending, so that they are applied before any event that arrives later.
    fn give_back(&mut self, events: Vec<(C::In, EventTime)>, now: Timestamp) {
        self.counters.restored.add(events.len() as u64);
        self.counters.received.add(events.len() as u64);
        // They need no roots: where events have roots, sources emit held events again.
        let timed = self.collector.accounts.timed();
        for (event, time) in events {
            self.pending.events.push(event);
            self.pending.columns.push(Row { root: None, time: timed.then_some(time) });
        }
        self.pending.born = self.pending.born.min(now);
    }

    /// Keeps a copy of the event that is run next, in case it is deferred. Returns whether the event can be run:
    /// not if it cannot be cloned.
    pub(super) fn copy_at_hand(&mut self, batch: &Batch<C::In>, context: &mut Context) -> bool {
        if !self.holding.copies() {
            return true;
        }
        debug_assert!(batch.len() <= 1, "one at a time");
        match catch_unwind(AssertUnwindSafe(|| batch.events.first().cloned())) {
            Ok(copy) => {
                let mut kept = self.holding.held.kept.lock();
                kept.time = batch.columns.row(0).time.unwrap_or(EventTime::MIN);
                let before = std::mem::replace(&mut kept.at_hand, copy);
                drop(kept);
                drop(before);
                true
            }
            Err(payload) => {
                context.fail(self.failure("clone", Cause::panic(payload)));
                false
            }
        }
    }

    /// Notes the time from which events that are deferred now count as held.
    pub(super) fn note_now(&self, now: Timestamp) {
        if self.holding.answer_within.is_some() {
            self.holding.held.kept.lock().now = now;
        }
    }

    /// Stores the held events in the checkpoint that is being taken. With the `last` snapshot of an instance they
    /// are left to the next process.
    pub(super) fn save_held(
        &mut self,
        checkpoint: CheckpointId,
        last: bool,
        context: &mut Context,
    ) {
        match self.holding.held_in {
            HeldIn::Source | HeldIn::Nothing => return,
            HeldIn::LastCheckpoint if !last => {
                self.holding.without.get_or_insert(checkpoint);
                return;
            }
            HeldIn::LastCheckpoint | HeldIn::EveryCheckpoint => {}
        }
        let held = self.holding.how_many();
        if held == 0 {
            return;
        }
        let copied = catch_unwind(AssertUnwindSafe(|| self.holding.events()));
        let (events, times) = match (copied, &self.holding.codec) {
            (Ok(Some(timed)), Some(_)) => timed,
            (Err(payload), _) => return context.fail(self.failure("clone", Cause::panic(payload))),
            // At-most-once may lose them.
            _ if self.holding.held_in == HeldIn::LastCheckpoint => return,
            _ => {
                let cause = Permanent::new(NotStored { held });
                return context.fail(self.failure("defer", Cause::error(cause)));
            }
        };
        if last {
            self.counters.handed_over.add(events.len() as u64);
            self.holding.leave();
        }
        let Some(codec) = &self.holding.codec else { return };
        let (state, name) = match self.collector.accounts.timed() {
            true => ((codec.snapshot_timed)((events, times), self.codec), TIMED),
            false => ((codec.snapshot)(events, self.codec), HELD),
        };
        let (name, watermark) = (held_part_name(&self.instance.name, name), self.watermark.saved());
        context.snapshots.push(Part::new(name, state).at(watermark));
    }

    /// A checkpoint is complete. If it does not store the restored events that wait, they cannot be restored a
    /// second time, and are applied now.
    pub(super) fn give_back_after(&mut self, checkpoint: CheckpointId, now: Timestamp) {
        if self.holding.without.is_some_and(|without| without <= checkpoint) {
            let events = std::mem::take(&mut self.holding.waiting);
            if !events.is_empty() {
                self.give_back(events, now);
            }
        }
    }

    /// Whether the end of the input waits for held events; if so, the last answer wakes the instance.
    pub(super) fn end_waits_for_held(&self) -> bool {
        let waits = !self.holding.waiting.is_empty() || !self.pending.is_empty();
        let is_here = self.holding.held_in != HeldIn::Source && !self.holding.leaves_some();
        is_here && (waits || !self.holding.held.is_empty_or_awaited())
    }

    /// When the event that has been held longest fails if it is not answered.
    pub(super) fn answer_due(&self) -> Option<Timestamp> {
        let within = self.holding.answer_within?;
        self.holding.held.since_when().map(|since| since.after(within))
    }

    /// Fails all held events.
    pub(super) fn give_up_held(&mut self, cause: &Cause) {
        let held = std::mem::take(&mut self.holding.held.kept.lock().events);
        let held = held.values().filter_map(|one| one.deferred.upgrade());
        held.for_each(|deferred| deferred.expire(cause.clone()));
    }

    /// Fails the events that were not answered in time.
    pub(super) fn expire_held(&mut self, now: Timestamp) {
        let Some(within) = self.holding.answer_within else { return };
        while self.answer_due().is_some_and(|due| due <= now) {
            let mut kept = self.holding.held.kept.lock();
            let Some((_, overdue)) = kept.events.pop_first() else { return };
            self.counters.deferred.set(kept.events.len() as u64);
            drop(kept);
            if let Some(deferred) = overdue.deferred.upgrade() {
                deferred.expire(Cause::error(Unanswered { within }));
            }
        }
    }
}

/// An event was not answered in time.
#[derive(Debug, thiserror::Error)]
#[error("its token was not answered within {within:?}")]
struct Unanswered {
    within: Duration,
}

/// Held events cannot be stored.
#[derive(Debug, thiserror::Error)]
#[error(
    "{held} events are held in tokens over a checkpoint that would lose them: store them with `const HELD_EVENTS: HeldEvents<Self::In> = HeldEvents::stored();`, or answer them before `apply` returns"
)]
struct NotStored {
    held: usize,
}
