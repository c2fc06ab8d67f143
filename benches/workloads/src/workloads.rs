//! The list: every workload, who takes part, what is measured, what must be reached.

use streamwork::BoxError;

use crate::measure::Outcome;
use crate::{hand, ours, renoir, timely};

/// What one run is asked to do.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    pub events: u64,
    pub accounts: u64,
    /// Sources, and instances of what is behind them.
    pub threads: usize,
    /// Events offered, where the pace is given.
    pub per_second: u64,
}

pub struct Contestant {
    pub name: &'static str,
    pub run: fn(&Task) -> Result<Outcome, BoxError>,
}

/// What is measured, as named in an [`Outcome`].
pub struct Figure {
    pub name: &'static str,
    pub unit: &'static str,
}

/// What must be reached.
pub struct Target {
    pub contestant: &'static str,
    pub figure: &'static str,
    pub bound: Bound,
}

pub enum Bound {
    /// At least so many times what this contestant has.
    Times(f64, &'static str),
    AtMost(f64),
}

pub struct Workload {
    pub name: &'static str,
    pub title: &'static str,
    pub events: u64,
    pub rounds: usize,
    pub accounts: u64,
    pub threads: usize,
    pub per_second: u64,
    pub figures: &'static [Figure],
    pub contestants: &'static [Contestant],
    pub targets: &'static [Target],
}

/// Events per second, in millions.
pub const RATE: &str = "rate";

pub const OURS: &str = "ours";
pub const HAND: &str = "hand-written";
pub const TIMELY: &str = "timely";
pub const RENOIR: &str = "renoir";

const fn contestant(name: &'static str, run: fn(&Task) -> Result<Outcome, BoxError>) -> Contestant {
    Contestant { name, run }
}

const fn figure(name: &'static str, unit: &'static str) -> Figure {
    Figure { name, unit }
}

const fn at_least(times: f64, other: &'static str) -> Target {
    Target { contestant: OURS, figure: RATE, bound: Bound::Times(times, other) }
}

const RATES: &[Figure] = &[figure(RATE, "M events/s")];

const PLAIN: Workload = Workload {
    name: "",
    title: "",
    events: 40_000_000,
    rounds: 5,
    accounts: 100_000,
    threads: 2,
    per_second: 0,
    figures: RATES,
    contestants: &[],
    targets: &[],
};

const PIPELINES: &[Contestant] = &[
    contestant(OURS, ours::pipeline::run),
    contestant("hand-written loop", hand::pipeline::fused),
    contestant("hand-written batches", hand::pipeline::batches),
    contestant("timely, one operator", timely::pipeline::one_operator),
    contestant("timely, operators", timely::pipeline::operators),
    contestant(RENOIR, renoir::pipeline::chain),
];

const KEYED: &[Contestant] = &[
    contestant(OURS, ours::keyed::at_most_once),
    contestant(HAND, hand::keyed::run),
    contestant(TIMELY, timely::keyed::run_keyed),
    contestant(RENOIR, renoir::keyed::grouped),
];

pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "W1-1",
        title: "source, map, filter, sink in one thread",
        threads: 1,
        contestants: PIPELINES,
        targets: &[at_least(0.8, "hand-written loop")],
        ..PLAIN
    },
    Workload {
        name: "W1-2",
        title: "the same, twice, in two threads",
        events: 80_000_000,
        contestants: PIPELINES,
        targets: &[at_least(0.8, "hand-written loop")],
        ..PLAIN
    },
    Workload {
        name: "W2",
        title: "source, map, filter and sink each on a thread of its own",
        threads: 1,
        contestants: &[
            contestant(OURS, ours::hops::run),
            contestant(HAND, hand::hops::run),
            contestant(TIMELY, timely::hops::four_workers),
            contestant(RENOIR, renoir::hops::blocks),
        ],
        targets: &[at_least(0.75, HAND), at_least(2.0, TIMELY)],
        ..PLAIN
    },
    Workload {
        name: "W3-100k",
        title: "count and sum by account, 2 + 2 instances, 100,000 accounts",
        contestants: KEYED,
        targets: &[at_least(0.85, HAND), at_least(1.4, RENOIR)],
        ..PLAIN
    },
    Workload {
        name: "W3-1M",
        title: "count and sum by account, 2 + 2 instances, 1,000,000 accounts",
        events: 20_000_000,
        accounts: 1_000_000,
        contestants: KEYED,
        targets: &[at_least(1.0, TIMELY)],
        ..PLAIN
    },
];
