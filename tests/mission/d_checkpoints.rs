//! [D1]–[D10]: barriers, durable state, rollback, sinks that commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use streamwork::checkpoint::{CheckpointStore, DirectoryStore};
use streamwork::metrics::CheckpointOutcome;
use streamwork::testkit::Collected;
use streamwork::{
    AtLeastOnce, BoxError, Collector, ExactlyOnce, IdempotentSink, Instance, Job, JobError, Next,
    Outcome, Output, OutputGuarantee, Refused, Restarts, Sink, SourceOutput, StatefulOperator,
    StatefulSource, Transaction, TransactionalFiles, TransactionalSink,
};

use crate::support::{Faults, Hanging, counts, guarantee, wait_until};

/// Counts per key, emits nothing until the end.
#[derive(Clone, Debug, Default)]
struct Tally(BTreeMap<u64, u64>);

impl StatefulOperator for Tally {
    type In = u64;
    type Out = (u64, u64);
    type State = BTreeMap<u64, u64>;
    fn setup(&mut self, _: &Instance, state: Option<Self::State>) -> Result<(), BoxError> {
        self.0 = state.unwrap_or_default();
        Ok(())
    }
    fn apply(&mut self, event: u64, _: &mut Collector<(u64, u64)>) -> Result<(), BoxError> {
        *self.0.entry(event).or_default() += 1;
        Ok(())
    }
    fn finish(&mut self, out: &mut Output<(u64, u64)>) -> Result<(), BoxError> {
        std::mem::take(&mut self.0).into_iter().for_each(|entry| out.emit(entry));
        Ok(())
    }
    fn state(&self) -> Self::State {
        self.0.clone()
    }
}

/// Prepared transactions by handle, and the committed output.
type Table = (BTreeMap<u64, Vec<u64>>, Vec<u64>);

/// The committed output of a transactional sink, and the output that is only prepared.
#[derive(Clone, Debug, Default)]
struct Ledger {
    open: Vec<u64>,
    shared: Arc<Mutex<Table>>,
    handles: Arc<AtomicU64>,
    commits: Arc<AtomicUsize>,
    fail_commits: Arc<AtomicUsize>,
}

impl Ledger {
    fn shown(&self) -> Vec<u64> {
        self.shared.lock().1.clone()
    }
}

impl TransactionalSink for Ledger {
    type In = u64;
    type Handle = u64;
    fn write(&mut self, event: u64) -> Result<(), BoxError> {
        self.open.push(event);
        Ok(())
    }
    fn prepare(&mut self, _: Transaction) -> Result<Option<u64>, BoxError> {
        if self.open.is_empty() {
            return Ok(None);
        }
        let handle = self.handles.fetch_add(1, Ordering::SeqCst);
        self.shared.lock().0.insert(handle, std::mem::take(&mut self.open));
        Ok(Some(handle))
    }
    fn commit(&mut self, handle: u64) -> Result<(), BoxError> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        let failing = |left: usize| left.checked_sub(1);
        let fail = self.fail_commits.fetch_update(Ordering::SeqCst, Ordering::SeqCst, failing);
        let mut shared = self.shared.lock();
        if fail.is_ok() && handle.is_multiple_of(2) {
            return Err("failed before its effect".into());
        }
        if let Some(events) = shared.0.remove(&handle) {
            shared.1.extend(events);
        }
        if fail.is_ok() { Err("the answer was lost".into()) } else { Ok(()) }
    }
    fn abort_unfinished(&mut self) -> Result<(), BoxError> {
        self.open.clear();
        self.shared.lock().0.clear();
        Ok(())
    }
}

fn often(directory: &std::path::Path) -> streamwork::Checkpointed {
    ExactlyOnce::checkpoints_in(directory)
        .every(Duration::from_millis(2))
        .restarts(Restarts { backoff: Duration::from_millis(1), ..Restarts::unlimited() })
}

