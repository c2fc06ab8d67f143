//! What a guarantee costs: the keyed job as fast as it goes, and how late its updates are at a given pace; both also while an
//! instance fails every second.
//!
//! Each run knows what its sources have emitted and holds the state to it. A run whose guarantee did not keep its word is an error
//! and has no figures.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use streamwork::{AtLeastOnce, AtMostOnce, BoxError, ExactlyOnce, Guarantee, Instance, Job, Next, Restarts, Sink, SourceOutput, StatefulSource};

use crate::measure::{self, Outcome};
use crate::ours::failing::{EVERY, Failing, World};
use crate::ours::keyed;
use crate::ours::latency::Paced;
use crate::pace::{self, Arrived, Latencies, Pace};
use crate::record::{Counted, Transaction, Update};
use crate::workloads::{RATE, Task};

/// Enough for failures after one, two and three seconds, and for what they cost.
const AS_FAST_AS_IT_GOES_FOR: Duration = Duration::from_millis(3600);

/// How many failures a second.
#[derive(Clone, Copy)]
enum Failures {
    None,
    OncePerSecond,
}

/// What may become of an event when an instance fails.
#[derive(Clone, Copy)]
enum Promise {
    MayBeLost,
    MayCountTwice,
    Neither,
}

impl Promise {
    /// Events too many (+) or too few (-) in the state.
    ///
    /// # Errors
    /// They are more than was promised.
    fn off(self, failures: u64, emitted: Counted, counted: Counted) -> Result<i64, BoxError> {
        let off = counted.events as i64 - emitted.events as i64;
        let kept = match self {
            _ if failures == 0 => counted == emitted,
            Self::MayBeLost => off <= 0,
            Self::MayCountTwice => off >= 0,
            Self::Neither => counted == emitted,
        };
        if kept {
            return Ok(off);
        }
        Err(format!("the state knows of {counted:?}, emitted were {emitted:?}").into())
    }
}

/// A guarantee, and where it may keep its checkpoints.
struct Semantic {
    promise: Promise,
    guarantee: fn(&Path) -> Guarantee,
}

const AT_MOST_ONCE: Semantic = Semantic {
    promise: Promise::MayBeLost,
    guarantee: |_| AtMostOnce::new().every(EVERY).restarts(Restarts::unlimited()).into(),
};

const ACKNOWLEDGED: Semantic = Semantic {
    promise: Promise::MayCountTwice,
    guarantee: |_| AtLeastOnce::new().every(EVERY).restarts(Restarts::unlimited()).into(),
};

const CHECKPOINTED: Semantic = Semantic {
    promise: Promise::MayCountTwice,
    guarantee: |directory| {
        AtLeastOnce::checkpoints_in(directory).every(EVERY).restarts(Restarts::unlimited()).into()
    },
};

const EXACTLY_ONCE: Semantic = Semantic {
    promise: Promise::Neither,
    guarantee: |directory| {
        ExactlyOnce::checkpoints_in(directory).every(EVERY).restarts(Restarts::unlimited()).into()
    },
};

/// Emits every n-th transaction until its time is up.
struct Timed {
    accounts: u64,
    until: Instant,
    next: u64,
    step: u64,
    /// Where each instance was when it ended.
    ended: Ended,
}

type Ended = Arc<Mutex<BTreeMap<u64, u64>>>;

impl StatefulSource for Timed {
    type Out = Transaction;
    type State = u64;

    fn setup(&mut self, instance: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.step = instance.parallelism() as u64;
        self.next = state.unwrap_or(instance.index() as u64);
        Ok(())
    }

    fn get_events(&mut self, out: &mut SourceOutput<Transaction>) -> Result<Next, BoxError> {
        if Instant::now() >= self.until {
            let mut ended = self.ended.lock().map_err(|_| "poisoned")?;
            // Overwritten by an instance that has gone back and ends once more.
            ended.insert(self.next % self.step, self.next);
            return Ok(Next::End);
        }
        for _ in 0..out.room() {
            out.emit(Transaction::of(self.next, self.accounts));
            self.next += self.step;
        }
        Ok(Next::Now)
    }

    fn state(&self) -> u64 {
        self.next
    }
}

/// Notes when updates arrive for the first time.
struct FirstArrivals {
    arrived: Arc<Arrived>,
    own: Latencies,
    shared: Arc<Mutex<Histogram<u64>>>,
}

impl Sink for FirstArrivals {
    type In = Update;

