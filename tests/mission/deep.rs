//! [A4]: jobs of any depth and width. Fault F34: five thousand verbs in a chain overflowed the stack of their thread.

use std::time::Duration;

use streamwork::testkit::Collected;
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, DeclaredOutput, Guarantee, Instance, Job,
    Operator, Refused, SideOutput, StatefulOperator, Stream,
};

use crate::process;
use crate::support::{ALL, guarantee};

const SHAPE_VARIABLE: &str = "STREAMWORK_DEEP_SHAPE";
const DEPTH_VARIABLE: &str = "STREAMWORK_DEEP_DEPTH";
const EVENTS: u64 = 100;
const DEPTH: usize = 5_000;
/// As many as fit into the addresses that a process of these tests may use.
const THREADS: usize = 1_000;
/// Far longer than any of them takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// One more component behind a stream.
type Verb = fn(&Stream<u64>, usize) -> Stream<u64>;

/// The kinds of component that are fused; each is built and called in a different way.
const CHAINS: &[(&str, Verb)] = &[
    ("map", |stream, _| stream.map(|n| n)),
    ("try_map", |stream, _| stream.try_map(Ok)),
    ("filter", |stream, _| stream.filter(|_| true)),
    ("flat_map", |stream, _| stream.flat_map(Some)),
    ("inspect", |stream, _| stream.inspect(|_| ())),
    ("operator", |stream, n| stream.operator(format!("operator {n}"), || Passes)),
    ("stateful", |stream, n| stream.stateful(format!("stateful {n}"), || Passes)),
    ("channel", |stream, n| {
        let passes = stream.operator(format!("channel {n}"), || Sideways);
        passes.ignore();
        passes.side_output(SIDE)
    }),
    ("mixed", |stream, n| match n % 3 {
        0 => stream.map(|n| n),
        1 => stream.flat_map(Some),
        _ => stream.stateful(format!("mixed {n}"), || Passes),
    }),
];

struct Passes;

impl Operator for Passes {
    type In = u64;
    type Out = u64;
    fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        out.emit(event);
        Ok(())
    }
}

impl StatefulOperator for Passes {
    type In = u64;
    type Out = u64;
    type State = ();
    fn setup(&mut self, _: &Instance, _: Option<()>) -> Result<(), BoxError> {
        Ok(())
    }
    fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        out.emit(event);
        Ok(())
    }
    fn state(&self) {}
}

const SIDE: SideOutput<u64> = SideOutput::new("side");

struct Sideways;

impl Operator for Sideways {
    type In = u64;
    type Out = u64;
    const SIDE_OUTPUTS: &'static [DeclaredOutput] = &[SIDE.declared()];
    fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        out.emit_to(SIDE, event);
        Ok(())
    }
}

/// Runs numbers through a chain, each thread of which has as many components as it may.
fn run_chain(verb: Verb, depth: usize, guarantee: Guarantee) {
    let seen = Collected::new();
    let job = Job::new("deep");
    let numbers = job.from_iter("numbers", || 0..EVENTS);
    (0..depth).fold(numbers, |stream, n| verb(&stream, n)).sink("seen", seen.factory());
    job.run(guarantee).unwrap();
    assert_eq!(seen.events(), (0..EVENTS).collect::<Vec<_>>());
}

/// This many readers of one stream, each with its own sink or all merged into one.
fn run_fan(width: usize, merged: bool, own_thread: bool) {
    let seen = Collected::new();
    let job = Job::new("wide");
    let numbers = job.from_iter("numbers", || 0..3_u64);
    let readers = (0..width)
        .map(|_| numbers.map(|n| n))
        .map(|reader| if own_thread { reader.own_thread() } else { reader });
    if merged {
        let all = readers.reduce(|all, reader| all.merge(&reader)).expect("many");
        all.sink("seen", seen.factory());
    } else {
        for (number, reader) in readers.enumerate() {
            reader.sink(format!("seen {number}"), seen.factory());
        }
    }
    job.run(AtLeastOnce::new()).unwrap();
    let seen = seen.events();
    assert!((0..3).all(|n| seen.iter().filter(|seen| **seen == n).count() == width));
}

