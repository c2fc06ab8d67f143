//! W3: grouped by account, with what is remembered of an account in the closure that renoir clones for each key.

use std::sync::atomic::{AtomicUsize, Ordering};

use streamwork::BoxError;

use crate::measure::Outcome;
use crate::record::{Balance, Total, count};
use crate::renoir::{merge, run, transactions};
use crate::workloads::{Task, slow_if_first};

pub fn by_account(task: &Task) -> Result<Outcome, BoxError> {
    grouped(task, || ())
}

/// With a slow instance.
pub fn slow(task: &Task) -> Result<Outcome, BoxError> {
    grouped(task, || INSTANCE.with(|instance| slow_if_first(*instance)))
}

/// With something in front of each transaction that is counted.
fn grouped(task: &Task, before: impl Fn() + Copy + Send + 'static) -> Result<Outcome, BoxError> {
    run(task, |context, task| {
        transactions(context, task)
            .group_by(|transaction| transaction.account)
            .rich_map({
                let mut balance = Balance::default();
                move |(_, transaction)| {
                    before();
                    count(&mut balance, &transaction)
                }
            })
            .drop_key()
            .fold_assoc(Total::default(), |total, update| total.add_update(&update), merge)
            .collect_vec()
    })
}

static INSTANCES: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Closures are not told in which instance they are; threads that count are numbered as they come.
    static INSTANCE: usize = INSTANCES.fetch_add(1, Ordering::Relaxed);
}
