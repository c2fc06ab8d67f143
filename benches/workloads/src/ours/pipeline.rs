//! W1: verbs that the engine fuses into the thread of the source.

use std::time::Instant;

use streamwork::{AtMostOnce, BoxError, Job};

use crate::measure::Outcome;
use crate::ours::{Shared, Summed, Transactions};
use crate::record::{Total, Transaction};
use crate::workloads::Task;

pub fn run(task: &Task) -> Result<Outcome, BoxError> {
    let shared = Shared::default();
    let (task, seen) = (*task, shared.clone());
    let job = Job::new("pipeline");
    job.stateful_source("transactions", move || Transactions::of(&task))
        .parallelism(task.threads)
        .map(Transaction::doubled)
        .filter(Transaction::is_kept)
        .sink("sum", move || Summed { own: Total::default(), shared: seen.clone() });
    let started = Instant::now();
    job.run(AtMostOnce::new())?;
    Ok(Outcome::rate(task.events, started.elapsed(), shared.total()))
}
