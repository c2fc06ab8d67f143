//! W3: grouped by account, with what is remembered of an account in the closure that renoir clones for each key.

use streamwork::BoxError;

use crate::measure::Outcome;
use crate::record::{Balance, Total, count};
use crate::renoir::{merge, run, transactions};
use crate::workloads::Task;

pub fn grouped(task: &Task) -> Result<Outcome, BoxError> {
    run(task, |context, task| {
        transactions(context, task)
            .group_by(|transaction| transaction.account)
            .rich_map({
                let mut balance = Balance::default();
                move |(_, transaction)| count(&mut balance, &transaction)
            })
            .drop_key()
            .fold_assoc(Total::default(), |total, update| total.add_update(&update), merge)
            .collect_vec()
    })
}