#[test]
fn state_and_committed_output_are_those_of_a_run_without_faults() {
    let directory = tempfile::tempdir().unwrap();
    let faults = Faults::once((1..20_u64).map(|n| n * 9_973));
    let spent = faults.clone();
    let (tallied, ledger) = (Collected::new(), Ledger::default());
    let sink = ledger.clone();
    let job = Job::new("exact");
    let numbers = job.from_iter("numbers", || 0..200_000_u64);
    let checked =
        numbers.shuffle().inspect(move |n| assert!(!faults.strike(n), "struck")).parallelism(2);
    checked
        .key_by(|n| n % 100)
        .map(|n| n % 100)
        .parallelism(3)
        .global()
        .stateful("tally", Tally::default)
        .sink("tallied", tallied.factory());
    checked.global().transactional_sink("ledger", move || sink.clone());
    let report = job.run(often(directory.path())).unwrap();
    assert!(spent.spent());
    assert!(report.metrics.restarts >= 1);
    let last: BTreeMap<u64, u64> = tallied.events().into_iter().collect();
    assert_eq!(last, (0..100).map(|key| (key, 2_000)).collect());
    let shown = counts(ledger.shown());
    assert_eq!(shown.len(), 200_000, "output was lost");
    assert!(shown.values().all(|n| *n == 1), "output was repeated");
}

#[test]
fn without_holding_queues_nothing_is_lost_and_counts_may_be_too_high() {
    let directory = tempfile::tempdir().unwrap();
    let faults = Faults::once((1..10_u64).map(|n| n * 9_973));
    let tallied = Collected::new();
    let job = Job::new("unaligned");
    let halves = job.from_iter("even", || (0..100_000_u64).map(|n| n * 2));
    let others = job.from_iter("odd", || (0..100_000_u64).map(|n| n * 2 + 1));
    halves
        .merge(&others)
        .inspect(move |n| assert!(!faults.strike(n), "struck"))
        .map(|n| n % 10)
        .stateful("tally", Tally::default)
        .sink("tallied", tallied.factory());
    let every = AtLeastOnce::checkpoints_in(directory.path())
        .every(Duration::from_millis(2))
        .restarts(Restarts { backoff: Duration::from_millis(1), ..Restarts::unlimited() });
    job.run(every).unwrap();
    let last: BTreeMap<u64, u64> = tallied.events().into_iter().collect();
    assert_eq!(last.len(), 10);
    assert!(last.values().all(|count| *count >= 20_000), "{last:?}");
}

#[test]
fn a_checkpoint_covers_no_event_that_still_sits_in_a_queue() {
    // A slow sink, full queues, and a crash right after a checkpoint has completed: if the
    // checkpoint had covered what sat in the queues, that would be missing now.
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::default();
    let crash = Arc::new(AtomicBool::new(false));
    let (sink, trigger) = (ledger.clone(), Arc::clone(&crash));
    let job = Job::new("trap");
    job.from_iter("numbers", || 0..30_000_u64)
        .inspect(move |_| {
            std::thread::sleep(Duration::from_micros(5));
            assert!(!trigger.swap(false, Ordering::SeqCst), "crash");
        })
        .own_thread()
        .transactional_sink("slow", move || sink.clone());
    let hourly = ExactlyOnce::checkpoints_in(directory.path())
        .every(Duration::from_secs(3600))
        .restarts(Restarts::unlimited());
    let handle = job.start(hourly).unwrap();
    wait_until("queues fill", || handle.metrics().sum("numbers", |m| m.emitted) > 5_000);
    for _ in 0..2 {
        handle.checkpoint_now().unwrap();
        crash.store(true, Ordering::SeqCst);
        wait_until("the crash", || !crash.load(Ordering::SeqCst));
    }
    let report = handle.wait().unwrap();
    assert_eq!(report.metrics.restarts, 2);
    assert_eq!(counts(ledger.shown()), counts(0..30_000), "missing or repeated");
}

#[test]
fn events_that_a_source_emitted_beyond_the_room_it_had_are_on_the_right_side_of_the_barrier() {
    /// Emits five thousand at once, whatever room there is.
    struct Pushy(u64);
    impl StatefulSource for Pushy {
        type Out = u64;
        type State = u64;
        fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
            self.0 = state.unwrap_or(0);
            Ok(())
        }
        fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
            (0..5_000).for_each(|n| out.emit(self.0 + n));
            self.0 += 5_000;
            Ok(if self.0 < 100_000 { Next::Now } else { Next::End })
        }
        fn state(&self) -> u64 {
            self.0
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::default();
    let faults = Faults::once((1..10_u64).map(|n| n * 9_973));
    let sink = ledger.clone();
    let job = Job::new("pushy");
    job.stateful_source("pushy", || Pushy(0))
        .inspect(|_| std::thread::sleep(Duration::from_nanos(1)))
        .own_thread()
        .queue_batches(1)
        .inspect(move |n| assert!(!faults.strike(n), "struck"))
        .own_thread()
        .transactional_sink("ledger", move || sink.clone());
    job.run(often(directory.path())).unwrap();
    assert_eq!(counts(ledger.shown()), counts(0..100_000));
}

