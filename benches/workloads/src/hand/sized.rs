//! Events of a given size from one thread to another.

use std::thread;
use std::time::Instant;

use streamwork::BoxError;

use crate::hand::{only, queue};
use crate::measure::Outcome;
use crate::record::{Filled, Total};
use crate::workloads::Task;

pub fn run<const BYTES: usize>(task: &Task) -> Result<Outcome, BoxError> {
    let events = std::hint::black_box(task.events);
    let started = Instant::now();
    let (to, from) = queue(1);
    let mut made = only(to);
    let total = thread::scope(|scope| {
        scope.spawn(move || {
            for index in 0..events {
                made.push(Filled::<BYTES>::of(index));
            }
            made.send();
        });
        let mut total = Total::default();
        from.each(|batch| batch.iter().for_each(|event| total.add_filled(event)));
        total
    });
    Ok(Outcome::rate(events, started.elapsed(), total))
}
