//! Smoke.
use std::time::{Duration, Instant};
use streamwork::testkit::Collected;
use streamwork::*;

#[test]
fn smoke_all() {
    for g in ["amo", "alo", "alop", "aloc", "eo"] {
        let dir = tempfile::tempdir().unwrap();
        let seen = Collected::new();
        let job = Job::new("j");
        job.from_iter("n", || 0..100_000_u64)
            .map(|n| n + 1)
            .key_by(|n| *n)
            .filter(|n| n % 2 == 0).parallelism(3)
            .shuffle()
            .map(|n| n / 2).parallelism(2)
            .sink("s", seen.factory()).own_thread();
        let guarantee: Guarantee = match g {
            "amo" => AtMostOnce::new().into(),
            "alo" => AtLeastOnce::new().into(),
            "alop" => AtLeastOnce::new().store_in(dir.path()).into(),
            "aloc" => AtLeastOnce::checkpoints_in(dir.path()).into(),
            _ => ExactlyOnce::checkpoints_in(dir.path()).into(),
        };
        let t = Instant::now();
        let r = job.run(guarantee).unwrap();
        println!("{g}: {:?} {:?} ckpt {}", t.elapsed(), r.outcome, r.metrics.checkpoints);
        let mut e = seen.events();
        e.sort();
        assert_eq!(e, (1..=50_000).collect::<Vec<_>>());
    }
}

#[test]
fn stop_endless() {
    for g in ["amo", "alo", "eo"] {
        let dir = tempfile::tempdir().unwrap();
        let job = Job::new("j");
        job.from_iter("n", || 0_u64..).map(|n| n + 1).own_thread().for_each(|_| ());
        let guarantee: Guarantee = match g {
            "amo" => AtMostOnce::new().into(),
            "alo" => AtLeastOnce::new().into(),
            _ => ExactlyOnce::checkpoints_in(dir.path()).every(Duration::from_millis(20)).into(),
        };
        let h = job.start(guarantee).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let r = h.stop_within(Duration::from_secs(5)).unwrap();
        println!("{g} {:?} {} ckpts, {} events", r.outcome, r.metrics.checkpoints, r.metrics.sum("n", |m| m.emitted));
    }
}
