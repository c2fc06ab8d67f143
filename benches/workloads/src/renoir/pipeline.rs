//! W1: one chain.

use streamwork::BoxError;

use crate::measure::Outcome;
use crate::record::{Total, Transaction};
use crate::renoir::{add, merge, run, transactions};
use crate::workloads::Task;

pub fn chain(task: &Task) -> Result<Outcome, BoxError> {
    run(task, |context, task| {
        transactions(context, task)
            .map(Transaction::doubled)
            .filter(Transaction::is_kept)
            .fold_assoc(Total::default(), add, merge)
            .collect_vec()
    })
}
