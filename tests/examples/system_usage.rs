//! kill -9 of the system usage job at random moments, and lookups that fail, under each guarantee.
//!
//! Kills per guarantee: `STREAMWORK_KILLS` (default 5); the moments come from `STREAMWORK_SEED`.

use std::path::Path;
use std::time::Duration;

use crate::program::{Figures, Program};

fn example(semantics: &str, directory: &Path) -> Program {
    Program::example("system_usage").with("--semantics", semantics).keeping("--data-dir", directory)
}

/// Slow enough that kills meet it at work, with checkpoints all the time.
fn slowed(semantics: &str, directory: &Path) -> Program {
    example(semantics, directory).with("--rate", 15_000).with("--checkpoint-ms", 20)
}

/// Kills it at random moments, also while it loads the log, then lets it finish.
fn torment(semantics: &str) -> Figures {
    let directory = tempfile::tempdir().expect("a directory");
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("STREAMWORK_KILLS").unwrap_or(5);
    let seed = number("STREAMWORK_SEED").unwrap_or_else(|| std::process::id().into());
    println!("{semantics}: STREAMWORK_SEED={seed} STREAMWORK_KILLS={kills}");
    let mut random = seed;
    for _ in 0..kills {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = Duration::from_micros((random >> 33) % 600_000);
        slowed(semantics, directory.path()).kill_after(moment);
    }
    slowed(semantics, directory.path()).figures()
}

/// The totals minus the truth: transactions and frauds.
fn error_of(figures: &Figures) -> (i64, i64) {
    let error = |of: &str| {
        let expected = figures.number(&format!("expected_{of}"));
        figures.number(of).cast_signed() - expected.cast_signed()
    };
    (error("transactions"), error("frauds"))
}

#[test]
fn exactly_once_totals_are_right_whatever_is_killed_when() {
    let figures = torment("exactly-once");
    assert_eq!(error_of(&figures), (0, 0), "{figures:?}");
}

#[test]
fn at_least_once_totals_are_never_too_low_whatever_is_killed_when() {
    let figures = torment("at-least-once");
    let (transactions, frauds) = error_of(&figures);
    assert!(transactions >= 0 && frauds >= 0, "{figures:?}");
}

#[test]
fn at_least_once_totals_by_checkpoints_are_never_too_low_whatever_is_killed_when() {
    let figures = torment("at-least-once-checkpoint");
    let (transactions, frauds) = error_of(&figures);
    assert!(transactions >= 0 && frauds >= 0, "{figures:?}");
}

#[test]
fn at_most_once_totals_are_never_too_high_whatever_is_killed_when() {
    let figures = torment("at-most-once");
    let (transactions, frauds) = error_of(&figures);
    assert!(transactions <= 0 && frauds <= 0, "{figures:?}");
}

#[test]
fn lookups_that_fail_count_twice_under_at_least_once_and_their_frauds_are_lost_under_at_most_once()
{
    let errors = |semantics| {
        let directory = tempfile::tempdir().expect("a directory");
        let figures = example(semantics, directory.path()).with("--fail-lookups", 12).figures();
        assert_eq!(figures.number("lookups_failed"), 12, "{figures:?}");
        (error_of(&figures), figures.number("replayed"))
    };
    assert_eq!(errors("exactly-once").0, (0, 0));
    assert_eq!(errors("at-least-once"), ((12, 0), 12));
    assert_eq!(errors("at-most-once"), ((0, -12), 0));
}

#[test]
fn a_finished_run_that_is_started_again_reports_the_same_totals() {
    for semantics in ["exactly-once", "at-least-once", "at-least-once-checkpoint", "at-most-once"] {
        let directory = tempfile::tempdir().expect("a directory");
        let first = example(semantics, directory.path()).figures();
        let again = example(semantics, directory.path()).figures();
        for total in ["transactions", "frauds"] {
            assert_eq!(first.number(total), again.number(total), "{semantics}");
        }
        assert!(again.number("restored_from_checkpoint") > 0, "{semantics}");
    }
}

#[test]
fn another_file_is_refused_by_a_directory_that_holds_a_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let small = directory.path().join("small.csv");
    let whole = std::fs::read_to_string("examples/data/transactions.csv").expect("the data file");
    let rows: Vec<&str> = whole.lines().take(100).collect();
    std::fs::write(&small, rows.join("\n")).expect("a small file");
    let data = directory.path().join("data");
    let figures = example("exactly-once", &data).keeping("--input", &small).figures();
    assert_eq!(figures.number("transactions"), 99);
    let refused = example("exactly-once", &data).output();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("holds 99 transactions"), "{said}");
}
