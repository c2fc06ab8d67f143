//! Versions of a state: what fits is read, what has a migration is migrated, and everything else is refused by name
//! (state P1, P2, P5, B10).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use streamwork::checkpoint::StateCodec;
use streamwork::testkit::Collected;
use streamwork::{
    At, AtMostOnce, BoxError, Checkpointed, Collector, Emit, EventTime, ExactlyOnce, Guarantee,
    Instance, Job, JobError, KeyedOperator, KeyedStream, Next, Refused, RunError, SourceOutput,
    StatefulOperator, StatefulSource, Stored, Stream,
};

use crate::keyed_state::numbers;
use crate::process;
use crate::support::wait_until;

pub(crate) const KEYS: u64 = 5;

fn exactly_once(directory: &Path) -> Checkpointed {
    ExactlyOnce::checkpoints_in(directory)
}

/// Runs a job to its end, with a table of this name over numbers by key. What the table shows of the numbers that are
/// new in this run, sorted.
fn run<T: Clone + Send + Debug + 'static>(
    guarantee: impl Into<Guarantee>,
    end: u64,
    table: impl FnOnce(KeyedStream<u64, u64>) -> Stream<T>,
) -> Result<Vec<T>, RunError> {
    let (job, seen) = (Job::new("versions"), Collected::new());
    let numbers = job.from_iter("numbers", move || 0..end).key_by(|n| n % KEYS);
    table(numbers).named("totals").sink("seen", seen.factory());
    job.run(guarantee).map(|_| seen.events())
}

/// A table whose values are this one, unless they are restored.
fn kept<V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static>(
    stored: Stored<V>,
    value: V,
) -> impl FnOnce(KeyedStream<u64, u64>) -> Stream<(u64, V)> {
    move |numbers| numbers.fold(value, |_, _| ()).stored(stored).updates()
}

/// The reason for which a job is refused.
#[track_caller]
fn refused<T: Debug>(result: Result<Vec<T>, RunError>) -> String {
    match result {
        Err(RunError::Refused(Refused::Incompatible { reason, .. })) => reason,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is missing: {said}");
    }
}

