//! W2: a block, and so a thread, per stage.

use ::renoir::Replication;
use streamwork::BoxError;

use crate::measure::Outcome;
use crate::record::{Total, Transaction};
use crate::renoir::{add, run, transactions};
use crate::workloads::Task;

pub fn blocks(task: &Task) -> Result<Outcome, BoxError> {
    run(task, |context, task| {
        transactions(context, task)
            .replication(Replication::One)
            .map(Transaction::doubled)
            .replication(Replication::One)
            .filter(Transaction::is_kept)
            .fold(Total::default(), add)
            .collect_vec()
    })
}
