//! Row 8: events that fail once, and events that fail always.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use streamwork::testkit::Collected;
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, DeadLetter, ExactlyOnce, Guarantee, Job, JobError,
    JobReport, OnError, Restarts, Sink,
};

use crate::memory_disk::Random;
use crate::tier;
use crate::world::silence_booms;

/// An event that can prove that it is unchanged.
type Proven = (u64, u64);

fn proof(number: u64) -> u64 {
    Random(number).next()
}

/// Which events fail, and how often.
#[derive(Clone)]
struct Failing {
    /// Per event, how many failures are left; 255 stands for always.
    left: Arc<Vec<AtomicU8>>,
}

const ALWAYS: u8 = 255;

impl Failing {
    /// Lets `of_a_million` of a million events fail this many times, chosen by a seed.
    fn new(events: u64, of_a_million: u64, times: u8, seed: u64) -> Self {
        let strikes = |event: u64| Random(seed ^ event << 20).next() % 1_000_000 < of_a_million;
        let left = (0..events).map(|event| AtomicU8::new(if strikes(event) { times } else { 0 }));
        Self { left: Arc::new(left.collect()) }
    }

    fn chosen(&self) -> BTreeSet<u64> {
        let left = self.left.iter().enumerate();
        left.filter(|(_, left)| left.load(Ordering::Relaxed) > 0).map(|(at, _)| at as u64).collect()
    }

    fn strike(&self, event: u64) -> Result<(), BoxError> {
        let left = &self.left[event as usize];
        match left.load(Ordering::Relaxed) {
            0 => return Ok(()),
            ALWAYS => {}
            some => left.store(some - 1, Ordering::Relaxed),
        }
        // Most say so; some panic.
        assert!(!event.is_multiple_of(64), "boom at {event}");
        Err("boom".into())
    }
}

struct Letters(Arc<Mutex<Vec<DeadLetter<Proven>>>>);

impl Sink for Letters {
    type In = DeadLetter<Proven>;
    fn write(&mut self, letter: DeadLetter<Proven>) -> Result<(), BoxError> {
        self.0.lock().push(letter);
        Ok(())
    }
}

/// The outcome of a run: its report, the shown events, the dead letters.
struct Outcome {
    result: Result<JobReport, JobError>,
    shown: Vec<Proven>,
    letters: Vec<DeadLetter<Proven>>,
}

fn run(events: u64, failing: &Failing, guarantee: impl Into<Guarantee>) -> Outcome {
    silence_booms();
    let (seen, letters) = (Collected::new(), Arc::new(Mutex::new(Vec::new())));
    let (failing, graveyard) = (failing.clone(), Arc::clone(&letters));
    let job = Job::new("poison");
    let numbers =
        job.from_iter("numbers", move || (0..events).map(|number| (number, proof(number))));
    numbers.dead_letter_sink(move || Letters(Arc::clone(&graveyard)));
    numbers
        .shuffle()
        .try_map(move |event: Proven| failing.strike(event.0).map(|()| event))
        .named("lookup")
        .parallelism(2)
        .global()
        .sink("seen", seen.factory());
    let result = job.start(guarantee).expect("it starts").wait();
    let letters = letters.lock().clone();
    Outcome { result, shown: seen.events(), letters }
}

fn assert_unaltered(events: &[Proven]) {
    for (number, proven) in events {
        assert_eq!(*proven, proof(*number), "event {number} was altered");
    }
}

/// How often each event was shown.
fn shown(outcome: &Outcome) -> BTreeMap<u64, u64> {
    assert_unaltered(&outcome.shown);
    crate::world::counts(&outcome.shown.iter().map(|(number, _)| *number).collect::<Vec<_>>())
}

fn quick_replays() -> AtLeastOnce {
    let pause = Duration::from_micros(100);
    AtLeastOnce::new().attempts_max(3).backoff(pause, pause)
}

#[test]
fn events_that_fail_for_a_while_are_all_shown_and_none_becomes_a_dead_letter() {
    let test = "events_that_fail_for_a_while_are_all_shown_and_none_becomes_a_dead_letter";
    let (seed, started) = (tier::seed(test), Instant::now());
    let events = tier::times(350_000, 35_000_000);
    for of_a_million in [10_000, 500_000] {
        let failing = Failing::new(events, of_a_million, 2, seed);
        let failures = 2 * failing.chosen().len() as u64;
        assert!(failures > 0);
        let outcome = run(events, &failing, quick_replays());
        let metrics = outcome.result.as_ref().expect("it ends well").metrics.clone();
        let shown = shown(&outcome);
        assert_eq!(shown.len() as u64, events, "lost");
        assert!(shown.values().all(|times| *times == 1), "each fails before it is shown");
        assert!(outcome.letters.is_empty());
        assert_eq!(metrics.sum("lookup", |m| m.failed), failures);
        assert_eq!(metrics.sum("numbers", |m| m.replayed), failures);
    }
    tier::report(8, test, 2 * events, "events", seed, started.elapsed());
}

