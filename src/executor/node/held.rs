//! Events that a component holds: deferred, and not answered yet.
//!
//! The engine keeps each of them, in the order in which they were deferred, from `defer` until the last answer.
//! So it knows what a checkpoint has to hold beside the state, who has not answered, and when the input is over
//! for good.
//!
//! `apply` takes its event by value, so what is to be stored is a copy made before. Then events are run one at a
//! time: the copy at hand is that of the event that is deferred. Where nothing is stored, no copy is made, and what
//! is kept is a number.
//!
//! Never calls a component, and never decides what a late answer means: that is the guarantee's.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::api::event::Event;
use crate::api::held_events::{HeldEvents, Storable};
use crate::api::state::State;
use crate::api::token::{Deferred, Holder};
use crate::api::waker::Waker;
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

/// The name of the state that held events are, within their component.
const HELD: &str = "held events";

/// The part of a checkpoint that has the events held by an instance.
pub(crate) fn held_part_name(name: &InstanceName) -> PartName {
    PartName::of(&*name.component, HELD, Unit::Instance(name.instance as u64))
}

/// Whether it is the part of held events.
pub(crate) fn is_held_part(name: &PartName) -> bool {
    name.state == HELD
}

/// How events are stored and read back.
pub(crate) struct HeldCodec<E> {
    snapshot: fn(Vec<E>, CodecId) -> Box<dyn Snapshot>,
    decode: fn(&EncodedState) -> Result<Vec<E>, CodecError>,
    pub(crate) shape: fn() -> StateShape,
}

impl<E> HeldCodec<E> {
    /// If events are stored.
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
            decode: EncodedState::decode::<Vec<E>>,
            shape: StateShape::of::<Vec<E>>,
        });
    }
}

/// The events that one instance has deferred and that are not answered. Tokens reach it from any thread.
pub(crate) struct Held<E> {
    kept: Mutex<Kept<E>>,
    counters: Arc<Counters>,
    waker: Waker,
}

struct Kept<E> {
    /// A copy of the event that `apply` has.
    at_hand: Option<E>,
    /// By number, which is the order in which they were deferred.
    events: BTreeMap<u64, One<E>>,
    next: u64,
    now: Timestamp,
    /// Whether the instance waits until none is left.
    awaited: bool,
}

struct One<E> {
    event: Option<E>,
    since: Timestamp,
    deferred: Weak<Deferred>,
}

impl<E> Held<E> {
    pub(crate) fn new(counters: Arc<Counters>, waker: Waker) -> Arc<Self> {
        counters.deferred.set(0);
        let kept = Kept {
            at_hand: None,
            events: BTreeMap::new(),
            next: 0,
            now: Timestamp(0),
            awaited: false,
        };
        Arc::new(Self { kept: Mutex::new(kept), counters, waker })
    }

    /// Whether nothing is held. If something is, the instance is woken when that has changed.
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
        kept.next += 1;
        kept.events.insert(number, One { event, since, deferred });
        self.counters.deferred.set(kept.events.len() as u64);
        number
    }

    fn release(&self, number: u64) {
        let mut kept = self.kept.lock();
        let released = kept.events.remove(&number);
        self.counters.deferred.set(kept.events.len() as u64);
        let wake = kept.awaited && kept.events.is_empty();
        drop(kept);
        // A destructor of the user's runs outside the lock.
        drop(released);
        if wake {
            self.waker.notify();
        }
    }
}

/// What a node does about the events that its component holds.
pub(crate) struct Holding<E> {
    pub(crate) held: Arc<Held<E>>,
    /// What brings them again.
    pub(crate) held_in: HeldIn,
    /// How they are stored, if they are.
    pub(crate) codec: Option<HeldCodec<E>>,
    /// The time an event may be held, if that is limited.
    pub(crate) answer_within: Option<Duration>,
    /// Those of a checkpoint that may be given back once another one without them is complete.
    waiting: Vec<E>,
    /// The first checkpoint that does not hold them.
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

    /// Whether a copy of each event is needed, in case that it is deferred.
    pub(super) fn copies(&self) -> bool {
        let stored = matches!(self.held_in, HeldIn::EveryCheckpoint | HeldIn::LastCheckpoint);
        stored && self.codec.is_some()
    }

    /// The job is suspended: the end of the input does not wait for what the last checkpoint can hold.
    pub(super) fn suspend(&mut self) {
        self.suspended = true;
    }

