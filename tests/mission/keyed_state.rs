//! State by key that the engine owns: tables, operators with timers, and another parallelism (state K, O, B4).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use streamwork::checkpoint::{CheckpointStore as _, DirectoryStore, PartKind};
use streamwork::testkit::Collected;
use streamwork::{
    At, AtLeastOnce, BoxError, Changed, Collector, Emit, EventTime, ExactlyOnce, Guarantee,
    Instance, Job, JobHandle, KeyedOperator, Next, Operator, Outcome, Output, SourceOutput,
    StatefulSource, Stream,
};

use crate::support::{ALL, guarantee, wait_until};

/// Emits numbers from 0, up to a limit that can be raised while the job runs.
struct Numbers {
    next: u64,
    limit: Arc<AtomicUsize>,
    end: u64,
}

impl StatefulSource for Numbers {
    type Out = u64;
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.next = state.unwrap_or(0);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        let limit = (self.limit.load(Ordering::SeqCst) as u64).min(self.end);
        while self.next < limit && out.room() > 0 {
            out.emit(self.next);
            self.next += 1;
        }
        Ok(match self.next {
            next if next >= self.end => Next::End,
            next if next >= limit => Next::After(Duration::from_millis(1)),
            _ => Next::Now,
        })
    }
    fn state(&self) -> u64 {
        self.next
    }
}

pub(crate) fn numbers(job: &Job, limit: &Arc<AtomicUsize>, end: u64) -> Stream<u64> {
    let limit = Arc::clone(limit);
    job.stateful_source("numbers", move || Numbers { next: 0, limit: Arc::clone(&limit), end })
}

fn all(job: &Job, end: u64) -> Stream<u64> {
    numbers(job, &Arc::new(AtomicUsize::new(usize::MAX)), end)
}

/// Runs a job with one collected output under every guarantee; the events that it shows, sorted.
fn under_every_guarantee<T: Clone + Ord + Send + std::fmt::Debug + 'static>(
    build: impl Fn(&Job) -> Stream<T>,
    expected: Vec<T>,
) {
    for name in ALL {
        let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
        let job = Job::new("tables");
        build(&job).sink("seen", seen.factory());
        job.run(guarantee(name, directory.path())).unwrap();
        let mut seen = seen.events();
        seen.sort();
        assert_eq!(seen, expected, "{name}");
    }
}

/// The numbers below 100 with their key, the remainder by 7.
fn by_key() -> BTreeMap<u64, Vec<u64>> {
    let mut keys = BTreeMap::<u64, Vec<u64>>::new();
    (0..100).for_each(|n| keys.entry(n % 7).or_default().push(n));
    keys
}

#[test]
fn each_update_of_a_table_is_one_row_in_the_order_of_the_events_of_its_key() {
    // state K1, K2
    let rows = by_key().into_iter();
    let expected = rows.flat_map(|(key, all)| (1..=all.len() as u64).map(move |n| (key, n)));
    under_every_guarantee(
        |job| all(job, 100).key_by(|n| n % 7).count().updates().parallelism(3),
        expected.collect(),
    );
}

#[test]
fn a_change_has_the_value_before_and_none_for_the_first() {
    // state K2
    let mut expected = Vec::new();
    for (key, all) in by_key() {
        let values: Vec<u64> = all.iter().map(|n| n / 50).collect();
        for (at, new) in values.iter().enumerate() {
            let old = at.checked_sub(1).map(|before| values[before]);
            expected.push((key, old, Some(*new)));
        }
    }
    expected.sort();
    under_every_guarantee(
        |job| {
            let last = all(job, 100).map(|n| (n % 7, n / 50)).key_by(|(key, _)| *key).latest();
            let changes = last.changes().parallelism(2);
            changes.map(|Changed { key, old, new }| (key, old.map(|(_, n)| n), new.map(|(_, n)| n)))
        },
        expected,
    );
}

