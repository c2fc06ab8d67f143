//! Row 7: an error and a panic in every callback, at its first call and at a later one, once and
//! from then on always, under every guarantee.

use std::error::Error;
use std::iter::successors;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize, Serializer};
use streamwork::storage::Disk;
use streamwork::testkit::Collected;
use streamwork::{
    AtMostOnce, BoxError, Instance, Job, JobError, Next, RunError, SourceOutput, StatefulSource,
};

use crate::EVENTS;
use crate::memory_disk::MemoryDisk;
use crate::tier;
use crate::world::{Fault, Kind, Shape, World, assert_promised, run};

/// Every callback, with the component that its failure names, and whether it can return an error.
const CALLBACKS: [(&str, &str, bool); 36] = [
    ("source", "factory", false),
    ("source", "setup", true),
    ("source", "get_events", true),
    ("source", "state", false),
    ("source", "checkpointed", true),
    ("source", "serialize", true),
    ("source", "deserialize", true),
    ("source", "drop", false),
    ("source", "key", false),
    ("work", "factory", false),
    ("work", "setup", true),
    ("work", "apply", true),
    ("work", "on_timer", true),
    ("work", "on_watermark", true),
    ("work", "finish", true),
    ("work", "state", false),
    ("work", "serialize", true),
    ("work", "deserialize", true),
    ("work", "drop", false),
    ("seen", "factory", false),
    ("seen", "setup", true),
    ("seen", "write", true),
    ("seen", "flush", true),
    ("seen", "drop", false),
    ("ledger", "factory", false),
    ("ledger", "setup", true),
    ("ledger", "write", true),
    ("ledger", "prepare", true),
    ("ledger", "commit", true),
    ("ledger", "abort_unfinished", true),
    ("ledger", "serialize", true),
    ("ledger", "deserialize", true),
    ("ledger", "drop", false),
    ("letters", "write", true),
    ("letters", "flush", true),
    ("", "", true),
];

/// The callbacks of a source with splits.
const OF_SPLITS: [(&str, &str, bool); 11] = [
    ("source", "factory", false),
    ("source", "setup", true),
    ("source", "discover", true),
    ("source", "add", true),
    ("source", "remove", true),
    ("source", "get_events", true),
    ("source", "position", false),
    ("source", "checkpointed", true),
    ("source", "serialize", true),
    ("source", "deserialize", true),
    ("source", "drop", false),
];

/// The callbacks that are involved in dead letters of an operator: those of the operator and of their sink.
const OF_DEAD_LETTERS: [(&str, &str, bool); 11] = [
    ("work", "apply", true),
    ("work", "on_timer", true),
    ("work", "state", false),
    ("ledger", "write", true),
    ("aside", "factory", false),
    ("aside", "setup", true),
    ("aside", "write", true),
    ("aside", "prepare", true),
    ("aside", "commit", true),
    ("aside", "abort_unfinished", true),
    ("aside", "drop", false),
];

/// The callbacks of an operator that holds events, and of the events.
const OF_HELD_EVENTS: [(&str, &str, bool); 10] = [
    ("hold", "factory", false),
    ("hold", "setup", true),
    ("hold", "apply", true),
    ("hold", "on_timer", true),
    ("hold", "on_watermark", true),
    ("hold", "finish", true),
    ("hold", "clone", false),
    ("hold", "serialize", true),
    ("hold", "deserialize", true),
    ("hold", "drop", false),
];

/// The callbacks of an operator whose state the engine keeps, and of that state.
const OF_KEYED_STATE: [(&str, &str, bool); 7] = [
    ("keep", "factory", false),
    ("keep", "setup", true),
    ("keep", "apply", true),
    ("keep", "on_timer", true),
    ("keep", "serialize", true),
    ("keep", "deserialize", true),
    ("keep", "drop", false),
];

/// One case of the matrix.
#[derive(Clone, Copy, Debug)]
struct Case {
    guarantee: &'static str,
    shape: Shape,
    place: (&'static str, &'static str),
    kind: Kind,
    from: usize,
    times: usize,
}

