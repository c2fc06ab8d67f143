//! Every transaction is decided once, even if an analyzer is slow or dead.

use std::path::Path;

use rusqlite::Connection;

use crate::fraud::analyzers::Customers;
use crate::fraud::analyzers::average_ticket::AverageTicket;
use crate::fraud::analyzers::proximity::Proximity;
use crate::fraud::analyzers::transaction_count::TransactionCount;
use crate::fraud::database::DecisionLookup;
use crate::fraud::decision::decide;
use crate::fraud::feed::Feed;
use crate::fraud::transaction::Transaction;
use crate::program::{Figures, Program};

fn example(directory: &Path) -> Program {
    Program::example("fraud_detection").keeping("--db", &directory.join("fraud.db"))
}

/// A run of 2,000 generated transactions within half a second.
fn paced(directory: &Path) -> Program {
    example(directory).with("--generate", 2000).with("--rate", 4000)
}

/// Decisions for which this holds, by the database.
fn decisions(directory: &Path, condition: &str) -> u64 {
    let database = Connection::open(directory.join("fraud.db")).expect("the database is there");
    let query = format!("SELECT count(*) FROM decisions WHERE {condition}");
    database.query_row(&query, (), |row| row.get(0)).map(i64::cast_unsigned).expect("a count")
}

fn assert_all_decided(figures: &Figures, transactions: u64) {
    assert_eq!(figures.number("transactions"), transactions, "{figures:?}");
    assert_eq!(figures.number("decisions"), transactions, "{figures:?}");
}

#[test]
fn every_transaction_of_the_file_is_decided_and_what_is_declined_is_mostly_fraud() {
    let directory = tempfile::tempdir().expect("a directory");
    let figures = example(directory.path()).figures();
    assert_all_decided(&figures, 20_000);
    assert_eq!(decisions(directory.path(), "TRUE"), 20_000);
    assert!(figures.share("precision") >= 0.8, "{figures:?}");
    assert!(figures.share("recall") >= 0.5, "{figures:?}");
}

/// At any number of instances, as one after the other. A few scores may be late on a machine that does much else.
#[test]
fn the_job_decides_as_the_analyzers_do_without_an_engine() {
    let directory = tempfile::tempdir().expect("a directory");
    let figures = example(directory.path()).with("--generate", 20_000).with("--parallelism", 2);
    assert_all_decided(&figures.figures(), 20_000);
    let decided = DecisionLookup::open(&directory.path().join("fraud.db")).expect("the database");
    let mut ticket = Customers::<AverageTicket>::default();
    let mut proximity = Customers::<Proximity>::default();
    let mut count = Customers::<TransactionCount>::default();
    let is_the_same = |transaction: &Transaction| {
        let scores = [
            ticket.analyze(transaction),
            proximity.analyze(transaction),
            count.analyze(transaction),
        ];
        let by_the_job = decided.find(transaction.id).expect("the database").expect("a decision");
        by_the_job.log_odds == f64::from(decide(&scores.map(Some)).log_odds)
    };
    let same = Feed::generated(20_000, 1).transactions().filter(is_the_same).count();
    assert!(same > 19_000, "{same} decisions of 20,000 are the same");
}

#[test]
fn the_figures_have_the_names_that_others_rely_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut names = "transactions decisions partial declined true_positives false_positives \
        false_negatives precision recall p50_us p99_us p999_us max_us over_20ms events_per_second"
        .split_whitespace()
        .collect::<Vec<_>>();
    names.sort_unstable();
    let figures = paced(directory.path()).figures();
    let mut found = figures.names();
    found.sort_unstable();
    assert_eq!(found, names);
}

#[test]
fn a_dead_analyzer_is_missing_from_every_decision() {
    let directory = tempfile::tempdir().expect("a directory");
    let figures = paced(directory.path()).with("--kill-analyzer", "proximity").figures();
    assert_all_decided(&figures, 2000);
    assert_eq!(figures.number("partial"), 2000);
    assert_eq!(decisions(directory.path(), "partial AND missing LIKE '%proximity%'"), 2000);
}

#[test]
fn a_slow_analyzer_is_not_waited_for_and_holds_nobody_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let figures = paced(directory.path()).with("--slow-analyzer", "average_ticket=60").figures();
    assert_all_decided(&figures, 2000);
    assert_eq!(decisions(directory.path(), "partial AND missing LIKE '%average ticket%'"), 2000);
    let others_too = decisions(directory.path(), "missing LIKE '%,%'");
    assert!(others_too < 1900, "{others_too} decisions lack more than the slow one");
}

#[test]
fn with_all_analyzers_dead_every_transaction_is_still_decided_by_the_deadline() {
    let directory = tempfile::tempdir().expect("a directory");
    let all_dead = ["average_ticket", "proximity", "transaction_count"];
    let program = all_dead
        .iter()
        .fold(paced(directory.path()), |program, name| program.with("--kill-analyzer", name));
    let figures = program.figures();
    assert_all_decided(&figures, 2000);
    assert_eq!(figures.number("partial"), 2000);
    assert_eq!(figures.number("declined"), 0);
}

#[test]
fn the_presenter_answers_from_the_database_of_an_earlier_run() {
    let directory = tempfile::tempdir().expect("a directory");
    paced(directory.path()).figures();
    let answer = example(directory.path()).with("--ask", 1234).output();
    assert!(answer.status.success());
    let said = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(said.starts_with("transaction 1234: "), "{said}");
    let unknown = example(directory.path()).with("--ask", 2000).output();
    assert!(!unknown.status.success());
}
