//! Consumers that are too slow or stand still: memory is bounded, and checkpoints complete.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, ExactlyOnce, Guarantee, Instance, Job, JobHandle, Next,
    SourceOutput, StatefulSource,
};

use crate::process::{Footprint, alone, wait_until};
use crate::tier;

/// An event of half a kibibyte.
type Heavy = Vec<u8>;

const EVENT_BYTES: u64 = 512;

/// Queues of eight batches with 1,024 events each, and one batch at each of their ends.
const QUEUE_EVENTS: u64 = 10 * 1_024;

/// The size of the replay buffer of a source, in addition.
const REPLAY_EVENTS: u64 = 65_536;

/// Emits without end, as fast as it can: some hundred megabytes a second.
struct Endless {
    next: u64,
    pace: Pace,
}

/// What a source instance does next.
enum Pace {
    Fast,
    /// After its first events it has no more.
    Silent,
    /// Its callback does not return while another thread has this lock.
    Held(Arc<Mutex<()>>),
}

impl StatefulSource for Endless {
    type Out = Heavy;
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.next = state.unwrap_or(0);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<Heavy>) -> Result<Next, BoxError> {
        if let Pace::Held(gate) = &self.pace {
            drop(gate.lock());
        }
        if matches!(self.pace, Pace::Silent) && self.next > 0 {
            return Ok(Next::WhenWoken);
        }
        for _ in 0..out.room() {
            out.emit(vec![7; EVENT_BYTES as usize - 32]);
            self.next += 1;
        }
        Ok(Next::Now)
    }
    fn state(&self) -> u64 {
        self.next
    }
}

/// Keeps a processor busy: no timer is as short.
fn work(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// The largest growth of memory while the job ran for this long.
fn peak_kib(handle: &JobHandle, before: Footprint, time: Duration) -> u64 {
    let until = Instant::now() + time;
    let mut peak = 0;
    while Instant::now() < until {
        assert!(!handle.is_finished(), "the job has ended by itself");
        peak = peak.max(Footprint::now().resident_kib.saturating_sub(before.resident_kib));
        std::thread::sleep(Duration::from_millis(5));
    }
    peak
}

/// A sink a hundred times slower than the source, which then stands still and then continues.
fn slow_and_still(guarantee: Guarantee, kept_events: u64) {
    let name = guarantee.name();
    let gate = Arc::new(Mutex::new(()));
    let hold = Arc::clone(&gate);
    let before = Footprint::now();
    let job = Job::new("slow");
    job.stateful_source("endless", || Endless { next: 0, pace: Pace::Fast })
        .shuffle()
        .map(|event| event)
        .parallelism(2)
        .for_each(move |_| {
            drop(hold.lock());
            std::thread::sleep(Duration::from_micros(50));
        })
        .own_thread();
    let handle = job.start(guarantee).expect("the job starts");
    let delivered = || handle.metrics().sum("for_each", |m| m.delivered);
    let phase = Duration::from_millis(tier::times(700, 600_000));
    let slow = peak_kib(&handle, before, phase);
    let shut = gate.lock();
    let still = peak_kib(&handle, before, phase);
    let stood_at = delivered();
    drop(shut);
    wait_until("the consumer goes on", || delivered() > stood_at);
    let limit = (4 * QUEUE_EVENTS + kept_events) * EVENT_BYTES / 1_024 + 64 * 1_024;
    println!("{name}: {slow} KiB while slow, {still} KiB while still, {limit} KiB allowed");
    assert!(slow.max(still) < limit, "{name}: {slow} and {still} KiB, {limit} allowed");
    let emitted = handle.metrics().sum("endless", |m| m.emitted);
    assert!(emitted < delivered() + 4 * QUEUE_EVENTS + kept_events, "{name}: {emitted} emitted");
    // Events in flight would take their time.
    let _ = handle.stop_within(Duration::from_millis(1));
}

#[test]
fn a_consumer_that_is_far_too_slow_or_stands_still_costs_bounded_memory() {
    alone("pressure::a_consumer_that_is_far_too_slow_or_stands_still_costs_bounded_memory", || {
        let test = "a_consumer_that_is_far_too_slow_or_stands_still_costs_bounded_memory";
        let began = Instant::now();
        let directory = tempfile::tempdir().expect("a directory");
        let often = Duration::from_millis(20);
        slow_and_still(AtMostOnce::new().into(), 0);
        slow_and_still(AtLeastOnce::new().into(), REPLAY_EVENTS);
        let exactly = ExactlyOnce::checkpoints_in(directory.path().join("exactly")).every(often);
        slow_and_still(exactly.into(), 0);
        tier::report(9, test, began.elapsed().as_secs(), "seconds of pressure", 0, began.elapsed());
    });
}

#[test]
fn checkpoints_complete_under_back_pressure_with_one_of_sixteen_inputs_standing_still() {
    let path = "checkpoints_complete_under_back_pressure_with_one_of_sixteen_inputs_standing_still";
    alone(&format!("pressure::{path}"), || {
        let began = Instant::now();
        let directory = tempfile::tempdir().expect("a directory");
        let before = Footprint::now();
        let gate = Arc::new(Mutex::new(()));
        let hold = Arc::clone(&gate);
        let started = Arc::new(Mutex::new(0));
        let job = Job::new("fan-in");
        job.stateful_source("endless", move || {
            let mut started = started.lock();
            *started += 1;
            let pace = match *started {
                1 => Pace::Silent,
                2 => Pace::Held(Arc::clone(&hold)),
                _ => Pace::Fast,
            };
            Endless { next: 0, pace }
        })
        .parallelism(16)
        .global()
        .for_each(|_| work(Duration::from_micros(3)))
        .own_thread();
        let guarantee = ExactlyOnce::checkpoints_in(directory.path())
            .every(Duration::from_millis(10))
            .stop_within(Duration::from_secs(60));
        let handle = job.start(guarantee).expect("the job starts");
        let done = || handle.metrics().checkpoints;
        wait_until("checkpoints complete", || done() >= 3);
        // One input stands still in its callback: its barrier cannot come.
        let shut = gate.lock();
        let phase = Duration::from_millis(tier::times(1_500, 1_800_000));
        let peak = peak_kib(&handle, before, phase);
        let stood_at = done();
        drop(shut);
        wait_until("checkpoints go on", || done() >= stood_at + 3);
        let peak = peak.max(peak_kib(&handle, before, phase));
        let limit = 16 * QUEUE_EVENTS * EVENT_BYTES / 1_024 + 64 * 1_024;
        let checkpoints = done();
        println!("{checkpoints} checkpoints, {peak} KiB, {limit} KiB allowed");
        assert!(peak < limit, "{peak} KiB, {limit} allowed");
        let report = handle.stop_within(Duration::from_secs(60)).expect("it stops");
        let emitted = report.metrics.sum("endless", |m| m.emitted);
        assert_eq!(report.metrics.sum("for_each", |m| m.delivered), emitted);
        assert_eq!(report.metrics.checkpoints_failed, 0);
        tier::report(9, path, checkpoints, "checkpoints under pressure", 0, began.elapsed());
    });
}
