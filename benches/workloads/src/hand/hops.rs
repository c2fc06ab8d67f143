//! W2: four threads with batches between them.

use std::thread;
use std::time::Instant;

use streamwork::BoxError;

use crate::hand::{only, queue};
use crate::measure::Outcome;
use crate::record::{Total, Transaction};
use crate::workloads::Task;

pub fn run(task: &Task) -> Result<Outcome, BoxError> {
    let task = std::hint::black_box(*task);
    let started = Instant::now();
    let (made, to_map) = queue(1);
    let (mapped, to_filter) = queue(1);
    let (filtered, to_sink) = queue(1);
    let [mut made, mut mapped, mut filtered] = [made, mapped, filtered].map(only);
    let total = thread::scope(|scope| {
        scope.spawn(move || {
            for index in 0..task.events {
                made.push(Transaction::of(index, task.accounts));
            }
            made.send();
        });
        scope.spawn(move || {
            to_map.each(|batch| {
                for transaction in batch {
                    mapped.push(transaction.doubled());
                }
            });
            mapped.send();
        });
        scope.spawn(move || {
            to_filter.each(|batch| {
                for transaction in batch.iter().filter(|transaction| transaction.is_kept()) {
                    filtered.push(*transaction);
                }
            });
            filtered.send();
        });
        let mut total = Total::default();
        to_sink.each(|batch| batch.iter().for_each(|transaction| total.add(transaction)));
        total
    });
    Ok(Outcome::rate(task.events, started.elapsed(), total))
}
