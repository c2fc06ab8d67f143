//! [`check_source`]: a source read to its end, and again from everywhere it has been.

use std::fmt::Debug;

use crate::api::source::{Next, StatefulSource};
use crate::api::source_output::SourceOutput;
use crate::error::BoxError;
use crate::testkit::harness::{instance, through_the_store};

/// Places from which a source is read again, at most.
const PLACES_MAX: usize = 256;

/// Instances that are checked, at most.
const INSTANCES_MAX: usize = 4096;

/// Polls in a row without an event or an end after which a source is taken to have said all.
const EMPTY_POLLS_MAX: u32 = 1000;

/// Reads each of `instances` instances of a source to its end, with little and with much room, and
/// then again in a new value from every place it has been. What follows a place must be the same
/// each time.
///
/// A source that waits to be woken counts as ended. What each instance emitted is returned.
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
/// What a callback returned.
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
            out.room = before + room;
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
