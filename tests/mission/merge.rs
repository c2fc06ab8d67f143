//! [A3]: streams that are merged keep their own options, and options of the merged stream hold for all
//! of them. Fault F12: the options of the other stream were dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use streamwork::testkit::Collected;
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, DeclaredOutput, Job, JobHandle, Operator,
    Overflow, Refused, SideOutput, Stream,
};

use crate::support::{ALL, Where, guarantee, wait_until};

/// Events of the stream on the left are below this, those of the one on the right are not.
const RIGHT: u64 = 1_000_000;
const EVENTS: u64 = 300;
const INSTANCES: usize = 3;

fn key(event: &u64) -> u64 {
    event % 10
}

/// The events of each side that each instance got, under the guarantee of this name.
struct Dealt {
    left: BTreeMap<usize, Vec<u64>>,
    right: BTreeMap<usize, Vec<u64>>,
}

fn dealt(name: &str, merged: impl Fn(&Stream<u64>, &Stream<u64>) -> Stream<u64>) -> Dealt {
    let directory = tempfile::tempdir().unwrap();
    let seen = Collected::new();
    let job = Job::new("merged");
    let left = job.from_iter("left", || 0..EVENTS);
    let right = job.from_iter("right", || RIGHT..RIGHT + EVENTS);
    merged(&left, &right)
        .operator("where", Where::default)
        .parallelism(INSTANCES)
        .global()
        .sink("seen", seen.factory());
    job.run(guarantee(name, directory.path())).unwrap();
    let mut dealt = Dealt { left: BTreeMap::new(), right: BTreeMap::new() };
    for (instance, event) in seen.events() {
        let side = if event < RIGHT { &mut dealt.left } else { &mut dealt.right };
        side.entry(instance).or_default().push(event);
    }
    dealt
}

fn total(side: &BTreeMap<usize, Vec<u64>>) -> usize {
    side.values().map(Vec::len).sum()
}

/// Every key has one instance, and not all have the same.
fn is_by_key(side: &BTreeMap<usize, Vec<u64>>) -> bool {
    let owners = side.iter().flat_map(|(to, events)| events.iter().map(move |e| (key(e), to)));
    let owners: BTreeSet<_> = owners.collect();
    owners.len() == 10 && side.len() > 1
}

/// Every instance got as many.
fn is_shuffled(side: &BTreeMap<usize, Vec<u64>>) -> bool {
    side.len() == INSTANCES && side.values().all(|e| e.len() == EVENTS as usize / INSTANCES)
}

/// fault F12: `a.merge(&b.key_by(k))` distributed `b` round-robin.
#[test]
fn a_key_holds_for_the_merged_stream_that_it_was_set_on_and_for_no_other() {
    for name in ALL {
        let on_the_right = dealt(name, |left, right| left.merge(&right.partition_by(key)));
        assert!(is_by_key(&on_the_right.right), "{name}: {:?}", on_the_right.right);
        assert!(is_shuffled(&on_the_right.left), "{name}: {:?}", on_the_right.left);

        let on_the_left = dealt(name, |left, right| left.partition_by(key).merge(right));
        assert!(is_by_key(&on_the_left.left), "{name}: {:?}", on_the_left.left);
        assert!(is_shuffled(&on_the_left.right), "{name}: {:?}", on_the_left.right);

        let two_keys = |left: &Stream<u64>, right: &Stream<u64>| {
            left.partition_by(key).merge(&right.partition_by(|event| event / 100))
        };
        let by_two_keys = dealt(name, two_keys);
        assert!(is_by_key(&by_two_keys.left), "{name}: {:?}", by_two_keys.left);
        assert!(!is_by_key(&by_two_keys.right), "{name}: {:?}", by_two_keys.right);
        assert_eq!(total(&by_two_keys.right), EVENTS as usize, "{name}");
    }
}

