//! renoir 0.6: chains of closures that the compiler makes into one loop, batches of a fixed size between threads.

pub mod hops;
pub mod keyed;
pub mod pipeline;

use std::time::Instant;

use ::renoir::Stream;
use ::renoir::operator::Operator;
use ::renoir::operator::sink::StreamOutput;
use ::renoir::prelude::*;
use streamwork::BoxError;

use crate::measure::Outcome;
use crate::record::{Total, Transaction};
use crate::workloads::Task;

/// Events in a batch, as renoir's examples have it.
const BATCH: usize = 1024;

/// The transactions, dealt out to all instances.
fn transactions(
    context: &StreamContext,
    task: Task,
) -> Stream<impl Operator<Out = Transaction> + use<>> {
    context
        .stream_par_iter(move |instance, instances| {
            (instance..task.events)
                .step_by(instances as usize)
                .map(move |index| Transaction::of(index, task.accounts))
        })
        .batch_mode(BatchMode::fixed(BATCH))
}

/// Runs to the end what was built.
fn run(
    task: &Task,
    build: impl FnOnce(&StreamContext, Task) -> StreamOutput<Vec<Total>>,
) -> Result<Outcome, BoxError> {
    let task = std::hint::black_box(*task);
    let started = Instant::now();
    let context = StreamContext::new(RuntimeConfig::local(task.threads as u64)?);
    let totals = build(&context, task);
    context.execute_blocking();
    let elapsed = started.elapsed();
    let total = totals.get().and_then(|totals| totals.first().copied()).ok_or("no total")?;
    Ok(Outcome::rate(task.events, elapsed, total))
}

fn add(total: &mut Total, transaction: Transaction) {
    total.add(&transaction);
}

fn merge(total: &mut Total, other: Total) {
    *total = total.merged(other);
}