fn cases(guarantee: &'static str, later: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    let plain = CALLBACKS.into_iter().map(|callback| (callback, Shape::Plain));
    let of_splits = OF_SPLITS.into_iter().map(|callback| (callback, Shape::Splits));
    let of_letters = OF_DEAD_LETTERS.into_iter().map(|callback| (callback, Shape::DeadLetters));
    let of_held = OF_HELD_EVENTS.into_iter().map(|callback| (callback, Shape::Held));
    let of_keyed = OF_KEYED_STATE.into_iter().map(|callback| (callback, Shape::Keyed));
    let all = plain.chain(of_splits).chain(of_letters).chain(of_held).chain(of_keyed);
    for ((component, callback, can_err), shape) in all {
        for kind in [Kind::Err, Kind::Panic] {
            for (from, times) in [(0, 1), (later, 1), (later, usize::MAX)] {
                let place = (component, callback);
                let reachable = component != "letters" || is_called(guarantee, place);
                if reachable && (can_err || kind == Kind::Panic) {
                    cases.push(Case { guarantee, shape, place, kind, from, times });
                }
            }
        }
    }
    cases
}

/// Runs a case, and then the rest of it without the fault. Returns whether the fault happened.
fn check(case: &Case) -> bool {
    let what = format!("{case:?}");
    let Case { guarantee, shape, place, kind, from, times } = *case;
    // What is decoded has to be restored first; what becomes a letter has to fail first.
    let restored =
        matches!(place.1, "serialize" | "deserialize" | "abort_unfinished" | "setup" | "factory");
    let stumble = (restored || place.0.is_empty()).then_some(EVENTS / 2);
    let world = World::new(Fault::new(place, kind, from, times), stumble, shape);
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let stored = !matches!(guarantee, "at-most-once" | "at-least-once");
    let mut first = run(&world, guarantee, &disk, &what);
    if let Err(error) = &first {
        assert_attributed(error, &world, &what);
    }
    if stored && place.1 == "deserialize" && first.is_ok() {
        // A source's state is read when a job starts from a store, and seldom otherwise.
        first = run(&world, guarantee, &disk, &what);
        if let Err(error) = &first {
            assert_attributed(error, &world, &what);
        }
    }
    let struck = world.fault.struck.load(Ordering::SeqCst) > 0;
    assert_promised(guarantee, &world, first.is_ok(), false, &what);
    // A fresh start on the same disk, after the fault has gone.
    if stored {
        let healed = world.healed();
        let second = run(&healed, guarantee, &disk, &what);
        second.unwrap_or_else(|error| panic!("{what}: started again: {error}"));
        assert_promised(guarantee, &healed, true, true, &what);
    }
    struck
}

/// The error names the component and has its message.
#[track_caller]
fn assert_attributed(error: &RunError, world: &World, what: &str) {
    let component = world.fault.component;
    let RunError::Failed(error) = error else { panic!("{what}: {error}") };
    match error {
        JobError::Failed { failure, .. } => {
            let named = failure.instance.component.to_string();
            // A failure to encode is the writer's, of a letter is the source's.
            let by_another = named == "checkpoint writer" && world.fault.callback == "serialize"
                || named.starts_with("source") && component == "letters";
            assert!(named.starts_with(component) || by_another, "{what}: laid to {named}: {error}");
            let causes = successors(Some(failure as &dyn Error), |&error| error.source());
            let said: String = causes.map(|error| format!("{error}: ")).collect();
            assert!(said.contains("boom in"), "{what}: {said}");
            assert!(!failure.callback.is_empty(), "{what}: {error}");
            let of_splits = ["discover", "add", "remove", "position", "checkpointed"];
            if of_splits.contains(&world.fault.callback) {
                assert_eq!(failure.callback, world.fault.callback, "{what}: {error}");
            }
        }
        JobError::Checkpoints { reason, .. } => {
            assert_eq!(world.fault.callback, "serialize", "{what}: {error}");
            assert!(reason.contains("boom in"), "{what}: {error}");
        }
        other => panic!("{what}: {other}"),
    }
}

/// Callbacks that are not called under a guarantee, or not where a failure of them can be noticed.
fn is_called(guarantee: &str, (component, callback): (&str, &str)) -> bool {
    let stored = !matches!(guarantee, "at-most-once" | "at-least-once");
    let goes_back = matches!(guarantee, "at-least-once-checkpoint" | "exactly-once");
    match (component, callback) {
        ("", "") => false,
        ("letters", _) => guarantee.starts_with("at-least-once") && !goes_back,
        // Handles are stored with checkpoints only.
        ("ledger", "serialize" | "deserialize") => goes_back,
        ("source", "serialize" | "deserialize" | "checkpointed") => stored,
        // At most once, held events are stored at a stop only.
        ("hold", "serialize" | "deserialize") => goes_back,
        ("keep", "serialize" | "deserialize") => stored,
        ("hold", "clone") => goes_back || guarantee == "at-most-once stored",
        _ => true,
    }
}

