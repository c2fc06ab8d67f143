//! W2: four workers, one stage at work on each, with an exchange between them.

use ::timely::dataflow::channels::pact::Pipeline;
use ::timely::dataflow::operators::Exchange as _;
use ::timely::dataflow::operators::generic::Operator;
use ::timely::dataflow::operators::vec::{Filter, Map};
use streamwork::BoxError;

use crate::measure::Outcome;
use crate::record::Transaction;
use crate::timely::{run, transactions};
use crate::workloads::Task;

/// The worker of each stage.
const MAP: u64 = 1;
const FILTER: u64 = 2;
const SINK: u64 = 3;

pub fn four_workers(task: &Task) -> Result<Outcome, BoxError> {
    run(task, 4, |worker, task, total| {
        // Only the first worker has a source with something in it.
        let first = if worker.index() == 0 { 0 } else { task.events };
        worker.dataflow(|scope| {
            transactions(scope, task, first, 1)
                .exchange(|_| MAP)
                .map(Transaction::doubled)
                .exchange(|_| FILTER)
                .filter(Transaction::is_kept)
                .exchange(|_| SINK)
                .sink(Pipeline, "sum", move |(input, _)| {
                    let mut sum = total.get();
                    input.for_each(|_, batch| batch.iter().for_each(|one| sum.add(one)));
                    total.set(sum);
                });
        });
    })
}
