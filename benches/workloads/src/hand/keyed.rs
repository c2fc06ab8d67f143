//! W3: threads that make transactions, and threads that count them by account.

use std::thread;
use std::time::Instant;

use streamwork::BoxError;

use crate::hand::{Inlet, Outlet, queue};
use crate::measure::Outcome;
use crate::record::{Balances, Total, Transaction, count};
use crate::workloads::{Task, slow_if_first};

pub fn run(task: &Task) -> Result<Outcome, BoxError> {
    run_with(task, |_| ())
}

/// With a slow instance.
pub fn slow(task: &Task) -> Result<Outcome, BoxError> {
    run_with(task, slow_if_first)
}

/// With something in front of each transaction that an instance counts.
fn run_with(task: &Task, before: impl Fn(usize) + Copy + Send) -> Result<Outcome, BoxError> {
    let task = std::hint::black_box(*task);
    let started = Instant::now();
    let (mut to, from) = exchange(task.threads);
    let total = thread::scope(|scope| {
        for thread in 0..task.threads as u64 {
            let mut outlets = to.pop().expect("one per source");
            scope.spawn(move || {
                for index in (thread..task.events).step_by(task.threads) {
                    let transaction = Transaction::of(index, task.accounts);
                    let to = owner(transaction.account, outlets.len());
                    outlets[to].push(transaction);
                }
                outlets.iter_mut().for_each(Outlet::send);
            });
        }
        let counters = from.into_iter().enumerate().map(|(instance, inlet)| {
            scope.spawn(move || {
                let mut balances = Balances::default();
                let mut total = Total::default();
                inlet.each(|batch| {
                    for transaction in batch {
                        before(instance);
                        let balance = balances.entry(transaction.account).or_default();
                        total.add_update(&count(balance, transaction));
                    }
                });
                total
            })
        });
        let counters: Vec<_> = counters.collect();
        let totals = counters.into_iter().map(|thread| thread.join().expect("a counter ends well"));
        totals.fold(Total::default(), Total::merged)
    });
    Ok(Outcome::rate(task.events, started.elapsed(), total))
}

/// A queue per counter; each source has an outlet to all of them.
pub fn exchange<T>(threads: usize) -> (Vec<Vec<Outlet<T>>>, Vec<Inlet<T>>) {
    let mut sources: Vec<Vec<Outlet<T>>> = (0..threads).map(|_| Vec::new()).collect();
    let mut inlets = Vec::new();
    for _ in 0..threads {
        let (outlets, inlet) = queue(threads);
        sources.iter_mut().zip(outlets).for_each(|(source, outlet)| source.push(outlet));
        inlets.push(inlet);
    }
    (sources, inlets)
}

/// Which counter has this account.
#[inline]
pub fn owner(account: u64, counters: usize) -> usize {
    let hash = account.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    (hash as usize * counters) >> 32
}