fn matrix(guarantee: &'static str, test: &str) {
    let started = Instant::now();
    let laters = match tier::is_long() {
        true => (1..50).collect(),
        false => vec![3],
    };
    let all: Vec<_> = laters.into_iter().flat_map(|later| cases(guarantee, later)).collect();
    let (next, never) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    // They mostly wait, for pauses and intervals.
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                while let Some(case) = all.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if !check(case) && case.from == 0 {
                        never.lock().push((case.shape, case.place));
                    }
                }
            });
        }
    });
    for (shape, place) in never.into_inner() {
        let called = is_called(guarantee, place);
        assert!(!called, "{guarantee}, {shape:?}: {place:?} was never reached");
    }
    tier::report(7, test, all.len() as u64, "faults", 0, started.elapsed());
}

#[test]
fn at_most_once_repeats_nothing_whichever_callback_fails() {
    matrix("at-most-once", "at_most_once_repeats_nothing_whichever_callback_fails");
}

#[test]
fn at_most_once_with_a_store_repeats_nothing_whichever_callback_fails() {
    matrix(
        "at-most-once stored",
        "at_most_once_with_a_store_repeats_nothing_whichever_callback_fails",
    );
}

#[test]
fn at_least_once_loses_nothing_whichever_callback_fails() {
    matrix("at-least-once", "at_least_once_loses_nothing_whichever_callback_fails");
}

#[test]
fn at_least_once_with_a_store_loses_nothing_whichever_callback_fails() {
    matrix(
        "at-least-once stored",
        "at_least_once_with_a_store_loses_nothing_whichever_callback_fails",
    );
}

#[test]
fn at_least_once_by_checkpoints_loses_nothing_whichever_callback_fails() {
    matrix(
        "at-least-once-checkpoint",
        "at_least_once_by_checkpoints_loses_nothing_whichever_callback_fails",
    );
}

#[test]
fn exactly_once_counts_and_shows_everything_once_whichever_callback_fails() {
    matrix(
        "exactly-once",
        "exactly_once_counts_and_shows_everything_once_whichever_callback_fails",
    );
}

#[test]
fn a_checkpoint_of_which_a_sink_could_not_prepare_its_part_is_never_used() {
    let started = Instant::now();
    let cases = tier::times(60, 20_000);
    for _ in 0..cases / 4 {
        std::thread::scope(|threads| {
            for kind in [Kind::Err, Kind::Panic, Kind::Err, Kind::Panic] {
                let guarantee = "exactly-once";
                let (place, from, times) = (("ledger", "prepare"), 3, usize::MAX);
                let case = Case { guarantee, shape: Shape::Plain, place, kind, from, times };
                threads.spawn(move || check(&case));
            }
        });
    }
    let test = "a_checkpoint_of_which_a_sink_could_not_prepare_its_part_is_never_used";
    tier::report(7, test, cases, "jobs", 0, started.elapsed());
}

#[test]
fn a_source_whose_position_cannot_be_kept_ends_the_job_and_does_not_start_anew() {
    #[derive(Deserialize)]
    struct Unwritable(u64);
    impl Serialize for Unwritable {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("boom: this cannot be written")
        }
    }
    /// Breaks after five events, and cannot be set up again the first time.
    struct Breaks(Arc<AtomicUsize>, u64);
    impl StatefulSource for Breaks {
        type Out = u64;
        type State = Unwritable;
        fn setup(&mut self, _: &Instance, state: Option<Unwritable>) -> Result<(), BoxError> {
            self.1 = state.map_or(0, |state| state.0);
            let time = self.0.fetch_add(1, Ordering::SeqCst);
            if time == 1 { Err("boom: not yet".into()) } else { Ok(()) }
        }
        fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
            if self.1 == 5 && self.0.load(Ordering::SeqCst) == 1 {
                return Err("boom: broken".into());
            }
            out.emit(self.1);
            self.1 += 1;
            Ok(if self.1 == 10 { Next::End } else { Next::Now })
        }
        fn state(&self) -> Unwritable {
            Unwritable(self.1)
        }
    }
    let setups = Arc::new(AtomicUsize::new(0));
    let seen = Collected::new();
    let job = Job::new("unwritable");
    job.stateful_source("breaks", move || Breaks(Arc::clone(&setups), 0))
        .sink("seen", seen.factory());
    let error = job.start(AtMostOnce::new()).expect("it starts").wait().expect_err("it is lost");
    assert!(error.to_string().contains("breaks[0] failed in setup"), "{error}");
    assert_eq!(seen.events(), [0, 1, 2, 3, 4], "nothing is repeated");
}
