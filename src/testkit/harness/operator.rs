//! [`OperatorHarness`]: one operator, with its input split in several ways, and restored from its
//! state after every piece.

use std::cell::RefCell;
use std::fmt::{self, Debug};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::api::collector::Collector;
use crate::api::event::Event;
use crate::api::on_error::OnError;
use crate::api::operator::{Operator, StatefulOperator};
use crate::api::output::Output;
use crate::channel::frame::{Batch, Control, End};
use crate::channel::ledger::Ledger;
use crate::channel::push::{Context, InstanceCall, Push, Stage};
use crate::checkpoint::StateCodec;
use crate::clock::{Clock, Timestamp};
use crate::delivery::options::Restarts;
use crate::delivery::terms::HeldIn;
use crate::delivery::terms::Verdict;
use crate::error::BoxError;
use crate::executor::component::{Component, Stateful, Stateless};
use crate::executor::injected::Injected;
use crate::executor::node::held::{Held, Holding, StoredEvents, is_held_part};
use crate::executor::node::{Consequences, Node, NodeParts, Restored};
use crate::executor::rebuild::Rebuild;
use crate::id::CheckpointId;
use crate::testkit::harness::{Capture, context, instance};
use crate::time::EventTime;
use crate::time::watermarks::OutputWatermark;

/// Feeds one operator the same input in several ways, and asserts that what it emits is the same:
/// all events at once, one at a time, with its state taken after each piece of input, and with a new
/// value built from that state after each.
///
/// ```
/// use streamwork::testkit::OperatorHarness;
/// use streamwork::{BoxError, Collector, Instance, StatefulOperator};
///
/// #[derive(Default)]
/// struct Sum(u64);
///
/// impl StatefulOperator for Sum {
///     type In = u64;
///     type Out = u64;
///     type State = u64;
///     fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
///         self.0 = state.unwrap_or(0);
///         Ok(())
///     }
///     fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
///         self.0 += n;
///         out.emit(self.0);
///         Ok(())
///     }
///     fn state(&self) -> u64 {
///         self.0
///     }
/// }
///
/// let sums = OperatorHarness::stateful(Sum::default).events([1, 2, 3]).check()?;
/// assert_eq!(sums, [1, 3, 6]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub struct OperatorHarness<In, Out> {
    inputs: Vec<Input<In>>,
    run: Box<Run<In, Out>>,
}

type Run<In, Out> = dyn Fn(&[Input<In>], Way) -> Result<Vec<Out>, BoxError>;

#[derive(Clone, Debug)]
enum Input<In> {
    Event(In),
    Watermark(EventTime),
    Pause(Duration),
}

/// How the input is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    AllAtOnce,
    OneByOne,
    /// Its state is taken after each piece, and it goes on.
    Looked,
    /// A new value is built from that state.
    PutBack,
}

impl<In, Out> fmt::Debug for OperatorHarness<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorHarness")
            .field("inputs", &self.inputs.len())
            .finish_non_exhaustive()
    }
}

impl<In: Event, Out: Event + PartialEq + Debug> OperatorHarness<In, Out> {
    /// For an operator with state.
    pub fn stateful<O>(factory: impl Fn() -> O + 'static) -> Self
    where
        O: StatefulOperator<In = In, Out = Out>,
    {
        Self::around(move || Stateful(factory()))
    }

    /// For an operator without state: the check fails if it keeps something from one event to the next.
    pub fn stateless<O: Operator<In = In, Out = Out>>(factory: impl Fn() -> O + 'static) -> Self {
        Self::around(move || Stateless(factory()))
    }

    fn around<C: Component<In = In, Out = Out> + 'static>(
        factory: impl Fn() -> C + 'static,
    ) -> Self {
        let factory = Rc::new(factory);
        let run = move |inputs: &[Input<In>], way| run(&factory, inputs, way);
        Self { inputs: Vec::new(), run: Box::new(run) }
    }

    /// Then comes this event.
    pub fn event(mut self, event: In) -> Self {
        self.inputs.push(Input::Event(event));
        self
    }

    /// Then come these events.
    pub fn events(mut self, events: impl IntoIterator<Item = In>) -> Self {
        self.inputs.extend(events.into_iter().map(Input::Event));
        self
    }

    /// Then comes a watermark.
    pub fn watermark(mut self, to: EventTime) -> Self {
        self.inputs.push(Input::Watermark(to));
        self
    }

