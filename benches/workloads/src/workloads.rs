//! The list: every workload, who takes part, what is measured, what must be reached.

use std::time::{Duration, Instant};

use streamwork::BoxError;

use crate::measure::Outcome;
use crate::{dfir, hand, ours, renoir, timely};

/// What one run is asked to do.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    pub events: u64,
    pub accounts: u64,
    /// Sources, and instances of what is behind them.
    pub threads: usize,
    /// Events offered, where the pace is given.
    pub per_second: u64,
    /// Of a chain.
    pub stages: usize,
    /// Where it is not the size of a transaction.
    pub event_bytes: usize,
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

impl Workload {
    pub fn task(&self) -> Task {
        Task {
            events: self.events,
            accounts: self.accounts,
            threads: self.threads,
            per_second: self.per_second,
            stages: 0,
            event_bytes: 0,
        }
    }
}

/// Events per second, in millions.
pub const RATE: &str = "rate";

/// Megabytes that a process had at most; of every contestant.
pub const PEAK: &str = "peak memory";

pub const OURS: &str = "ours";
pub const HAND: &str = "hand-written";
pub const TIMELY: &str = "timely";
pub const RENOIR: &str = "renoir";

pub const fn contestant(
    name: &'static str,
    run: fn(&Task) -> Result<Outcome, BoxError>,
) -> Contestant {
    Contestant { name, run }
}

const fn figure(name: &'static str, unit: &'static str) -> Figure {
    Figure { name, unit }
}

const fn at_least(times: f64, other: &'static str) -> Target {
    Target { contestant: OURS, figure: RATE, bound: Bound::Times(times, other) }
}

