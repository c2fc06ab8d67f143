//! W3: an exchange by account in front of one operator, and a sink behind it.

use ::timely::dataflow::channels::pact::{Exchange, Pipeline};
use ::timely::dataflow::operators::generic::Operator;
use streamwork::BoxError;

use crate::measure::Outcome;
use crate::record::{Balances, Transaction, count};
use crate::timely::{run, transactions};
use crate::workloads::Task;

pub fn run_keyed(task: &Task) -> Result<Outcome, BoxError> {
    run_with(task, |_| ())
}

/// As [`run_keyed`], with something in the way of each transaction that a worker counts.
pub fn run_with(task: &Task, before: fn(usize)) -> Result<Outcome, BoxError> {
    BEFORE.get_or_init(|| before);
    run(task, task.threads, |worker, task, total| {
        let before = *BEFORE.get().expect("set above");
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
    })
}

static BEFORE: std::sync::OnceLock<fn(usize)> = std::sync::OnceLock::new();

/// The low bits say which worker.
fn spread(account: u64) -> u64 {
    account.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}