    /// Then this much time passes; timers that are due fire.
    pub fn pause(mut self, time: Duration) -> Self {
        self.inputs.push(Input::Pause(time));
        self
    }

    /// Feeds the input in every way, then ends it. Returns what the operator emitted on its main
    /// output, which is the same in all ways.
    ///
    /// # Errors
    /// An error of a callback.
    ///
    /// # Panics
    /// If the outputs differ, or a callback panics.
    pub fn check(&self) -> Result<Vec<Out>, BoxError> {
        let expected = (self.run)(&self.inputs, Way::AllAtOnce)?;
        for way in [Way::OneByOne, Way::Looked, Way::PutBack] {
            let emitted = (self.run)(&self.inputs, way)?;
            let how = match way {
                Way::AllAtOnce | Way::OneByOne => "one event at a time",
                Way::Looked => "with its state taken after every event",
                Way::PutBack => "with a new value put back from its state after every event",
            };
            assert_eq!(emitted, expected, "{how}, the operator emits something else");
        }
        Ok(expected)
    }
}

#[derive(Debug, Default)]
struct ManualClock(AtomicU64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

fn run<C: Component + 'static>(
    factory: &Rc<impl Fn() -> C + 'static>,
    inputs: &[Input<C::In>],
    way: Way,
) -> Result<Vec<C::Out>, BoxError>
where
    C::In: Event,
    C::Out: Event,
{
    let clock = Arc::new(ManualClock::default());
    let mut context = Context::new(Arc::clone(&clock) as Arc<dyn Clock>, Ledger::default());
    let emitted = Rc::new(RefCell::new(Vec::new()));
    // Those before the operator go on as well, so no watermark falls for its being put back.
    let mut watermark = None;
    let start = |restored: Restored, watermark, now| {
        let factory = Rc::clone(factory);
        Node::start(parts::<C>(&emitted, watermark), Box::new(move || factory()), restored, now)
    };
    let mut node = start(Restored::default(), None, context.now)?;
    let mut batch = Batch::default();
    for (number, input) in inputs.iter().enumerate() {
        match input {
            Input::Event(event) => {
                batch.events.push(event.clone());
                let next_is_event = matches!(inputs.get(number + 1), Some(Input::Event(_)));
                if way == Way::AllAtOnce && next_is_event {
                    continue;
                }
                node.push(&mut batch, &mut context);
            }
            Input::Watermark(to) => {
                watermark = watermark.max(Some(*to));
                node.control(Control::Watermark(*to), &mut context);
            }
            Input::Pause(time) => {
                let until = context.now.after(*time);
                while let Some(due) = node.deadline().filter(|due| *due <= until) {
                    context.begin_step(context.now.max(due));
                    node.tick(&mut context);
                }
                context.begin_step(until);
                clock.0.store(until.0, Ordering::Relaxed);
            }
        }
        if let Some(failure) = context.fatal.take() {
            return Err(failure.into());
        }
        if matches!(way, Way::Looked | Way::PutBack) {
            node.call_instance(
                InstanceCall::Snapshot(CheckpointId(number as u64 + 1)),
                &mut context,
            );
            let mut restored = Restored::default();
            for part in context.snapshots.drain(..) {
                let encoded = part.state.encode()?;
                match is_held_part(&part.name) {
                    true => restored.held = Some(StoredEvents::of(&part.name, encoded)),
                    false => restored.state = Some(encoded),
                }
            }
            if let Some(failure) = context.fatal.take() {
                return Err(failure.into());
            }
            if way == Way::PutBack {
                node = start(restored, watermark, context.now)?;
                // What it held is applied again, before what comes next.
                node.catch_up(&mut context);
            }
        }
    }
    node.control(Control::End(End::Finished), &mut context);
    if let Some(failure) = context.fatal.take() {
        return Err(failure.into());
    }
    drop(node);
    Ok(emitted.take())
}

fn parts<C: Component>(
    emitted: &Rc<RefCell<Vec<C::Out>>>,
    watermark: Option<EventTime>,
) -> NodeParts<C>
where
    C::Out: Event,
{
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
        keyed: None,
        watermark: OutputWatermark::restored(watermark),
        holding: Holding::new(held, HeldIn::EveryCheckpoint, C::held_codec(), None),
        on_error: OnError::AsGuaranteed,
    }
}
