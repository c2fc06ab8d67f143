//! [`OperatorHarness`]: one operator, with its input split in several ways, and restored from its
//! state after every piece.

use std::fmt::{self, Debug};
use std::rc::Rc;
use std::time::Duration;

use crate::api::event::Event;
use crate::api::operator::{Operator, StatefulOperator};
use crate::channel::frame::Batch;
use crate::error::BoxError;
use crate::executor::component::{Component, Stateful, Stateless};
use crate::testkit::harness::fed::{Fed, Start, Starts};
use crate::time::EventTime;

/// Feeds one operator the same input in several ways, and asserts that what it emits is the same:
/// all events at once, one at a time, with its state taken after each piece of input, and with a new
/// value built from that state after each. For an operator with state by key there is
/// [`KeyedHarness`](crate::testkit::KeyedHarness).
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

fn run<C: Component + 'static>(
    factory: &Rc<impl Fn() -> C + 'static>,
    inputs: &[Input<C::In>],
    way: Way,
) -> Result<Vec<C::Out>, BoxError>
where
    C::In: Event,
    C::Out: Event,
{
    let factory = Rc::clone(factory);
    let starts: Starts<C> = Rc::new(move |_, _| {
        let factory = Rc::clone(&factory);
        Ok(Start { factory: Box::new(move || factory()), keyed: None })
    });
    let mut fed = Fed::start(starts)?;
    let mut batch = Batch::default();
    for (number, input) in inputs.iter().enumerate() {
        match input {
            Input::Event(event) => {
                batch.events.push(event.clone());
                let next_is_event = matches!(inputs.get(number + 1), Some(Input::Event(_)));
                if way == Way::AllAtOnce && next_is_event {
                    continue;
                }
                fed.push(&mut batch)?;
            }
            Input::Watermark(to) => fed.watermark(*to)?,
            Input::Pause(time) => fed.pause(*time)?,
        }
        match way {
            Way::AllAtOnce | Way::OneByOne => {}
            Way::Looked => drop(fed.save()?),
            Way::PutBack => fed.put_back()?,
        }
    }
    fed.end()?;
    Ok(fed.emitted())
}
