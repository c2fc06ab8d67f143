//! State belongs to keys or to all events, and to single instances only if the job asks for it (fault F14).

use std::collections::HashMap;

use streamwork::testkit::Collected;
use streamwork::{
    AtMostOnce, BoxError, Collector, Instance, Job, JobReport, Refused, RunError, StatefulOperator,
    Stream,
};

use crate::support::{ALL, guarantee};

/// Numbers the events of each key.
#[derive(Default)]
struct Count(HashMap<u64, u64>);

impl StatefulOperator for Count {
    type In = u64;
    type Out = (u64, u64);
    type State = HashMap<u64, u64>;
    fn setup(&mut self, _: &Instance, state: Option<Self::State>) -> Result<(), BoxError> {
        self.0 = state.unwrap_or_default();
        Ok(())
    }
    fn apply(&mut self, n: u64, out: &mut Collector<(u64, u64)>) -> Result<(), BoxError> {
        let count = self.0.entry(n).or_default();
        *count += 1;
        out.emit((n, *count));
        Ok(())
    }
    fn state(&self) -> Self::State {
        self.0.clone()
    }
}

const KEYS: u64 = 10;
const EACH: u64 = 200;

fn numbers(job: &Job) -> Stream<u64> {
    job.from_iter("numbers", || (0..KEYS * EACH).map(|n| n % KEYS))
}

/// The greatest count of each key.
fn counts(seen: &Collected<(u64, u64)>) -> HashMap<u64, u64> {
    let mut counts = HashMap::new();
    for (key, count) in seen.events() {
        let newest: &mut u64 = counts.entry(key).or_default();
        *newest = count.max(*newest);
    }
    counts
}

/// How many instances counted.
fn instances(report: &JobReport) -> u64 {
    report.metrics.sum("count", |_| 1)
}

fn refused(job: &Job) -> Refused {
    match job.run(AtMostOnce::new()) {
        Err(RunError::Refused(refused)) => refused,
        other => panic!("it was not refused: {other:?}"),
    }
}

#[test]
fn state_behind_a_key_counts_each_key_in_one_place_however_many_instances_there_are() {
    for name in ALL {
        let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
        let job = Job::new("keyed");
        let spread = numbers(&job).shuffle().map(|n| n).parallelism(2);
        let keyed = spread.key_by(|n| *n).inspect(|_| {}).filter(|n| *n != 3);
        keyed
            .stateful("count", Count::default)
            .parallelism(4)
            .global()
            .sink("seen", seen.factory());
        job.run(guarantee(name, directory.path())).unwrap();
        let counts = counts(&seen);
        assert_eq!(counts.len() as u64, KEYS - 1, "{name}: {counts:?}");
        assert!(counts.values().all(|count| *count == EACH), "{name}: {counts:?}");
    }
}

#[test]
fn two_merged_streams_each_keep_their_key_and_meet_at_its_state() {
    let seen = Collected::new();
    let job = Job::new("merged");
    let tens = job.from_iter("tens", || (0..KEYS * EACH).map(|n| n % KEYS + 10));
    let left = numbers(&job).key_by(|n| *n).filter(|n| *n < 5);
    let right = tens.key_by(|n| n - 10);
    // Both have keys 0 to 9, so every instance that has a key of the one has it of the other.
    left.merge(&right)
        .stateful("count", Count::default)
        .parallelism(3)
        .global()
        .sink("seen", seen.factory());
    job.run(AtMostOnce::new()).unwrap();
    let counts = counts(&seen);
    assert_eq!(counts.len() as u64, 5 + KEYS, "{counts:?}");
    assert!(counts.values().all(|count| *count == EACH), "{counts:?}");
}

/// A key that a `map` has made meaningless was kept silently, and each key counted in four places.
#[test]
fn state_without_a_key_on_several_instances_is_refused_by_name() {
    let job = Job::new("mapped");
    let mapped = numbers(&job).key_by(|n| *n).map(|n| n + 1).parallelism(2);
    mapped.stateful("count", Count::default).parallelism(4).for_each(|_| ());
    let refused = refused(&job);
    let Refused::StateWithoutKey { component, instances: 4 } = &refused else {
        panic!("{refused}")
    };
    assert_eq!(component, "count");
    assert!(refused.to_string().contains("key_by"), "{refused}");
}

#[test]
fn state_without_a_key_has_one_instance_whatever_is_before_it() {
    let seen = Collected::new();
    let job = Job::new("spread");
    let spread = numbers(&job).shuffle().map(|n| n).parallelism(3);
    spread.stateful("count", Count::default).sink("seen", seen.factory());
    let report = job.run(AtMostOnce::new()).unwrap();
    assert!(counts(&seen).values().all(|count| *count == EACH));
    assert_eq!(instances(&report), 1);
}

#[test]
fn a_forwarded_stream_of_several_instances_into_state_is_refused_too() {
    let job = Job::new("forwarded");
    let spread = numbers(&job).shuffle().map(|n| n).parallelism(3);
    spread.forward().stateful("count", Count::default).for_each(|_| ());
    let refused = refused(&job);
    assert!(matches!(&refused, Refused::StateWithoutKey { instances: 3, .. }), "{refused}");
}

#[test]
fn each_instance_counts_for_itself_where_that_is_said_and_where_it_means_something() {
    let seen = Collected::new();
    let job = Job::new("per instance");
    let spread = numbers(&job).shuffle().map(|n| n).parallelism(3);
    let counted = spread.stateful("count", Count::default).per_instance();
    counted.global().sink("seen", seen.factory());
    let report = job.run(AtMostOnce::new()).unwrap();
    assert_eq!(instances(&report), 3, "as many as the stream has");
    assert_eq!(seen.len() as u64, KEYS * EACH);
    assert!(counts(&seen).values().all(|count| *count < EACH), "each saw a part of them");

    for stateless in [true, false] {
        let job = Job::new("no state");
        let numbers = numbers(&job);
        let made = match stateless {
            true => numbers.map(|n| (n, n)).named("made"),
            false => numbers.key_by(|n| *n).stateful("made", Count::default),
        };
        made.per_instance().for_each(|_| ());
        let refused = refused(&job);
        let Refused::Option { option: "per_instance", reason } = &refused else {
            panic!("{refused}")
        };
        assert!(reason.contains("\"made\""), "{reason}");
    }
}
