//! Every workload, for this crate, hand-written threads, timely and renoir, side by side.
//!
//! ```sh
//! cd benches/workloads && cargo run --release -- --json results.json
//! cargo run --release -- --only W3          # the workloads whose names begin so
//! ```

mod hand;
mod log;
mod measure;
mod ours;
mod pace;
mod record;
mod renoir;
mod table;
mod timely;
mod workloads;

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use streamwork::BoxError;

use crate::table::Table;
use crate::workloads::{Task, WORKLOADS};

/// Measures the workloads of benches/README.md and prints their table.
#[derive(Parser)]
struct Arguments {
    /// Only workloads whose names begin with one of these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Events of a run, instead of each workload's own number.
    #[arg(long)]
    events: Option<u64>,
    /// Rounds, instead of each workload's own number.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Writes every run to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Runs one contestant of this workload in this process.
    #[arg(long, hide = true)]
    child: Option<String>,
    #[arg(long, hide = true)]
    contestant: Option<String>,
}

fn main() -> Result<(), BoxError> {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.child {
        return child(name, &arguments);
    }
    let started = Instant::now();
    let mut table = Table::default();
    let chosen = |name: &str| {
        arguments.only.is_empty() || arguments.only.iter().any(|only| name.starts_with(only))
    };
    for workload in WORKLOADS.iter().filter(|workload| chosen(workload.name)) {
        let events = arguments.events.unwrap_or(workload.events);
        let rounds = arguments.rounds.map_or(workload.rounds, usize::from);
        let runs = measure::all(workload, events, rounds)?;
        table.add(workload, events, rounds, runs)?;
    }
    println!("{}", table.markdown());
    println!("All of it took {} s.", started.elapsed().as_secs());
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(&table.json())?)?;
    }
    Ok(())
}

fn child(name: &str, arguments: &Arguments) -> Result<(), BoxError> {
    let workload =
        WORKLOADS.iter().find(|workload| workload.name == name).ok_or("no such workload")?;
    let wanted = arguments.contestant.as_deref();
    let contestant = workload
        .contestants
        .iter()
        .find(|contestant| Some(contestant.name) == wanted)
        .ok_or("no such contestant")?;
    let task = Task {
        events: arguments.events.unwrap_or(workload.events),
        accounts: workload.accounts,
        threads: workload.threads,
        per_second: workload.per_second,
    };
    measure::as_child(contestant, &task)
}