#[test]
fn stateless_operators_leave_nothing_in_the_store_and_stateful_ones_and_sources_do() {
    let directory = tempfile::tempdir().unwrap();
    let job = Job::new("parts");
    job.from_iter("numbers", || 0..1_000_u64)
        .map(|n| n % 7)
        .key_by(|n| *n)
        .stateful("tally", Tally::default)
        .parallelism(2)
        .for_each(|_| ());
    job.run(guarantee("exactly-once", directory.path())).unwrap();
    let store = DirectoryStore::open(directory.path()).unwrap();
    let newest = store.list().unwrap().remove(0);
    let parts: Vec<_> = newest.parts.iter().map(|part| part.name.to_string()).collect();
    assert_eq!(parts, ["numbers[0]", "tally[0]", "tally[1]"]);
}

#[test]
fn a_damaged_newest_checkpoint_is_set_aside_and_the_one_before_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let tallied = Collected::new();
    let build = |until: u64| {
        let job = Job::new("fallback");
        job.from_iter("numbers", move || 0..until)
            .map(|n| n % 3)
            .stateful("tally", KeptTally::default)
            .sink("tallied", tallied.factory());
        job
    };
    let run = |until| build(until).run(guarantee("exactly-once", directory.path())).unwrap();
    run(3_000);
    let second = run(6_000);
    assert!(second.restored_from.is_some());
    let store = DirectoryStore::open(directory.path()).unwrap();
    let newest = store.list().unwrap().remove(0).checkpoint;
    drop(store);
    damage_newest(directory.path());
    let third = run(6_000);
    assert!(third.restored_from.unwrap() < newest, "the damaged one was used");
    let last: BTreeMap<u64, u64> = tallied.events().into_iter().collect();
    assert_eq!(last, BTreeMap::from([(0, 2_000), (1, 2_000), (2, 2_000)]));
}

#[test]
fn what_a_damaged_checkpoint_had_shown_is_taken_back_before_it_comes_again() {
    let (directory, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = |until: u64| {
        let job = Job::new("taken back");
        let line = |n: &u64, file: &mut Vec<u8>| file.extend(format!("{n}\n").into_bytes());
        job.from_iter("numbers", move || 0..until)
            .transactional_sink("files", TransactionalFiles::factory(out.path(), line));
        job.run(guarantee("exactly-once", directory.path())).unwrap();
    };
    let shown = || {
        let files = std::fs::read_dir(out.path()).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|file| file.extension().is_none_or(|end| end != "pending"));
        let text: String = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
        let mut numbers: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    run(1_000);
    run(2_000);
    assert_eq!(shown(), (0..2_000).collect::<Vec<_>>());
    damage_newest(directory.path());
    run(3_000);
    assert_eq!(shown(), (0..3_000).collect::<Vec<_>>());
}

/// As [`Tally`], but emits every count as it changes and keeps it at the end.
#[derive(Default)]
struct KeptTally(Tally);

impl StatefulOperator for KeptTally {
    type In = u64;
    type Out = (u64, u64);
    type State = BTreeMap<u64, u64>;
    fn setup(&mut self, instance: &Instance, state: Option<Self::State>) -> Result<(), BoxError> {
        self.0.setup(instance, state)
    }
    fn apply(&mut self, event: u64, out: &mut Collector<(u64, u64)>) -> Result<(), BoxError> {
        self.0.apply(event, out)?;
        out.emit((event, self.0.0[&event]));
        Ok(())
    }
    fn state(&self) -> Self::State {
        self.0.state()
    }
}

fn damage_newest(directory: &std::path::Path) {
    let mut checkpoints: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() && path.join("MANIFEST").exists())
        .collect();
    checkpoints.sort();
    let newest = checkpoints.last().expect("there is a checkpoint");
    for part in std::fs::read_dir(newest).unwrap() {
        let path = part.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn old_checkpoints_are_cleaned_up_and_as_many_as_asked_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let job = Job::new("retention");
    job.from_iter("numbers", || 0_u64..).for_each(|_| ());
    let handle = job.start(often(directory.path()).keep(3)).unwrap();
    wait_until("ten checkpoints", || handle.metrics().checkpoints >= 10);
    handle.stop_within(Duration::from_secs(10)).unwrap();
    let store = DirectoryStore::open(directory.path()).unwrap();
    assert_eq!(store.list().unwrap().len(), 3);
}

#[test]
fn a_minimum_pause_lies_between_the_end_of_a_checkpoint_and_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let job = Job::new("pause");
    job.from_iter("numbers", || 0_u64..).for_each(|_| ());
    let paused = often(directory.path()).minimum_pause(Duration::from_millis(100));
    let handle = job.start(paused).unwrap();
    std::thread::sleep(Duration::from_millis(450));
    let taken = handle.metrics().checkpoints;
    handle.stop_within(Duration::from_secs(10)).unwrap();
    assert!((1..=5).contains(&taken), "{taken} checkpoints in 450 ms with pauses of 100 ms");
}

