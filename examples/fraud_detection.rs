//! Fraud detection: three analyzers in parallel, a decision within 20 ms, at-most-once.
//!
//! Every card transaction is judged by three analyzers, each grouped by account; an aggregator,
//! grouped by transaction, decides when it has all three scores, or at the deadline with the scores
//! so far: then the decision is *partial* and names the missing analyzers. Decisions go into SQLite,
//! where `--ask` finds them.
//!
//! At-most-once is right here: a decision that comes too late is worth nothing, so nothing is
//! replayed, and a broken analyzer must not delay other decisions.
//!
//! ```text
//! cargo run --release --example fraud_detection
//! cargo run --release --example fraud_detection -- --ask 4242
//! cargo run --release --example fraud_detection -- --generate 200000 --rate 50000
//! cargo run --release --example fraud_detection -- --rate 5000 --kill-analyzer proximity
//! cargo run --release --example fraud_detection -- --rate 5000 --slow-analyzer proximity=30
//! ```

#![expect(unreachable_pub, reason = "`pub` says here what is for the other files of the example")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use serde_json::json;
use streamwork::AtMostOnce;

use analysis::Fault;
use fraud::database::{DecisionLookup, DecisionTable};
use fraud::failed::Failed;
use fraud::feed::{AnyError, Feed};
use fraud::lock::Lock;
use fraud::progress::Progress;
use fraud::score::Analyzer;
use job::Plan;
use report::{Pace, Report};

#[path = "pipe/mod.rs"]
mod pipe;

#[path = "fraud/mod.rs"]
#[expect(dead_code, reason = "the system usage job uses the rest")]
mod fraud;

#[path = "fraud_detection/source.rs"]
mod source;

#[path = "fraud_detection/analysis.rs"]
mod analysis;

#[path = "fraud_detection/aggregator.rs"]
mod aggregator;

#[path = "fraud_detection/job.rs"]
mod job;

#[path = "fraud_detection/report.rs"]
mod report;

/// Decides within 20 ms whether a card transaction is a fraud.
#[derive(Debug, Parser)]
struct Arguments {
    /// The transactions, as CSV.
    #[arg(long, default_value = "examples/data/transactions.csv", value_name = "FILE")]
    input: PathBuf,

    /// This many generated transactions instead of a file.
    #[arg(long, value_name = "N", conflicts_with = "input")]
    generate: Option<u64>,

    /// Which transactions are generated.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,

    /// Transactions per second, each at its intended time; without it, full speed.
    #[arg(long, value_name = "N", value_parser = positive)]
    rate: Option<f64>,

    /// Instances of each analyzer and of the aggregator.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    parallelism: u8,

    /// Lets an analyzer sleep this many milliseconds over each transaction.
    #[arg(long, value_name = "NAME=MS", value_parser = slow)]
    slow_analyzer: Vec<(Analyzer, Duration)>,

    /// Lets an analyzer panic at each transaction: average_ticket, proximity, transaction_count.
    #[arg(long, value_name = "NAME")]
    kill_analyzer: Vec<Analyzer>,

    /// The fraud database. A run replaces the decisions in it.
    #[arg(long, default_value = "streamwork-data/fraud.db", value_name = "FILE")]
    db: PathBuf,

    /// Says what an earlier run decided about a transaction, and runs nothing.
    #[arg(long, value_name = "TRANSACTION_ID")]
    ask: Option<u64>,

    /// Ends with the figures as one line of JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<(), Failed> {
    pipe::ends_quietly();
    let arguments = Arguments::parse();
    match arguments.ask {
        Some(transaction) => ask(&arguments.db, transaction, arguments.json)?,
        None => run(&arguments)?,
    }
    Ok(())
}

fn run(arguments: &Arguments) -> Result<(), AnyError> {
    let feed = match arguments.generate {
        Some(count) => Feed::generated(count, arguments.seed),
        None => Feed::from_file(&arguments.input)?,
    };
    let pace = arguments.rate.map_or(Pace::FullSpeed, Pace::PerSecond);
    println!(
        "{feed}, {}",
        match arguments.rate {
            Some(rate) => format!("{rate} per second"),
            None => "at full speed".to_owned(),
        }
    );
    // A concurrent run would delete the decisions of this one.
    let _lock = lock(&arguments.db)?;
    DecisionTable::create(&arguments.db)?;
    let job = job::build(&Plan {
        feed: feed.clone(),
        rate: arguments.rate,
        parallelism: usize::from(arguments.parallelism),
        faults: faults(arguments),
        database: arguments.db.clone(),
    });
    let progress = Progress {
        component: job::AGGREGATOR,
        of: |instance| instance.emitted,
        events: feed.len(),
    };
    let ran = progress.run(&job, AtMostOnce::new())?;

    let decisions = DecisionLookup::open(&arguments.db)?;
    let report = Report::read(&decisions, &feed, pace, ran.elapsed)?;
    println!("{report}");
    println!("database    {}; ask it with --ask TRANSACTION_ID", arguments.db.display());
    let made = ran.metrics.sum(job::AGGREGATOR, |instance| instance.emitted);
    if made != feed.len() || report.decisions() != made {
        let stored = report.decisions();
        return Err(format!("{made} decisions made and {stored} stored about {feed}").into());
    }
    if arguments.json {
        println!("{}", report.json());
    }
    Ok(())
}

/// Keeps other runs from the database, in a file beside it.
fn lock(database: &Path) -> Result<Lock, AnyError> {
    if let Some(directory) = database.parent() {
        std::fs::create_dir_all(directory)
            .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    }
    let mut beside = database.as_os_str().to_owned();
    beside.push(".lock");
    Lock::take(Path::new(&beside), database)
}

fn faults(arguments: &Arguments) -> [Fault; 3] {
    let mut faults = [Fault::None; 3];
    for (analyzer, time) in &arguments.slow_analyzer {
        faults[*analyzer as usize] = Fault::Slow(*time);
    }
    for analyzer in &arguments.kill_analyzer {
        faults[*analyzer as usize] = Fault::Dead;
    }
    faults
}

/// The presenter: what was decided about a transaction?
fn ask(database: &Path, transaction: u64, as_json: bool) -> Result<(), AnyError> {
    let found = DecisionLookup::open(database)?.find(transaction)?;
    let found = found.ok_or_else(|| {
        format!("nothing was decided about transaction {transaction} in {}", database.display())
    })?;
    let verdict = if found.declined { "declined" } else { "approved" };
    let (amount, customer) = (found.amount_cents as f64 / 100.0, found.customer);
    println!("transaction {transaction}: {amount:.2} by customer {customer}, {verdict}");
    println!("log odds of fraud {:.2}, after {} us", found.log_odds, found.latency_us);
    if !found.reasons.is_empty() {
        println!("because: {}", found.reasons);
    }
    if !found.missing.is_empty() {
        println!("partial: without {}", found.missing);
    }
    if as_json {
        let answer = json!({
            "transaction": transaction, "customer": customer, "amount_cents": found.amount_cents,
            "verdict": verdict, "log_odds": found.log_odds, "partial": !found.missing.is_empty(),
            "missing": found.missing, "reasons": found.reasons, "latency_us": found.latency_us,
        });
        println!("{answer}");
    }
    Ok(())
}

fn positive(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err("must be above zero".to_owned()) }
}

fn slow(text: &str) -> Result<(Analyzer, Duration), String> {
    let (name, ms) = text.split_once('=').ok_or("expected NAME=MS, as in proximity=30")?;
    let ms = ms.parse().map_err(|_| format!("{ms:?} is not a number of milliseconds"))?;
    Ok((name.parse()?, Duration::from_millis(ms)))
}
