//! W3: count and sum by account, under each guarantee.

use std::time::{Duration, Instant};

use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, ExactlyOnce, Guarantee, Instance, Job, SinkHandle,
    StatefulOperator, StatefulSource,
};

use crate::measure::{self, Outcome};
use crate::ours::{Shared, Transactions, Updates};
use crate::record::{self, Balances, Total, Transaction, Update};
use crate::workloads::Task;

/// Time between two checkpoints.
const EVERY: Duration = Duration::from_secs(1);

/// Counts and sums by account.
#[derive(Default)]
pub struct Running {
    pub balances: Balances,
}

impl StatefulOperator for Running {
    type In = Transaction;
    type Out = Update;
    type State = Balances;

    fn setup(&mut self, _: &Instance, state: Option<Balances>) -> Result<(), BoxError> {
        self.balances = state.unwrap_or_default();
        Ok(())
    }

    // Four operators of this program have it. In a program that has one, it is part of the loop by itself.
    #[inline(always)]
    fn apply(
        &mut self,
        transaction: Transaction,
        out: &mut Collector<Update>,
    ) -> Result<(), BoxError> {
        let balance = self.balances.entry(transaction.account).or_default();
        out.emit(record::count(balance, &transaction));
        Ok(())
    }

    fn state(&self) -> Balances {
        self.balances.clone()
    }
}

/// The job, with a source and an operator of the caller's choice.
pub fn job<S, O>(
    threads: usize,
    source: impl Fn() -> S + Send + Sync + 'static,
    operator: impl Fn() -> O + Send + Sync + 'static,
    sink: impl FnOnce(&streamwork::Stream<Update>) -> SinkHandle,
) -> Job
where
    S: StatefulSource<Out = Transaction>,
    O: StatefulOperator<In = Transaction, Out = Update>,
{
    let job = Job::new("balances");
    let updates = job
        .stateful_source("transactions", source)
        .parallelism(threads)
        .key_by(|transaction| transaction.account)
        .stateful("balances", operator)
        .parallelism(threads);
    sink(&updates).parallelism(threads);
    job
}

fn run(task: &Task, guarantee: impl Into<Guarantee>) -> Result<Outcome, BoxError> {
    let shared = Shared::default();
    let (task, seen) = (*task, shared.clone());
    let source = move || Transactions::of(&task);
    let job = job(task.threads, source, Running::default, |updates| {
        updates.sink("sum", move || Updates { own: Total::default(), shared: seen.clone() })
    });
    let started = Instant::now();
    let report = job.run(guarantee)?;
    let outcome = Outcome::rate(task.events, started.elapsed(), shared.total());
    Ok(outcome.with("checkpoints", report.metrics.checkpoints as f64))
}

/// The same as a closure, whose state the engine keeps.
fn run_closure(task: &Task, guarantee: impl Into<Guarantee>) -> Result<Outcome, BoxError> {
    let shared = Shared::default();
    let (task, seen) = (*task, shared.clone());
    let job = Job::new("balances");
    let updates = job
        .stateful_source("transactions", move || Transactions::of(&task))
        .parallelism(task.threads)
        .key_by(|transaction| transaction.account)
        .scan(|balance, transaction| Some(record::count(balance, &transaction)))
        .parallelism(task.threads);
    let sum = move || Updates { own: Total::default(), shared: seen.clone() };
    updates.sink("sum", sum).parallelism(task.threads);
    let started = Instant::now();
    let report = job.run(guarantee)?;
    let outcome = Outcome::rate(task.events, started.elapsed(), shared.total());
    Ok(outcome.with("checkpoints", report.metrics.checkpoints as f64))
}

pub fn closure(task: &Task) -> Result<Outcome, BoxError> {
    run_closure(task, AtMostOnce::new())
}

/// The closure with a checkpoint every second.
pub fn closure_exactly_once(task: &Task) -> Result<Outcome, BoxError> {
    let directory = measure::directory()?;
    run_closure(task, ExactlyOnce::checkpoints_in(directory.path()).every(EVERY))
}

pub fn at_most_once(task: &Task) -> Result<Outcome, BoxError> {
    run(task, AtMostOnce::new())
}

pub fn at_least_once_acknowledged(task: &Task) -> Result<Outcome, BoxError> {
    run(task, AtLeastOnce::new())
}

pub fn at_least_once_checkpointed(task: &Task) -> Result<Outcome, BoxError> {
    let directory = measure::directory()?;
    run(task, AtLeastOnce::checkpoints_in(directory.path()).every(EVERY))
}

pub fn exactly_once(task: &Task) -> Result<Outcome, BoxError> {
    let directory = measure::directory()?;
    run(task, ExactlyOnce::checkpoints_in(directory.path()).every(EVERY))
}