#[test]
fn state_is_encoded_on_another_thread_than_its_instance() {
    static WHERE: Mutex<Vec<String>> = Mutex::new(Vec::new());
    #[derive(Clone, serde::Deserialize)]
    struct Tells;
    impl serde::Serialize for Tells {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            WHERE.lock().push(name);
            serializer.serialize_unit()
        }
    }
    struct Told;
    impl StatefulOperator for Told {
        type In = u64;
        type Out = u64;
        type State = Tells;
        fn setup(&mut self, _: &Instance, _: Option<Tells>) -> Result<(), BoxError> {
            Ok(())
        }
        fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
            out.emit(event);
            Ok(())
        }
        fn state(&self) -> Tells {
            Tells
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let job = Job::new("encoded");
    job.from_iter("numbers", || 0..10_u64).stateful("told", || Told).ignore();
    job.run(often(directory.path())).unwrap();
    let threads = WHERE.lock();
    assert!(
        !threads.is_empty() && threads.iter().all(|name| name == "checkpoint writer"),
        "{threads:?}"
    );
}

#[test]
fn the_job_restarts_itself_from_the_latest_checkpoint_and_gives_up_at_its_limit_with_the_cause() {
    let directory = tempfile::tempdir().unwrap();
    let job = Job::new("limit");
    job.from_iter("numbers", || 0..1_000_u64)
        .inspect(|n| assert!(*n != 500, "always at 500"))
        .for_each(|_| ());
    let limited = often(directory.path()).restarts(Restarts {
        limit: 3,
        backoff: Duration::from_millis(1),
        ..Restarts::default()
    });
    let error = job.start(limited).unwrap().wait().unwrap_err();
    let JobError::Failed { failure, restarts } = &error else { panic!("{error}") };
    assert_eq!(*restarts, 3);
    assert_eq!(failure.instance.to_string(), "inspect[0]");
    assert!(failure.to_string().contains("always at 500"), "{error}");
}

