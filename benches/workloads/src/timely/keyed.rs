//! W3: an exchange by account in front of one operator, and a sink behind it.

use std::cell::Cell;
use std::rc::Rc;

use ::timely::dataflow::channels::pact::{Exchange, Pipeline};
use ::timely::dataflow::operators::generic::Operator;
use ::timely::worker::Worker;
use streamwork::BoxError;

use crate::measure::Outcome;
use crate::record::{Balances, Total, Transaction, count};
use crate::timely::{run, transactions};
use crate::workloads::{Task, slow_if_first};

pub fn by_account(task: &Task) -> Result<Outcome, BoxError> {
    run(task, task.threads, |worker, task, total| build(worker, task, total, |_| ()))
}

/// With a slow worker.
pub fn slow(task: &Task) -> Result<Outcome, BoxError> {
    run(task, task.threads, |worker, task, total| build(worker, task, total, slow_if_first))
}

/// With something in front of each transaction that a worker counts.
fn build(
    worker: &mut Worker,
    task: Task,
    total: Rc<Cell<Total>>,
    before: impl Fn(usize) + 'static,
) {
    let (index, peers) = (worker.index(), worker.peers());
    let by_account = Exchange::new(|transaction: &Transaction| spread(transaction.account));
    worker.dataflow(|scope| {
        transactions(scope, task, index as u64, peers)
            .unary(by_account, "balances", |_, _| {
                let mut balances = Balances::default();
                move |input, output| {
                    input.for_each(|time, batch| {
                        let mut session = output.session(&time);
                        session.give_iterator(batch.drain(..).map(|transaction| {
                            before(index);
                            let balance = balances.entry(transaction.account).or_default();
                            count(balance, &transaction)
                        }));
                    });
                }
            })
            .container::<Vec<_>>()
            .sink(Pipeline, "sum", move |(input, _)| {
                let mut sum = total.get();
                input.for_each(|_, batch| batch.iter().for_each(|one| sum.add_update(one)));
                total.set(sum);
            });
    });
}

/// The low bits say which worker.
fn spread(account: u64) -> u64 {
    account.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}
