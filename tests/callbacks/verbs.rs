//! Functions that panic in the middle of a batch that is handled in place, or moved: the event at hand
//! fails, and nothing else.

use streamwork::testkit::Collected;
use streamwork::{AtLeastOnce, AtMostOnce, BoxError, DeadLetter, Event, Job, JobReport, Sink};

use crate::world::silence_booms;

const EVENTS: u64 = 20_000;

/// This verb panics at every n-th number.
fn touch(verb: &str, number: u64) -> u64 {
    let every = match verb {
        "map" => 97,
        "filter" => 101,
        _ => 103,
    };
    assert!(!number.is_multiple_of(every), "boom at {number}");
    number
}

fn survives(number: u64) -> bool {
    ![97, 101, 103].iter().any(|every| number.is_multiple_of(*every))
}

fn kept(number: u64) -> bool {
    !number.is_multiple_of(3)
}

/// A chain of verbs over events made of numbers.
fn chain<T: Event>(make: fn(u64) -> T, number_of: fn(&T) -> u64) -> (Job, Collected<T>) {
    silence_booms();
    let seen = Collected::new();
    let job = Job::new("verbs");
    let numbers = job.from_iter("numbers", move || (0..EVENTS).map(make));
    numbers.dead_letter_sink(|| UntrackedSource(std::marker::PhantomData));
    numbers
        .map(move |event| {
            touch("map", number_of(&event));
            event
        })
        .filter(move |event| kept(touch("filter", number_of(event))))
        .inspect(move |event| {
            touch("inspect", number_of(event));
        })
        .sink("seen", seen.factory());
    (job, seen)
}

struct UntrackedSource<T>(std::marker::PhantomData<T>);

impl<T: Event> Sink for UntrackedSource<T> {
    type In = DeadLetter<T>;
    fn write(&mut self, _: DeadLetter<T>) -> Result<(), BoxError> {
        Ok(())
    }
}

/// The expected output: all events on which no function has failed, in order.
fn expected() -> Vec<u64> {
    (0..EVENTS).filter(|number| survives(*number) && kept(*number)).collect()
}

fn failures() -> u64 {
    let fails = |number: &u64| {
        let before_the_filter = number.is_multiple_of(97) || number.is_multiple_of(101);
        before_the_filter || (number.is_multiple_of(103) && kept(*number))
    };
    (0..EVENTS).filter(fails).count() as u64
}

fn sum(report: &JobReport, of: fn(&streamwork::metrics::InstanceMetrics) -> u64) -> u64 {
    ["map", "filter", "inspect"].iter().map(|verb| report.metrics.sum(verb, of)).sum()
}

fn loses_only_the_event_at_hand<T: Event>(make: fn(u64) -> T, number_of: fn(&T) -> u64) {
    let (job, seen) = chain(make, number_of);
    let report = job.run(AtMostOnce::new()).unwrap();
    assert_eq!(seen.events().iter().map(number_of).collect::<Vec<_>>(), expected());
    assert_eq!(sum(&report, |m| m.dropped), failures());
    assert_eq!(sum(&report, |m| m.failed), failures());
    assert_eq!(sum(&report, |m| m.restarts), failures());
    assert_eq!(sum(&report, |m| m.processed), sum(&report, |m| m.delivered) + failures());

    let (job, seen) = chain(make, number_of);
    let report = job.run(AtLeastOnce::new().attempts_max(2)).unwrap();
    assert_eq!(seen.events().iter().map(number_of).collect::<Vec<_>>(), expected());
    let source =
        |of: fn(&streamwork::metrics::InstanceMetrics) -> u64| report.metrics.sum("numbers", of);
    assert_eq!(source(|m| m.replayed), failures());
    assert_eq!(source(|m| m.dead_lettered), failures());
    assert_eq!(source(|m| m.unacknowledged), 0);
}

#[test]
fn a_function_that_panics_in_a_batch_loses_only_the_event_at_hand() {
    loses_only_the_event_at_hand(|number| number, |number| *number);
}

#[test]
fn a_function_that_panics_in_a_batch_of_large_events_loses_only_the_event_at_hand() {
    loses_only_the_event_at_hand(|number| [number; 40], |event| event[39]);
}

#[test]
fn a_function_that_panics_in_a_batch_of_events_with_memory_loses_only_the_event_at_hand() {
    loses_only_the_event_at_hand(|n| n.to_string(), |event| event.parse().unwrap());
}
