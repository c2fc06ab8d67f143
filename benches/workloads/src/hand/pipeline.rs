//! W1: loops without anything between the stages, and with a batch between them.

use std::thread;
use std::time::Instant;

use streamwork::BoxError;

use crate::hand::BATCH;
use crate::measure::Outcome;
use crate::record::{Total, Transaction};
use crate::workloads::Task;

/// One loop in each thread does it all.
pub fn fused(task: &Task) -> Result<Outcome, BoxError> {
    in_threads(task, |task, thread| {
        let mut total = Total::default();
        for index in (thread..task.events).step_by(task.threads) {
            let transaction = Transaction::of(index, task.accounts).doubled();
            if transaction.is_kept() {
                total.add(&transaction);
            }
        }
        total
    })
}

/// Each stage is a loop over a batch.
pub fn batches(task: &Task) -> Result<Outcome, BoxError> {
    in_threads(task, |task, thread| {
        let mut total = Total::default();
        let mut batch = Vec::with_capacity(BATCH);
        let mut kept = Vec::with_capacity(BATCH);
        let mut indexes = (thread..task.events).step_by(task.threads);
        loop {
            batch.clear();
            let next = indexes.by_ref().take(BATCH);
            batch.extend(next.map(|index| Transaction::of(index, task.accounts)));
            if batch.is_empty() {
                return total;
            }
            for transaction in &mut batch {
                *transaction = transaction.doubled();
            }
            kept.clear();
            kept.extend(batch.iter().filter(|transaction| transaction.is_kept()));
            for transaction in &kept {
                total.add(transaction);
            }
        }
    })
}

fn in_threads(task: &Task, run: fn(&Task, u64) -> Total) -> Result<Outcome, BoxError> {
    // Out of the compiler's sight, as it is for everybody else.
    let task = std::hint::black_box(*task);
    let started = Instant::now();
    let total = thread::scope(|scope| {
        let threads =
            (0..task.threads as u64).map(|thread| scope.spawn(move || run(&task, thread)));
        let threads: Vec<_> = threads.collect();
        let totals = threads.into_iter().map(|thread| thread.join().expect("a loop ends well"));
        totals.fold(Total::default(), Total::merged)
    });
    Ok(Outcome::rate(task.events, started.elapsed(), total))
}
