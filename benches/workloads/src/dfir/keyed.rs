//! W3 in one thread: a scan that has the balances.

use std::cell::Cell;
use std::rc::Rc;

use dfir_rs::dfir_syntax;
use streamwork::BoxError;

use crate::dfir::{self, transactions};
use crate::measure::Outcome;
use crate::record::{Balances, Total, Transaction, Update, count};
use crate::workloads::Task;

pub fn by_account(task: &Task) -> Result<Outcome, BoxError> {
    Ok(dfir::run(task, flow))
}

fn flow(task: Task, seen: Rc<Cell<Total>>) {
    let mut total = Total::default();
    let mut flow = dfir_syntax! {
        source_iter(transactions(task))
            -> scan::<'static>(Balances::default, |balances: &mut Balances, transaction: Transaction| {
                Some(count(balances.entry(transaction.account).or_default(), &transaction))
            })
            -> for_each(|update: Update| {
                total.add_update(&update);
                seen.set(total);
            });
    };
    flow.run_available_sync();
}