    fn write(&mut self, update: Update) -> Result<(), BoxError> {
        if self.arrived.is_first(update.id) {
            self.own.arrived(update.id);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        self.own.move_into(&self.shared);
        Ok(())
    }
}

/// What has arrived since the last flush has arrived, also when the job goes back and leaves this instance behind.
impl Drop for FirstArrivals {
    fn drop(&mut self) {
        self.own.move_into(&self.shared);
    }
}

/// Runs the job to its end and lets an instance fail after each full second before `time` is over. How often one did, and how
/// long it took.
fn run(
    job: &Job,
    guarantee: Guarantee,
    world: &World,
    failures: Failures,
    opened: Instant,
    time: Duration,
) -> Result<(u64, Duration), BoxError> {
    let started = Instant::now();
    let handle = job.start(guarantee)?;
    if matches!(failures, Failures::OncePerSecond) {
        for second in (1..).map(Duration::from_secs).take_while(|second| *second < time) {
            thread::sleep((opened + second).saturating_duration_since(Instant::now()));
            world.fail();
        }
    }
    handle.wait()?;
    Ok((world.failures.load(Ordering::Relaxed), started.elapsed()))
}

/// As fast as it goes: the rate, and how far the state is off.
fn throughput(
    task: &Task,
    failures: Failures,
    semantic: &Semantic,
) -> Result<(f64, u64, i64), BoxError> {
    let directory = measure::directory()?;
    let (world, ended) = (Arc::new(World::default()), Ended::default());
    let opened = Instant::now();
    let (accounts, until) = (task.accounts, opened + AS_FAST_AS_IT_GOES_FOR);
    let (of_operator, of_source) = (Arc::clone(&world), Arc::clone(&ended));
    let job = keyed::job(
        task.threads,
        move || Timed { accounts, until, next: 0, step: 1, ended: Arc::clone(&of_source) },
        move || Failing::of(&of_operator),
        |updates| updates.for_each(|update| _ = std::hint::black_box(update)),
    );
    let guarantee = (semantic.guarantee)(directory.path());
    let (failed, took) = run(&job, guarantee, &world, failures, opened, AS_FAST_AS_IT_GOES_FOR)?;
    let ended = ended.lock().map_err(|_| "poisoned")?;
    let indexes = ended.iter().flat_map(|(first, end)| (*first..*end).step_by(task.threads));
    let emitted = Counted::emitted(indexes, task.accounts);
    let off = semantic.promise.off(failed, emitted, world.counted())?;
    Ok((emitted.events as f64 / took.as_secs_f64() / 1e6, failed, off))
}

/// At the pace of the task: how late first arrivals are, and how far the state is off.
fn latency(
    task: &Task,
    failures: Failures,
    semantic: &Semantic,
) -> Result<(Outcome, u64, i64), BoxError> {
    let directory = measure::directory()?;
    let world = Arc::new(World::default());
    let shared = Arc::new(Mutex::new(pace::histogram()?));
    let arrived = Arc::new(Arrived::none_of(task.events));
    let pace = Pace::of(task);
    let (task, of_operator, of_sink) = (*task, Arc::clone(&world), Arc::clone(&shared));
    let job = keyed::job(
        task.threads,
        move || Paced::of(task, pace),
        move || Failing::of(&of_operator),
        |updates| {
            updates.sink("arrivals", move || FirstArrivals {
                arrived: Arc::clone(&arrived),
                own: Latencies::of(pace),
                shared: Arc::clone(&of_sink),
            })
        },
    );
    let guarantee = (semantic.guarantee)(directory.path());
    let time = Duration::from_secs_f64(task.events as f64 / task.per_second as f64);
    let (failed, _) = run(&job, guarantee, &world, failures, pace.opened(), time)?;
    let emitted = Counted::emitted(0..task.events, task.accounts);
    let off = semantic.promise.off(failed, emitted, world.counted())?;
    let histogram = shared.lock().map_err(|_| "a sink panicked")?;
    Ok((pace::outcome(&histogram), failed, off))
}

fn cost(task: &Task, failures: Failures, semantic: &Semantic) -> Result<Outcome, BoxError> {
    let (rate, failed, off) = throughput(task, failures, semantic)?;
    let (late, failed_late, off_late) = latency(task, failures, semantic)?;
    // What arrives differs from run to run, and has been looked at already.
    let outcome = Outcome { checksum: None, ..late };
    Ok(outcome
        .with(RATE, rate)
        .with("failures", (failed + failed_late) as f64)
        .with("off", (off + off_late) as f64))
}

pub fn at_most_once(task: &Task) -> Result<Outcome, BoxError> {
    cost(task, Failures::None, &AT_MOST_ONCE)
}

pub fn at_most_once_failing(task: &Task) -> Result<Outcome, BoxError> {
    cost(task, Failures::OncePerSecond, &AT_MOST_ONCE)
}

pub fn acknowledged(task: &Task) -> Result<Outcome, BoxError> {
    cost(task, Failures::None, &ACKNOWLEDGED)
}

pub fn acknowledged_failing(task: &Task) -> Result<Outcome, BoxError> {
    cost(task, Failures::OncePerSecond, &ACKNOWLEDGED)
}

pub fn checkpointed(task: &Task) -> Result<Outcome, BoxError> {
    cost(task, Failures::None, &CHECKPOINTED)
}

pub fn checkpointed_failing(task: &Task) -> Result<Outcome, BoxError> {
    cost(task, Failures::OncePerSecond, &CHECKPOINTED)
}

pub fn exactly_once(task: &Task) -> Result<Outcome, BoxError> {
    cost(task, Failures::None, &EXACTLY_ONCE)
}

pub fn exactly_once_failing(task: &Task) -> Result<Outcome, BoxError> {
    cost(task, Failures::OncePerSecond, &EXACTLY_ONCE)
}
