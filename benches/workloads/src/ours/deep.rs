//! A chain of stages behind one source: in the thread of the source, or each on a thread of its own.

use std::time::Instant;

use streamwork::{AtMostOnce, BoxError, Job, Stream};

use crate::measure::Outcome;
use crate::ours::{Shared, Summed, Transactions};
use crate::record::{Total, Transaction};
use crate::workloads::Task;

pub fn fused(task: &Task) -> Result<Outcome, BoxError> {
    run(task, |stages| stages)
}

pub fn threads(task: &Task) -> Result<Outcome, BoxError> {
    run(task, |stages| stages.own_thread())
}

fn run(
    task: &Task,
    placed: fn(Stream<Transaction>) -> Stream<Transaction>,
) -> Result<Outcome, BoxError> {
    let shared = Shared::default();
    let (task, seen) = (*task, shared.clone());
    let job = Job::new("deep");
    let mut stages = job.stateful_source("transactions", move || Transactions::of(&task));
    for stage in 0..task.stages {
        stages = placed(stages.map(Transaction::stirred).named(format!("stage {stage}")));
    }
    stages.sink("sum", move || Summed { own: Total::default(), shared: seen.clone() });
    let started = Instant::now();
    job.run(AtMostOnce::new())?;
    Ok(Outcome::rate(task.events, started.elapsed(), shared.total()))
}
