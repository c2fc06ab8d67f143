//! W9: the keyed job with an instance that takes a microsecond more for each event. The instance is what is in front of the
//! sink and fused with it.

use std::time::Instant;

use streamwork::{AtMostOnce, BoxError, Collector, Instance, StatefulOperator};

use crate::measure::Outcome;
use crate::ours::keyed::{self, Running};
use crate::ours::{Shared, Transactions, Updates};
use crate::record::{Balances, Total, Transaction, Update};
use crate::workloads::{Task, slow_if_first};

#[derive(Default)]
struct Slow {
    running: Running,
    instance: usize,
}

impl StatefulOperator for Slow {
    type In = Transaction;
    type Out = Update;
    type State = Balances;

    fn setup(&mut self, instance: &Instance, state: Option<Balances>) -> Result<(), BoxError> {
        self.instance = instance.index();
        self.running.setup(instance, state)
    }

    fn apply(
        &mut self,
        transaction: Transaction,
        out: &mut Collector<Update>,
    ) -> Result<(), BoxError> {
        slow_if_first(self.instance);
        self.running.apply(transaction, out)
    }

    fn state(&self) -> Balances {
        self.running.state()
    }
}

pub fn run(task: &Task) -> Result<Outcome, BoxError> {
    let shared = Shared::default();
    let (task, seen) = (*task, shared.clone());
    let source = move || Transactions::of(&task);
    let job = keyed::job(task.threads, source, Slow::default, |updates| {
        updates.sink("sum", move || Updates { own: Total::default(), shared: seen.clone() })
    });
    let started = Instant::now();
    job.run(AtMostOnce::new())?;
    Ok(Outcome::rate(task.events, started.elapsed(), shared.total()))
}
