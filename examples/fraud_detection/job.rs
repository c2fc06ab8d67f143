//! The graph of the fraud detection job.
//!
//! ```text
//!                  ┌─ by account ─▶ average ticket ────┐
//!   transactions ──┼─ by account ─▶ proximity ─────────┼─ by transaction ─▶ score ─▶ decisions
//!                  ├─ by account ─▶ transaction count ─┤                  aggregator (SQLite)
//!                  └───────────────────────────────────┘
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use streamwork::{BoxError, Instance, Job, KeyedStream, Overflow, Sink, Stream};

use crate::aggregator::{Arrival, ScoreAggregator};
use crate::analysis::{Analysis, Fault};
use crate::fraud::analyzers::Analyze;
use crate::fraud::analyzers::average_ticket::AverageTicket;
use crate::fraud::analyzers::proximity::Proximity;
use crate::fraud::analyzers::transaction_count::TransactionCount;
use crate::fraud::database::{Decided, DecisionTable};
use crate::fraud::feed::Feed;
use crate::source::{ClosedLoop, InFlight, Offered, OpenLoop, Transactions};

/// The name of the aggregator in metrics.
pub const AGGREGATOR: &str = "score aggregator";

/// What the job is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The transactions.
    pub feed: Feed,
    /// Transactions per second; without it, as many as can be decided.
    pub rate: Option<f64>,
    /// Instances of each analyzer and of the aggregator.
    pub parallelism: usize,
    /// What is wrong with each analyzer, at its place.
    pub faults: [Fault; 3],
    /// The database, which has an empty table.
    pub database: PathBuf,
}

/// Batches that may wait for an analyzer: the source makes one per nap, so these are the budget.
const ANALYZER_BATCHES: usize = 100;
/// Batches of decisions that may wait for the database: it stalls now and then, decisions do not.
const DECISION_BATCHES: usize = 2048;

/// Builds the job.
pub fn build(plan: &Plan) -> Job {
    let job = Job::new("fraud detection");
    let in_flight = plan.rate.is_none().then(InFlight::new);
    let offered = source(&job, plan, in_flight.clone());

    // An analyzer that does not keep up loses the oldest transactions, which are late anyway, and
    // holds nobody else back.
    let by_account = offered
        .key_by(|offered| offered.transaction.customer)
        .queue_batches(ANALYZER_BATCHES)
        .overflow(Overflow::DropOldest);
    let scores = analyzer::<AverageTicket>(&by_account, plan)
        .merge(&analyzer::<Proximity>(&by_account, plan))
        .merge(&analyzer::<TransactionCount>(&by_account, plan));

    let database = plan.database.clone();
    offered
        .map(Arrival::Transaction)
        .named("transaction itself")
        .merge(&scores)
        .key_by(Arrival::transaction_id)
        .operator(AGGREGATOR, move || ScoreAggregator::new(in_flight.clone()))
        .parallelism(plan.parallelism)
        .queue_batches(DECISION_BATCHES)
        .sink("decisions", move || DecisionSink { path: database.clone(), table: None })
        .parallelism(1)
        .own_thread();
    job
}

fn source(job: &Job, plan: &Plan, in_flight: Option<Arc<InFlight>>) -> Stream<Offered> {
    let feed = plan.feed.clone();
    let transactions = move || -> Transactions { Box::new(feed.transactions()) };
    match (plan.rate, in_flight) {
        (Some(rate), _) => job.source("transactions", move || OpenLoop::new(transactions(), rate)),
        (None, in_flight) => {
            let in_flight = in_flight.unwrap_or_else(InFlight::new);
            job.source("transactions", move || {
                ClosedLoop::new(transactions(), Arc::clone(&in_flight))
            })
        }
    }
}

fn analyzer<A: Analyze>(by_account: &KeyedStream<u32, Offered>, plan: &Plan) -> Stream<Arrival> {
    let fault = plan.faults[A::ANALYZER as usize];
    by_account
        .keyed_operator(A::ANALYZER.to_string(), move || Analysis::<A>::new(fault))
        .parallelism(plan.parallelism)
}

/// Writes decisions into the fraud database.
struct DecisionSink {
    path: PathBuf,
    table: Option<DecisionTable>,
}

impl DecisionSink {
    fn table(&mut self) -> Result<&mut DecisionTable, BoxError> {
        self.table.as_mut().ok_or_else(|| "the fraud database is not open".into())
    }
}

impl Sink for DecisionSink {
    type In = Decided;

    fn setup(&mut self, _: &Instance) -> Result<(), BoxError> {
        self.table = Some(DecisionTable::open(&self.path)?);
        Ok(())
    }

    fn write(&mut self, decided: Decided) -> Result<(), BoxError> {
        self.table()?.write(decided);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        self.table()?.flush()
    }
}
