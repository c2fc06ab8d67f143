//! Every workload, for this crate, hand-written threads, timely, renoir and dfir, side by side.
//!
//! ```sh
//! cd benches/workloads && cargo run --release -- --json results.json
//! cargo run --release -- --only W3          # the workloads whose names begin so
//! cargo run --release -- --curves           # how rate and memory bend as one thing grows
//! ```

mod curves;
mod dfir;
mod hand;
mod log;
mod measure;
mod ours;
mod pace;
mod picture;
mod record;
mod renoir;
mod table;
mod timely;
mod watch;
mod workloads;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::{Value, json};
use streamwork::BoxError;

use crate::curves::CURVES;
use crate::measure::Place;
use crate::table::Table;
use crate::workloads::{COST, WORKLOADS};

/// How long the machine is watched before anything is measured, and what share of its cores others may take meanwhile.
const WATCHED: Duration = Duration::from_secs(1);
const OTHERS_SHARE_MAX: f64 = 0.1;

/// Measures the workloads of benches/README.md and prints their table.
#[derive(Parser)]
struct Arguments {
    /// Only workloads whose names begin with one of these; with `--curves`, only such curves.
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
    /// Instead of the workloads: rate and memory as instances, stages, events and keys grow.
    #[arg(long)]
    curves: bool,
    /// Draws an SVG into this file: the curves, or else what a guarantee costs, and measures nothing beside that.
    #[arg(long)]
    picture: Option<PathBuf>,
    /// Measures also when others take more than a tenth of the machine.
    #[arg(long)]
    loaded: bool,
    /// Runs one contestant of this workload or curve in this process.
    #[arg(long, hide = true)]
    child: Option<String>,
    #[arg(long, hide = true)]
    contestant: Option<String>,
    /// The point of the curve.
    #[arg(long, hide = true)]
    at: Option<u64>,
}

impl Arguments {
    fn chooses(&self, name: &str) -> bool {
        match (&self.picture, self.curves) {
            (Some(_), false) => name == COST,
            _ => self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only)),
        }
    }
}

fn main() -> Result<(), BoxError> {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.child {
        return child(name, &arguments);
    }
    refuse_if_loaded(arguments.loaded)?;
    let started = Instant::now();
    let (json, svg) = if arguments.curves { curves(&arguments) } else { workloads(&arguments) }?;
    println!("\nAll of it took {} s.", started.elapsed().as_secs());
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(&json)?)?;
    }
    if let Some(file) = &arguments.picture {
        std::fs::write(file, svg.ok_or("a picture of the curves needs all of them")?)?;
    }
    Ok(())
}

/// Figures that were taken while others work say more about the others.
fn refuse_if_loaded(anyway: bool) -> Result<(), BoxError> {
    let share = measure::share_taken(WATCHED)?;
    if share <= OTHERS_SHARE_MAX {
        return Ok(());
    }
    let found = format!("others take {:.0} % of this machine's cores", share * 100.0);
    if anyway {
        eprintln!("WARNING: {found}; only ratios within one table mean something, if anything.");
        return Ok(());
    }
    Err(format!("{found}: wait until it is idle, or measure with --loaded").into())
}

/// Measures and prints every chosen workload; all runs, and the picture of what a guarantee costs.
fn workloads(arguments: &Arguments) -> Result<(Value, Option<String>), BoxError> {
    let mut table = Table::default();
    let mut svg = None;
    for workload in WORKLOADS.iter().filter(|workload| arguments.chooses(workload.name)) {
        let events = arguments.events.unwrap_or(workload.events);
        let rounds = arguments.rounds.map_or(workload.rounds, usize::from);
        let place = Place { name: workload.name, at: None };
        let runs = measure::all(place, workload.contestants, events, rounds)?;
        if workload.name == COST {
            svg = Some(picture::cost::draw(&runs)?);
        }
        table.add(workload, events, rounds, runs)?;
    }
    println!("{}", table.markdown());
    Ok((table.json(), svg))
}

/// Measures and prints every chosen curve; all runs, and the picture if all were chosen.
fn curves(arguments: &Arguments) -> Result<(Value, Option<String>), BoxError> {
    let rounds = arguments.rounds.map_or(3, usize::from);
    let mut measured = Vec::new();
    for curve in CURVES.iter().filter(|curve| arguments.chooses(curve.name)) {
        let points = curves::measured(curve, arguments.events, rounds)?;
        print!("{}", curves::markdown(curve, &points, rounds));
        measured.push((curve, points));
    }
    let json = measured.iter().map(|(curve, points)| curves::json(curve, points));
    let json = json!({ "curves": json.collect::<Vec<_>>() });
    let svg = (measured.len() == CURVES.len()).then(|| picture::curves::draw(&measured));
    Ok((json, svg))
}

fn child(name: &str, arguments: &Arguments) -> Result<(), BoxError> {
    let wanted = arguments.contestant.as_deref().ok_or("no contestant")?;
    let (contestant, mut task) = match arguments.at {
        Some(at) => curves::find(name, at, wanted)?,
        None => workloads::find(name, wanted)?,
    };
    task.events = arguments.events.unwrap_or(task.events);
    measure::as_child(contestant, &task)
}
