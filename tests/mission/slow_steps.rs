//! A step that takes 20 ms an event, at any place of the job and with all defaults: the first result comes at
//! once, a checkpoint completes each second, and a stop does not wait for a long backlog (fault F21).

use std::path::Path;
use std::sync::Arc;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use streamwork::{AtLeastOnce, AtMostOnce, ExactlyOnce, Guarantee, Job, Outcome, Stream};

use crate::support::ALL;

const STEP: Duration = Duration::from_millis(20);

/// The guarantee of that name as it is if nothing is set, but the store.
fn by_default(name: &str, directory: &Path) -> Guarantee {
    match name {
        "at-most-once" => AtMostOnce::new().into(),
        "at-most-once stored" => AtMostOnce::new().store_in(directory).into(),
        "at-least-once" => AtLeastOnce::new().into(),
        "at-least-once stored" => AtLeastOnce::new().store_in(directory).into(),
        "at-least-once-checkpoint" => AtLeastOnce::checkpoints_in(directory).into(),
        "exactly-once" => ExactlyOnce::checkpoints_in(directory).into(),
        other => panic!("no guarantee is named {other}"),
    }
}

fn slow(n: u64) -> u64 {
    sleep(STEP);
    n
}

/// Runs jobs of this shape for four seconds at most, under every guarantee at once, and stops them.
fn is_prompt(shape: impl Fn(&Stream<u64>) -> Stream<u64> + Sync) {
    is_prompt_with(1, shape);
}

/// As [`is_prompt`], with this many sources merged.
fn is_prompt_with(sources: usize, shape: impl Fn(&Stream<u64>) -> Stream<u64> + Sync) {
    let late = Mutex::new(Vec::new());
    scope(|scope| {
        for name in ALL {
            let (shape, late) = (&shape, &late);
            scope.spawn(move || {
                let directory = tempfile::tempdir().unwrap();
                let job = Job::new("slow");
                let source = |number| job.from_iter(format!("numbers {number}"), || 0..5_000_u64);
                let first = source(0);
                let numbers = (1..sources).fold(first, |all, number| all.merge(&source(number)));
                let first = Arc::new(Mutex::new(None));
                let seen = Arc::clone(&first);
                shape(&numbers).for_each(move |_| {
                    seen.lock().get_or_insert_with(Instant::now);
                });
                let began = Instant::now();
                let handle = job.start(by_default(name, directory.path())).unwrap();
                let wanted = if name == "at-most-once" || name == "at-least-once" { 0 } else { 3 };
                // They begin after one, two and three seconds.
                let mut checkpoints = 0;
                while began.elapsed() < Duration::from_secs(4) && (wanted == 0 || checkpoints < wanted) {
                    sleep(Duration::from_millis(10));
                    checkpoints = handle.metrics().checkpoints;
                }
                let stopping = Instant::now();
                let stopped = handle.stop_within(Duration::from_secs(20)).map(|report| report.outcome);
                let stop = stopping.elapsed();
                let first = first.lock().map(|at: Instant| at.duration_since(began));
                let is_late = first.is_none_or(|after| after > Duration::from_millis(300))
                    || stop > Duration::from_secs(2)
                    || !matches!(stopped, Ok(Outcome::Stopped))
                    || checkpoints < wanted;
                let told = format!(
                    "{name}: first event after {first:?}, {checkpoints} checkpoints, stop took {stop:?}: {stopped:?}"
                );
                println!("{told}");
                if is_late {
                    late.lock().push(told);
                }
            });
        }
    });
    let late = late.into_inner();
    assert!(late.is_empty(), "{}", late.join("\n"));
}

#[test]
fn a_slow_step_in_a_chain_of_one_thread_is_never_far_behind() {
    is_prompt(|numbers| numbers.map(|n| n + 1).map(slow).map(|n| n + 1));
}

#[test]
fn a_slow_step_on_a_thread_of_its_own_is_never_far_behind() {
    is_prompt(|numbers| numbers.map(slow).own_thread());
}

#[test]
fn the_third_of_five_threads_is_slow_and_those_before_it_take_on_no_more_than_it_does() {
    is_prompt(|numbers| {
        let fast = |n: u64| n + 1;
        let second = numbers.map(fast).own_thread().map(fast).own_thread();
        second.map(slow).own_thread().map(fast).own_thread().map(fast).own_thread()
    });
}

#[test]
fn sixteen_inputs_of_a_slow_step_have_no_more_under_way_than_one() {
    is_prompt_with(16, |numbers| numbers.map(slow).own_thread());
}
