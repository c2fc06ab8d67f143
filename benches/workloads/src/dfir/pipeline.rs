//! W1 in one thread.

use std::cell::Cell;
use std::rc::Rc;

use dfir_rs::dfir_syntax;
use streamwork::BoxError;

use crate::dfir::{self, transactions};
use crate::measure::Outcome;
use crate::record::{Total, Transaction};
use crate::workloads::Task;

pub fn chain(task: &Task) -> Result<Outcome, BoxError> {
    Ok(dfir::run(task, flow))
}

fn flow(task: Task, seen: Rc<Cell<Total>>) {
    let mut total = Total::default();
    let mut flow = dfir_syntax! {
        source_iter(transactions(task))
            -> map(Transaction::doubled)
            -> filter(Transaction::is_kept)
            -> for_each(|transaction: Transaction| {
                total.add(&transaction);
                seen.set(total);
            });
    };
    flow.run_available_sync();
}
