//! W5: the keyed job at a given pace, and how long after its intended moment an update is at the sink.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use streamwork::{AtMostOnce, BoxError, ExactlyOnce, Guarantee, Instance, Next, Sink, SourceOutput, StatefulSource};

use crate::measure::{self, Outcome};
use crate::ours::keyed::{self, Running};
use crate::pace::{self, Latencies, Pace, outcome};
use crate::record::{Transaction, Update};
use crate::workloads::Task;

/// Emits each n-th transaction when it is due.
pub struct Paced {
    task: Task,
    pace: Pace,
    next: u64,
    step: u64,
}

impl Paced {
    pub fn of(task: Task, pace: Pace) -> Self {
        Self { task, pace, next: 0, step: 1 }
    }
}

impl StatefulSource for Paced {
    type Out = Transaction;
    type State = u64;

    fn setup(&mut self, instance: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.step = instance.parallelism() as u64;
        self.next = state.unwrap_or(instance.index() as u64);
        Ok(())
    }

    fn get_events(&mut self, out: &mut SourceOutput<Transaction>) -> Result<Next, BoxError> {
        let due_before = self.pace.due_before(Instant::now()).min(self.task.events);
        while self.next < due_before && out.room() > 0 {
            out.emit(Transaction::of(self.next, self.task.accounts));
            self.next += self.step;
        }
        if self.next >= self.task.events {
            return Ok(Next::End);
        }
        let early = self.pace.due(self.next).saturating_duration_since(Instant::now());
        Ok(if early.is_zero() { Next::Now } else { Next::After(early) })
    }

    fn state(&self) -> u64 {
        self.next
    }
}

/// Notes when updates arrive.
struct Arrivals {
    own: Latencies,
    shared: Arc<Mutex<Histogram<u64>>>,
}

impl Sink for Arrivals {
    type In = Update;

    fn write(&mut self, update: Update) -> Result<(), BoxError> {
        self.own.arrived(update.id);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        self.own.move_into(&self.shared);
        Ok(())
    }
}

fn run(task: &Task, guarantee: impl Into<Guarantee>) -> Result<Outcome, BoxError> {
    let shared = Arc::new(Mutex::new(pace::histogram()?));
    let pace = Pace::of(task);
    let (task, seen) = (*task, Arc::clone(&shared));
    let source = move || Paced::of(task, pace);
    let job = keyed::job(task.threads, source, Running::default, |updates| {
        updates.sink("arrivals", move || Arrivals {
            own: Latencies::of(pace),
            shared: Arc::clone(&seen),
        })
    });
    job.run(guarantee)?;
    let histogram = shared.lock().map_err(|_| "a sink panicked")?;
    Ok(outcome(&histogram))
}

pub fn at_most_once(task: &Task) -> Result<Outcome, BoxError> {
    run(task, AtMostOnce::new())
}

pub fn exactly_once(task: &Task) -> Result<Outcome, BoxError> {
    let directory = measure::directory()?;
    run(task, ExactlyOnce::checkpoints_in(directory.path()).every(Duration::from_secs(1)))
}
