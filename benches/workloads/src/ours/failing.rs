//! The keyed job with an instance that panics when it is told to, and W7: how long it takes until something new is at the sink.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use streamwork::{BoxError, Collector, ExactlyOnce, Instance, Output, Sink, StatefulOperator};

use crate::measure::{self, Outcome};
use crate::ours::Transactions;
use crate::ours::keyed;
use crate::ours::keyed::Running;
use crate::record::{Balances, Counted, Transaction, Update};
use crate::workloads::Task;

/// Time between two checkpoints. Shorter than between two failures: else there would never be one.
pub const EVERY: Duration = Duration::from_millis(250);

/// What is known outside of the job.
#[derive(Default)]
pub struct World {
    panic: AtomicBool,
    /// How often an instance has panicked.
    pub failures: AtomicU64,
    failed: Mutex<Option<Instant>>,
    recovered: Mutex<Option<Instant>>,
    /// What the state of each instance knew of when its input ended. An instance that ends, goes back and ends again is counted
    /// once.
    counted: Mutex<BTreeMap<usize, Counted>>,
}

impl World {
    /// The next event makes its instance panic.
    pub fn fail(&self) {
        self.panic.store(true, Ordering::Relaxed);
    }

    /// What the state of all instances knew of at the end.
    pub fn counted(&self) -> Counted {
        let counted = self.counted.lock().expect("held by nobody who panics");
        counted.values().fold(Counted::default(), |all, one| all.merged(*one))
    }
}

pub struct Failing {
    running: Running,
    instance: usize,
    world: Arc<World>,
}

impl Failing {
    pub fn of(world: &Arc<World>) -> Self {
        Self { running: Running::default(), instance: 0, world: Arc::clone(world) }
    }
}

impl StatefulOperator for Failing {
    type In = Transaction;
    type Out = Update;
    type State = Balances;

    fn setup(&mut self, instance: &Instance, state: Option<Balances>) -> Result<(), BoxError> {
        self.instance = instance.index();
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
            self.world.failures.fetch_add(1, Ordering::Relaxed);
            *self.world.failed.lock().expect("held by nobody who panics") = Some(Instant::now());
            std::panic::resume_unwind(Box::new("told to"));
        }
        self.running.apply(transaction, out)
    }

    fn finish(&mut self, _: &mut Output<Update>) -> Result<(), BoxError> {
        let counted = Counted::in_state(&self.running.balances);
        let mut all = self.world.counted.lock().expect("held by nobody who panics");
        all.insert(self.instance, counted);
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
    let operator = move || Failing::of(&of_operator);
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
    world.fail();
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
