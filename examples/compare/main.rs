//! The chapter's trade-off table, with measured numbers: one job, one schedule of faults, four
//! guarantees.
//!
//! The job makes two postings of each transfer, counts them per account and writes them to a
//! transactional ledger (see `job.rs`). Some postings fail, half with an error and half with a panic,
//! each once and the same ones under every guarantee. Nothing but the line in the last column changes.
//!
//! * *lost*, *repeated*: postings that an outside reader of the ledger does not see, or sees too often.
//! * *state error*: by how much the counts of all accounts together are wrong at the end.
//! * *transfers/s*: at full speed, without faults, from start to end of the job.
//! * *p99*: of the time from when a transfer was due, on a fixed schedule that does not wait for the
//!   job, to when its posting could be seen in the ledger. Under checkpoints that is when the next one
//!   is complete.
//! * *store*: bytes in the checkpoint directory after the run at full speed.
//!
//! Runs of the guarantees alternate. Wrong results are the worst of all runs, the rest are medians.
//!
//! ```sh
//! cargo run --release --example compare -- --events 2000000 --json
//! ```

mod job;
#[path = "../pipe/mod.rs"]
mod pipe;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::ProgressBar;
use serde_json::json;
use streamwork::{AtLeastOnce, AtMostOnce, BoxError, ExactlyOnce, Guarantee, Restarts};

use crate::job::{World, Wrong};

/// Runs one job with the same faults under every guarantee and measures what each costs and saves.
#[derive(Parser)]
struct Arguments {
    /// Transfers in a run at full speed; each makes two postings.
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    events: u64,
    /// Postings that fail in a run, each once.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100))]
    faults: u64,
    /// Which postings fail.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Times everything is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// Length of a run that measures latency.
    #[arg(long, default_value_t = 500)]
    paced_ms: u64,
    /// Prints the table once more, as JSON in the last line.
    #[arg(long)]
    json: bool,
}

/// Transfers per second of the runs that measure latency.
const PACE_PER_SECOND: u32 = 10_000;

/// Runs at full speed in a round.
const SPEED_RUNS: u64 = 3;

/// Time between two checkpoints, and the longest pause before a restart.
const EVERY: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(2);

/// One way to run the job.
struct Semantics {
    /// All that a user has to change.
    code: &'static str,
    guarantee: fn(&Path) -> Guarantee,
}

/// What `code` shows is what is run, and every guarantee gets the same options.
macro_rules! semantics {
    ($(|$directory:ident| $guarantee:expr),* $(,)?) => {
        [$(Semantics {
            code: stringify!($guarantee),
            guarantee: |$directory| {
                let restarts = Restarts { backoff_max: PAUSE, ..Restarts::unlimited() };
                $guarantee.every(EVERY).restarts(restarts).into()
            },
        }),*]
    };
}

const SEMANTICS: [Semantics; 4] = semantics![
    |_directory| AtMostOnce::new(),
    |_directory| AtLeastOnce::new(),
    |directory| AtLeastOnce::checkpoints_in(directory),
    |directory| ExactlyOnce::checkpoints_in(directory),
];

/// What was measured of one guarantee, over the rounds.
#[derive(Default)]
struct Row {
    name: &'static str,
    wrong: Wrong,
    per_second: Vec<u64>,
    p99_us_without_faults: Vec<u64>,
    p99_us_with_faults: Vec<u64>,
    stored_bytes: Vec<u64>,
}

fn main() -> Result<(), BoxError> {
    let arguments = Arguments::parse();
    pipe::ends_quietly();
    silence_injected_panics();
    let mut rows: [Row; 4] = Default::default();
    let progress = ProgressBar::new(arguments.rounds * (SPEED_RUNS + 1));
    for round in 0..arguments.rounds {
        for _ in 0..SPEED_RUNS {
            alternately(round, &mut rows, |semantics, row| row.speed(semantics, &arguments))?;
            step(&progress);
        }
        alternately(round, &mut rows, |semantics, row| row.faults(semantics, &arguments))?;
        step(&progress);
    }
    progress.finish_and_clear();
    print(&rows, &arguments);
    if arguments.json {
        println!("{}", json!({ "semantics": rows.each_ref().map(Row::json) }));
    }
    check(&rows)
}

/// One more measurement of all guarantees is done.
fn step(progress: &ProgressBar) {
    progress.inc(1);
    if progress.is_hidden() {
        let (done, all) = (progress.position(), progress.length().unwrap_or_default());
        // Standard error may be closed, which does not matter to the measurement.
        let _ = writeln!(std::io::stderr(), "{done} of {all} measurements so far");
    }
}

/// Measures each guarantee once; another one comes first in every round.
fn alternately(
    round: u64,
    rows: &mut [Row; 4],
    measure: impl Fn(&Semantics, &mut Row) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    (0..4).map(|turn| (round as usize + turn) % 4).try_for_each(|which| {
        let row = &mut rows[which];
        measure(&SEMANTICS[which], row)
    })
}