#[test]
fn exactly_the_poison_events_are_dead_letters_once_each_and_unaltered() {
    let test = "exactly_the_poison_events_are_dead_letters_once_each_and_unaltered";
    let (seed, started) = (tier::seed(test), Instant::now());
    let (few, all) = (tier::times(280_000, 28_000_000), tier::times(10_000, 1_000_000));
    // One in ten thousand, and all of them.
    for (events, of_a_million) in [(few, 100), (all, 1_000_000)] {
        let failing = Failing::new(events, of_a_million, ALWAYS, seed);
        let poison = failing.chosen();
        let outcome = run(events, &failing, quick_replays());
        let report = outcome.result.as_ref().expect("the others flow on");
        let buried: Vec<_> = outcome.letters.iter().map(|letter| letter.event).collect();
        assert_unaltered(&buried);
        assert_eq!(buried.len(), poison.len(), "once each");
        let numbers: BTreeSet<_> = buried.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, poison);
        for letter in &outcome.letters {
            assert_eq!(letter.attempts, 3);
            assert_eq!(&*letter.failure.instance.component, "lookup");
            assert!(letter.failure.cause.to_string().contains("boom"), "{}", letter.failure);
        }
        let shown = shown(&outcome);
        assert!(shown.values().all(|times| *times == 1));
        assert!((0..events).all(|event| shown.contains_key(&event) != poison.contains(&event)));
        let counted = report.metrics.sum("numbers", |m| m.dead_lettered);
        assert_eq!(counted, poison.len() as u64);
    }
    tier::report(8, test, few + all, "events", seed, started.elapsed());
}

#[test]
fn at_most_once_drops_exactly_the_events_that_fail_and_tells_of_each() {
    let test = "at_most_once_drops_exactly_the_events_that_fail_and_tells_of_each";
    let (seed, started) = (tier::seed(test), Instant::now());
    let events = tier::times(100_000, 10_000_000);
    let failing = Failing::new(events, 10_000, 1, seed);
    let chosen = failing.chosen();
    let told = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&told);
    let most = AtMostOnce::new().on_drop(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let outcome = run(events, &failing, most);
    outcome.result.as_ref().expect("it goes on");
    let shown = shown(&outcome);
    assert!(shown.values().all(|times| *times == 1), "repeated");
    assert!((0..events).all(|event| shown.contains_key(&event) != chosen.contains(&event)));
    assert_eq!(told.load(Ordering::Relaxed), chosen.len() as u64);
    tier::report(8, test, events, "events", seed, started.elapsed());
}

#[test]
fn under_checkpoints_an_event_that_always_fails_ends_the_job_with_its_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let restarts = Restarts { limit: 3, backoff: Duration::from_millis(1), ..Restarts::default() };
    let events = 1_000;
    let failing = Failing::new(events, 0, 0, 0);
    failing.left[700].store(ALWAYS, Ordering::Relaxed);
    let exactly = ExactlyOnce::checkpoints_in(directory.path()).restarts(restarts);
    let outcome = run(events, &failing, exactly);
    let error = outcome.result.expect_err("it cannot go on");
    let JobError::Failed { failure, restarts: 3 } = &error else { panic!("{error}") };
    assert_eq!(&*failure.instance.component, "lookup");
    assert_eq!(failure.callback, "apply");
    assert!(failure.cause.to_string().contains("boom"), "{error}");
    assert!(outcome.letters.is_empty());
}

#[test]
fn events_that_always_fail_go_to_a_stream_of_their_own_under_every_guarantee_and_end_no_job() {
    let test =
        "events_that_always_fail_go_to_a_stream_of_their_own_under_every_guarantee_and_end_no_job";
    let (seed, started) = (tier::seed(test), Instant::now());
    let events = tier::times(50_000, 5_000_000);
    let directory = tempfile::tempdir().expect("a directory");
    let guarantees: [Guarantee; 4] = [
        AtMostOnce::new().into(),
        AtLeastOnce::new().into(),
        AtLeastOnce::checkpoints_in(directory.path().join("least")).into(),
        ExactlyOnce::checkpoints_in(directory.path().join("exactly")).into(),
    ];
    for guarantee in guarantees {
        let (what, seen, letters) = (guarantee.name(), Collected::new(), Collected::new());
        let job = Job::new("poison");
        let numbers =
            job.from_iter("numbers", move || (0..events).map(|number| (number, proof(number))));
        let is_poison = move |number: u64| proof(seed ^ number).is_multiple_of(10);
        let checked = numbers
            .shuffle()
            .try_map(
                move |event: Proven| {
                    if is_poison(event.0) { Err("boom".into()) } else { Ok(event) }
                },
            )
            .parallelism(2)
            .on_error(OnError::DeadLetter);
        checked.global().sink("seen", seen.factory());
        checked.dead_letters::<Proven>().global().sink("letters", letters.factory());
        let metrics = job.run(guarantee).unwrap_or_else(|error| panic!("{what}: {error}")).metrics;
        let failed: Vec<Proven> = letters.events().iter().map(|letter| letter.event).collect();
        assert_unaltered(&failed);
        assert_unaltered(&seen.events());
        assert!(failed.iter().all(|event| is_poison(event.0)), "{what}");
        assert!(seen.events().iter().all(|event| !is_poison(event.0)), "{what}");
        let all: BTreeSet<_> = failed.iter().chain(&seen.events()).map(|event| event.0).collect();
        assert_eq!(all.len() as u64, events, "{what}: lost");
        assert_eq!((failed.len() + seen.len()) as u64, events, "{what}: repeated");
        assert_eq!(metrics.restarts + metrics.total(|m| m.dropped + m.replayed), 0, "{what}");
    }
    tier::report(8, test, 4 * events, "events", seed, started.elapsed());
}
