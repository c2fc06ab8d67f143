//! System usage: the same transactions, read from an event log and counted, exactly once.
//!
//! The job counts transactions, and those found to be frauds, for a bill that somebody will pay. For
//! each transaction it asks the database of the fraud job, a call that may fail (`--fail-lookups`).
//! Kill it at any moment and start it again with the same arguments: it continues, and ends with
//! totals that are right under exactly-once, never too low under at-least-once, never too high under
//! at-most-once.
//!
//! ```text
//! cargo run --release --example system_usage
//! cargo run --release --example system_usage -- --semantics at-least-once --fail-lookups 50
//! cargo run --release --example system_usage -- --rate 2000 --data-dir streamwork-data/killed
//! ```

#![expect(unreachable_pub, reason = "`pub` says here what is for the other files of the example")]

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use serde_json::json;
use streamwork::{EventLogSource, JobReport};

use attempts::Attempts;
use data_dir::DataDir;
use fraud::database::DecisionLookup;
use fraud::failed::Failed;
use fraud::feed::{AnyError, Feed};
use fraud::progress::Progress;
use job::{PARALLELISM, Plan, Usage};
use lookup::Faults;
use semantics::Semantics;
use usage_table::UsageTable;

#[path = "pipe/mod.rs"]
mod pipe;

#[path = "fraud/mod.rs"]
#[expect(dead_code, reason = "the fraud job uses the rest")]
mod fraud;

#[path = "system_usage/semantics.rs"]
mod semantics;

#[path = "system_usage/job.rs"]
mod job;

#[path = "system_usage/lookup.rs"]
mod lookup;

#[path = "system_usage/attempts.rs"]
mod attempts;

#[path = "system_usage/usage_table.rs"]
mod usage_table;

#[path = "system_usage/data_dir.rs"]
mod data_dir;

/// Counts card transactions and frauds, and keeps counting right when it is killed.
#[derive(Debug, Parser)]
struct Arguments {
    /// What happens to a transaction when something fails.
    #[arg(long, value_enum, default_value = "exactly-once")]
    semantics: Semantics,

    /// The transactions, as CSV.
    #[arg(long, default_value = "examples/data/transactions.csv", value_name = "FILE")]
    input: PathBuf,

    /// Keeps event log, checkpoints and databases. Start again with the same one to go on.
    #[arg(long, default_value = "streamwork-data/system-usage", value_name = "DIR")]
    data_dir: PathBuf,

    /// What the fraud job decided; by default a database in the data directory. If it is not there,
    /// the fraud job's logic makes it.
    #[arg(long, value_name = "FILE")]
    fraud_db: Option<PathBuf>,

    /// This many lookups fail, once each.
    #[arg(long, default_value_t = 0, value_name = "K")]
    fail_lookups: u32,

    /// Milliseconds between two checkpoints.
    #[arg(long, default_value_t = 100, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_ms: u64,

    /// Transactions per second at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// Ends with the figures as one line of JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<(), Failed> {
    pipe::ends_quietly();
    run(&Arguments::parse())?;
    Ok(())
}