/// fault F12: the key of a merged stream is the key of all of its inputs.
#[test]
fn what_is_set_on_a_merged_stream_holds_for_all_of_its_inputs() {
    for name in ALL {
        let keyed = dealt(name, |left, right| left.merge(&right.broadcast()).partition_by(key));
        assert!(is_by_key(&keyed.left) && is_by_key(&keyed.right), "{name}");
        assert_eq!((total(&keyed.left), total(&keyed.right)), (300, 300), "{name}");
        let owner = |side: &BTreeMap<usize, Vec<u64>>| -> BTreeSet<(u64, usize)> {
            side.iter().flat_map(|(to, events)| events.iter().map(|e| (key(e), *to))).collect()
        };
        assert_eq!(owner(&keyed.left), owner(&keyed.right), "{name}: one key, one instance");
    }
}

/// fault F12: the grouping of the other stream was that of the first.
#[test]
fn each_grouping_holds_for_the_merged_stream_that_it_was_set_on() {
    for name in ALL {
        let one = dealt(name, |left, right| left.merge(&right.broadcast()));
        assert!((0..INSTANCES).all(|to| one.right[&to].len() == 300), "{name}: {:?}", one.right);
        assert!(is_shuffled(&one.left), "{name}: {:?}", one.left);

        let one = dealt(name, |left, right| left.broadcast().merge(&right.global()));
        assert_eq!(total(&one.left), 3 * EVENTS as usize, "{name}");
        assert_eq!(one.right.keys().collect::<Vec<_>>(), [&0], "{name}");
        assert_eq!(total(&one.right), EVENTS as usize, "{name}");

        let one = dealt(name, |left, right| left.global().merge(&right.shuffle()));
        assert_eq!(one.left.keys().collect::<Vec<_>>(), [&0], "{name}");
        assert!(is_shuffled(&one.right), "{name}: {:?}", one.right);

        // Forward: instance i of the operator between gives to instance i of the reader.
        let one = dealt(name, |left, right| {
            let spread = right.shuffle().map(|event| event).parallelism(INSTANCES);
            left.merge(&spread.forward())
        });
        assert!(is_shuffled(&one.left) && is_shuffled(&one.right), "{name}");
    }
}

/// fault F12: `forward` of one input decides how many instances its reader has, whatever the others do.
#[test]
fn a_forwarded_input_of_a_merged_stream_decides_how_many_instances_its_reader_has() {
    let job = Job::new("inherited");
    let numbers = job.from_iter("numbers", || 0..9_u64);
    let two = numbers.shuffle().map(|n| n).parallelism(2).named("two");
    let keyed = job.from_iter("others", || 0..9_u64).partition_by(key);
    two.forward().merge(&keyed).map(|n| n).named("reader").for_each(|_| ());
    let plan = job.plan(AtMostOnce::new()).unwrap();
    let reader = plan.threads.iter().find(|group| group.components[0] == "reader").unwrap();
    assert_eq!(reader.instances, 2, "{plan}");
}

const LATER: Duration = Duration::from_millis(300);

/// How long after its source began each event of two sides came out of a merged stream.
fn times(name: &str, delayed: &str) -> Vec<(&'static str, Duration)> {
    let directory = tempfile::tempdir().unwrap();
    let seen = Collected::new();
    let job = Job::new("delayed");
    let [left, right] = ["left", "right"].map(|side| {
        let started = Arc::new(Mutex::new(None));
        let first = Arc::clone(&started);
        let stream = job.from_iter(side, move || {
            // The moment before the first event of this run.
            *first.lock() = Some(Instant::now());
            0..20_u64
        });
        stream.map(move |_| (side, started.lock().expect("the source has begun")))
    });
    let merged = match delayed {
        "left" => left.delay(LATER).merge(&right),
        "right" => left.merge(&right.delay(LATER)),
        _ => left.merge(&right).delay(LATER),
    };
    merged.map(|(side, began)| (side, began.elapsed())).sink("seen", seen.factory());
    job.run(guarantee(name, directory.path())).unwrap();
    seen.events()
}

