//! [E1]: the same job, the same components, any guarantee, by changing one value.

use std::time::Duration;

use streamwork::testkit::Collected;
use streamwork::{AtLeastOnce, AtMostOnce, ExactlyOnce, Guarantee, Job, Restarts};

use crate::support::{ALL, Faults, counts, guarantee};

#[test]
fn one_job_runs_under_every_guarantee_without_a_change() {
    let seen = Collected::new();
    let job = Job::new("same");
    job.from_iter("numbers", || 0..10_000_u64)
        .partition_by(|n| n % 10)
        .filter(|n| n % 3 != 0)
        .parallelism(3)
        .shuffle()
        .flat_map(|n| [n, n + 1])
        .parallelism(2)
        .sink("seen", seen.factory());
    let expected = (0..10_000).filter(|n| n % 3 != 0).flat_map(|n| [n, n + 1]);
    let expected = counts(expected);
    let mut before = Vec::new();
    for name in ALL {
        let directory = tempfile::tempdir().unwrap();
        job.run(guarantee(name, directory.path())).unwrap();
        let now = seen.events();
        assert_eq!(counts(now[before.len()..].iter().copied()), expected, "{name}");
        before = now;
    }
}

#[test]
fn with_the_same_faults_each_guarantee_does_what_it_says_to_the_same_job() {
    let lost_and_repeated = |guarantee: Guarantee| {
        let faults = Faults::once((0..50_000_u64).filter(|n| n % 10_000 == 777));
        let seen = Collected::new();
        let job = Job::new("faults");
        job.from_iter("numbers", || 0..50_000_u64)
            .try_map(move |n| if faults.strike(&n) { Err("struck".into()) } else { Ok(n) })
            .sink("seen", seen.factory());
        job.run(guarantee).unwrap();
        let counted = counts(seen.events());
        let repeated: usize = counted.values().map(|n| n - 1).sum();
        (50_000 - counted.len(), repeated)
    };
    let directory = || tempfile::tempdir().unwrap();
    let (a, b) = (directory(), directory());
    let restarts = Restarts { backoff: Duration::from_millis(1), ..Restarts::unlimited() };

    let (lost, repeated) = lost_and_repeated(AtMostOnce::new().into());
    assert_eq!((lost, repeated), (5, 0));
    let (lost, _) = lost_and_repeated(AtLeastOnce::new().into());
    assert_eq!(lost, 0);
    // A plain sink shows what a rollback repeats, under either kind of checkpoints.
    let hourly = Duration::from_secs(3600);
    let unaligned = AtLeastOnce::checkpoints_in(a.path()).every(hourly).restarts(restarts);
    let (lost, repeated) = lost_and_repeated(unaligned.into());
    assert!(lost == 0 && repeated > 0, "lost {lost}, repeated {repeated}");
    let aligned = ExactlyOnce::checkpoints_in(b.path()).every(hourly).restarts(restarts);
    let (lost, repeated) = lost_and_repeated(aligned.into());
    assert!(lost == 0 && repeated > 0, "lost {lost}, repeated {repeated}");
}
