//! How rate and memory bend as one thing grows: instances, stages, the size of an event, the number of keys.
//!
//! Knows the list, runs it and prints it; `picture/curves.rs` draws it.

use std::fmt::Write;

use serde_json::{Value, json};
use streamwork::BoxError;

use crate::measure::{self, Outcome, Place, Runs};
use crate::table::{equal_checksums, median, others_took, short};
use crate::workloads::{Contestant, HAND, OURS, PEAK, RATE, Task, contestant};
use crate::{hand, ours};

/// One thing that grows.
pub struct Curve {
    /// As a child process is told it.
    pub name: &'static str,
    pub title: &'static str,
    /// What grows, and in what.
    pub axis: &'static str,
    points: &'static [u64],
    task: fn(u64) -> Task,
    contestants: &'static [Contestant],
}

/// What was measured where the one thing was this large.
pub struct Point {
    pub at: u64,
    pub runs: Vec<Runs>,
}

const PLAIN: Task = Task {
    events: 24_000_000,
    accounts: 100_000,
    threads: 2,
    per_second: 0,
    stages: 0,
    event_bytes: 0,
};

pub const CURVES: &[Curve] = &[
    Curve {
        name: "instances",
        title: "the keyed job, as many sources as instances behind them",
        axis: "instances of each",
        points: &[1, 2, 4, 8, 16, 32, 64],
        task: |instances| Task { threads: instances as usize, ..PLAIN },
        contestants: &[
            contestant(OURS, ours::keyed::at_most_once),
            contestant(HAND, hand::keyed::run),
        ],
    },
    Curve {
        name: "stages",
        title: "a chain of stages, in one thread or each on its own",
        axis: "stages",
        points: &[1, 2, 4, 8, 16, 32],
        // Work grows with the stages; a run should not.
        task: |stages| Task { events: 96_000_000 / (stages + 3), stages: stages as usize, ..PLAIN },
        contestants: &[
            contestant("ours, one thread", ours::deep::fused),
            contestant("ours, a thread each", ours::deep::threads),
            contestant("hand-written, one loop", hand::deep::fused),
            contestant("hand-written, a thread each", hand::deep::threads),
        ],
    },
    Curve {
        name: "event size",
        title: "events of a size, from one thread to another",
        axis: "bytes in an event",
        points: &[16, 64, 256, 1024, 4096],
        task: |bytes| Task {
            events: 4_800_000_000 / (bytes + 64),
            event_bytes: bytes as usize,
            ..PLAIN
        },
        contestants: &[contestant(OURS, sized_ours), contestant(HAND, sized_by_hand)],
    },
    Curve {
        name: "keys",
        title: "the keyed job, 2 + 2 instances",
        axis: "keys",
        points: &[10_000, 100_000, 1_000_000, 10_000_000],
        // Enough for each key to be met, on average, twice.
        task: |keys| Task { accounts: keys, events: (2 * keys).max(PLAIN.events), ..PLAIN },
        contestants: &[
            contestant(OURS, ours::keyed::at_most_once),
            contestant(HAND, hand::keyed::run),
        ],
    },
];

fn sized_ours(task: &Task) -> Result<Outcome, BoxError> {
    match task.event_bytes {
        16 => ours::sized::run::<16>(task),
        64 => ours::sized::run::<64>(task),
        256 => ours::sized::run::<256>(task),
        1024 => ours::sized::run::<1024>(task),
        4096 => ours::sized::run::<4096>(task),
        bytes => Err(format!("nobody makes events of {bytes} bytes").into()),
    }
}

fn sized_by_hand(task: &Task) -> Result<Outcome, BoxError> {
    match task.event_bytes {
        16 => hand::sized::run::<16>(task),
        64 => hand::sized::run::<64>(task),
        256 => hand::sized::run::<256>(task),
        1024 => hand::sized::run::<1024>(task),
        4096 => hand::sized::run::<4096>(task),
        bytes => Err(format!("nobody makes events of {bytes} bytes").into()),
    }
}

/// The contestant of a point, for the process that runs it.
///
/// # Errors
/// There is no such curve or contestant.
pub fn find(
    curve: &str,
    at: u64,
    contestant: &str,
) -> Result<(&'static Contestant, Task), BoxError> {
    let curve = CURVES.iter().find(|known| known.name == curve).ok_or("no such curve")?;
    let contestant = curve.contestants.iter().find(|known| known.name == contestant);
    Ok((contestant.ok_or("no such contestant")?, (curve.task)(at)))
}

/// Runs every point of a curve.
pub fn measured(curve: &Curve, events: Option<u64>, rounds: usize) -> Result<Vec<Point>, BoxError> {
    let point = |at: &u64| {
        let events = events.unwrap_or((curve.task)(*at).events);
        let place = Place { name: curve.name, at: Some(*at) };
        let runs = measure::all(place, curve.contestants, events, rounds)?;
        equal_checksums(&place.to_string(), &runs)?;
        Ok(Point { at: *at, runs })
    };
    curve.points.iter().map(point).collect()
}

pub fn markdown(curve: &Curve, points: &[Point], rounds: usize) -> String {
    let mut text = format!("\n### {}: {}\n\n", curve.name, curve.title);
    let _ = writeln!(text, "Medians of {rounds}: M events/s, and megabytes at most.\n");
    let _ = write!(text, "| {} |", curve.axis);
    for contestant in curve.contestants {
        let _ = write!(text, " {} | MB |", contestant.name);
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(2 * curve.contestants.len()));
    for point in points {
        let _ = write!(text, "| {} |", point.at);
        for runs in &point.runs {
            let of = |figure| median(runs, figure).map_or("–".to_owned(), short);
            let _ = write!(text, " {} | {} |", of(RATE), of(PEAK));
        }
        text.push('\n');
    }
    text.push_str(&others_took(points.iter().flat_map(|point| &point.runs)));
    text
}

pub fn json(curve: &Curve, points: &[Point]) -> Value {
    json!({
        "curve": curve.name,
        "title": curve.title,
        "axis": curve.axis,
        "points": points.iter().map(|point| json!({
            "at": point.at,
            "contestants": point.runs.iter().map(|runs| json!({
                "contestant": runs.contestant,
                "runs": runs.runs,
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}