fn run(arguments: &Arguments) -> Result<(), AnyError> {
    let semantics = arguments.semantics;
    let feed = Feed::from_file(&arguments.input)?;
    let directory = DataDir::open(&arguments.data_dir, semantics.word(), &feed)?;
    let log = directory.log(&feed)?;
    let fraud_database = directory.fraud_database(arguments.fraud_db.as_deref(), &feed)?;
    let frauds = frauds(&fraud_database, &feed)?;
    let truth = Usage { transactions: feed.len(), frauds: frauds.len() as u64 };

    let mut source = EventLogSource::open(log)?.until_end();
    if let Some(rate) = arguments.rate {
        source = source.per_second_max(f64::from(rate) / PARALLELISM as f64);
    }
    let failing = Arc::new(lookup::choose(arguments.fail_lookups as usize, &feed, &frauds));
    let plan = Plan {
        source,
        fraud_database,
        failing: Arc::clone(&failing),
        faults: directory.faults(),
        begun: directory.begun(),
        usage: directory.usage(),
    };
    println!("counting {feed}, {}", semantics.word());
    let every = Duration::from_millis(arguments.checkpoint_ms);
    let guarantee = semantics.guarantee(&directory.checkpoints(), every, arguments.fail_lookups);
    let progress = Progress {
        component: job::ANALYZER,
        of: |instance| instance.processed,
        events: feed.len(),
    };
    let ran = progress.run(&job::build(&plan), guarantee)?;

    let counted = UsageTable::open(&directory.usage())?.read(job::TOTAL)?;
    let failed = Faults::open(&directory.faults(), failing)?.count()?;
    // The transactions that were applied more than once, by this run and those before it: one by one as replays, or
    // together after a run rolled back to a checkpoint or was killed.
    let replayed = Attempts::total(&directory.begun())?.saturating_sub(truth.transactions);
    report(&ran, counted, truth, failed, replayed);
    if arguments.json {
        println!("{}", figures(&ran, counted, truth, failed, replayed));
    }
    if semantics.keeps_its_promise(counted, truth) {
        Ok(())
    } else {
        Err(format!("{} does not allow these totals", semantics.word()).into())
    }
}

/// The transactions of the feed that the fraud job has declined.
///
/// # Errors
/// What SQLite said, or that the decisions are about other transactions.
fn frauds(fraud_database: &Path, feed: &Feed) -> Result<HashSet<u64>, AnyError> {
    let ours: HashMap<u64, (u32, u64)> =
        feed.transactions().map(|t| (t.id, (t.customer, t.amount_cents))).collect();
    let (mut frauds, mut decided) = (HashSet::new(), 0);
    DecisionLookup::open(fraud_database)?.for_each(|row| {
        if ours.get(&row.transaction_id) == Some(&(row.customer, row.amount_cents)) {
            decided += 1;
            if row.declined {
                frauds.insert(row.transaction_id);
            }
        }
    })?;
    if decided != ours.len() {
        let (path, all) = (fraud_database.display(), ours.len());
        return Err(format!(
            "{path} has decided {decided} of the {all} transactions: let the fraud job run over the same file, or remove it to have it made"
        )
        .into());
    }
    Ok(frauds)
}

fn report(ran: &JobReport, counted: Usage, truth: Usage, failed: u64, replayed: u64) {
    let line = |what: &str, counted: u64, truth: u64| {
        let verdict = match counted.cmp(&truth) {
            std::cmp::Ordering::Less => format!("{} too few", truth - counted),
            std::cmp::Ordering::Equal => "right".to_owned(),
            std::cmp::Ordering::Greater => format!("{} too many", counted - truth),
        };
        println!("{what:<15}{counted} of {truth}: {verdict}");
    };
    line("transactions", counted.transactions, truth.transactions);
    line("frauds", counted.frauds, truth.frauds);
    println!("lookups        {failed} have failed");
    let start =
        ran.restored_from.map_or("the beginning".to_owned(), |id| format!("checkpoint {id}"));
    println!("last start     from {start}, {} restarts in this run", ran.metrics.restarts);
    println!("replayed       {replayed} transactions, in all runs on this directory together");
    println!(
        "run            {:.2} s, {} checkpoints",
        ran.elapsed.as_secs_f64(),
        ran.metrics.checkpoints
    );
}

fn figures(
    ran: &JobReport,
    counted: Usage,
    truth: Usage,
    failed: u64,
    replayed: u64,
) -> serde_json::Value {
    json!({
        "transactions": counted.transactions,
        "frauds": counted.frauds,
        "expected_transactions": truth.transactions,
        "expected_frauds": truth.frauds,
        "lookups_failed": failed,
        "replayed": replayed,
        "restored_from_checkpoint": ran.restored_from.map(|id| id.0),
        "checkpoints": ran.metrics.checkpoints,
        "seconds": ran.elapsed.as_secs_f64(),
    })
}
