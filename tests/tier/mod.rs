//! Shared by all test binaries: how long to run, the seed, and a line for the report.
//!
//! Quick is what `cargo test` runs. `STREAMWORK_TIER=long` multiplies the counts; `STREAMWORK_SEED`
//! repeats a run; `STREAMWORK_REPORT=FILE` collects what was tested, one JSON object a line, from
//! which `docs/RELIABILITY.md` is made.
#![allow(dead_code, reason = "each binary uses what it needs")]

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `quick` in the project's tests, `long` in the long tier.
pub(crate) fn times(quick: u64, long: u64) -> u64 {
    if is_long() { long } else { quick }
}

/// Whether this is the long tier.
pub(crate) fn is_long() -> bool {
    std::env::var("STREAMWORK_TIER").is_ok_and(|tier| tier == "long")
}

/// A number from the environment.
///
/// # Panics
/// If the variable is set to something else: a seed that is not taken must not look taken.
pub(crate) fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable}={value} is not a number")))
}

/// The seed to start from: the one asked for, or a new one with every run. Printed, so that a run
/// can be repeated.
pub(crate) fn seed(test: &str) -> u64 {
    let seed = number("STREAMWORK_SEED").unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_nanos() as u64 % 1_000_000_000
    });
    println!("{test}: STREAMWORK_SEED={seed}");
    seed
}

/// One line of the report: a row of the fault table, what was done how often, with what result.
/// Called after the assertions, so that a line stands for a test that passed.
pub(crate) fn report(row: u8, test: &str, done: u64, unit: &str, seed: u64, took: Duration) {
    println!("row {row}: {test}: {done} {unit}, seed {seed}, {:.1} s", took.as_secs_f64());
    let Ok(path) = std::env::var("STREAMWORK_REPORT") else { return };
    let tier = if is_long() { "long" } else { "quick" };
    let line = serde_json::json!({
        "row": row, "test": test, "done": done, "unit": unit, "seed": seed,
        "seconds": took.as_secs_f64(), "tier": tier,
    });
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    let written = file.and_then(|mut file| writeln!(file, "{line}"));
    written.unwrap_or_else(|error| panic!("{path}: {error}"));
}