#[test]
fn a_second_job_on_the_same_directory_is_refused_while_the_first_lives() {
    let directory = tempfile::tempdir().unwrap();
    let build = || {
        let job = Job::new("fenced");
        job.from_iter("numbers", || 0_u64..).for_each(|_| ());
        job
    };
    let first = build().start(often(directory.path())).unwrap();
    let second = build().start(often(directory.path())).unwrap_err();
    assert!(matches!(second, Refused::Store(_)), "{second}");
    first.stop_within(Duration::from_secs(10)).unwrap();
    let third = build().start(often(directory.path())).unwrap();
    third.stop_within(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_checkpoint_of_another_job_another_kind_or_other_parallelism_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let build = |name: &str, instances: usize| {
        let job = Job::new(name);
        job.from_iter("numbers", || 0..10_u64)
            .key_by(|n| *n)
            .stateful("tally", Tally::default)
            .parallelism(instances)
            .for_each(|_| ());
        job
    };
    build("one", 2).run(often(directory.path())).unwrap();
    let refused = |job: Job, guarantee: streamwork::Guarantee| match job.start(guarantee) {
        Err(Refused::Incompatible { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let reason = refused(build("another", 2), often(directory.path()).into());
    assert!(reason.contains("\"one\"") && reason.contains("\"another\""), "{reason}");
    let reason = refused(build("one", 3), often(directory.path()).into());
    assert!(reason.contains("\"tally\" had 2 instances and has 3"), "{reason}");
    let other = AtLeastOnce::checkpoints_in(directory.path());
    let reason = refused(build("one", 2), other.into());
    assert!(reason.contains("aligned barriers"), "{reason}");
    build("one", 2).run(often(directory.path())).unwrap();
}

#[test]
fn end_stop_and_drain_take_a_last_checkpoint_and_commit_before_they_return() {
    for how in ["end", "stop", "drain"] {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::default();
        let sink = ledger.clone();
        let endless = how != "end";
        let job = Job::new("last");
        job.from_iter("numbers", move || (0_u64..).take_while(move |n| endless || *n < 777))
            .transactional_sink("ledger", move || sink.clone());
        let hourly = ExactlyOnce::checkpoints_in(directory.path()).every(Duration::from_secs(3600));
        let handle = job.start(hourly).unwrap();
        wait_until("events flow", || handle.metrics().sum("numbers", |m| m.emitted) >= 777);
        let report = match how {
            "end" => handle.wait(),
            "stop" => handle.stop_within(Duration::from_secs(10)),
            _ => handle.drain(Duration::from_secs(10)),
        }
        .unwrap();
        let emitted = report.metrics.sum("numbers", |m| m.emitted);
        assert_eq!(ledger.shown(), (0..emitted).collect::<Vec<_>>(), "{how}");
        let outcome = match how {
            "end" => Outcome::Finished,
            "stop" => Outcome::Stopped,
            _ => Outcome::Drained,
        };
        assert_eq!(report.outcome, outcome);
    }
}

#[test]
fn the_plan_says_for_each_sink_which_output_guarantee_holds() {
    use OutputGuarantee::{AtLeastOnce as Repeats, AtMostOnce as Loses, ExactlyOnce as Once};
    struct Upsert;
    impl Sink for Upsert {
        type In = u64;
        fn write(&mut self, _: u64) -> Result<(), BoxError> {
            Ok(())
        }
    }
    impl IdempotentSink for Upsert {}
    let directory = tempfile::tempdir().unwrap();
    let job = Job::new("outputs");
    let numbers = job.from_iter("numbers", || 0..10_u64);
    numbers.sink("plain", || Upsert);
    numbers.idempotent_sink("idempotent", || Upsert);
    numbers.transactional_sink("transactional", Ledger::default);
    let outputs = |name: &str| {
        let plan = job.plan(guarantee(name, directory.path())).unwrap();
        plan.outputs.into_iter().map(|(_, output)| output).collect::<Vec<_>>()
    };
    assert_eq!(outputs("at-most-once"), [Loses, Loses, Loses]);
    assert_eq!(outputs("at-least-once"), [Repeats, Repeats, Repeats]);
    assert_eq!(outputs("at-least-once-checkpoint"), [Repeats, Repeats, Repeats]);
    assert_eq!(outputs("exactly-once"), [Repeats, Once, Once]);
}

#[test]
fn a_commit_that_fails_before_or_after_its_effect_is_repeated_and_shows_everything_once() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger { fail_commits: Arc::new(AtomicUsize::new(6)), ..Ledger::default() };
    let sink = ledger.clone();
    let job = Job::new("commits");
    job.from_iter("numbers", || 0..100_000_u64).transactional_sink("ledger", move || sink.clone());
    job.run(often(directory.path())).unwrap();
    assert_eq!(ledger.fail_commits.load(Ordering::SeqCst), 0, "no commit was made to fail");
    assert_eq!(counts(ledger.shown()), counts(0..100_000));
}

#[test]
fn sources_that_end_in_any_order_or_are_empty_do_not_keep_checkpoints_from_completing() {
    for (first, second) in [(0, 0), (0, 50_000), (50_000, 0), (10, 100_000), (100_000, 10)] {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::default();
        let sink = ledger.clone();
        let job = Job::new("ends");
        let a = job.from_iter("a", move || 0..first);
        let b = job.from_iter("b", move || (0..second).map(|n| n + 1_000_000));
        a.merge(&b)
            .shuffle()
            .map(|n| n)
            .parallelism(2)
            .global()
            .transactional_sink("ledger", move || sink.clone());
        job.run(often(directory.path())).unwrap();
        let expected = (0..first).chain((0..second).map(|n| n + 1_000_000));
        assert_eq!(counts(ledger.shown()), counts(expected), "{first} and {second}");
    }
}

#[test]
fn checkpoints_that_fail_are_counted_and_too_many_in_a_row_end_the_job() {
    #[derive(Default)]
    struct Unwritable;
    #[derive(serde::Deserialize)]
    struct Refuses;
    impl serde::Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("this state cannot be written"))
        }
    }
    impl StatefulOperator for Unwritable {
        type In = u64;
        type Out = u64;
        type State = Refuses;
        fn setup(&mut self, _: &Instance, _: Option<Refuses>) -> Result<(), BoxError> {
            Ok(())
        }
        fn apply(&mut self, _: u64, _: &mut Collector<u64>) -> Result<(), BoxError> {
            Ok(())
        }
        fn state(&self) -> Refuses {
            Refuses
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let job = Job::new("unwritable");
    job.from_iter("numbers", || 0_u64..).stateful("unwritable", || Unwritable).ignore();
    let handle = job.start(often(directory.path()).failed_checkpoints_max(3)).unwrap();
    wait_until("the job gives up", || handle.is_finished());
    let metrics = handle.metrics();
    assert_eq!((metrics.checkpoints_failed, metrics.recent_checkpoints.len()), (3, 3));
    for stats in &metrics.recent_checkpoints {
        let CheckpointOutcome::Abandoned { reason } = &stats.outcome else { panic!("{stats}") };
        assert!(reason.contains("this state cannot be written"), "{stats}");
    }
    let error = handle.wait().unwrap_err();
    let JobError::Checkpoints { failures: 3, reason } = &error else { panic!("{error}") };
    assert!(reason.contains("this state cannot be written"), "{reason}");
}

#[test]
fn timers_are_part_of_the_state_and_fire_after_a_restart() {
    struct Alarm;
    impl StatefulOperator for Alarm {
        type In = u64;
        type Out = u64;
        type State = ();
        fn setup(&mut self, _: &Instance, _: Option<()>) -> Result<(), BoxError> {
            Ok(())
        }
        fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
            out.set_timer(Duration::from_millis(300), event);
            Ok(())
        }
        fn on_timer(&mut self, tag: u64, out: &mut Output<u64>) -> Result<(), BoxError> {
            out.emit(tag);
            Ok(())
        }
        fn state(&self) {}
    }
    /// Emits once, then waits for ever.
    struct One(bool);
    impl StatefulSource for One {
        type Out = u64;
        type State = bool;
        fn setup(&mut self, _: &Instance, state: Option<bool>) -> Result<(), BoxError> {
            self.0 = state.unwrap_or(false);
            Ok(())
        }
        fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
            if !std::mem::replace(&mut self.0, true) {
                out.emit(42);
            }
            Ok(Next::WhenWoken)
        }
        fn state(&self) -> bool {
            self.0
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let seen = Collected::new();
    let build = || {
        let job = Job::new("alarm");
        job.stateful_source("one", || One(false))
            .stateful("alarm", || Alarm)
            .sink("seen", seen.factory());
        job
    };
    let handle = build().start(often(directory.path())).unwrap();
    wait_until("the event is in", || handle.metrics().sum("alarm", |m| m.delivered) == 1);
    handle.stop_within(Duration::from_secs(10)).unwrap();
    assert!(seen.is_empty());
    let handle = build().start(often(directory.path())).unwrap();
    wait_until("the timer fires", || seen.events() == [42]);
    handle.stop_within(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_store_that_hangs_cannot_keep_a_stop_beyond_its_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Hanging::default();
    let store = DirectoryStore::open_on(Arc::new(disk.clone()), directory.path());
    let job = Job::new("hanging");
    job.from_iter("numbers", || 0_u64..).for_each(|_| ());
    let guarantee =
        ExactlyOnce::checkpoints_with(Arc::new(store.unwrap())).every(Duration::from_millis(5));
    let handle = job.start(guarantee).unwrap();
    wait_until("a checkpoint", || handle.metrics().checkpoints > 0);
    let shut = disk.gate.lock();
    let started = Instant::now();
    let error = handle.stop_within(Duration::from_millis(300)).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(matches!(error, JobError::StopTimedOut { .. }), "{error}");
    drop(shut);
}
