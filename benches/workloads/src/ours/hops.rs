//! W2: the pipeline with every stage on a thread of its own.

use std::time::Instant;

use streamwork::{AtMostOnce, BoxError, Job};

use crate::measure::Outcome;
use crate::ours::{Shared, Summed, Transactions};
use crate::record::{Total, Transaction};
use crate::workloads::Task;

pub fn run(task: &Task) -> Result<Outcome, BoxError> {
    let shared = Shared::default();
    let (task, seen) = (*task, shared.clone());
    let job = Job::new("hops");
    job.stateful_source("transactions", move || Transactions::of(&task))
        .map(Transaction::doubled)
        .own_thread()
        .filter(Transaction::is_kept)
        .own_thread()
        .sink("sum", move || Summed { own: Total::default(), shared: seen.clone() })
        .own_thread();
    let started = Instant::now();
    job.run(AtMostOnce::new())?;
    Ok(Outcome::rate(task.events, started.elapsed(), shared.total()))
}