#[test]
fn reduce_fold_latest_and_aggregates_say_what_a_loop_says() {
    // state K3, K8
    let rows = by_key().into_iter().map(|(key, all)| {
        let (sum, n) = (all.iter().sum::<u64>(), all.len() as u64);
        (key, (n, sum, Some(sum / n), all.iter().max().copied(), all.iter().min().copied()))
    });
    under_every_guarantee(
        |job| {
            let keyed = all(job, 100).key_by(|n| n % 7);
            let table = keyed.aggregate(|of| {
                (of.count(), of.sum(|n| *n), of.mean(|n| *n), of.max(|n| *n), of.min(|n| *n))
            });
            table.at_end().parallelism(3)
        },
        rows.collect(),
    );
    let sums = by_key().into_iter().map(|(key, all)| (key, all.iter().sum::<u64>()));
    let sums: Vec<_> = sums.collect();
    let keyed = |job: &Job| all(job, 100).key_by(|n| n % 7);
    under_every_guarantee(|job| keyed(job).reduce(|sum, n| *sum += n).at_end(), sums.clone());
    under_every_guarantee(|job| keyed(job).fold(0, |sum, n| *sum += n).at_end(), sums);
    let lasts = by_key().into_iter().map(|(key, all)| (key, all[all.len() - 1]));
    under_every_guarantee(|job| keyed(job).latest().at_end(), lasts.collect());
    // Of equal ones the first: all numbers of a key are equal by this.
    let firsts = by_key().into_iter().map(|(key, all)| (key, all[0]));
    under_every_guarantee(|job| keyed(job).latest_by(|n| n % 7).at_end(), firsts.collect());
}

#[test]
fn a_scan_emits_what_the_closure_returns_and_starts_from_the_default() {
    // state K7
    let expected = by_key()
        .into_values()
        .flat_map(|all| all.into_iter().enumerate().skip(1).map(|(before, n)| (n, before as u64)));
    let mut expected: Vec<_> = expected.collect();
    expected.sort();
    under_every_guarantee(
        |job| {
            let keyed = all(job, 100).key_by(|n| n % 7);
            let numbered = keyed.scan(|seen: &mut u64, n| {
                *seen += 1;
                (*seen > 1).then_some((n, *seen - 1))
            });
            numbered.parallelism(2)
        },
        expected,
    );
}

#[test]
fn what_has_changed_is_emitted_once_in_a_time_and_at_the_end() {
    // state K4
    for name in ALL {
        let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
        let (job, limit) = (Job::new("tables"), Arc::new(AtomicUsize::new(50)));
        let counts = numbers(&job, &limit, 100).key_by(|n| n % 7).count();
        counts.at_most_every(Duration::from_millis(50)).sink("seen", seen.factory());
        let handle = job.start(guarantee(name, directory.path())).unwrap();
        wait_until("each key is emitted", || seen.len() >= 7);
        std::thread::sleep(Duration::from_millis(120));
        assert_eq!(seen.len(), 7, "{name}: nothing for keys that did not change");
        limit.store(100, Ordering::SeqCst);
        handle.wait().unwrap();
        let last: BTreeMap<u64, u64> = seen.events().into_iter().collect();
        let expected = by_key().into_iter().map(|(key, all)| (key, all.len() as u64));
        assert_eq!(last, expected.collect(), "{name}");
        assert!(seen.len() <= 7 * 4, "{name}: {} rows", seen.len());
    }
}

#[test]
fn streams_with_keys_of_their_own_are_merged_by_key() {
    let seen = Collected::new();
    let job = Job::new("merged");
    let orders = job.from_iter("orders", || (0..30_u64).map(|n| (n, n % 3)));
    let payments = job.from_iter("payments", || (0..60_u64).map(|n| (n % 3, n)));
    let both = orders.key_by(|(_, key)| *key).merge(&payments.key_by(|(key, _)| *key));
    both.count().at_end().parallelism(2).sink("seen", seen.factory());
    job.run(Guarantee::default()).unwrap();
    let mut seen = seen.events();
    seen.sort();
    assert_eq!(seen, [(0, 30), (1, 30), (2, 30)]);
}