/// fault F12: `a.merge(&b.delay(d))` was not delayed.
#[test]
fn a_delay_holds_for_the_merged_stream_that_it_was_set_on_and_for_no_other() {
    let under_all = ALL.iter().map(|name| (*name, "right"));
    let others = [("at-least-once", "left"), ("at-least-once", "both")];
    for (name, delayed) in under_all.chain(others) {
        // A busy machine may hold up what is not delayed too, but not each time.
        let in_time = (0..10).any(|_| {
            let events = times(name, delayed);
            assert_eq!(events.len(), 40, "{name}, {delayed}");
            let is_delayed = |side| side == delayed || delayed == "both";
            let (late, early): (Vec<_>, Vec<_>) =
                events.into_iter().partition(|(side, _)| is_delayed(*side));
            let too_early = late.iter().find(|(_, after)| *after < LATER);
            assert_eq!(too_early, None, "{name}, {delayed}");
            early.iter().all(|(_, after)| *after < LATER)
        });
        assert!(in_time, "{name}, {delayed}: the other side is delayed too");
    }
}

/// How many events of each side were emitted and not seen at the sink.
#[derive(Debug, PartialEq, Eq)]
struct Lost {
    left: u64,
    right: u64,
}

/// A job of two endless sources into a sink that stands still until the lock is released.
fn held(
    merged: impl Fn(&Stream<u64>, &Stream<u64>) -> Stream<u64>,
    run: impl FnOnce(&JobHandle),
) -> Lost {
    let (gate, seen) = (Arc::new(Mutex::new(())), Collected::new());
    let closed = gate.lock();
    let hold = Arc::clone(&gate);
    let job = Job::new("held");
    let left = job.from_iter("left", || 0_u64..);
    let right = job.from_iter("right", || RIGHT..);
    let passed = merged(&left, &right).inspect(move |_| drop(hold.lock()));
    passed.sink("seen", seen.factory());
    let handle = job.start(AtMostOnce::new()).unwrap();
    run(&handle);
    drop(closed);
    let metrics = handle.stop_within(Duration::from_secs(30)).unwrap().metrics;
    let (left, right): (Vec<u64>, Vec<u64>) =
        seen.events().into_iter().partition(|event| *event < RIGHT);
    let lost = |side, seen: &[u64]| metrics.sum(side, |m| m.emitted) - seen.len() as u64;
    let lost = Lost { left: lost("left", &left), right: lost("right", &right) };
    assert_eq!(lost.left + lost.right, metrics.sum("inspect", |m| m.dropped), "all are counted");
    lost
}

fn emitted(handle: &JobHandle, source: &str) -> u64 {
    handle.metrics().sum(source, |m| m.emitted)
}

/// fault F12: the overflow option of the other stream applies to that stream's queue.
#[test]
fn a_full_edge_drops_events_of_the_merged_stream_that_said_so_and_of_no_other() {
    let dropped = |handle: &JobHandle| handle.metrics().sum("inspect", |m| m.dropped);
    // Far more than the queue of the side that drops can hold.
    let runs_over = |handle: &JobHandle, side: &str| {
        wait_until("events are dropped", || emitted(handle, side) > 50_000 && dropped(handle) > 0);
    };
    let lost = held(
        |left, right| left.merge(&right.overflow(Overflow::DropNewest)),
        |handle| runs_over(handle, "right"),
    );
    assert!(lost.left == 0 && lost.right > 0, "{lost:?}");

    let lost = held(
        |left, right| left.overflow(Overflow::DropOldest).merge(right),
        |handle| runs_over(handle, "left"),
    );
    assert!(lost.left > 0 && lost.right == 0, "{lost:?}");
}

