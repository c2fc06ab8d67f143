//! A job processes all events that it has accepted, and a sender to a job that accepts no more gets an
//! error (faults F9 and F10).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use streamwork::testkit::Collected;
use streamwork::{
    AtMostOnce, BoxError, Collector, Guarantee, Job, Next, OnStop, Outcome, Restarts, SendError,
    Source, SourceOutput,
};

use crate::support::{ALL, Faults, guarantee, wait_until};

/// Guarantees that take sources which cannot be rewound.
fn without_rollback() -> impl Iterator<Item = &'static str> {
    ALL.into_iter().filter(|name| !name.contains("checkpoint") && !name.contains("exactly"))
}

#[test]
fn all_that_was_accepted_before_a_stop_or_drain_is_processed_under_every_guarantee() {
    for name in without_rollback() {
        for drain in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let (seen, accepted) = (Collected::new(), Arc::new(AtomicU64::new(0)));
            let job = Job::new("server");
            let (sender, stream) = job.channel("requests", 5_000);
            stream
                .map(|n: u64| {
                    // So slow that the channel is full.
                    std::thread::sleep(Duration::from_micros(10));
                    n
                })
                .parallelism(2)
                .sink("seen", seen.factory());
            let handle = job.start(guarantee(name, directory.path())).unwrap();
            let senders: Vec<_> = (0..3)
                .map(|_| {
                    let (sender, accepted) = (sender.clone(), Arc::clone(&accepted));
                    std::thread::spawn(move || {
                        while sender.send(accepted.load(Ordering::SeqCst)).is_ok() {
                            accepted.fetch_add(1, Ordering::SeqCst);
                        }
                    })
                })
                .collect();
            let emitted = || handle.metrics().sum("requests", |m| m.emitted);
            wait_until("a full channel", || emitted() > 0 && sender.waiting() == 5_000);
            let report = if drain {
                handle.drain(Duration::from_secs(20)).unwrap()
            } else {
                handle.stop_within(Duration::from_secs(20)).unwrap()
            };
            senders.into_iter().for_each(|sender| sender.join().unwrap());
            let accepted = accepted.load(Ordering::SeqCst);
            assert!(accepted > 5_000, "{name}");
            assert_eq!(seen.events().len() as u64, accepted, "{name}, drain: {drain}");
            assert_eq!(report.metrics.sum("requests", |m| m.emitted), accepted, "{name}");
            assert_eq!(sender.waiting(), 0, "{name}");
            assert_eq!(sender.try_send(0), Err(SendError::Closed(0)), "{name}");
            let outcome = if drain { Outcome::Drained } else { Outcome::Stopped };
            assert_eq!(report.outcome, outcome);
        }
    }
}

#[test]
fn senders_learn_that_a_job_has_failed_while_it_still_exists_also_those_that_wait() {
    let job = Job::new("failing");
    let (sender, stream) = job.channel("numbers", 10);
    let fails = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    stream.for_each(move |_: u64| {
        while !failing.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        panic!("for good");
    });
    let handle = job.start(AtMostOnce::new().restarts(Restarts::never())).unwrap();
    let waiting = sender.clone();
    let blocked = std::thread::spawn(move || {
        loop {
            if let Err(closed) = waiting.send(1) {
                break closed;
            }
        }
    });
    wait_until("a full channel", || sender.waiting() == 10);
    drop(handle);
    fails.store(true, Ordering::SeqCst);
    let asked = Instant::now();
    assert_eq!(blocked.join().unwrap(), SendError::Closed(1));
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert_eq!(sender.send(2), Err(SendError::Closed(2)));
    assert_eq!(sender.try_send(3), Err(SendError::Closed(3)));
    drop(job);
}

#[test]
fn a_job_that_fails_for_good_closes_its_channel_and_says_how_many_events_it_left() {
    let job = Job::new("failing");
    let (sender, stream) = job.channel("numbers", 100_000);
    stream.operator("bad", || Bad).for_each(|_: u64| ());
    for n in 0..100_000 {
        sender.send(n).unwrap();
    }
    let error = job.run(streamwork::AtLeastOnce::new().restarts(Restarts::never())).unwrap_err();
    assert!(error.to_string().contains("bad"), "{error}");
    assert_eq!(sender.send(7), Err(SendError::Closed(7)));
    assert!(sender.waiting() > 0, "it failed before it had taken all of them");
}

