//! W5: sources that sleep until the next transaction is due and send what they have when none is.

use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use streamwork::BoxError;

use crate::hand::Outlet;
use crate::hand::keyed::{exchange, owner};
use crate::measure::Outcome;
use crate::pace::{self, Latencies, Pace, outcome};
use crate::record::{Balances, Transaction, count};
use crate::workloads::Task;

pub fn run(task: &Task) -> Result<Outcome, BoxError> {
    let (mut to, from) = exchange(task.threads);
    let shared = Mutex::new(pace::histogram()?);
    let (task, pace) = (*task, Pace::of(task));
    thread::scope(|scope| {
        for thread in 0..task.threads as u64 {
            let outlets = to.pop().expect("one per source");
            scope.spawn(move || source(&task, pace, thread, outlets));
        }
        for inlet in from {
            let shared = &shared;
            scope.spawn(move || {
                let mut balances = Balances::default();
                let mut late = Latencies::of(pace);
                inlet.each(|batch| {
                    for transaction in batch {
                        let balance = balances.entry(transaction.account).or_default();
                        late.arrived(count(balance, transaction).id);
                    }
                    late.move_into(shared);
                });
            });
        }
    });
    let histogram = shared.into_inner().map_err(|_| "a counter panicked")?;
    Ok(outcome(&histogram))
}

fn source(task: &Task, pace: Pace, first: u64, mut outlets: Vec<Outlet<Transaction>>) {
    let mut next = first;
    while next < task.events {
        let due_before = pace.due_before(Instant::now()).min(task.events);
        while next < due_before {
            let transaction = Transaction::of(next, task.accounts);
            let to = owner(transaction.account, outlets.len());
            outlets[to].push(transaction);
            next += task.threads as u64;
        }
        outlets.iter_mut().for_each(Outlet::send);
        thread::sleep(pace.due(next).saturating_duration_since(Instant::now()));
    }
}