/// fault F34: a chain of any kind of component is built, called and dropped within the stack of its threads.
#[test]
fn five_thousand_components_in_a_row_or_side_by_side_run() {
    let chains = CHAINS.iter().map(|(name, _)| *name);
    let shapes = chains.chain(["own threads", "readers", "merges", "readers in own threads"]);
    let wrong: Vec<String> = shapes
        .filter_map(|shape| {
            let variables = [(SHAPE_VARIABLE, shape)];
            let run = process::run("deep::runs_the_shape_that_it_is_told", &variables, DEADLINE);
            run.err().map(|how| format!("{shape}: {how}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// fault F34: the limit on what a thread runs holds with the smallest stack that a user can ask for.
#[test]
fn a_small_stack_for_all_threads_of_a_process_does_not_end_a_deep_job() {
    for shape in ["stateful", "channel"] {
        let variables =
            [(SHAPE_VARIABLE, shape), (DEPTH_VARIABLE, "200"), ("RUST_MIN_STACK", "65536")];
        let run = process::run("deep::runs_the_shape_that_it_is_told", &variables, DEADLINE);
        run.unwrap_or_else(|how| panic!("{shape}: {how}"));
    }
}

#[test]
fn runs_the_shape_that_it_is_told() {
    let Ok(shape) = std::env::var(SHAPE_VARIABLE) else { return };
    let depth = std::env::var(DEPTH_VARIABLE).map_or(DEPTH, |depth| depth.parse().unwrap());
    match shape.as_str() {
        "own threads" => {
            run_chain(|stream, _| stream.map(|n| n).own_thread(), 1_000, AtMostOnce::new().into())
        }
        "readers" => run_fan(DEPTH, false, false),
        "merges" => run_fan(DEPTH, true, false),
        "readers in own threads" => run_fan(THREADS, true, true),
        chain => {
            let (_, verb) = CHAINS.iter().find(|(name, _)| *name == chain).expect("a chain");
            run_chain(*verb, depth, Guarantee::default());
        }
    }
}

/// fault F34: after the cut the chain continues under every guarantee: events, barriers, state and the end.
#[test]
fn a_chain_that_is_longer_than_a_thread_may_run_keeps_every_guarantee() {
    for name in ALL {
        let directory = tempfile::tempdir().unwrap();
        let (_, mixed) = CHAINS.last().expect("chains");
        run_chain(*mixed, 200, guarantee(name, directory.path()));
    }
}

#[test]
fn a_chain_goes_on_in_another_thread_and_too_many_threads_are_refused_by_name() {
    let job = Job::new("deep");
    let numbers = job.from_iter("numbers", || 0..EVENTS);
    let chain = (0..DEPTH).fold(numbers, |stream, _| stream.map(|n| n));
    chain.for_each(|_| ());
    let plan = job.plan(AtMostOnce::new()).unwrap();
    let lengths: Vec<usize> = plan.threads.iter().map(|group| group.components.len()).collect();
    assert_eq!(lengths.iter().sum::<usize>(), DEPTH + 2, "source, verbs and sink");
    assert_eq!(lengths.len(), (DEPTH + 2).div_ceil(64));
    assert!(lengths.iter().all(|length| *length <= 64), "{lengths:?}");

    let job = Job::new("deep and wide");
    let numbers = job.from_iter("numbers", || 0..EVENTS).shuffle();
    let wide = numbers.map(|n| n).parallelism(1_000);
    (0..DEPTH).fold(wide, |stream, _| stream.map(|n| n)).for_each(|_| ());
    let refused = job.start(AtMostOnce::new()).unwrap_err();
    assert!(matches!(refused, Refused::TooManyInstances { .. }), "{refused}");
}