/// fault F12: an option that the guarantee refuses is refused on whichever stream it was set.
#[test]
fn an_edge_that_may_drop_is_refused_on_either_side_of_a_merge() {
    type Merge = fn(&Stream<u64>, &Stream<u64>) -> Stream<u64>;
    let sides: [Merge; 3] = [
        |left, right| left.overflow(Overflow::DropNewest).merge(right),
        |left, right| left.merge(&right.overflow(Overflow::DropNewest)),
        |left, right| left.merge(right).overflow(Overflow::DropNewest),
    ];
    for merged in sides {
        let job = Job::new("lossy");
        let (left, right) = (job.from_iter("left", || 0..1), job.from_iter("right", || 0..1));
        merged(&left, &right).for_each(|_| ());
        let refused = job.start(AtLeastOnce::new()).unwrap_err();
        assert!(matches!(refused, Refused::LossyEdge { .. }), "{refused}");
    }
}

/// fault F12: a queue has the bound of the stream that it carries.
#[test]
fn each_merged_stream_keeps_the_bound_of_its_queue() {
    // The default is 8 batches of 1,024 events; some more are in hands.
    const LARGE: u64 = 40_000;
    const DEFAULT: u64 = 15_000;
    held(
        |left, right| left.merge(&right.queue_batches(100)),
        |handle| {
            wait_until("the right queue takes more", || emitted(handle, "right") > LARGE);
            assert!(emitted(handle, "left") < DEFAULT, "{}", emitted(handle, "left"));
        },
    );
    held(
        |left, right| left.queue_batches(100).merge(right),
        |handle| {
            wait_until("the left queue takes more", || emitted(handle, "left") > LARGE);
            assert!(emitted(handle, "right") < DEFAULT, "{}", emitted(handle, "right"));
        },
    );
    held(
        |left, right| left.merge(right).queue_batches(100),
        |handle| {
            let both = || emitted(handle, "left").min(emitted(handle, "right"));
            wait_until("both queues take more", || both() > LARGE);
        },
    );
}

const ODD: SideOutput<u64> = SideOutput::new("odd");

struct Split;

impl Operator for Split {
    type In = u64;
    type Out = u64;
    const SIDE_OUTPUTS: &'static [DeclaredOutput] = &[ODD.declared()];
    fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        if event.is_multiple_of(2) {
            out.emit(event)
        } else {
            out.emit_to(ODD, event)
        }
        Ok(())
    }
}

/// fault F12: `split.delay(d).side_output(ODD)` was not delayed, and a key that cannot hold was dropped.
#[test]
fn a_side_output_keeps_the_options_that_were_set_before_it_and_refuses_a_key() {
    let job = Job::new("side output");
    let split = job.from_iter("numbers", || 0..100_u64).operator("split", || Split);
    let seen = Collected::new();
    split.ignore();
    split.broadcast().side_output(ODD).map(|n| n).parallelism(2).sink("seen", seen.factory());
    job.run(AtMostOnce::new()).unwrap();
    assert_eq!(seen.len(), 100, "fifty events on each of two instances");

    let job = Job::new("key");
    let split = job.from_iter("numbers", || 0..100_u64).operator("split", || Split);
    split.partition_by(key).side_output(ODD).for_each(|_| ());
    let refused = job.start(AtMostOnce::new()).unwrap_err();
    let Refused::Option { option: "partition_by", reason } = &refused else { panic!("{refused}") };
    assert!(reason.contains("\"split\"") && reason.contains("\"odd\""), "{reason}");
}

/// fault F12: a stream of another job is refused, whatever is done to it before.
#[test]
fn a_stream_merged_with_one_of_another_job_is_refused_and_never_touches_this_job() {
    let (job, other) = (Job::new("this"), Job::new("other"));
    let far = (0..5).fold(other.from_iter("far", || 0..1_u64), |stream, _| stream.map(|n| n));
    let merged = job.from_iter("near", || 0..1_u64).merge(&far);
    merged.parallelism(2).own_thread().for_each(|_| ());
    println!("{job:?}");
    let refused = job.start(AtMostOnce::new()).unwrap_err();
    assert!(matches!(refused, Refused::ForeignStream { .. }), "{refused}");
}
