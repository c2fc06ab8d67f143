//! [`check_source`]: a source read to its end, and again from everywhere it has been.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::api::instance::Instance;
use crate::api::source::{Next, StatefulSource};
use crate::api::source_output::SourceOutput;
use crate::api::split_source::{SplitSource, SplitStart};
use crate::error::BoxError;
use crate::testkit::harness::{instance, through_the_store};

/// The maximum number of positions from which a source is read again.
const PLACES_MAX: usize = 256;

/// The maximum number of instances that are checked.
const INSTANCES_MAX: usize = 4096;

/// Calls in a row without an event or an end after which a source counts as ended.
const EMPTY_POLLS_MAX: u32 = 1000;

/// Reads each of `instances` instances of a source to its end, with little and with much room, and
/// then again in a new value from each of its positions. The events after a position must be the same
/// each time.
///
/// A source that waits to be woken counts as ended. Returns the events of each instance.
///
/// ```
/// use streamwork::testkit::check_source;
/// use streamwork::{BoxError, SourceOutput, Instance, Next, StatefulSource};
///
/// #[derive(Default)]
/// struct Countdown(u64);
///
/// impl StatefulSource for Countdown {
///     type Out = u64;
///     type State = u64;
///     fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
///         self.0 = state.unwrap_or(3);
///         Ok(())
///     }
///     fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
///         if self.0 == 0 {
///             return Ok(Next::End);
///         }
///         out.emit(self.0);
///         self.0 -= 1;
///         Ok(Next::Now)
///     }
///     fn state(&self) -> u64 {
///         self.0
///     }
/// }
///
/// assert_eq!(check_source(Countdown::default, 1)?, [[3, 2, 1]]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # Errors
/// An error of a callback.
///
/// # Panics
/// If a second reading differs from the first, or `instances` is 0 or more than 4,096.
pub fn check_source<S>(
    factory: impl Fn() -> S,
    instances: usize,
) -> Result<Vec<Vec<S::Out>>, BoxError>
where
    S: StatefulSource,
    S::Out: PartialEq + Debug,
{
    let known = (1..=INSTANCES_MAX).contains(&instances);
    assert!(known, "instances: 1 to {INSTANCES_MAX} can be checked, not {instances}");
    (0..instances).map(|index| check_instance(&factory, index, instances)).collect()
}

/// As [`check_source`], for a source with splits: all of them are read in one instance, and again from every
/// position. Returns the events of each split.
///
/// ```
/// use std::collections::BTreeMap;
/// use streamwork::testkit::check_split_source;
/// use streamwork::{BoxError, Next, SourceOutput, SplitSource, SplitStart};
///
/// #[derive(Default)]
/// struct Numbers(BTreeMap<String, u64>);
///
/// impl SplitSource for Numbers {
///     type Out = u64;
///     type Position = u64;
///     fn discover(&mut self) -> Result<Vec<String>, BoxError> {
///         Ok(vec!["10".to_owned(), "20".to_owned()])
///     }
///     fn add(&mut self, split: &str, start: SplitStart<u64>) -> Result<(), BoxError> {
///         self.0.insert(split.to_owned(), start.position().unwrap_or(split.parse()?));
///         Ok(())
///     }
///     fn remove(&mut self, split: &str) -> Result<(), BoxError> {
///         self.0.remove(split);
///         Ok(())
///     }
///     fn position(&self, split: &str) -> u64 {
///         self.0[split]
///     }
///     fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
///         let Some((_, next)) = self.0.iter_mut().find(|(_, next)| **next % 10 < 3) else {
///             return Ok(Next::End);
///         };
///         out.emit(*next);
///         *next += 1;
///         Ok(Next::Now)
///     }
/// }
///
/// let read = check_split_source(Numbers::default)?;
/// assert_eq!(read["20"], [20, 21, 22]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # Errors
/// An error of a callback.
///
/// # Panics
/// If a second reading differs from the first.
pub fn check_split_source<S>(
    factory: impl Fn() -> S,
) -> Result<BTreeMap<String, Vec<S::Out>>, BoxError>
where
    S: SplitSource,
    S::Out: PartialEq + Debug,
{
    let mut source = factory();
    source.setup(&instance("source", 0, 1))?;
    let splits = source.discover()?;
    drop(source);
    let read = |split: &String| {
        let one = || OneSplit { source: factory(), split: split.clone() };
        let mut emitted = check_source(one, 1)?;
        Ok((split.clone(), emitted.pop().unwrap_or_default()))
    };
    // All together at last: none of them may disturb another.
    let apart: BTreeMap<_, _> = splits.iter().map(read).collect::<Result<_, BoxError>>()?;
    let mut together = factory();
    together.setup(&instance("source", 0, 1))?;
    splits.iter().try_for_each(|split| together.add(split, SplitStart::First))?;
    let emitted = read_to_the_end(&mut together)?;
    let expected: usize = apart.values().map(Vec::len).sum();
    assert_eq!(emitted, expected, "read together, the splits emit another number of events");
    Ok(apart)
}

fn read_to_the_end<S: SplitSource>(source: &mut S) -> Result<usize, BoxError> {
    let mut out = SourceOutput::new();
    let mut empty = 0;
    loop {
        let before = out.events.len();
        out.ask(before + 1000);
        let next = source.get_events(&mut out)?;
        empty = if out.events.len() == before { empty + 1 } else { 0 };
        if matches!(next, Next::End | Next::WhenWoken) || empty > EMPTY_POLLS_MAX {
            return Ok(out.events.len());
        }
    }
}

/// A source that reads one split of another one.
struct OneSplit<S> {
    source: S,
    split: String,
}

impl<S: SplitSource> StatefulSource for OneSplit<S> {
    type Out = S::Out;
    type State = S::Position;

    fn setup(&mut self, instance: &Instance, state: Option<S::Position>) -> Result<(), BoxError> {
        self.source.setup(instance)?;
        self.source.add(&self.split, state.map_or(SplitStart::First, SplitStart::At))
    }

    fn get_events(&mut self, out: &mut SourceOutput<S::Out>) -> Result<Next, BoxError> {
        self.source.get_events(out)
    }

    fn state(&self) -> S::Position {
        self.source.position(&self.split)
    }
}

fn check_instance<S>(
    factory: &impl Fn() -> S,
    index: usize,
    instances: usize,
) -> Result<Vec<S::Out>, BoxError>
where
    S: StatefulSource,
    S::Out: PartialEq + Debug,
{
    let read = |state: Option<S::State>, room: usize| {
        let instance = instance("source", index, instances);
        let mut source = factory();
        source.setup(&instance, state)?;
        let mut out = SourceOutput::new();
        let mut places = vec![(0, source.state())];
        let mut empty = 0;
        loop {
            let before = out.events.len();
            out.ask(before + room);
            let next = source.get_events(&mut out)?;
            empty = if out.events.len() == before { empty + 1 } else { 0 };
            places.push((out.events.len(), source.state()));
            if matches!(next, Next::End | Next::WhenWoken) || empty > EMPTY_POLLS_MAX {
                return Ok::<_, BoxError>((out.events, places));
            }
        }
    };
    let (events, places) = read(None, 3)?;
    let (again, _) = read(None, 1000)?;
    assert_eq!(again, events, "instance {index}: with more room the source emits something else");
    let stride = places.len().div_ceil(PLACES_MAX).max(1);
    for (after, state) in places.iter().step_by(stride) {
        let (rest, _) = read(Some(through_the_store(state)?), 3)?;
        assert_eq!(
            rest,
            events[*after..],
            "instance {index}: put back after {after} events, the source goes on elsewhere"
        );
    }
    Ok(events)
}