const fn at_most(contestant: &'static str, figure: &'static str, value: f64) -> Target {
    Target { contestant, figure, bound: Bound::AtMost(value) }
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

/// With those that have one thread only.
const PIPELINES_OF_ONE: &[Contestant] = &[
    contestant(OURS, ours::pipeline::run),
    contestant("hand-written loop", hand::pipeline::fused),
    contestant("hand-written batches", hand::pipeline::batches),
    contestant("timely, one operator", timely::pipeline::one_operator),
    contestant("timely, operators", timely::pipeline::operators),
    contestant(RENOIR, renoir::pipeline::chain),
    contestant("dfir", dfir::pipeline::chain),
];

const KEYED: &[Contestant] = &[
    contestant(OURS, ours::keyed::closure),
    contestant("ours, map by hand", ours::keyed::at_most_once),
    contestant(HAND, hand::keyed::run),
    contestant(TIMELY, timely::keyed::by_account),
    contestant(RENOIR, renoir::keyed::by_account),
    contestant("dfir, one thread", dfir::keyed::by_account),
];

const KEYED_SAVED: &[Contestant] = &[
    contestant("ours, exactly-once", ours::keyed::closure_exactly_once),
    contestant("ours, without checkpoints", ours::keyed::closure),
];

const PER_GUARANTEE: &[Contestant] = &[
    contestant("ours, at-most-once", ours::keyed::at_most_once),
    contestant("ours, exactly-once", ours::keyed::exactly_once),
    contestant("ours, at-least-once by checkpoints", ours::keyed::at_least_once_checkpointed),
    contestant("ours, at-least-once, acknowledged", ours::keyed::at_least_once_acknowledged),
];

const GUARANTEE_TARGETS: &[Target] = &[
    Target {
        contestant: "ours, exactly-once",
        figure: RATE,
        bound: Bound::Times(0.95, "ours, at-most-once"),
    },
    Target {
        contestant: "ours, at-least-once, acknowledged",
        figure: RATE,
        bound: Bound::Times(0.75, "ours, at-most-once"),
    },
];

const LATENCIES: &[Figure] =
    &[figure("p50", "ms"), figure("p99", "ms"), figure("p99.9", "ms"), figure("max", "ms")];

const PACED: &[Contestant] = &[
    contestant("ours, exactly-once", ours::latency::exactly_once),
    contestant("ours, at-most-once", ours::latency::at_most_once),
    contestant(HAND, hand::latency::run),
];

const LATENCY_TARGETS: &[Target] = &[
    at_most("ours, exactly-once", "p50", 0.15),
    at_most("ours, exactly-once", "p99", 1.0),
    at_most("ours, exactly-once", "p99.9", 4.0),
];

/// The workload that `--picture` draws.
pub const COST: &str = "cost";

const COSTS: &[Figure] = &[
    figure(RATE, "M events/s"),
    figure("p50", "ms"),
    figure("p99", "ms"),
    figure("p99.9", "ms"),
    figure("failures", "injected"),
    figure("off", "events lost (-) or repeated (+) in the state"),
];

const LOG_RATES: &[Figure] = &[figure("append", "MB/s"), figure("read", "MB/s")];

/// In the way of each event of the slow instance.
const SLOWER_BY: Duration = Duration::from_micros(1);

/// Keeps a core at work for a microsecond, in the first instance only.
#[inline]
pub fn slow_if_first(instance: usize) {
    if instance == 0 {
        let since = Instant::now();
        while since.elapsed() < SLOWER_BY {
            std::hint::spin_loop();
        }
    }
}

pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "W1-1",
        title: "source, map, filter, sink in one thread",
        threads: 1,
        contestants: PIPELINES_OF_ONE,
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
    Workload {
        name: "W3-10M",
        title: "count and sum by account, 2 + 2 instances, 10,000,000 accounts",
        events: 40_000_000,
        accounts: 10_000_000,
        contestants: KEYED,
        targets: &[at_least(0.95, HAND), at_least(1.0, TIMELY)],
        ..PLAIN
    },
    Workload {
        name: "W6-1M",
        title: "the keyed closure with a checkpoint every second, 1,000,000 accounts",
        events: 40_000_000,
        rounds: 3,
        accounts: 1_000_000,
        figures: &[figure(RATE, "M events/s"), figure("checkpoints", "taken")],
        contestants: KEYED_SAVED,
        targets: &[at_least(0.95, "ours, without checkpoints")],
        ..PLAIN
    },
    Workload {
        name: "W6-10M",
        title: "the keyed closure with a checkpoint every second, 10,000,000 accounts",
        events: 60_000_000,
        rounds: 3,
        accounts: 10_000_000,
        figures: &[figure(RATE, "M events/s"), figure("checkpoints", "taken")],
        contestants: KEYED_SAVED,
        targets: &[at_least(0.9, "ours, without checkpoints")],
        ..PLAIN
    },
    Workload {
        name: "delta-10M",
        title: "a checkpoint of 10,000,000 keys after 1,000,000 updates by Zipf's law, and ten a second of 1,000",
        events: 1_000_000,
        rounds: 1,
        accounts: 10_000_000,
        figures: &[
            figure("whole", "MB"),
            figure("delta", "% of it"),
            figure("with rewriting", "% of it"),
            figure("core", "%"),
        ],
        contestants: &[contestant(OURS, ours::state::delta)],
        targets: &[at_most(OURS, "delta", 6.0), at_most(OURS, "core", 2.0)],
        ..PLAIN
    },
    Workload {
        name: "restore-10M",
        title: "from a start to the first event with the state of 10,000,000 keys",
        rounds: 3,
        accounts: 10_000_000,
        figures: &[figure("restore", "s")],
        contestants: &[
            contestant(OURS, ours::state::restore_same),
            contestant("ours, another parallelism", ours::state::restore_other),
        ],
        targets: &[
            at_most(OURS, "restore", 3.0),
            at_most("ours, another parallelism", "restore", 3.0),
        ],
        ..PLAIN
    },
    Workload {
        name: "W3-guarantees-100k",
        title: "the keyed job under each guarantee, a checkpoint every second, 100,000 accounts",
        events: 120_000_000,
        rounds: 3,
        figures: &[figure(RATE, "M events/s"), figure("checkpoints", "taken")],
        contestants: PER_GUARANTEE,
        targets: GUARANTEE_TARGETS,
        ..PLAIN
    },
    Workload {
        name: "W3-guarantees-1M",
        title: "the keyed job under each guarantee, a checkpoint every second, 1,000,000 accounts",
        events: 40_000_000,
        rounds: 3,
        accounts: 1_000_000,
        figures: &[figure(RATE, "M events/s"), figure("checkpoints", "taken")],
        contestants: PER_GUARANTEE,
        targets: GUARANTEE_TARGETS,
        ..PLAIN
    },
    Workload {
        name: "W5-100k",
        title: "latency of the keyed job from the intended moment, 100,000 events/s offered",
        events: 500_000,
        rounds: 3,
        per_second: 100_000,
        figures: LATENCIES,
        contestants: PACED,
        targets: LATENCY_TARGETS,
        ..PLAIN
    },
    Workload {
        name: "W5-500k",
        title: "latency of the keyed job from the intended moment, 500,000 events/s offered",
        events: 2_500_000,
        rounds: 3,
        per_second: 500_000,
        figures: LATENCIES,
        contestants: PACED,
        targets: LATENCY_TARGETS,
        ..PLAIN
    },
    Workload {
        name: "W6",
        title: "longest stop of an instance with 1,000,000 keys at a checkpoint",
        events: 20_000_000,
        rounds: 3,
        accounts: 1_000_000,
        threads: 1,
        figures: &[figure("stop", "ms"), figure("clone", "ms")],
        contestants: &[contestant(OURS, ours::pause::run)],
        targets: &[at_most(OURS, "stop", 1.0)],
        ..PLAIN
    },
    Workload {
        name: "W7-100k",
        title: "from a panic to the first new event at the sink, exactly-once, 100,000 accounts",
        events: 2_000_000,
        rounds: 3,
        figures: &[figure("recovery", "ms")],
        contestants: &[contestant(OURS, ours::failing::recovery)],
        targets: &[at_most(OURS, "recovery", 100.0)],
        ..PLAIN
    },
    Workload {
        name: "W7-1M",
        title: "from a panic to the first new event at the sink, exactly-once, 1,000,000 accounts",
        events: 10_000_000,
        rounds: 3,
        accounts: 1_000_000,
        figures: &[figure("recovery", "ms")],
        contestants: &[contestant(OURS, ours::failing::recovery)],
        targets: &[at_most(OURS, "recovery", 250.0)],
        ..PLAIN
    },
    Workload {
        name: "W8",
        title: "100 instances without input, for five seconds",
        events: 0,
        rounds: 1,
        threads: 50,
        figures: &[figure("share", "% of a core")],
        contestants: &[
            contestant("ours, at-most-once", ours::idle::at_most_once),
            contestant("ours, exactly-once", ours::idle::exactly_once),
        ],
        targets: &[
            at_most("ours, at-most-once", "share", 1.0),
            at_most("ours, exactly-once", "share", 1.0),
        ],
        ..PLAIN
    },
    Workload {
        name: "W9",
        title: "the keyed job with one instance a microsecond slower for each event",
        events: 16_000_000,
        rounds: 1,
        contestants: &[
            contestant(OURS, ours::slow::run),
            contestant(HAND, hand::keyed::slow),
            contestant(TIMELY, timely::keyed::slow),
            contestant(RENOIR, renoir::keyed::slow),
        ],
        targets: &[at_most(OURS, PEAK, 32.0)],
        ..PLAIN
    },
    Workload {
        name: "log-32",
        title: "the event log and a plain file, records of 32 bytes, fsync every 16 MiB",
        events: 8_000_000,
        rounds: 3,
        figures: LOG_RATES,
        contestants: &[
            contestant(OURS, ours::log::records_of_32_bytes),
            contestant("plain file", hand::log::records_of_32_bytes),
        ],
        ..PLAIN
    },
    Workload {
        name: "log-1024",
        title: "the event log and a plain file, records of 1,024 bytes, fsync every 16 MiB",
        events: 250_000,
        rounds: 3,
        figures: LOG_RATES,
        contestants: &[
            contestant(OURS, ours::log::records_of_1_kb),
            contestant("plain file", hand::log::records_of_1_kb),
        ],
        ..PLAIN
    },
    Workload {
        name: COST,
        title: "the keyed job, a checkpoint every 250 ms: as much as it takes, then 100,000 events/s; and the same while an instance fails every second",
        events: 500_000,
        rounds: 1,
        per_second: 100_000,
        figures: COSTS,
        contestants: &[
            contestant("at-most-once", ours::cost::at_most_once),
            contestant("at-most-once, failing", ours::cost::at_most_once_failing),
            contestant("at-least-once, acknowledged", ours::cost::acknowledged),
            contestant("at-least-once, acknowledged, failing", ours::cost::acknowledged_failing),
            contestant("at-least-once by checkpoints", ours::cost::checkpointed),
            contestant("at-least-once by checkpoints, failing", ours::cost::checkpointed_failing),
            contestant("exactly-once", ours::cost::exactly_once),
            contestant("exactly-once, failing", ours::cost::exactly_once_failing),
        ],
        ..PLAIN
    },
];

/// The contestant of a workload, for the process that runs it.
///
/// # Errors
/// There is no such workload or contestant.
pub fn find(workload: &str, contestant: &str) -> Result<(&'static Contestant, Task), BoxError> {
    let workload =
        WORKLOADS.iter().find(|known| known.name == workload).ok_or("no such workload")?;
    let contestant = workload.contestants.iter().find(|known| known.name == contestant);
    Ok((contestant.ok_or("no such contestant")?, workload.task()))
}
