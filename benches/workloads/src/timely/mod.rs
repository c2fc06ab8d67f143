//! timely 0.32: sources that fill containers, operators that drain them, workers that take turns between the two.

pub mod hops;
pub mod keyed;
pub mod pipeline;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use ::timely::Config;
use ::timely::WorkerConfig;
use ::timely::communication::Config as Communication;
use ::timely::dataflow::operators::generic::operator::source;
use ::timely::dataflow::{Scope, StreamVec};
use ::timely::worker::Worker;
use streamwork::BoxError;

use crate::measure::Outcome;
use crate::record::{Total, Transaction};
use crate::workloads::Task;

/// Transactions that a source makes before other operators have their turn: what stays in a cache.
const TURN: usize = 4096;

/// Every n-th transaction, from this one on.
fn transactions<'scope>(
    scope: Scope<'scope, u64>,
    task: Task,
    first: u64,
    step: usize,
) -> StreamVec<'scope, u64, Transaction> {
    source(scope, "transactions", |capability, info| {
        let activator = scope.activator_for(info.address);
        let mut indexes = (first..task.events).step_by(step);
        let mut capability = Some(capability);
        move |output| {
            if indexes.clone().next().is_none() {
                capability = None;
            }
            if let Some(capability) = &capability {
                let turn = indexes.by_ref().take(TURN);
                let made = turn.map(|index| Transaction::of(index, task.accounts));
                output.session(capability).give_iterator(made);
                activator.activate();
            }
        }
    })
}

/// Builds a dataflow on each worker, runs it to its end, and adds up what the workers saw.
fn run(
    task: &Task,
    workers: usize,
    build: fn(&mut Worker, Task, Rc<Cell<Total>>),
) -> Result<Outcome, BoxError> {
    let task = std::hint::black_box(*task);
    let communication = match workers {
        1 => Communication::Thread,
        workers => Communication::Process(workers),
    };
    let config = Config { communication, worker: WorkerConfig::default() };
    let started = Instant::now();
    let guards = ::timely::execute(config, move |worker| {
        let total = Rc::new(Cell::new(Total::default()));
        build(worker, task, Rc::clone(&total));
        while worker.step_or_park(None) {}
        total.get()
    })?;
    let mut total = Total::default();
    for of_worker in guards.join() {
        total = total.merged(of_worker?);
    }
    Ok(Outcome::rate(task.events, started.elapsed(), total))
}