    /// Whether it holds events that are left to the next start.
    pub(super) fn leaves_some(&self) -> bool {
        self.suspended && self.copies() && self.how_many() > 0
    }

    /// They are the next process's.
    fn leave(&mut self) {
        self.waiting.clear();
        let left = std::mem::take(&mut self.held.kept.lock().events);
        left.values()
            .filter_map(|one| one.deferred.upgrade())
            .for_each(|deferred| deferred.leave());
    }

    /// Copies of the events that are held, in order; none if one of them has no copy.
    fn events(&self) -> Option<Vec<E>> {
        let kept = self.held.kept.lock();
        let open = kept.events.values().map(|one| one.event.clone());
        self.waiting.iter().cloned().map(Some).chain(open).collect()
    }

    fn how_many(&self) -> usize {
        self.waiting.len() + self.held.kept.lock().events.len()
    }
}

impl<C: Component> Node<C> {
    /// Takes up the events that a checkpoint held.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) fn restore_held(
        &mut self,
        stored: Option<EncodedState>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let (Some(stored), Some(codec)) = (stored, &self.holding.codec) else { return Ok(()) };
        let decoded = catch_unwind(AssertUnwindSafe(|| (codec.decode)(&stored)));
        let events = match decoded {
            Ok(Ok(events)) => events,
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

    /// Has these events applied again, before what comes after them.
    fn give_back(&mut self, mut events: Vec<C::In>, now: Timestamp) {
        self.counters.restored.add(events.len() as u64);
        self.counters.received.add(events.len() as u64);
        // Where events have roots, sources have those that are held.
        self.pending.events.append(&mut events);
        self.pending.born = self.pending.born.min(now);
    }

    /// Keeps a copy of the one event that is run next, in case that it is deferred. Whether it can be run.
    pub(super) fn copy_at_hand(&mut self, events: &[C::In], context: &mut Context) -> bool {
        if !self.holding.copies() {
            return true;
        }
        debug_assert!(events.len() <= 1, "one at a time");
        match catch_unwind(AssertUnwindSafe(|| events.first().cloned())) {
            Ok(copy) => {
                let mut kept = self.holding.held.kept.lock();
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

    /// The moment from which events count as held that are deferred now.
    pub(super) fn note_now(&self, now: Timestamp) {
        if self.holding.answer_within.is_some() {
            self.holding.held.kept.lock().now = now;
        }
    }

    /// Puts what is held into the checkpoint that is being taken. After the last one of an instance what it
    /// holds is the next process's.
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
        let events = match (copied, &self.holding.codec) {
            (Ok(Some(events)), Some(_)) => events,
            (Err(payload), _) => return context.fail(self.failure("clone", Cause::panic(payload))),
            // Under at-most-once what is held may go; that it does is told at the end.
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
        let state = (codec.snapshot)(events, self.codec);
        let watermark = self.watermark.saved();
        context.snapshots.push(Part::new(held_part_name(&self.instance.name), state).at(watermark));
    }

    /// A checkpoint is complete: events that an older one held can not come a second time any more.
    pub(super) fn give_back_after(&mut self, checkpoint: CheckpointId, now: Timestamp) {
        if self.holding.without.is_some_and(|without| without <= checkpoint) {
            let events = std::mem::take(&mut self.holding.waiting);
            if !events.is_empty() {
                self.give_back(events, now);
            }
        }
    }

    /// Whether the end of the input waits for events that are held; if so, the instance is woken.
    pub(super) fn end_waits_for_held(&self) -> bool {
        let waits = !self.holding.waiting.is_empty() || !self.pending.is_empty();
        let is_here = self.holding.held_in != HeldIn::Source && !self.holding.leaves_some();
        is_here && (waits || !self.holding.held.is_empty_or_awaited())
    }

    /// When the event that has been held longest is to fail for want of an answer.
    pub(super) fn answer_due(&self) -> Option<Timestamp> {
        let within = self.holding.answer_within?;
        self.holding.held.since_when().map(|since| since.after(within))
    }

    /// Fails all events that are held.
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

/// What is held cannot be stored.
#[derive(Debug, thiserror::Error)]
#[error(
    "{held} events are held in tokens over a checkpoint that would lose them: store them with `const HELD_EVENTS: HeldEvents<Self::In> = HeldEvents::stored();`, or answer them before `apply` returns"
)]
struct NotStored {
    held: usize,
}