/// Stops a job in the middle again and again, with another parallelism each time.
#[test]
fn a_table_is_taken_over_at_any_other_parallelism() {
    // state B4
    let keys = 1_000;
    for steps in [[1, 4, 2], [3, 1, 8], [8, 3, 5]] {
        let directory = tempfile::tempdir().unwrap();
        let counts = |limit: usize, parallelism: usize| {
            let seen = Collected::new();
            let (job, limit) = (Job::new("tables"), Arc::new(AtomicUsize::new(limit)));
            let numbers = numbers(&job, &limit, 40_000);
            let counts = numbers.key_by(move |n| n % keys).count().at_end().named("counts");
            counts.parallelism(parallelism).sink("seen", seen.factory());
            let guarantee = ExactlyOnce::checkpoints_in(directory.path());
            let handle = job.start(guarantee).unwrap();
            (handle, seen)
        };
        for (at, parallelism) in steps.into_iter().enumerate() {
            let limit = 10_000 * (at + 1);
            let (handle, seen) = counts(limit, parallelism);
            let expected = if at == 0 { limit } else { 10_000 } as u64;
            wait_until("all are counted", || {
                handle.metrics().sum("counts", |m| m.processed) == expected
            });
            if at == 1 {
                handle.checkpoint_now().unwrap();
            }
            handle.stop();
            handle.wait().unwrap();
            assert!(seen.is_empty(), "nothing is emitted at a stop (state K5)");
        }
        let (handle, seen) = counts(40_000, 4);
        assert_eq!(handle.wait().unwrap().outcome, Outcome::Finished);
        let rows: BTreeMap<u64, u64> = seen.events().into_iter().collect();
        assert_eq!(rows, (0..keys).map(|key| (key, 40)).collect(), "{steps:?}");
    }
}

/// A job that counts numbers by key, and saves what has changed: its handle, and the counts once it has ended.
fn counts_saved_by_changes(
    directory: &Path,
    limit: &Arc<AtomicUsize>,
    keys: u64,
) -> (JobHandle, Collected<(u64, u64)>) {
    let (job, seen) = (Job::new("tables"), Collected::new());
    let numbers = numbers(&job, limit, 40_000);
    let counts = numbers.key_by(move |n| n % keys).count().at_end().named("counts");
    counts.parallelism(2).sink("seen", seen.factory());
    let guarantee = ExactlyOnce::checkpoints_in(directory).incremental_above(0);
    (job.start(guarantee).unwrap(), seen)
}

/// Takes so many checkpoints, between two of which a few keys change, and stops.
fn take_checkpoints(directory: &Path, keys: u64, checkpoints: usize) {
    let limit = Arc::new(AtomicUsize::new(5_000));
    let (handle, _) = counts_saved_by_changes(directory, &limit, keys);
    wait_until("all keys are there", || handle.metrics().sum("counts", |m| m.processed) >= 5_000);
    for _ in 0..checkpoints {
        handle.checkpoint_now().unwrap();
        let next = limit.fetch_add(20, Ordering::SeqCst) + 20;
        wait_until("some have changed", || {
            handle.metrics().sum("counts", |m| m.processed) >= next as u64
        });
    }
    handle.stop();
    handle.wait().unwrap();
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.append(&mut files_below(&path)),
            false => files.push(path),
        }
    }
    files
}

fn copy_below(from: &Path, to: &Path) {
    for file in files_below(from) {
        let copy = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(file, copy).unwrap();
    }
}

#[test]
fn checkpoints_of_changes_are_small_and_hold_everything() {
    // state B5.1
    let directory = tempfile::tempdir().unwrap();
    take_checkpoints(directory.path(), 1_000, 12);
    let store = DirectoryStore::open(directory.path()).unwrap();
    let newest = store.latest().unwrap().unwrap().manifest;
    let of_counts = || newest.parts.iter().filter(|part| part.name.component == "counts");
    let bytes =
        |kind| of_counts().filter(|part| part.kind == kind).map(|part| part.bytes).sum::<u64>();
    assert!(bytes(PartKind::Whole) > 10_000);
    assert!((1..5_000).contains(&bytes(PartKind::Delta)), "{}", bytes(PartKind::Delta));
    assert!(
        of_counts().any(|part| part.at.checkpoint < newest.checkpoint),
        "nothing is referred to"
    );
    drop(store);
    let (handle, seen) =
        counts_saved_by_changes(directory.path(), &Arc::new(AtomicUsize::new(usize::MAX)), 1_000);
    assert_eq!(handle.wait().unwrap().outcome, Outcome::Finished);
    let rows: BTreeMap<u64, u64> = seen.events().into_iter().collect();
    assert_eq!(rows, (0..1_000).map(|key| (key, 40)).collect());
}