impl Row {
    /// A run at full speed without faults.
    fn speed(&mut self, semantics: &Semantics, arguments: &Arguments) -> Result<(), BoxError> {
        let run = Run::of(semantics, World::new(arguments.events, None)?)?;
        self.name = run.name;
        self.per_second.push((arguments.events as f64 / run.seconds) as u64);
        self.stored_bytes.push(run.stored_bytes);
        Ok(())
    }

    /// A run at full speed with faults, and at a fixed pace one without and one with them.
    fn faults(&mut self, semantics: &Semantics, arguments: &Arguments) -> Result<(), BoxError> {
        let pace = Some(Duration::from_secs(1) / PACE_PER_SECOND);
        let paced = arguments.paced_ms * u64::from(PACE_PER_SECOND) / 1_000;
        let faulty = |world: World| world.with_faults(arguments.faults, arguments.seed);

        let run = Run::of(semantics, faulty(World::new(arguments.events, None)?))?;
        self.wrong = self.wrong.worse(run.world.wrong());
        let run = Run::of(semantics, World::new(paced, pace)?)?;
        self.p99_us_without_faults.push(run.world.p99_us());
        let run = Run::of(semantics, faulty(World::new(paced, pace)?))?;
        self.p99_us_with_faults.push(run.world.p99_us());
        self.wrong = self.wrong.worse(run.world.wrong());
        Ok(())
    }
    fn json(&self) -> serde_json::Value {
        json!({
            "semantics": self.name,
            "lost": self.wrong.lost,
            "repeated": self.wrong.repeated,
            "state_error": self.wrong.state_error,
            "throughput": median(&self.per_second),
            "p99_us_without_faults": median(&self.p99_us_without_faults),
            "p99_us_with_faults": median(&self.p99_us_with_faults),
            "stored_bytes": median(&self.stored_bytes),
            "lines_changed": 1,
        })
    }
}

/// A run that is over.
struct Run {
    world: Arc<World>,
    name: &'static str,
    seconds: f64,
    stored_bytes: u64,
}

impl Run {
    fn of(semantics: &Semantics, world: World) -> Result<Self, BoxError> {
        let directory = tempfile::tempdir()?;
        let world = Arc::new(world);
        let guarantee = (semantics.guarantee)(directory.path());
        let name = guarantee.name();
        let started = Instant::now();
        world.job().run(guarantee)?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Self { world, name, seconds, stored_bytes: bytes_in(directory.path())? })
    }
}

fn bytes_in(directory: &Path) -> std::io::Result<u64> {
    std::fs::read_dir(directory)?.try_fold(0, |sum, entry| {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let bytes = if metadata.is_dir() { bytes_in(&entry.path())? } else { metadata.len() };
        Ok(sum + bytes)
    })
}

fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn print(rows: &[Row], arguments: &Arguments) {
    let Arguments { events, faults, seed, rounds, paced_ms, .. } = arguments;
    println!("{events} transfers, two postings each; {faults} postings fail once (seed {seed})");
    println!(
        "{rounds} rounds; checkpoints every {EVERY:?}; latency at {PACE_PER_SECOND} transfers/s, {paced_ms} ms"
    );
    println!();
    let (group, names) = HEAD;
    println!("{group}\n{names}");
    for (row, Semantics { code, .. }) in rows.iter().zip(&SEMANTICS) {
        let Wrong { lost, repeated, state_error } = row.wrong;
        println!(
            "{:24}  {lost:5}  {repeated:8}  {state_error:11}  {:11}  {:9.2}  {:6.2}  {:6}  {code}",
            row.name,
            median(&row.per_second),
            median(&row.p99_us_without_faults) as f64 / 1e3,
            median(&row.p99_us_with_faults) as f64 / 1e3,
            median(&row.stored_bytes),
        );
    }
}

const HEAD: (&str, &str) = (
    "                          ---- wrong, with faults ----   full speed    p99 ms, paced   store   all that changes",
    "semantics                  lost  repeated  state error  transfers/s  no faults  faults   bytes  in the code",
);

/// Compares the rows with what their guarantees promise.
fn check(rows: &[Row; 4]) -> Result<(), BoxError> {
    let [most, least, unaligned, exactly] = rows.each_ref().map(|row| row.wrong);
    let kept = [
        ("at-most-once loses and never repeats", most.lost > 0 && most.repeated == 0),
        ("at-least-once repeats and never loses", least.lost == 0 && least.repeated > 0),
        ("at-least-once by checkpoints does too", unaligned.lost == 0 && unaligned.repeated > 0),
        ("exactly-once does neither", exactly.lost + exactly.repeated + exactly.state_error == 0),
    ];
    match kept.iter().find(|(_, kept)| !kept) {
        Some((promise, _)) => Err(format!("not seen in this run: {promise}").into()),
        None => Ok(()),
    }
}

/// Injected panics are expected; their messages would hide the table.
fn silence_injected_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<&str>() != Some(&job::INJECTED_PANIC) {
            report(info);
        }
    }));
}
