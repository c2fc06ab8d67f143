//! A key function is a callback like `apply`: one that panics fails the event at hand, by name, and no
//! other (fault F5).

use std::sync::Arc;

use parking_lot::Mutex;
use streamwork::testkit::Collected;
use streamwork::{AtLeastOnce, AtMostOnce, DeadLetter, ExactlyOnce, Job, JobError, RunError};

use crate::support::{ALL, Faults, counts, guarantee};

const EVENTS: u64 = 5_000;

#[test]
fn a_key_that_panics_once_fails_that_event_alone_under_every_guarantee() {
    for name in ALL {
        for behind_an_operator in [false, true] {
            let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
            let panics = Faults::once([7_u64, 3_000]);
            let job = Job::new("keys");
            let numbers = job.from_iter("numbers", || 0..EVENTS);
            let numbers = if behind_an_operator { numbers.map(|n| n) } else { numbers };
            numbers
                .key_by(move |n| {
                    assert!(!panics.strike(n), "no key for {n}");
                    *n
                })
                .map(|n| n)
                .named("keyed")
                .parallelism(2)
                .sink("seen", seen.factory());
            let metrics = job.run(guarantee(name, directory.path())).unwrap().metrics;
            let seen = counts(seen.events());
            let (dropped, replayed) =
                (metrics.total(|m| m.dropped), metrics.sum("numbers", |m| m.replayed));
            metrics.accounts.iter().for_each(|account| account.check().unwrap());
            if name.starts_with("at-most-once") {
                assert_eq!((dropped, metrics.restarts), (2, 0), "{name}");
                assert_eq!(metrics.sum("keyed", |m| m.dropped), 2, "{name}");
                assert_eq!(seen.len() as u64, EVENTS - 2, "{name}");
                assert!(!seen.contains_key(&7) && !seen.contains_key(&3_000), "{name}");
                continue;
            }
            assert_eq!(seen.len() as u64, EVENTS, "{name}: an event was lost");
            assert_eq!(dropped, 0, "{name}");
            if name.contains("checkpoint") || name == "exactly-once" {
                assert_eq!(metrics.restarts, 2, "{name}");
            } else {
                assert_eq!((replayed, metrics.restarts), (2, 0), "{name}");
            }
        }
    }
}

#[test]
fn a_key_that_always_panics_is_named_and_is_the_fate_of_its_event_alone() {
    let key = |n: &u64| {
        assert!(*n != 42, "no key for {n}");
        *n
    };
    let named = "numbers[0] failed in key: panicked: no key for 42";

    let (told, seen) = (Arc::<Mutex<Vec<String>>>::default(), Collected::new());
    let hook = Arc::clone(&told);
    let job = Job::new("keys");
    let numbers = job.from_iter("numbers", || 0..100_u64);
    numbers.key_by(key).map(|n| n).parallelism(2).sink("seen", seen.factory());
    job.run(
        AtMostOnce::new().on_drop(move |dropped| hook.lock().push(dropped.failure.to_string())),
    )
    .unwrap();
    assert_eq!((seen.len(), &told.lock()[..]), (99, &[named.to_owned()][..]));

    let (letters, seen) = (Collected::<DeadLetter<u64>>::new(), Collected::new());
    let job = Job::new("keys");
    let numbers = job.from_iter("numbers", || 0..100_u64);
    numbers.dead_letter_sink(letters.factory());
    numbers.key_by(key).map(|n| n).parallelism(2).sink("seen", seen.factory());
    job.run(AtLeastOnce::new().attempts_max(3)).unwrap();
    let letters = letters.events();
    assert_eq!((seen.len(), letters.len()), (99, 1));
    assert_eq!((letters[0].event, letters[0].attempts), (42, 3));
    assert_eq!(letters[0].failure.to_string(), named);

    let directory = tempfile::tempdir().unwrap();
    let job = Job::new("keys");
    job.from_iter("numbers", || 0..100_u64).key_by(key).for_each(|_| ()).parallelism(2);
    let error = job.run(ExactlyOnce::checkpoints_in(directory.path())).unwrap_err();
    let RunError::Failed(JobError::Failed { failure, .. }) = error else { panic!("{error}") };
    assert_eq!(failure.to_string(), named);
}

#[test]
fn an_event_without_a_key_fails_also_where_there_is_only_one_instance_to_go_to() {
    let seen = Collected::new();
    let job = Job::new("one");
    job.from_iter("numbers", || 0..EVENTS)
        .key_by(|n| {
            assert!(*n != 42, "no key for {n}");
            *n
        })
        .map(|n| n)
        .sink("seen", seen.factory());
    let metrics = job.run(AtMostOnce::new()).unwrap().metrics;
    assert_eq!(metrics.sum("map", |m| m.dropped), 1);
    assert_eq!(seen.events(), (0..EVENTS).filter(|n| *n != 42).collect::<Vec<_>>());
}