/// Sets a timer for each key at once, and says when it fires.
struct Alarm;

/// How long the timers of [`Alarm`] wait.
const ALARM: Duration = Duration::from_secs(4);

impl KeyedOperator for Alarm {
    type Key = u64;
    type In = u64;
    type Out = u64;
    type State = u64;
    type Timer = ();
    fn apply(
        &mut self,
        _: u64,
        at: &mut At<'_, Self>,
        _: &mut Emit<'_, u64>,
    ) -> Result<(), BoxError> {
        *at.state() += 1;
        at.set_timer_after(ALARM, ());
        Ok(())
    }
    fn on_timer(
        &mut self,
        (): (),
        at: &mut At<'_, Self>,
        out: &mut Emit<'_, u64>,
    ) -> Result<(), BoxError> {
        out.emit(*at.key());
        Ok(())
    }
}

#[test]
fn a_timer_waits_for_the_rest_of_its_time_though_its_state_is_in_an_old_checkpoint() {
    // state O8 with B5
    let directory = tempfile::tempdir().unwrap();
    let start = |limit: usize| {
        let (job, seen) = (Job::new("alarms"), Collected::new());
        let numbers = numbers(&job, &Arc::new(AtomicUsize::new(limit)), 1_000);
        let alarms = numbers.key_by(|n| *n).keyed_operator("alarms", || Alarm);
        alarms.parallelism(2).sink("seen", seen.factory());
        let guarantee = ExactlyOnce::checkpoints_in(directory.path()).incremental_above(0);
        (job.start(guarantee).unwrap(), seen)
    };
    let (handle, seen) = start(100);
    wait_until("all are set", || handle.metrics().sum("alarms", |m| m.processed) == 100);
    let set = Instant::now();
    while set.elapsed() < ALARM * 3 / 5 {
        handle.checkpoint_now().unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    handle.stop();
    handle.wait().unwrap();
    assert!(seen.is_empty());
    let left = ALARM.saturating_sub(set.elapsed());
    let (handle, seen) = start(100);
    let again = Instant::now();
    wait_until("all have fired", || seen.len() == 100);
    let waited = again.elapsed();
    let slack = Duration::from_millis(100);
    assert!(waited + slack >= left && waited < ALARM * 4 / 5, "{waited:?}, and {left:?} was left");
    handle.stop();
}

#[test]
fn whichever_file_is_damaged_a_checkpoint_can_be_restored() {
    // state B5.3
    let directory = tempfile::tempdir().unwrap();
    take_checkpoints(directory.path(), 200, 60);
    let files = files_below(directory.path());
    let of_checkpoints = files.iter().filter(|file| {
        let is_mark = file.file_name().is_some_and(|name| name == "REFERENCED");
        let of = file.strip_prefix(directory.path()).unwrap();
        !is_mark && of.to_string_lossy().starts_with("chk-")
    });
    let (mut damaged, mut fell_back) = (0, 0);
    for file in of_checkpoints {
        let copy = tempfile::tempdir().unwrap();
        copy_below(directory.path(), copy.path());
        let broken = copy.path().join(file.strip_prefix(directory.path()).unwrap());
        let mut bytes = std::fs::read(&broken).unwrap();
        bytes.iter_mut().for_each(|byte| *byte ^= 0x40);
        std::fs::write(&broken, bytes).unwrap();
        let store = DirectoryStore::open(copy.path()).unwrap();
        let found = store.latest().unwrap().unwrap();
        fell_back += usize::from(!found.set_aside.is_empty());
        drop(store);
        let (handle, seen) =
            counts_saved_by_changes(copy.path(), &Arc::new(AtomicUsize::new(usize::MAX)), 200);
        assert_eq!(handle.wait().unwrap().outcome, Outcome::Finished, "{}", broken.display());
        let rows: BTreeMap<u64, u64> = seen.events().into_iter().collect();
        assert_eq!(rows, (0..200).map(|key| (key, 200)).collect(), "{}", broken.display());
        damaged += 1;
    }
    assert!(damaged > 8 && fell_back > 4, "{damaged} {fell_back}");
}

#[test]
fn metrics_say_how_much_state_there_is() {
    // state B6.1
    let directory = tempfile::tempdir().unwrap();
    let limit = Arc::new(AtomicUsize::new(3_000));
    let (handle, _) = counts_saved_by_changes(directory.path(), &limit, 10_000);
    let entries = |handle: &JobHandle| handle.metrics().sum("counts", |m| m.state_entries);
    wait_until("the entries are counted", || entries(&handle) == 3_000);
    let bytes = handle.metrics().sum("counts", |m| m.state_bytes);
    assert!((3_000 * 16..3_000 * 100).contains(&bytes), "{bytes} bytes for 3,000 entries");
    handle.stop();
    let report = handle.wait().unwrap();
    assert_eq!(report.metrics.sum("counts", |m| m.state_entries), 3_000);
    // Restored state counts before the first event.
    let (handle, _) = counts_saved_by_changes(directory.path(), &limit, 10_000);
    wait_until("the restored entries are counted", || entries(&handle) == 3_000);
}

#[test]
fn a_table_that_was_emitted_at_the_end_is_not_emitted_again_by_the_next_run() {
    // state K5
    let directory = tempfile::tempdir().unwrap();
    let run = || {
        let (job, seen) = (Job::new("tables"), Collected::new());
        let counts = all(&job, 5_000).key_by(|n| *n).count().at_end();
        counts.parallelism(2).sink("seen", seen.factory());
        job.run(ExactlyOnce::checkpoints_in(directory.path())).unwrap();
        seen.len()
    };
    assert_eq!((run(), run()), (5_000, 0));
}

#[test]
fn a_job_ends_in_the_middle_of_a_save() {
    // state B3.5
    for name in ["at-least-once by checkpoints", "exactly-once"] {
        let directory = tempfile::tempdir().unwrap();
        let (job, limit) = (Job::new("tables"), Arc::new(AtomicUsize::new(200_000)));
        let counts = numbers(&job, &limit, 200_001).key_by(|n| *n).count().updates();
        counts.named("counts").own_thread().ignore();
        let guarantee: Guarantee = match name {
            "exactly-once" => ExactlyOnce::checkpoints_in(directory.path()).into(),
            _ => AtLeastOnce::checkpoints_in(directory.path()).into(),
        };
        let handle = job.start(guarantee).unwrap();
        wait_until("all are counted", || {
            handle.metrics().sum("counts", |m| m.processed) == 200_000
        });
        let asked = handle.control();
        let asked = std::thread::spawn(move || asked.checkpoint_now());
        std::thread::sleep(Duration::from_millis(2));
        limit.store(usize::MAX, Ordering::SeqCst);
        wait_until("the job ends", || handle.is_finished());
        let report = handle.wait().unwrap();
        assert_eq!(report.metrics.checkpoints_failed, 0, "{name}");
        drop(asked.join());
    }
}

/// What an operator says: what it was, and a time.
type Said = (String, i64);

/// Sets timers, in time and behind the watermark.
struct Watch;

impl KeyedOperator for Watch {
    type Key = u64;
    type In = u64;
    type Out = Said;
    type State = u64;
    type Timer = String;
    const NEEDS_EVENT_TIME: bool = true;

    fn apply(
        &mut self,
        n: u64,
        at: &mut At<'_, Self>,
        out: &mut Emit<'_, Said>,
    ) -> Result<(), BoxError> {
        let ms = at.time().ok_or("no time")?.unix_ms();
        assert_eq!(ms, n as i64, "the time of the event at hand");
        let time = EventTime::from_unix_ms;
        match n {
            0 => {
                at.set_timer(time(30), "late 30".into());
                at.set_timer(time(30), "early 30".into());
                at.set_timer(time(30), "late 30".into());
                at.set_timer(time(20), "20".into());
                assert!(at.peek().is_none(), "a timer makes no state");
                at.clear_timer(time(20), &"21".into());
            }
            2 => at.clear_timer(time(20), &"20".into()),
            // Due already, unless the watermark has not come yet.
            60 => at.set_timer(time(3), "3".into()),
            70 => {
                at.forget();
                assert!(at.peek().is_none());
                at.set_timer(time(1_000), "the end".into());
            }
            _ => *at.state() += 1,
        }
        out.emit((format!("event {n}"), ms));
        Ok(())
    }

    fn on_timer(
        &mut self,
        what: String,
        at: &mut At<'_, Self>,
        out: &mut Emit<'_, Said>,
    ) -> Result<(), BoxError> {
        let time = at.time().ok_or("no time")?.unix_ms();
        if let Some(watermark) = at.watermark() {
            assert!(time < watermark.unix_ms() || what == "the end", "{what} at {watermark}");
        }
        out.emit((format!("timer {what}"), time));
        Ok(())
    }
}

/// Notes what comes, with the time that it carries, and holds it against the watermark.
struct Judge(Arc<Mutex<Vec<(String, i64)>>>, EventTime);

impl Operator for Judge {
    type In = Said;
    type Out = ();
    fn apply(&mut self, (what, said): Said, out: &mut Collector<()>) -> Result<(), BoxError> {
        let time = out.time().ok_or("no time")?;
        assert!(time >= self.1, "{what} is behind the watermark {}: {time}", self.1);
        assert!(time.unix_ms() == said || what == "timer 3", "{what} at {said} carries {time}");
        self.0.lock().push((what, said));
        Ok(())
    }
    fn on_watermark(&mut self, to: EventTime, _: &mut Output<()>) -> Result<(), BoxError> {
        self.1 = to;
        Ok(())
    }
}

#[test]
fn timers_by_key_fire_once_in_order_before_the_watermark_and_what_they_emit_has_their_time() {
    // state O1, O2, O4, O5, O6, O7, O10
    for name in ALL {
        let (directory, seen) = (tempfile::tempdir().unwrap(), Arc::<Mutex<Vec<_>>>::default());
        let (job, notes) = (Job::new("timers"), Arc::clone(&seen));
        let times = [0_u64, 2, 4, 40, 60, 62, 64, 70, 80];
        let limit = Arc::new(AtomicUsize::new(0));
        let rising = Arc::clone(&limit);
        job.stateful_source("times", move || Numbers {
            next: 0,
            limit: Arc::clone(&rising),
            end: 9,
        })
        .event_time(
            move |n| EventTime::from_unix_ms(times[*n as usize] as i64),
            |watermarks| watermarks,
        )
        .map(move |n| times[n as usize])
        .key_by(|_| 7)
        .keyed_operator("watch", || Watch)
        .operator("judge", move || Judge(Arc::clone(&notes), EventTime::MIN))
        .ignore();
        let handle = job.start(guarantee(name, directory.path())).unwrap();
        // One event at a time, so that each is followed by its watermark.
        for events in 1..=9 {
            limit.store(events, Ordering::SeqCst);
            wait_until("the event is there", || {
                handle.metrics().sum("watch", |m| m.processed) >= events as u64
            });
            std::thread::sleep(Duration::from_millis(3));
        }
        handle.wait().unwrap();
        let seen: Vec<String> = seen.lock().iter().map(|(what, _)| what.clone()).collect();
        let expected = [
            "event 0",
            "event 2",
            "event 4",
            "event 40",
            "timer late 30",
            "timer early 30",
            "event 60",
            "timer 3",
            "event 62",
            "event 64",
            "event 70",
            "event 80",
            "timer the end",
        ];
        assert_eq!(seen, expected, "{name}");
    }
}

#[test]
fn what_needs_event_time_is_refused_by_name_on_a_stream_without() {
    // state T17
    let job = Job::new("timers");
    all(&job, 9).key_by(|_| 7).keyed_operator("watch", || Watch).ignore();
    let refused = job.run(Guarantee::default()).expect_err("refused").to_string();
    assert!(refused.contains("\"watch\""), "{refused}");
}
