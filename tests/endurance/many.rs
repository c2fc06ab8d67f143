//! Ten thousand instances, and more instances than the machine can run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use streamwork::{AtMostOnce, EventSender, Job, Refused};

use crate::process::{Footprint, alone, wait_until};
use crate::tier;

/// A job with this many instances of one component, the events that it has seen, and a sender to it.
fn job(instances: usize) -> (Job, Arc<AtomicU64>, EventSender<u64>) {
    let (job, seen) = (Job::new("many"), Arc::new(AtomicU64::new(0)));
    let (sender, numbers) = job.channel::<u64>("numbers", 1);
    let count = Arc::clone(&seen);
    let count = move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    };
    numbers.shuffle().map(|n| n).parallelism(instances).for_each(count);
    (job, seen, sender)
}

#[test]
fn ten_thousand_instances_start_and_stop_within_ten_seconds() {
    alone("many::ten_thousand_instances_start_and_stop_within_ten_seconds", || {
        let test = "ten_thousand_instances_start_and_stop_within_ten_seconds";
        let (began, rounds) = (Instant::now(), tier::times(1, 50));
        for _ in 0..rounds {
            let started = Instant::now();
            let (job, seen, sender) = job(10_000);
            let handle = job.start(AtMostOnce::new()).expect("this machine carries them");
            sender.send(1).expect("the job runs");
            wait_until("the event is through", || seen.load(Ordering::SeqCst) == 1);
            let footprint = Footprint::now();
            println!("an event is through after {:?}: {footprint:?}", started.elapsed());
            assert!(footprint.threads > 10_000);
            // Nothing that an instance has grows with their number.
            assert!(footprint.resident_kib < 10_000 * 64, "{footprint:?}");
            handle.stop_within(Duration::from_secs(10)).expect("it stops");
            println!("stopped after {:?}", started.elapsed());
            assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
            assert!(Footprint::now().threads < 10, "{:?}", Footprint::now());
        }
        tier::report(18, test, rounds, "cycles of 10,000", 0, began.elapsed());
    });
}

#[test]
fn twenty_thousand_instances_are_refused_before_the_first_thread() {
    alone("many::twenty_thousand_instances_are_refused_before_the_first_thread", || {
        let test = "twenty_thousand_instances_are_refused_before_the_first_thread";
        let (began, before) = (Instant::now(), Footprint::now());
        let (job, _, _sender) = job(20_000);
        let refused = job.start(AtMostOnce::new()).expect_err("that is too many");
        let Refused::TooManyInstances { instances, limit } = refused else { panic!("{refused}") };
        assert!((20_000..20_010).contains(&instances) && limit < 20_000, "{instances}, {limit}");
        assert_eq!(Footprint::now().threads, before.threads);
        tier::report(18, test, 1, "jobs refused", 0, began.elapsed());
    });
}