/// Panics at its first event, and cannot be set up a second time.
struct Bad;

impl streamwork::Operator for Bad {
    type In = u64;
    type Out = u64;
    fn apply(&mut self, _: u64, _: &mut Collector<u64>) -> Result<(), BoxError> {
        panic!("for good");
    }
    fn setup(&mut self, _: &streamwork::Instance) -> Result<(), BoxError> {
        static BUILT: AtomicBool = AtomicBool::new(false);
        if BUILT.swap(true, Ordering::SeqCst) { Err("only once".into()) } else { Ok(()) }
    }
}

#[test]
fn a_job_that_is_run_again_takes_events_again_and_first_those_that_were_left() {
    let (seen, job) = (Collected::new(), Job::new("twice"));
    let (sender, stream) = job.channel("numbers", 10);
    stream.sink("seen", seen.factory());
    sender.send(1).unwrap();
    let handle = job.start(Guarantee::default()).unwrap();
    sender.send(2).unwrap();
    handle.drain(Duration::from_secs(10)).unwrap();
    assert_eq!(sender.send(3), Err(SendError::Closed(3)));
    let handle = job.start(Guarantee::default()).unwrap();
    sender.send(4).unwrap();
    drop(sender);
    assert_eq!(handle.wait().unwrap().outcome, Outcome::Finished);
    assert_eq!(seen.events(), [1, 2, 4]);
}

#[test]
fn a_job_that_is_dropped_without_having_run_closes_its_channels() {
    let job = Job::new("never");
    let (sender, stream) = job.channel("numbers", 10);
    stream.for_each(|_: u64| ());
    sender.send(1).unwrap();
    drop(job);
    assert_eq!(sender.send(2), Err(SendError::Closed(2)));
    assert_eq!(sender.waiting(), 1);
}

/// Accepts events from a counter until it is told to stop; then emits the accepted events, one by one.
struct Accepting {
    accepted: Arc<AtomicU64>,
    emitted: Arc<AtomicU64>,
    closed: Arc<AtomicBool>,
    panics: Faults<&'static str>,
}

impl Source for Accepting {
    type Out = u64;
    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        if !self.closed.load(Ordering::SeqCst) {
            self.accepted.fetch_add(1, Ordering::SeqCst);
            return Ok(Next::After(Duration::from_micros(100)));
        }
        if self.panics.strike(&"get_events") {
            return Err("in the middle of the rest".into());
        }
        if self.emitted.load(Ordering::SeqCst) == self.accepted.load(Ordering::SeqCst) {
            return Ok(Next::End);
        }
        out.emit(self.emitted.fetch_add(1, Ordering::SeqCst));
        Ok(Next::After(Duration::from_micros(10)))
    }
    fn on_stop(&mut self) -> OnStop {
        assert!(!self.panics.strike(&"on_stop"), "before it has closed");
        self.closed.store(true, Ordering::SeqCst);
        OnStop::EmitRest
    }
}

#[test]
fn a_source_that_fails_while_it_emits_the_rest_is_built_anew_and_emits_all_of_it() {
    for fault in ["none", "on_stop", "get_events"] {
        let (accepted, emitted) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (closed, panics) = (Arc::<AtomicBool>::default(), Faults::once([fault]));
        let watched = Arc::clone(&accepted);
        let job = Job::new("accepting");
        job.source("accepting", move || Accepting {
            accepted: Arc::clone(&accepted),
            emitted: Arc::clone(&emitted),
            closed: Arc::clone(&closed),
            panics: panics.clone(),
        })
        .for_each(|_| ());
        let handle = job.start(Guarantee::default()).unwrap();
        wait_until("some are accepted", || watched.load(Ordering::SeqCst) > 100);
        let report = handle.stop_within(Duration::from_secs(10)).unwrap();
        let delivered = report.metrics.sum("for_each", |m| m.delivered);
        assert_eq!(delivered, watched.load(Ordering::SeqCst), "{fault}");
    }
}
