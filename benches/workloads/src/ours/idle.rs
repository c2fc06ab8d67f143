//! W8: fifty sources that wait to be woken, and fifty instances behind them.

use std::thread;
use std::time::{Duration, Instant};

use streamwork::{AtMostOnce, BoxError, ExactlyOnce, Guarantee, Instance, Job, Next, SourceOutput, StatefulSource};

use crate::measure::{self, Outcome};
use crate::ours::keyed::Running;
use crate::record::Transaction;
use crate::workloads::Task;

const LOOKED_AT: Duration = Duration::from_secs(5);

/// Nobody wakes it.
struct Silent;

impl StatefulSource for Silent {
    type Out = Transaction;
    type State = ();

    fn setup(&mut self, _: &Instance, _: Option<()>) -> Result<(), BoxError> {
        Ok(())
    }

    fn get_events(&mut self, _: &mut SourceOutput<Transaction>) -> Result<Next, BoxError> {
        Ok(Next::WhenWoken)
    }

    fn state(&self) {}
}

fn run(task: &Task, guarantee: impl Into<Guarantee>) -> Result<Outcome, BoxError> {
    let job = Job::new("idle");
    job.stateful_source("silent", || Silent)
        .parallelism(task.threads)
        .key_by(|transaction| transaction.account)
        .stateful("balances", Running::default)
        .parallelism(task.threads)
        .for_each(|_| ());
    let handle = job.start(guarantee)?;
    thread::sleep(Duration::from_millis(500));
    let (before, started) = (measure::cpu_time()?, Instant::now());
    thread::sleep(LOOKED_AT);
    let worked = measure::cpu_time()?.saturating_sub(before);
    let share = worked.as_secs_f64() / started.elapsed().as_secs_f64();
    handle.stop_within(Duration::from_secs(10))?;
    Ok(Outcome::default().with("share", share * 100.0))
}

pub fn at_most_once(task: &Task) -> Result<Outcome, BoxError> {
    run(task, AtMostOnce::new())
}

pub fn exactly_once(task: &Task) -> Result<Outcome, BoxError> {
    let directory = measure::directory()?;
    run(task, ExactlyOnce::checkpoints_in(directory.path()).every(Duration::from_secs(1)))
}
