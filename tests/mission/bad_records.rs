//! A record that is no event fails by itself: the source goes on (fault F6).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use streamwork::testkit::Collected;
use streamwork::{
    AtMostOnce, BoxError, Collector, DeadLetter, Instance, Job, Next, StatefulSource, Stream,
};

use crate::support::{ALL, guarantee};

/// Numbers from 0 to 99; what is not whole in tens is either rejected or skipped.
struct Readings {
    next: u64,
    skips: bool,
}

impl StatefulSource for Readings {
    type Out = u64;
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.next = state.unwrap_or(0);
        Ok(())
    }
    fn get_events(&mut self, out: &mut Collector<u64>) -> Result<Next, BoxError> {
        for n in self.next..100 {
            let error = || format!("record {n} is torn");
            match n % 10 {
                9 if self.skips => out.skip(error()),
                9 => out.reject(n, error()),
                _ => out.emit(n),
            }
        }
        self.next = 100;
        Ok(Next::End)
    }
    fn state(&self) -> u64 {
        self.next
    }
}

fn readings(job: &Job, skips: bool) -> Stream<u64> {
    job.stateful_source("readings", move || Readings { next: 0, skips })
}

#[test]
fn a_bad_record_is_dropped_or_a_dead_letter_and_the_source_goes_on() {
    for name in ALL.into_iter().filter(|name| name.starts_with("at-")) {
        let rolls_back = name.contains("checkpoint");
        let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
        let letters: Collected<DeadLetter<u64>> = Collected::new();
        let job = Job::new("readings");
        let stream = readings(&job, false);
        stream.dead_letters(letters.factory());
        stream.sink("seen", seen.factory());
        let result = job.run(guarantee(name, directory.path()));
        if rolls_back {
            let error = result.expect_err("no later attempt reads anything else").to_string();
            assert!(error.contains("readings[0]") && error.contains("record 9 is torn"), "{error}");
            continue;
        }
        let metrics = result.unwrap().metrics;
        assert_eq!(seen.events().len(), 90, "{name}");
        assert_eq!(metrics.sum("readings", |m| m.emitted), 100, "{name}");
        assert_eq!(metrics.sum("seen", |m| m.delivered), 90, "{name}");
        let (dropped, dead) =
            (metrics.total(|m| m.dropped), metrics.sum("readings", |m| m.dead_lettered));
        if name.starts_with("at-most-once") {
            assert_eq!((dropped, dead), (10, 0), "{name}");
            continue;
        }
        assert_eq!((dropped, dead), (0, 10), "{name}");
        let letters = letters.events();
        let events: Vec<u64> = letters.iter().map(|letter| letter.event).collect();
        assert_eq!(events, [9, 19, 29, 39, 49, 59, 69, 79, 89, 99], "{name}");
        assert!(letters.iter().all(|letter| letter.attempts == 1), "trying again changes nothing");
        let text = letters[1].failure.to_string();
        assert!(text.contains("record 19 is torn"), "{text}");
    }
}

#[test]
fn a_record_that_is_skipped_is_dropped_and_counted_under_every_guarantee() {
    for name in ALL {
        let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
        let job = Job::new("readings");
        readings(&job, true).sink("seen", seen.factory());
        let metrics = job.run(guarantee(name, directory.path())).unwrap().metrics;
        assert_eq!(seen.events().len(), 90, "{name}");
        assert_eq!(metrics.sum("readings", |m| m.dropped), 10, "{name}");
        assert_eq!(metrics.sum("readings", |m| m.emitted), 100, "{name}");
        metrics.accounts.iter().for_each(|account| account.check().unwrap());
    }
}

#[test]
fn the_hook_is_told_of_every_bad_record_and_what_is_wrong_with_it() {
    let (told, text) = (Arc::<AtomicU64>::default(), Arc::<Mutex<String>>::default());
    let (hook, last) = (Arc::clone(&told), Arc::clone(&text));
    let job = Job::new("readings");
    readings(&job, false).for_each(|_| ());
    job.run(AtMostOnce::new().on_drop(move |dropped| {
        hook.fetch_add(1, Ordering::Relaxed);
        *last.lock() = dropped.failure.to_string();
    }))
    .unwrap();
    assert_eq!(told.load(Ordering::Relaxed), 10);
    assert_eq!(*text.lock(), "readings[0] failed in get_events: record 99 is torn");
}
