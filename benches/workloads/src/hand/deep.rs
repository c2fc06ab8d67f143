//! A chain of stages: one loop that calls them all for each event, or a thread for each with batches between them.

use std::thread;
use std::time::Instant;

use streamwork::BoxError;

use crate::hand::{only, queue};
use crate::measure::Outcome;
use crate::record::{Total, Transaction};
use crate::workloads::Task;

pub fn fused(task: &Task) -> Result<Outcome, BoxError> {
    let task = std::hint::black_box(*task);
    let started = Instant::now();
    let mut total = Total::default();
    for index in 0..task.events {
        let made = Transaction::of(index, task.accounts);
        total.add(&(0..task.stages).fold(made, |transaction, _| transaction.stirred()));
    }
    Ok(Outcome::rate(task.events, started.elapsed(), total))
}

pub fn threads(task: &Task) -> Result<Outcome, BoxError> {
    let task = std::hint::black_box(*task);
    let started = Instant::now();
    let total = thread::scope(|scope| {
        let (mut to, mut from) = queue(1);
        let mut made = only(to);
        scope.spawn(move || {
            for index in 0..task.events {
                made.push(Transaction::of(index, task.accounts));
            }
            made.send();
        });
        for _ in 0..task.stages {
            let before = from;
            (to, from) = queue(1);
            let mut after = only(to);
            scope.spawn(move || {
                before.each(|batch| {
                    for transaction in batch {
                        after.push(transaction.stirred());
                    }
                });
                after.send();
            });
        }
        let mut total = Total::default();
        from.each(|batch| batch.iter().for_each(|transaction| total.add(transaction)));
        total
    });
    Ok(Outcome::rate(task.events, started.elapsed(), total))
}
