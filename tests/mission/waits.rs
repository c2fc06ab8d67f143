//! No wait keeps a job from stopping, and none is longer than a checkpoint may take (faults F23 and F24).

use std::time::{Duration, Instant};

use streamwork::testkit::Collected;
use streamwork::{
    AtLeastOnce, AtMostOnce, DeadLetter, ExactlyOnce, Guarantee, Job, Outcome, Refused, RunError,
};

use crate::support::{Faults, wait_until};

/// Much longer than any test may take.
const LONG: Duration = Duration::from_secs(3600);

fn patient() -> AtLeastOnce {
    AtLeastOnce::new().backoff(LONG, LONG)
}

/// Numbers of which one fails once; where they arrive, and where dead letters do.
fn failing_once() -> (Job, Collected<u64>, Collected<DeadLetter<u64>>) {
    let (job, seen, letters) = (Job::new("waits"), Collected::new(), Collected::new());
    let faults = Faults::once([7_u64]);
    let numbers = job.from_iter("numbers", || 0..1_000_u64);
    numbers.dead_letter_sink(letters.factory());
    numbers
        .try_map(move |n| if faults.strike(&n) { Err("once".into()) } else { Ok(n) })
        .sink("seen", seen.factory());
    (job, seen, letters)
}

#[test]
fn a_stop_with_a_store_leaves_what_waits_for_its_next_attempt_to_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let (job, seen, letters) = failing_once();
    let handle = job.start(patient().store_in(directory.path())).unwrap();
    wait_until("all but one are there", || seen.len() == 999);
    let asked = Instant::now();
    let report = handle.stop_within(Duration::from_secs(30)).unwrap();
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!((report.outcome, letters.len()), (Outcome::Stopped, 0));
    job.run(patient().store_in(directory.path())).unwrap();
    assert!(seen.events().contains(&7), "it came again at the next start");
    assert_eq!(letters.len(), 0);
}

#[test]
fn a_stop_without_a_store_says_what_it_gives_up() {
    for drain in [false, true] {
        let (job, seen, letters) = failing_once();
        let handle = job.start(patient()).unwrap();
        wait_until("all but one are there", || seen.len() == 999);
        let (asked, limit) = (Instant::now(), Duration::from_secs(30));
        let ended = if drain { handle.drain(limit) } else { handle.stop_within(limit) };
        let metrics = ended.unwrap().metrics;
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        let letters = letters.events();
        assert_eq!((letters.len(), letters[0].event, letters[0].attempts), (1, 7, 1));
        assert!(letters[0].failure.to_string().contains("once"));
        assert_eq!(metrics.sum("numbers", |m| m.dead_lettered), 1);
        assert_eq!(metrics.sum("numbers", |m| m.unacknowledged), 0);
    }
}

#[test]
fn an_event_whose_next_attempt_is_due_before_the_deadline_is_tried_again_before_the_stop() {
    let directory = tempfile::tempdir().unwrap();
    let (job, seen, letters) = failing_once();
    let soon = Duration::from_millis(300);
    let guarantee = AtLeastOnce::new().backoff(soon, soon).store_in(directory.path());
    let handle = job.start(guarantee).unwrap();
    wait_until("all but one are there", || seen.len() == 999);
    handle.stop_within(Duration::from_secs(30)).unwrap();
    assert_eq!((seen.len(), letters.len()), (1_000, 0));
}

#[test]
fn a_stop_or_drain_waits_for_no_delay_and_loses_and_repeats_nothing() {
    type Choose = fn(&std::path::Path) -> (Guarantee, Duration);
    let guarantees: [Choose; 5] = [
        |_| (AtMostOnce::new().into(), LONG),
        |path| (AtMostOnce::new().store_in(path).into(), LONG),
        |_| (AtLeastOnce::new().into(), LONG),
        |path| (AtLeastOnce::new().store_in(path).into(), LONG),
        |path| (ExactlyOnce::checkpoints_in(path).into(), Duration::from_secs(50)),
    ];
    for guarantee in guarantees {
        for drain in [false, true] {
            let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
            let (guarantee, delay) = guarantee(directory.path());
            let name = guarantee.name();
            let job = Job::new("delayed");
            job.from_iter("numbers", || 0_u64..)
                .delay(delay)
                .map(|n| n)
                .parallelism(1)
                .sink("seen", seen.factory());
            let handle = job.start(guarantee).unwrap();
            wait_until("events wait", || handle.metrics().sum("numbers", |m| m.emitted) > 5_000);
            let (asked, limit) = (Instant::now(), Duration::from_secs(20));
            let ended = if drain { handle.drain(limit) } else { handle.stop_within(limit) };
            let emitted = ended.unwrap().metrics.sum("numbers", |m| m.emitted);
            assert!(asked.elapsed() < Duration::from_secs(5), "{name}: {:?}", asked.elapsed());
            assert_eq!(seen.events(), (0..emitted).collect::<Vec<_>>(), "{name}");
        }
    }
}

#[test]
fn a_delay_that_is_longer_than_a_checkpoint_may_take_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let guarantee =
        || ExactlyOnce::checkpoints_in(directory.path()).checkpoint_timeout(Duration::from_secs(3));
    let delayed = |each: Duration, times: usize| {
        let job = Job::new("delayed");
        let mut stream = job.from_iter("numbers", || 0..3_u64);
        for _ in 0..times {
            stream = stream.delay(each).map(|n| n);
        }
        stream.for_each(|_| ());
        job
    };
    for job in [delayed(Duration::from_secs(4), 1), delayed(Duration::from_secs(1), 3)] {
        match job.run(guarantee()) {
            Err(RunError::Refused(Refused::Option { option: "delay", reason })) => {
                assert!(
                    reason.contains("checkpoint_timeout") && reason.contains("map"),
                    "{reason}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    delayed(Duration::from_millis(10), 3).run(guarantee()).unwrap();
    // Without barriers nothing waits for a delay.
    delayed(Duration::from_millis(10), 1)
        .run(AtLeastOnce::new().checkpoint_timeout(Duration::from_millis(5)))
        .unwrap();
}