/// A type of version 1 becomes one of version 2. `said` is what the refusal says that differs.
#[track_caller]
fn changes<Old, New>(said: &str, old: Old, migrate: fn(Old) -> New, new: New)
where
    Old: Serialize + DeserializeOwned + Clone + Send + Sync + Debug + 'static,
    New: Serialize + DeserializeOwned + Clone + Default + PartialEq + Send + Sync + Debug + 'static,
{
    let second = || Stored::version(2).migrate_from(1, migrate);
    let expected: Vec<(u64, New)> = (0..KEYS).map(|key| (key, new.clone())).collect();
    for codec in [StateCodec::Positional, StateCodec::SelfDescribing] {
        let directory = tempfile::tempdir().unwrap();
        let guarantee = || exactly_once(directory.path()).state_codec(codec);
        run(guarantee(), KEYS, kept(Stored::default(), old.clone())).unwrap();
        if codec == StateCodec::Positional {
            // Both types are version 1.
            let again = run(guarantee(), 2 * KEYS, kept(Stored::default(), New::default()));
            let again = refused(again);
            assert_says(&again, &["the state of \"totals\" was ", said, "start_anew"]);
            assert_says(
                &again,
                &[
                    "`.stored(Stored::version(2).migrate_from(1, |old: Old| ..))`",
                    "both are version 1",
                ],
            );
        }
        let without = run(guarantee(), 2 * KEYS, kept(Stored::version(2), New::default()));
        let without = refused(without);
        assert_says(&without, &["\"totals\" is stored as version 1", "this job has version 2"]);
        assert_says(&without, &["`.migrate_from(1, |old: Old| ..)`", "start_anew"]);
        let migrated = run(guarantee(), 2 * KEYS, kept(second(), New::default())).unwrap();
        assert_eq!(migrated, expected, "{said}");
        // The checkpoint is in the new version now (state P2).
        let again = run(guarantee(), 3 * KEYS, kept(Stored::version(2), New::default()));
        assert_eq!(again.unwrap(), expected, "{said}");
        let older = refused(run(guarantee(), 4 * KEYS, kept(Stored::default(), old.clone())));
        assert_says(
            &older,
            &["\"totals\" is stored as version 2", "up to version 1", "start_anew"],
        );
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sum {
    cents: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) cents: u64,
    pub(crate) payments: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counted {
    cents: u64,
    count: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Reordered {
    payments: u64,
    cents: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Narrow {
    cents: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Perhaps {
    cents: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Two {
    #[default]
    Open,
    Paid(u64),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Three {
    #[default]
    Open,
    Late,
    Paid(u64),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct ByShop {
    shops: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Shops {
    shops: Vec<(String, u64)>,
}

#[test]
fn ten_changes_of_a_type_are_migrated_in_three_lines_each_or_refused_by_name() {
    // state P1, P2, B10.4
    let totals = Totals { cents: 7, payments: 3 };
    // Added.
    let add = |Sum { cents }| Totals { cents, payments: 3 };
    changes("`payments` is new", Sum { cents: 7 }, add, totals.clone());
    // Removed.
    let remove = |Totals { cents, .. }| Sum { cents };
    changes("`payments` is gone", totals.clone(), remove, Sum { cents: 7 });
    // Renamed.
    let rename = |Totals { cents, payments: count }| Counted { cents, count };
    let said = "`payments` is called `count` now";
    changes(said, totals.clone(), rename, Counted { cents: 7, count: 3 });
    // Reordered.
    let reorder = |Totals { cents, payments }| Reordered { payments, cents };
    let said = "`payments` is where `cents` was";
    changes(said, totals, reorder, Reordered { payments: 3, cents: 7 });
    // Widened.
    let widen = |Narrow { cents }| Sum { cents: cents.into() };
    changes("`cents` was u32 and is u64 now", Narrow { cents: 7 }, widen, Sum { cents: 7 });
    // Narrowed.
    let narrow = |Sum { cents }| Narrow { cents: cents.try_into().unwrap_or(u32::MAX) };
    let said = "`cents` was u64 and is u32 now";
    changes(said, Sum { cents: 1 << 40 }, narrow, Narrow { cents: u32::MAX });
    // A variant added.
    let add = |old| match old {
        Two::Open => Three::Late,
        Two::Paid(cents) => Three::Paid(cents),
    };
    changes("`Late` is new", Two::Paid(7), add, Three::Paid(7));
    // A variant removed.
    let remove = |old| match old {
        Three::Paid(cents) => Two::Paid(cents),
        Three::Open | Three::Late => Two::Open,
    };
    changes("`Late` is gone", Three::Late, remove, Two::Open);
    // An option added.
    let perhaps = |Sum { cents }| Perhaps { cents: Some(cents) };
    let said = "`cents` was u64 and is option(u64) now";
    changes(said, Sum { cents: 7 }, perhaps, Perhaps { cents: Some(7) });
    // A map to a list.
    let (one, other) = (("a".to_owned(), 7), ("b".to_owned(), 9));
    let shops = BTreeMap::from([one.clone(), other.clone()]);
    let list = |ByShop { shops }| Shops { shops: shops.into_iter().collect() };
    let said = "`shops` was map(str, u64) and is list((str, u64)) now";
    changes(said, ByShop { shops }, list, Shops { shops: vec![one, other] });
}

#[test]
fn a_state_goes_through_three_versions_of_a_program_or_skips_one() {
    // state P1
    type V1 = Narrow;
    type V2 = Sum;
    type V3 = Totals;
    let second = |V1 { cents }| V2 { cents: cents.into() };
    let third = |V2 { cents }| V3 { cents, payments: 1 };
    for skips in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let guarantee = || exactly_once(directory.path());
        run(guarantee(), KEYS, kept(Stored::default(), V1 { cents: 7 })).unwrap();
        if !skips {
            let stored = Stored::version(2).migrate_from(1, second);
            let seen = run(guarantee(), 2 * KEYS, kept(stored, V2::default())).unwrap();
            assert!(seen.iter().all(|(_, sum)| sum.cents == 7), "{seen:?}");
        }
        let stored = Stored::version(3)
            .migrate_from(1, move |old| third(second(old)))
            .migrate_from(2, third);
        let seen = run(guarantee(), 3 * KEYS, kept(stored, V3::default())).unwrap();
        let expected = V3 { cents: 7, payments: 1 };
        assert_eq!(seen.len() as u64, KEYS * if skips { 2 } else { 1 });
        assert!(seen.iter().all(|(_, totals)| *totals == expected), "{seen:?}");
    }
}

#[test]
fn a_migration_from_a_type_that_was_not_stored_is_refused_before_a_value_is_read() {
    // state P1
    let directory = tempfile::tempdir().unwrap();
    let guarantee = || exactly_once(directory.path());
    let totals = Totals { cents: 7, payments: 3 };
    run(guarantee(), KEYS, kept(Stored::default(), totals)).unwrap();
    let called = Arc::new(AtomicUsize::new(0));
    let calls = Arc::clone(&called);
    let wrong = Stored::version(2).migrate_from(1, move |Reordered { cents, .. }| {
        calls.fetch_add(1, Ordering::SeqCst);
        Sum { cents }
    });
    let said = refused(run(guarantee(), 2 * KEYS, kept(wrong, Sum::default())));
    let words = [
        "the state of \"totals\" was {cents: u64, payments: u64}",
        "and is {payments: u64, cents: u64} now (`payments` is where `cents` was)",
        "the type in `migrate_from(1, ..)`, which has to be the one that version 1 was stored with",
    ];
    assert_says(&said, &words);
    assert_eq!(called.load(Ordering::SeqCst), 0);
    // Serde reads by name what describes itself.
    let directory = tempfile::tempdir().unwrap();
    let guarantee = || exactly_once(directory.path()).state_codec(StateCodec::SelfDescribing);
    let totals = Totals { cents: 7, payments: 3 };
    run(guarantee(), KEYS, kept(Stored::default(), totals)).unwrap();
    let right = Stored::version(2).migrate_from(1, |Reordered { cents, .. }| Sum { cents });
    let seen = run(guarantee(), 2 * KEYS, kept(right, Sum::default())).unwrap();
    assert!(seen.iter().all(|(_, sum)| sum.cents == 7), "{seen:?}");
}

#[test]
fn another_key_is_refused_as_a_key_whatever_migrations_there_are() {
    // state P1
    for codec in [StateCodec::Positional, StateCodec::SelfDescribing] {
        let directory = tempfile::tempdir().unwrap();
        let guarantee = || exactly_once(directory.path()).state_codec(codec);
        run(guarantee(), KEYS, kept(Stored::default(), Sum { cents: 7 })).unwrap();
        let other = |stored: Stored<Sum>| {
            let (job, seen) = (Job::new("versions"), Collected::new());
            let numbers =
                job.from_iter("numbers", move || 0..2 * KEYS).key_by(|n| (n % KEYS) as u32);
            let table = numbers.fold(Sum::default(), |_, _| ()).stored(stored).updates();
            table.named("totals").sink("seen", seen.factory());
            refused(job.run(guarantee()).map(|_| seen.events()))
        };
        let words = ["the key of \"totals\" was u64 and is u32 now", "start_anew"];
        assert_says(&other(Stored::default()), &words);
        assert_says(&other(Stored::default()), &["keys are not migrated"]);
        assert_says(&other(Stored::version(2).migrate_from(1, |old: Sum| old)), &words);
    }
}

#[test]
fn versions_that_make_no_sense_are_refused_by_name_when_the_job_is_planned() {
    // state P1
    let misuses: [(Stored<u64>, &str); 5] = [
        (Stored::version(0), "versions begin with 1"),
        (Stored::version(2).migrate_from(2, |old: u32| old.into()), "not earlier than version 2"),
        (Stored::version(2).migrate_from(3, |old: u32| old.into()), "not earlier than version 2"),
        (Stored::version(2).migrate_from(0, |old: u32| old.into()), "from version 0"),
        (
            Stored::version(2)
                .migrate_from(1, |old: u32| old.into())
                .migrate_from(1, |old: u16| old.into()),
            "two migrations from version 1",
        ),
    ];
    for (misuse, words) in misuses {
        let job = Job::new("misuse");
        let numbers = job.from_iter("numbers", || 0..9_u64).key_by(|n| n % KEYS);
        numbers.fold(0, |_, _| ()).stored(misuse).updates().named("totals").ignore();
        for guarantee in [Guarantee::default(), exactly_once(Path::new("/nowhere")).into()] {
            let Err(Refused::Option { option: "stored", reason }) = job.plan(guarantee) else {
                panic!("{words}")
            };
            assert_says(&reason, &["\"totals\"", words]);
        }
    }
}

#[test]
fn every_verb_with_state_migrates_what_it_stores() {
    // state P1: the accumulators of an aggregate, an event, a state of a scan
    let directory = tempfile::tempdir().unwrap();
    let guarantee = || exactly_once(directory.path());
    let first = |numbers: KeyedStream<u64, u64>| numbers.aggregate(|of| of.count()).updates();
    assert_eq!(run(guarantee(), KEYS, first).unwrap().len() as u64, KEYS);
    let stored = || Stored::version(2).migrate_from(1, |n: u64| (n, 100));
    let second = |numbers: KeyedStream<u64, u64>| {
        numbers.aggregate(|of| (of.count(), of.sum(|_| 10_u64))).stored(stored()).updates()
    };
    let seen = run(guarantee(), 2 * KEYS, second).unwrap();
    assert_eq!(seen, (0..KEYS).map(|key| (key, (2, 110))).collect::<Vec<_>>());

    let directory = tempfile::tempdir().unwrap();
    let guarantee = || exactly_once(directory.path());
    let job = Job::new("reduced");
    let numbers = job.from_iter("numbers", || 0..KEYS).key_by(|n| n % KEYS);
    numbers.reduce(|sum, n| *sum += n).updates().ignore();
    job.run(guarantee()).unwrap();
    let (job, seen) = (Job::new("reduced"), Collected::new());
    let stream = job.from_iter("numbers", || 0..2 * KEYS);
    let texts = stream.map(|n| format!("{n}")).key_by(|n| n.parse::<u64>().unwrap_or(0) % KEYS);
    let joined = texts.reduce(|all, n| all.push_str(&n));
    let joined = joined.stored(Stored::version(2).migrate_from(1, |old: u64| format!("{old}, ")));
    joined.updates().sink("seen", seen.factory());
    job.run(guarantee()).unwrap();
    let expected = (0..KEYS).map(|key| (key, format!("{key}, {}", key + KEYS)));
    assert_eq!(seen.events(), expected.collect::<Vec<_>>());

    let directory = tempfile::tempdir().unwrap();
    let guarantee = || exactly_once(directory.path());
    let first = |numbers: KeyedStream<u64, u64>| {
        numbers.scan(|seen: &mut u32, n| {
            *seen += 1;
            Some((n % KEYS, u64::from(*seen)))
        })
    };
    run(guarantee(), KEYS, first).unwrap();
    let scan = |stored: Stored<u64>| {
        move |numbers: KeyedStream<u64, u64>| {
            numbers.scan_stored(stored, |seen: &mut u64, n| {
                *seen += 1;
                Some((n % KEYS, *seen))
            })
        }
    };
    let said = refused(run(guarantee(), 2 * KEYS, scan(Stored::default())));
    assert_says(&said, &["was u32 and is u64 now", "`.scan_stored(Stored::version(2)"]);
    let stored = Stored::version(2).migrate_from(1, |old: u32| u64::from(old) + 10);
    let seen = run(guarantee(), 2 * KEYS, scan(stored)).unwrap();
    assert_eq!(seen, (0..KEYS).map(|key| (key, 12)).collect::<Vec<_>>());
}

/// Counts numbers, and reports the count of each key at a time of its own.
pub(crate) struct WatchV1;

impl KeyedOperator for WatchV1 {
    type Key = u64;
    type In = u64;
    type Out = (u64, String);
    type State = u32;
    type Timer = u64;
    fn apply(
        &mut self,
        n: u64,
        at: &mut At<'_, Self>,
        _: &mut Emit<'_, Self::Out>,
    ) -> Result<(), BoxError> {
        // One key has a timer and no state.
        if *at.key() != 0 {
            *at.state() += 1;
        }
        at.set_timer(EventTime::from_unix_ms(1_000_000), 7);
        at.set_timer_after(Duration::from_secs(3_600), n);
        Ok(())
    }
}

/// As before, with a text as its state.
pub(crate) struct WatchV2;

impl KeyedOperator for WatchV2 {
    type Key = u64;
    type In = u64;
    type Out = (u64, String);
    type State = String;
    type Timer = u64;
    fn stored() -> Stored<String> {
        Stored::version(2).migrate_from(1, |old: u32| format!("{old} numbers"))
    }
    fn apply(
        &mut self,
        _: u64,
        at: &mut At<'_, Self>,
        _: &mut Emit<'_, Self::Out>,
    ) -> Result<(), BoxError> {
        at.state().push_str(" and one");
        Ok(())
    }
    fn on_timer(
        &mut self,
        what: u64,
        at: &mut At<'_, Self>,
        out: &mut Emit<'_, Self::Out>,
    ) -> Result<(), BoxError> {
        assert_eq!(what, 7, "the other timers are not due for an hour");
        let (key, state) = (*at.key(), at.peek().cloned());
        out.emit((key, state.unwrap_or("no state".to_owned())));
        Ok(())
    }
}

/// As the first, and neither its state nor its timers are read.
struct OtherTimers;

impl KeyedOperator for OtherTimers {
    type Key = u64;
    type In = u64;
    type Out = (u64, String);
    type State = u32;
    type Timer = String;
    fn apply(
        &mut self,
        _: u64,
        _: &mut At<'_, Self>,
        _: &mut Emit<'_, Self::Out>,
    ) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A job of these numbers up to a limit, with an operator by key.
fn watched<O: KeyedOperator<Key = u64, In = u64, Out = (u64, String)>>(
    limit: usize,
    operator: impl Fn() -> O + Send + Sync + 'static,
) -> (Job, Collected<(u64, String)>) {
    let (job, seen) = (Job::new("watched"), Collected::new());
    let numbers = numbers(&job, &Arc::new(AtomicUsize::new(limit)), 40);
    let timed = numbers.event_time(|n| EventTime::from_unix_ms(*n as i64), |w| w);
    let watch = timed.key_by(|n| n % KEYS).keyed_operator("watch", operator).parallelism(3);
    watch.sink("seen", seen.factory());
    (job, seen)
}

#[test]
fn the_state_of_an_operator_is_migrated_between_its_timers_which_fire() {
    // state P1
    for codec in [StateCodec::Positional, StateCodec::SelfDescribing] {
        let directory = tempfile::tempdir().unwrap();
        let guarantee = || exactly_once(directory.path()).state_codec(codec);
        let (job, _) = watched(30, || WatchV1);
        let handle = job.start(guarantee()).unwrap();
        wait_until("all are counted", || handle.metrics().sum("watch", |m| m.processed) == 30);
        handle.stop();
        handle.wait().unwrap();
        if codec == StateCodec::Positional {
            let (job, seen) = watched(40, || OtherTimers);
            let said = refused(job.run(guarantee()).map(|_| seen.events()));
            assert_says(&said, &["\"watch\"", "what is kept with it", "(`timers[].timer` was u64"]);
        }
        let (job, seen) = watched(40, || WatchV2);
        job.run(guarantee()).unwrap();
        let mut seen = seen.events();
        seen.sort();
        let expected = (0..KEYS).map(|key| match key {
            0 => (key, " and one and one".to_owned()),
            _ => (key, "6 numbers and one and one".to_owned()),
        });
        assert_eq!(seen, expected.collect::<Vec<_>>(), "each timer once, with the state");
    }
}

#[test]
fn a_change_of_an_operator_is_refused_with_the_method_to_write() {
    // state P1
    struct Wider;
    impl KeyedOperator for Wider {
        type Key = u64;
        type In = u64;
        type Out = (u64, String);
        type State = u64;
        type Timer = u64;
        fn apply(
            &mut self,
            _: u64,
            _: &mut At<'_, Self>,
            _: &mut Emit<'_, Self::Out>,
        ) -> Result<(), BoxError> {
            Ok(())
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let (job, _) = watched(40, || WatchV1);
    job.run(exactly_once(directory.path())).unwrap();
    let (job, seen) = watched(40, || Wider);
    let said = refused(job.run(exactly_once(directory.path())).map(|_| seen.events()));
    let written = "`fn stored() -> Stored<Self::State> { Stored::version(2).migrate_from(1, |old: Old| ..) }`";
    assert_says(&said, &["the state of \"watch\" was u32 and is u64 now; both", written]);
}

#[test]
fn changes_that_a_table_has_not_emitted_are_migrated_and_emitted() {
    // state P1, K4
    let directory = tempfile::tempdir().unwrap();
    let all = Arc::new(AtomicUsize::new(30));
    let long = Duration::from_secs(3_600);
    let job = Job::new("unsent");
    let table = numbers(&job, &all, 40).key_by(|n| n % KEYS).fold(0_u32, |sum, _| *sum += 1);
    table.at_most_every(long).named("totals").ignore();
    let handle = job.start(exactly_once(directory.path())).unwrap();
    wait_until("all are counted", || handle.metrics().sum("totals", |m| m.processed) == 30);
    handle.stop();
    handle.wait().unwrap();
    let (job, seen) = (Job::new("unsent"), Collected::new());
    let table = numbers(&job, &all, 40).key_by(|n| n % KEYS).fold(0_u64, |sum, _| *sum += 1);
    let table = table.stored(Stored::version(2).migrate_from(1, |old: u32| u64::from(old) + 100));
    table.at_most_every(Duration::from_millis(1)).named("totals").sink("seen", seen.factory());
    let handle = job.start(exactly_once(directory.path())).unwrap();
    wait_until("what was not emitted is", || seen.len() as u64 >= KEYS);
    handle.stop();
    handle.wait().unwrap();
    let mut seen = seen.events();
    seen.sort();
    assert_eq!(seen, (0..KEYS).map(|key| (key, 106)).collect::<Vec<_>>());
}

#[test]
fn state_is_migrated_and_distributed_anew_at_once() {
    // state P1, B4
    const MANY: u64 = 1_000;
    for (before, after) in [(1, 4), (4, 3), (5, 1)] {
        let directory = tempfile::tempdir().unwrap();
        let (job, limit) = (Job::new("scaled"), Arc::new(AtomicUsize::new(2 * MANY as usize)));
        let table =
            numbers(&job, &limit, 3 * MANY).key_by(|n| n % MANY).fold(0_u32, |n, _| *n += 1);
        table.at_end().named("totals").parallelism(before).ignore();
        let handle = job.start(exactly_once(directory.path())).unwrap();
        let all = 2 * MANY;
        wait_until("all are counted", || handle.metrics().sum("totals", |m| m.processed) == all);
        handle.stop();
        handle.wait().unwrap();
        let (job, seen) = (Job::new("scaled"), Collected::new());
        let limit = Arc::new(AtomicUsize::new(usize::MAX));
        let table =
            numbers(&job, &limit, 3 * MANY).key_by(|n| n % MANY).fold(0_u64, |n, _| *n += 1);
        let table =
            table.stored(Stored::version(2).migrate_from(1, |old: u32| u64::from(old) * 10));
        table.at_end().named("totals").parallelism(after).sink("seen", seen.factory());
        job.run(exactly_once(directory.path())).unwrap();
        let rows: BTreeMap<u64, u64> = seen.events().into_iter().collect();
        assert_eq!(seen.len() as u64, MANY);
        assert_eq!(rows, (0..MANY).map(|key| (key, 21)).collect(), "{before} to {after}");
    }
}

#[test]
fn a_migration_that_panics_ends_the_job_by_name_and_loses_nothing() {
    // state P1
    let directory = tempfile::tempdir().unwrap();
    let guarantee = || exactly_once(directory.path());
    run(guarantee(), KEYS, kept(Stored::default(), 7_u32)).unwrap();
    let panics = Stored::version(2).migrate_from(1, |_: u32| -> u64 { panic!("no such currency") });
    match run(guarantee(), 2 * KEYS, kept(panics, 0)) {
        Err(RunError::Failed(JobError::Failed { failure, restarts })) => {
            let said = failure.to_string();
            assert_says(&said, &["totals[0] failed in restore", "the migration from version 1"]);
            assert_says(&said, &["no such currency"]);
            assert_eq!(restarts, 0, "the next attempt would be given the same value");
        }
        other => panic!("{other:?}"),
    }
    let mended = Stored::version(2).migrate_from(1, |old: u32| u64::from(old));
    let seen = run(guarantee(), 2 * KEYS, kept(mended, 0)).unwrap();
    assert_eq!(seen, (0..KEYS).map(|key| (key, 7)).collect::<Vec<_>>());
}

const KILLED_IN: &str = "STREAMWORK_VERSIONS_KILLED_IN";

/// The second version of a job, which counts on.
fn second_version(numbers: KeyedStream<u64, u64>, killed: bool) -> Stream<(u64, u64)> {
    let stored = Stored::version(2).migrate_from(1, |old: u32| u64::from(old) + 100);
    let table = numbers.fold(0_u64, move |count, n| {
        *count += 1;
        if killed && n == 2 * KEYS {
            let this = std::process::id().to_string();
            std::process::Command::new("kill").args(["-KILL", &this]).status().unwrap();
        }
    });
    table.stored(stored).updates()
}

#[test]
fn is_killed_after_it_has_migrated() {
    let Ok(directory) = std::env::var(KILLED_IN) else { return };
    let never = Duration::from_secs(3_600);
    let guarantee = exactly_once(Path::new(&directory)).every(never);
    run(guarantee, 3 * KEYS, |numbers| second_version(numbers, true)).unwrap();
}

#[test]
fn a_process_that_is_killed_between_its_migration_and_its_first_checkpoint_starts_again() {
    // state P2
    let directory = tempfile::tempdir().unwrap();
    let guarantee = || exactly_once(directory.path());
    let first = |numbers: KeyedStream<u64, u64>| numbers.fold(0_u32, |n, _| *n += 1).updates();
    run(guarantee(), KEYS, first).unwrap();
    for _ in 0..2 {
        let variables = [(KILLED_IN, directory.path().to_str().unwrap())];
        let test = "versions::is_killed_after_it_has_migrated";
        let killed = process::run(test, &variables, Duration::from_secs(60)).unwrap_err();
        assert!(killed.contains("signal: 9"), "{killed}");
    }
    let seen = run(guarantee(), 3 * KEYS, |numbers| second_version(numbers, false)).unwrap();
    let last: BTreeMap<u64, u64> = seen.into_iter().collect();
    assert_eq!(last, (0..KEYS).map(|key| (key, 103)).collect());
}

/// Counts numbers in one value, with a timer far off.
pub(crate) struct Whole(pub(crate) u64);

impl StatefulOperator for Whole {
    type In = u64;
    type Out = u64;
    type State = u64;
    fn stored() -> Stored<u64> {
        Stored::version(2).migrate_from(1, |old: u32| u64::from(old) + 100)
    }
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.0 = state.unwrap_or(0);
        Ok(())
    }
    fn apply(&mut self, _: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        self.0 += 1;
        out.emit(self.0);
        Ok(())
    }
    fn state(&self) -> u64 {
        self.0
    }
}

pub(crate) struct WholeV1(pub(crate) u32);

impl StatefulOperator for WholeV1 {
    type In = u64;
    type Out = u64;
    type State = u32;
    fn setup(&mut self, _: &Instance, state: Option<u32>) -> Result<(), BoxError> {
        self.0 = state.unwrap_or(0);
        Ok(())
    }
    fn apply(&mut self, _: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        self.0 += 1;
        out.emit(self.0.into());
        Ok(())
    }
    fn state(&self) -> u32 {
        self.0
    }
}

#[test]
fn the_one_value_of_an_operator_is_migrated_too() {
    // state P1
    for codec in [StateCodec::Positional, StateCodec::SelfDescribing] {
        let directory = tempfile::tempdir().unwrap();
        let guarantee = || exactly_once(directory.path()).state_codec(codec);
        let start = |end: u64, whole: fn(Stream<u64>) -> Stream<u64>| {
            let (job, seen) = (Job::new("whole"), Collected::new());
            whole(job.from_iter("numbers", move || 0..end)).sink("seen", seen.factory());
            job.run(guarantee()).map(|_| seen.events())
        };
        start(5, |numbers| numbers.stateful("whole", || WholeV1(0))).unwrap();
        let seen = start(7, |numbers| numbers.stateful("whole", || Whole(0))).unwrap();
        assert_eq!(seen, [106, 107]);
        let seen = start(8, |numbers| numbers.stateful("whole", || Whole(0))).unwrap();
        assert_eq!(seen, [108], "migrated once");
        let said = refused(start(9, |numbers| numbers.stateful("whole", || WholeV1(0))));
        assert_says(&said, &["\"whole\" is stored as version 2"]);
    }
}

/// Emits numbers, at a position of version 1 or 2.
struct Lines<const VERSION: u32> {
    next: u64,
    end: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LineOf<const VERSION: u32> {
    line: u64,
    version: [u8; 2],
}

impl StatefulSource for Lines<1> {
    type Out = u64;
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.next = state.unwrap_or(0);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        (self.next..self.end).for_each(|n| out.emit(n));
        self.next = self.end;
        Ok(Next::End)
    }
    fn state(&self) -> u64 {
        self.next
    }
}

impl StatefulSource for Lines<2> {
    type Out = u64;
    type State = LineOf<2>;
    fn stored() -> Stored<LineOf<2>> {
        Stored::version(2).migrate_from(1, |line: u64| LineOf { line, version: [2, 0] })
    }
    fn setup(&mut self, _: &Instance, state: Option<LineOf<2>>) -> Result<(), BoxError> {
        self.next = state.map_or(0, |state| state.line);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        (self.next..self.end).for_each(|n| out.emit(n));
        self.next = self.end;
        Ok(Next::End)
    }
    fn state(&self) -> LineOf<2> {
        LineOf { line: self.next, version: [2, 0] }
    }
}

#[test]
fn the_position_of_a_source_is_migrated_where_it_is_part_of_a_checkpoint() {
    // state P1
    for name in ["exactly-once", "at-least-once stored", "at-most-once stored"] {
        let directory = tempfile::tempdir().unwrap();
        let guarantee = || crate::support::guarantee(name, directory.path());
        let job = Job::new("lines");
        job.stateful_source("lines", || Lines::<1> { next: 0, end: 5 }).for_each(|_| ());
        job.run(guarantee()).unwrap();
        let (job, seen) = (Job::new("lines"), Collected::new());
        let lines = job.stateful_source("lines", || Lines::<2> { next: 0, end: 8 });
        lines.sink("seen", seen.factory());
        if name == "at-most-once stored" {
            let said = refused(job.run(guarantee()).map(|_| seen.events()));
            assert_says(&said, &["\"lines\"", "version 1", "written ahead"]);
            let anew = AtMostOnce::new().store_in(directory.path()).start_anew("lines");
            job.run(anew).unwrap();
            assert_eq!(seen.len(), 8);
            continue;
        }
        for _ in 0..2 {
            job.run(guarantee()).unwrap();
            assert_eq!(seen.events(), [5, 6, 7], "{name}");
        }
    }
}

#[test]
fn a_verb_that_is_added_without_names_does_not_take_over_the_state_of_another() {
    // state P5
    let directory = tempfile::tempdir().unwrap();
    let run = |names: &[Option<&str>], guarantee: Checkpointed| {
        let job = Job::new("names");
        let numbers = job.from_iter("numbers", || 0..9_u64);
        for name in names {
            let counts = numbers.key_by(|n| n % KEYS).count().updates();
            match name {
                Some(name) => counts.named(*name).ignore(),
                None => counts.ignore(),
            }
        }
        job.run(guarantee).map(|_| Vec::<u64>::new())
    };
    let guarantee = || exactly_once(directory.path());
    run(&[None], guarantee()).unwrap();
    let said = refused(run(&[None, None], guarantee()));
    assert_says(&said, &["\"count\"", "\"count 2\"", "`named`", "start_anew"]);
    // The new one is first, and only one is named.
    let said = refused(run(&[Some("new"), None], guarantee()));
    assert_says(&said, &["\"count\"", "\"count 2\"", "`named`"]);
    run(&[Some("new"), Some("count")], guarantee()).unwrap();
    // Or the new one is last, and begins without state by name.
    run(&[Some("new"), Some("count"), None], guarantee()).unwrap();
    let said = refused(run(&[None], guarantee()));
    assert_says(&said, &["\"count 3\""]);
    let job = Job::new("names");
    job.from_iter("numbers", || 0..9_u64).key_by(|n| n % KEYS).count().updates().ignore();
    let planned = job.plan(guarantee()).unwrap();
    let unnamed: BTreeSet<&str> =
        planned.states.iter().filter(|of| !of.is_named).map(|of| &*of.component).collect();
    assert_eq!(unnamed, BTreeSet::from(["count"]));
    assert_says(&planned.to_string(), &["state of \"count\": positional, under a name that only"]);
}

#[test]
fn a_thousand_random_values_are_migrated_through_the_store_as_by_hand() {
    // state B10.5
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Old {
        a: i32,
        name: String,
        list: Vec<Option<u16>>,
        kind: Two,
    }
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct New {
        kind: Three,
        list: BTreeMap<usize, u16>,
        label: (String, i64),
    }
    let migrate = |Old { a, name, list, kind }: Old| New {
        kind: match kind {
            Two::Open => Three::Late,
            Two::Paid(cents) => Three::Paid(cents),
        },
        list: list.into_iter().enumerate().filter_map(|(at, n)| Some((at, n?))).collect(),
        label: (name, a.into()),
    };
    let old = |n: u64| {
        let mut random = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let name = (0..next() % 9).map(|_| char::from(b'a' + (next() % 26) as u8)).collect();
        let list = (0..next() % 5).map(|_| (next() % 3 > 0).then(|| next() as u16)).collect();
        let kind = if next() % 2 == 0 { Two::Open } else { Two::Paid(next()) };
        Old { a: next() as i32, name, list, kind }
    };
    for codec in [StateCodec::Positional, StateCodec::SelfDescribing] {
        let directory = tempfile::tempdir().unwrap();
        let guarantee = || exactly_once(directory.path()).state_codec(codec);
        let job = |end: u64| {
            let job = Job::new("random");
            let numbers = job.from_iter("numbers", move || 0..end).key_by(|n| n % 1_000);
            (job, numbers)
        };
        let (first, numbers) = job(1_000);
        numbers.fold(Old::default(), move |kept, n| *kept = old(n)).updates().named("x").ignore();
        first.run(guarantee()).unwrap();
        let ((second, numbers), seen) = (job(2_000), Collected::new());
        let table = numbers.fold(New::default(), |_, _| ());
        let table = table.stored(Stored::version(2).migrate_from(1, migrate));
        table.updates().named("x").parallelism(2).sink("seen", seen.factory());
        second.run(guarantee()).unwrap();
        let seen: BTreeMap<u64, New> = seen.events().into_iter().collect();
        assert_eq!(seen, (0..1_000).map(|n| (n, migrate(old(n)))).collect());
    }
}
