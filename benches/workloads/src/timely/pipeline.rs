//! W1: with an operator per stage, as its documentation shows, and with all of them in one.

use std::cell::Cell;
use std::rc::Rc;

use ::timely::dataflow::channels::pact::Pipeline;
use ::timely::dataflow::operators::generic::Operator;
use ::timely::dataflow::operators::vec::{Filter, Map};
use ::timely::worker::Worker;
use streamwork::BoxError;

use crate::measure::Outcome;
use crate::record::{Total, Transaction};
use crate::timely::{run, transactions};
use crate::workloads::Task;

pub fn operators(task: &Task) -> Result<Outcome, BoxError> {
    run(task, task.threads, |worker, task, total| {
        let (index, peers) = (worker.index() as u64, worker.peers());
        worker.dataflow(|scope| {
            transactions(scope, task, index, peers)
                .map(Transaction::doubled)
                .filter(Transaction::is_kept)
                .sink(Pipeline, "sum", move |(input, _)| {
                    let mut sum = total.get();
                    input.for_each(|_, batch| batch.iter().for_each(|one| sum.add(one)));
                    total.set(sum);
                });
        });
    })
}

pub fn one_operator(task: &Task) -> Result<Outcome, BoxError> {
    run(task, task.threads, |worker: &mut Worker, task, total: Rc<Cell<Total>>| {
        let (index, peers) = (worker.index() as u64, worker.peers());
        worker.dataflow(|scope| {
            transactions(scope, task, index, peers).sink(Pipeline, "all", move |(input, _)| {
                let mut sum = total.get();
                input.for_each(|_, batch| {
                    for transaction in batch.drain(..).map(Transaction::doubled) {
                        if transaction.is_kept() {
                            sum.add(&transaction);
                        }
                    }
                });
                total.set(sum);
            });
        });
    })
}
