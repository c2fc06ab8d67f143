//! [`Fed`]: one component that is fed by hand, a piece of input at a time, and put back from its state.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::api::collector::Collector;
use crate::api::on_error::OnError;
use crate::api::output::Output;
use crate::channel::frame::{Batch, Control, End};
use crate::channel::ledger::Ledger;
use crate::channel::push::{Context, InstanceCall, Push, Stage};
use crate::checkpoint::{EncodedState, HashRange, StateCodec, Unit};
use crate::clock::{Clock, Timestamp};
use crate::delivery::options::Restarts;
use crate::delivery::terms::{HeldIn, Verdict};
use crate::error::BoxError;
use crate::executor::component::Component;
use crate::executor::injected::Injected;
use crate::executor::node::held::{Held, Holding, StoredEvents, is_held_part};
use crate::executor::node::{Consequences, Node, NodeParts, Restored};
use crate::executor::rebuild::Rebuild;
use crate::id::CheckpointId;
use crate::state::KeyedState;
use crate::testkit::harness::{Capture, context, instance};
use crate::time::EventTime;
use crate::time::watermarks::OutputWatermark;

/// For so long a component is not there before it is put back.
const DOWN: Duration = Duration::from_secs(3_600);

/// A part with state by key, and its range.
pub(super) type KeyedPart = (EncodedState, HashRange);

/// How a component is built, and its state by key.
pub(super) struct Start<C> {
    pub(super) factory: Box<dyn Fn() -> C>,
    pub(super) keyed: Option<Rc<dyn KeyedState>>,
}

/// Makes what a component starts from, out of the parts with its state by key.
pub(super) type Starts<C> = Rc<dyn Fn(&[KeyedPart], &Arc<dyn Clock>) -> Result<Start<C>, BoxError>>;

/// What a snapshot has.
#[derive(Default)]
pub(super) struct Saved {
    restored: Restored,
    pub(super) by_key: Vec<KeyedPart>,
}

/// A component in its node, with a clock that is moved by hand.
pub(super) struct Fed<C: Component> {
    starts: Starts<C>,
    node: Node<C>,
    context: Context,
    clock: Arc<ManualClock>,
    emitted: Rc<RefCell<Vec<C::Out>>>,
    watermark: Option<EventTime>,
    snapshots: u64,
}

#[derive(Debug, Default)]
struct ManualClock(AtomicU64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

impl<C: Component + 'static> Fed<C> {
    /// Builds the component and sets it up without a state.
    pub(super) fn start(starts: Starts<C>) -> Result<Self, BoxError> {
        let (clock, emitted) = (Arc::<ManualClock>::default(), Rc::default());
        let context = Context::new(Arc::clone(&clock) as Arc<dyn Clock>, Ledger::default());
        let Start { factory, keyed } = starts(&[], &context.clock)?;
        let parts = parts::<C>(&emitted, keyed, None);
        let node = Node::start(parts, factory, Restored::default(), context.now)?;
        let (watermark, snapshots) = (None, 0);
        Ok(Self { starts, node, context, clock, emitted, watermark, snapshots })
    }

    /// What was emitted on the main output since the last call.
    pub(super) fn emitted(&self) -> Vec<C::Out> {
        self.emitted.take()
    }

    pub(super) fn push(&mut self, batch: &mut Batch<C::In>) -> Result<(), BoxError> {
        self.node.push(batch, &mut self.context);
        self.failure()
    }

    pub(super) fn watermark(&mut self, to: EventTime) -> Result<(), BoxError> {
        self.watermark = self.watermark.max(Some(to));
        self.node.control(Control::Watermark(to), &mut self.context);
        self.failure()
    }

    /// So much time passes, with all that becomes due in it.
    pub(super) fn pause(&mut self, time: Duration) -> Result<(), BoxError> {
        let until = self.context.now.after(time);
        while let Some(due) = self.node.deadline().filter(|due| *due <= until) {
            self.move_clock(self.context.now.max(due));
            self.node.tick(&mut self.context);
            self.failure()?;
        }
        self.move_clock(until);
        Ok(())
    }

    fn move_clock(&mut self, to: Timestamp) {
        self.clock.0.store(to.0, Ordering::Relaxed);
        self.context.begin_step(to);
    }

    pub(super) fn end(&mut self) -> Result<(), BoxError> {
        self.node.control(Control::End(End::Finished), &mut self.context);
        self.failure()
    }

    /// Takes a snapshot, as a checkpoint would store it.
    pub(super) fn save(&mut self) -> Result<Saved, BoxError> {
        self.snapshots += 1;
        let of = CheckpointId(self.snapshots);
        for call in [InstanceCall::Snapshot(of), InstanceCall::FinishSaving] {
            self.node.call_instance(call, &mut self.context);
        }
        let mut saved = Saved::default();
        for part in self.context.snapshots.drain(..) {
            let encoded = part.state.encode()?;
            match part.name.unit {
                Unit::Range(range) => saved.by_key.push((encoded, range)),
                _ if is_held_part(&part.name) => {
                    saved.restored.held = Some(StoredEvents::of(&part.name, encoded));
                }
                _ => saved.restored.state = Some(encoded),
            }
        }
        self.failure()?;
        Ok(saved)
    }

    /// Builds the component anew from its snapshot, at a later time of the clock: timers wait for the rest of
    /// their time. Those before it go on, so no watermark falls.
    pub(super) fn put_back(&mut self) -> Result<(), BoxError> {
        let Saved { restored, by_key } = self.save()?;
        self.move_clock(self.context.now.after(DOWN));
        let Start { factory, keyed } = (self.starts)(&by_key, &self.context.clock)?;
        let parts = parts::<C>(&self.emitted, keyed, self.watermark);
        self.node = Node::start(parts, factory, restored, self.context.now)?;
        // What it held is applied again, before what comes next.
        self.node.catch_up(&mut self.context);
        self.failure()
    }

    fn failure(&mut self) -> Result<(), BoxError> {
        self.context.fatal.take().map_or(Ok(()), |failure| Err(failure.into()))
    }
}

fn parts<C: Component>(
    emitted: &Rc<RefCell<Vec<C::Out>>>,
    keyed: Option<Rc<dyn KeyedState>>,
    watermark: Option<EventTime>,
) -> NodeParts<C> {
    let instance = instance("operator", 0, 1);
    let held = Held::new(Arc::default(), instance.waker.clone());
    let context = context(&instance, Arc::clone(&held) as _);
    let collector = Collector::new(Output::new(context, 1, C::SIDE_OUTPUTS, Vec::new()));
    let rebuild = Rebuild::new(Restarts::never());
    NodeParts {
        instance,
        collector,
        next: Box::new(Capture(Rc::clone(emitted))),
        sides: Vec::new(),
        consequences: Consequences { verdict: Verdict::RollBack, on_drop: None, rebuild },
        injected: Injected::default(),
        codec: StateCodec::SELF_DESCRIBING,
        keyed,
        watermark: OutputWatermark::restored(watermark),
        holding: Holding::new(held, HeldIn::EveryCheckpoint, C::held_codec(), None),
        on_error: OnError::AsGuaranteed,
    }
}
