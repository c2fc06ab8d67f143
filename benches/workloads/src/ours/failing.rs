//! The keyed job with an instance that panics when it is told to. W7 asks how long it takes until something new is at the sink,
//! the cost of a guarantee how much is processed when it happens once a second.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, ExactlyOnce, Guarantee, Instance, Restarts, Sink,
    StatefulOperator,
};

use crate::measure::{self, Outcome};
use crate::ours::Transactions;
use crate::ours::keyed;
use crate::ours::keyed::Running;
use crate::record::{Balances, Transaction, Update};
use crate::workloads::{RATE, Task};

/// Time between two checkpoints. Shorter than between two failures: else there would never be one.
const EVERY: Duration = Duration::from_millis(250);

/// What is known outside of the job.
#[derive(Default)]
struct World {
    panic: AtomicBool,
    failed: Mutex<Option<Instant>>,
    recovered: Mutex<Option<Instant>>,
    /// Transactions that the state knew of at the end.
    counted: AtomicU64,
}

struct Failing {
    running: Running,
    world: Arc<World>,
}

impl StatefulOperator for Failing {
    type In = Transaction;
    type Out = Update;
    type State = Balances;

    fn setup(&mut self, instance: &Instance, state: Option<Balances>) -> Result<(), BoxError> {
        self.running.setup(instance, state)
    }

    fn apply(
        &mut self,
        transaction: Transaction,
        out: &mut Collector<Update>,
    ) -> Result<(), BoxError> {
        if self.world.panic.load(Ordering::Relaxed)
            && self.world.panic.swap(false, Ordering::Relaxed)
        {
            *self.world.failed.lock().expect("held by nobody who panics") = Some(Instant::now());
            std::panic::resume_unwind(Box::new("told to"));
        }
        self.running.apply(transaction, out)
    }

    fn finish(&mut self, _: &mut Collector<Update>) -> Result<(), BoxError> {
        let counted = self.running.balances.values().map(|(count, _)| count).sum();
        self.world.counted.fetch_add(counted, Ordering::Relaxed);
        Ok(())
    }

    fn state(&self) -> Balances {
        self.running.state()
    }
}

/// Built anew after the failure, it says when its first event came.
struct First {
    built: Instant,
    seen: bool,
    world: Arc<World>,
}

impl Sink for First {
    type In = Update;

    fn write(&mut self, update: Update) -> Result<(), BoxError> {
        if !self.seen {
            self.seen = true;
            let failed = *self.world.failed.lock().expect("held by nobody who panics");
            if failed.is_some_and(|failed| self.built > failed) {
                let mut recovered = self.world.recovered.lock().expect("held by nobody who panics");
                recovered.get_or_insert_with(Instant::now);
            }
        }
        std::hint::black_box(update);
        Ok(())
    }
}

fn job(task: &Task, world: &Arc<World>) -> streamwork::Job {
    let (task, of_operator, of_sink) = (*task, Arc::clone(world), Arc::clone(world));
    let operator = move || Failing { running: Running::default(), world: Arc::clone(&of_operator) };
    keyed::job(
        task.threads,
        move || Transactions::of(&task),
        operator,
        |updates| {
            updates.sink("first", move || First {
                built: Instant::now(),
                seen: false,
                world: Arc::clone(&of_sink),
            })
        },
    )
}

/// W7: fails when all accounts are in a checkpoint.
pub fn recovery(task: &Task) -> Result<Outcome, BoxError> {
    let directory = measure::directory()?;
    let world = Arc::new(World::default());
    let endless = Task { events: u64::MAX / 2, ..*task };
    let handle =
        job(&endless, &world).start(ExactlyOnce::checkpoints_in(directory.path()).every(EVERY))?;
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut complete = None;
    loop {
        let metrics = handle.metrics();
        let warm = metrics.sum("balances", |instance| instance.processed) >= task.events;
        match complete {
            None if warm => complete = Some(metrics.checkpoints),
            Some(before) if metrics.checkpoints >= before + 2 => break,
            _ => {}
        }
        if Instant::now() > deadline || handle.is_finished() {
            return Err("no checkpoint in time".into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    world.panic.store(true, Ordering::Relaxed);
    let recovered = loop {
        if let Some(recovered) = *world.recovered.lock().map_err(|_| "poisoned")? {
            break recovered;
        }
        if Instant::now() > deadline || handle.is_finished() {
            return Err("no recovery in time".into());
        }
        thread::sleep(Duration::from_millis(1));
    };
    let failed = world.failed.lock().map_err(|_| "poisoned")?.ok_or("nothing failed")?;
    handle.stop_within(Duration::from_secs(30))?;
    let took = recovered.duration_since(failed);
    Ok(Outcome::default().with("recovery", took.as_secs_f64() * 1e3))
}

/// How many failures a second.
#[derive(Clone, Copy)]
enum Failures {
    None,
    OncePerSecond,
}

fn cost(task: &Task, failures: Failures, guarantee: Guarantee) -> Result<Outcome, BoxError> {
    let world = Arc::new(World::default());
    let started = Instant::now();
    let handle = job(task, &world).start(guarantee)?;
    let mut failures_until_now = 0;
    while !handle.is_finished() {
        thread::sleep(Duration::from_millis(2));
        let due = started.elapsed().as_secs();
        if matches!(failures, Failures::OncePerSecond) && due > failures_until_now {
            failures_until_now = due;
            world.panic.store(true, Ordering::Relaxed);
        }
    }
    let report = handle.wait()?;
    let counted = world.counted.load(Ordering::Relaxed);
    Ok(Outcome::default()
        .with(RATE, task.events as f64 / report.elapsed.as_secs_f64() / 1e6)
        .with("failures", failures_until_now as f64)
        .with("off", counted as f64 - task.events as f64))
}

macro_rules! costs {
    ($($without:ident, $with:ident: |$directory:ident| $guarantee:expr;)*) => {
        $(
            pub fn $without(task: &Task) -> Result<Outcome, BoxError> {
                let directory = measure::directory()?;
                let $directory = directory.path();
                let restarts = Restarts::unlimited();
                cost(task, Failures::None, $guarantee.every(EVERY).restarts(restarts).into())
            }

            pub fn $with(task: &Task) -> Result<Outcome, BoxError> {
                let directory = measure::directory()?;
                let $directory = directory.path();
                let restarts = Restarts::unlimited();
                cost(task, Failures::OncePerSecond, $guarantee.every(EVERY).restarts(restarts).into())
            }
        )*
    };
}

costs! {
    at_most_once, at_most_once_failing: |_directory| AtMostOnce::new();
    acknowledged, acknowledged_failing: |_directory| AtLeastOnce::new();
    checkpointed, checkpointed_failing: |directory| AtLeastOnce::checkpoints_in(directory);
    exactly_once, exactly_once_failing: |directory| ExactlyOnce::checkpoints_in(directory);
}
