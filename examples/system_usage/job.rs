//! The graph of the system usage job.
//!
//! ```text
//!   event log ── 20 ms later, by account ──▶ usage analyzer ── global ──▶ usage totals ──▶ SQLite
//!   (2 readers)                              (2 instances)                (1 instance)
//! ```

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use streamwork::{BoxError, Collector, EventLogSource, Instance, Job, Output, StatefulOperator};

use crate::attempts::Attempts;
use crate::fraud::transaction::Transaction;
use crate::lookup::{Faults, FraudLookup};
use crate::usage_table::UsageSink;

/// The source, as metrics know it.
pub const SOURCE: &str = "transactions";
/// The operator that counts, as metrics know it.
pub const ANALYZER: &str = "usage analyzer";
/// The row of the table that sums up the others.
pub const TOTAL: &str = "total";
/// Readers of the log, and instances of the analyzer.
pub const PARALLELISM: usize = 2;
/// The fraud job has this long to decide before it is asked; nobody sleeps meanwhile.
const DECISION_TIME: Duration = Duration::from_millis(20);

/// How much the system was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Transactions counted.
    pub transactions: u64,
    /// Those that the fraud job has declined.
    pub frauds: u64,
}

impl Usage {
    fn and(self, other: Self) -> Self {
        Self {
            transactions: self.transactions + other.transactions,
            frauds: self.frauds + other.frauds,
        }
    }
}

/// A row of the usage table: the latest totals of an instance, or of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The instance, or [`TOTAL`].
    pub counted_by: String,
    /// What it has counted.
    pub usage: Usage,
}

/// What the job reads and asks.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The event log, to its end.
    pub source: EventLogSource<Transaction>,
    /// Who knows which transactions are frauds.
    pub fraud_database: PathBuf,
    /// Which lookups fail, once each.
    pub failing: Arc<HashSet<u64>>,
    /// Where it is written down which of them did.
    pub faults: PathBuf,
    /// Where it is written down how many transactions were taken up.
    pub begun: PathBuf,
    /// Where the totals go.
    pub usage: PathBuf,
}

/// Builds the job. Nothing in it knows under which guarantee it will run.
pub fn build(plan: &Plan) -> Job {
    let job = Job::new("system usage");
    let (analyzer, usage) = (plan.clone(), plan.usage.clone());
    job.event_log(SOURCE, plan.source.clone())
        .parallelism(PARALLELISM)
        .delay(DECISION_TIME)
        .key_by(|transaction| transaction.customer)
        .stateful(ANALYZER, move || UsageAnalyzer::new(analyzer.clone()))
        .parallelism(PARALLELISM)
        .global()
        .stateful("usage totals", UsageTotals::default)
        .transactional_sink("usage table", move || UsageSink::new(usage.clone()));
    job
}

/// Counts transactions, and asks about each whether it is a fraud.
///
/// It counts first and asks then, like code that does not consider failures: a transaction whose
/// lookup fails has been counted. The guarantee decides what follows. At-least-once counts it again
/// with every replay, at-most-once never counts its fraud, and exactly-once rolls back to before it
/// was counted.
struct UsageAnalyzer {
    plan: Plan,
    index: usize,
    lookup: Option<FraudLookup>,
    attempts: Option<Attempts>,
    counted: Usage,
}

impl UsageAnalyzer {
    fn new(plan: Plan) -> Self {
        Self { plan, index: 0, lookup: None, attempts: None, counted: Usage::default() }
    }
}

impl StatefulOperator for UsageAnalyzer {
    type In = Transaction;
    type Out = (usize, Usage);
    type State = Usage;

    fn setup(&mut self, instance: &Instance, state: Option<Usage>) -> Result<(), BoxError> {
        let faults = Faults::open(&self.plan.faults, Arc::clone(&self.plan.failing))?;
        self.lookup = Some(FraudLookup::open(&self.plan.fraud_database, faults)?);
        self.index = instance.index();
        self.attempts = Some(Attempts::open(&self.plan.begun, self.index)?);
        self.counted = state.unwrap_or_default();
        Ok(())
    }

    fn apply(
        &mut self,
        transaction: Transaction,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), BoxError> {
        self.attempts.as_mut().ok_or("nothing is written down")?.begin()?;
        let lookup = self.lookup.as_ref().ok_or("the fraud database is not open")?;
        self.counted.transactions += 1;
        self.counted.frauds += u64::from(lookup.is_fraud(transaction.id)?);
        out.emit((self.index, self.counted));
        Ok(())
    }

    fn state(&self) -> Usage {
        self.counted
    }

    /// Emits the final count: a run that has nothing left to count reports it too.
    fn finish(&mut self, out: &mut Output<Self::Out>) -> Result<(), BoxError> {
        out.emit((self.index, self.counted));
        Ok(())
    }
}

/// Brings together what the instances have counted.
#[derive(Default)]
struct UsageTotals {
    by_instance: BTreeMap<usize, Usage>,
}

impl StatefulOperator for UsageTotals {
    type In = (usize, Usage);
    type Out = Row;
    type State = BTreeMap<usize, Usage>;

    fn setup(&mut self, _: &Instance, state: Option<Self::State>) -> Result<(), BoxError> {
        self.by_instance = state.unwrap_or_default();
        Ok(())
    }

    fn apply(
        &mut self,
        (instance, usage): (usize, Usage),
        out: &mut Collector<Row>,
    ) -> Result<(), BoxError> {
        self.by_instance.insert(instance, usage);
        let total = self.by_instance.values().copied().fold(Usage::default(), Usage::and);
        out.emit(Row { counted_by: format!("instance {instance}"), usage });
        out.emit(Row { counted_by: TOTAL.to_owned(), usage: total });
        Ok(())
    }

    fn state(&self) -> Self::State {
        self.by_instance.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamwork::testkit::{OperatorHarness, check_transactional_sink};

    use crate::usage_table::UsageTable;

    fn usage(transactions: u64) -> Usage {
        Usage { transactions, frauds: transactions / 100 }
    }

    #[test]
    fn totals_are_the_sum_of_the_newest_of_each_instance_however_often_they_are_put_back() {
        let said = [(0, usage(100)), (1, usage(300)), (0, usage(200))];
        let rows = OperatorHarness::stateful(UsageTotals::default).events(said).check();
        let rows = rows.expect("no callback fails");
        let last = rows.last().expect("rows were told");
        assert_eq!((last.counted_by.as_str(), last.usage), (TOTAL, usage(500)));
    }

    #[test]
    fn the_usage_table_shows_what_is_committed_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("usage.sqlite");
        let table = UsageTable::open(&path).expect("a new table");
        let row = |transactions| Row { counted_by: TOTAL.to_owned(), usage: usage(transactions) };
        let events = [row(1), row(2), row(300), row(400)];
        let seen = check_transactional_sink(
            || UsageSink::new(path.clone()),
            &events,
            || table.read(TOTAL).expect("it can be read"),
        );
        assert_eq!(seen.expect("no callback fails"), usage(400));
    }
}
