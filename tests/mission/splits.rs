//! Sources with splits: positions belong to splits, which are assigned to any number of instances, also to running ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use streamwork::checkpoint::{CheckpointStore, DirectoryStore, Unit};
use streamwork::testkit::Collected;
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, ExactlyOnce, Guarantee, Instance, Job, JobHandle, Next,
    Refused, Restarts, RunError, SourceOutput, SplitSource, SplitStart, StatefulSource,
};

use crate::support::{Faults, wait_until};

/// The outside world: splits, each with this many numbers.
#[derive(Clone, Default)]
struct Outside(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    splits: BTreeMap<String, u64>,
    /// Whether more may come.
    open: bool,
    /// How each split was begun, and by which instance.
    begun: Vec<(String, usize, SplitStart<u64>)>,
    removed: Vec<String>,
    durable: BTreeMap<String, u64>,
    discover_fails: bool,
}

impl Outside {
    fn with(splits: impl IntoIterator<Item = (&'static str, u64)>) -> Self {
        let outside = Self::default();
        splits.into_iter().for_each(|(name, length)| outside.put(name, length));
        outside
    }

    fn put(&self, name: &str, length: u64) {
        self.0.lock().splits.insert(name.to_owned(), length);
    }

    fn open(self) -> Self {
        self.0.lock().open = true;
        self
    }

    fn close(&self) {
        self.0.lock().open = false;
    }

    fn begun(&self) -> Vec<(String, usize, SplitStart<u64>)> {
        std::mem::take(&mut self.0.lock().begun)
    }
}

/// Reads them: of a split `s` the events `(s, 0)`, `(s, 1)`, …
struct Reader {
    outside: Outside,
    next: BTreeMap<String, u64>,
    instance: usize,
    faults: Faults<u64>,
}

impl Reader {
    fn of(outside: &Outside) -> impl Fn() -> Self + Send + Sync + 'static {
        Self::failing(outside, Faults::once([]))
    }

    fn failing(
        outside: &Outside,
        faults: Faults<u64>,
    ) -> impl Fn() -> Self + Send + Sync + 'static {
        let outside = outside.clone();
        move || Self {
            outside: outside.clone(),
            next: BTreeMap::new(),
            instance: 0,
            faults: faults.clone(),
        }
    }
}

impl SplitSource for Reader {
    type Out = (String, u64);
    type Position = u64;

    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        self.instance = instance.index();
        Ok(())
    }
    fn discover(&mut self) -> Result<Vec<String>, BoxError> {
        let world = self.outside.0.lock();
        match world.discover_fails {
            true => Err("the directory cannot be listed".into()),
            false => Ok(world.splits.keys().cloned().collect()),
        }
    }
    fn discover_every(&self) -> Option<Duration> {
        Some(Duration::from_millis(2))
    }
    fn add(&mut self, split: &str, start: SplitStart<u64>) -> Result<(), BoxError> {
        let begun = (split.to_owned(), self.instance, start.clone());
        self.outside.0.lock().begun.push(begun);
        self.next.insert(split.to_owned(), start.position().unwrap_or(0));
        Ok(())
    }
    fn remove(&mut self, split: &str) -> Result<(), BoxError> {
        self.outside.0.lock().removed.push(split.to_owned());
        self.next.remove(split);
        Ok(())
    }
    fn position(&self, split: &str) -> u64 {
        self.next[split]
    }
    fn get_events(&mut self, out: &mut SourceOutput<Self::Out>) -> Result<Next, BoxError> {
        let (mut world, mut done) = (self.outside.0.lock(), true);
        let faults = &self.faults;
        for (split, next) in &mut self.next {
            let length = world.splits.get(split).copied().unwrap_or(*next);
            while *next < length && out.room() > 0 {
                if faults.strike(next) {
                    return Err("struck".into());
                }
                out.emit((split.clone(), *next));
                *next += 1;
            }
            done &= *next == length;
        }
        let open = std::mem::take(&mut world.open);
        world.open = open;
        Ok(match (done, open) {
            (false, _) => Next::Now,
            (true, true) => Next::WhenWoken,
            (true, false) => Next::End,
        })
    }
    fn checkpointed(&mut self, split: &str, position: &u64) -> Result<(), BoxError> {
        self.outside.0.lock().durable.insert(split.to_owned(), *position);
        Ok(())
    }
}

type Stored = (&'static str, fn(&Path) -> Guarantee);

const STORED: [Stored; 4] = [
    ("exactly-once", |path| ExactlyOnce::checkpoints_in(path).every(EVERY).into()),
    ("at-least-once-checkpoint", |path| AtLeastOnce::checkpoints_in(path).every(EVERY).into()),
    ("at-least-once", |path| AtLeastOnce::new().store_in(path).every(EVERY).into()),
    ("at-most-once", |path| AtMostOnce::new().store_in(path).every(EVERY).into()),
];
const EVERY: Duration = Duration::from_millis(5);

fn job(outside: &Outside, instances: usize, seen: &Collected<(String, u64)>) -> Job {
    let job = Job::new("splits");
    let numbers = job.split_source("numbers", Reader::of(outside)).parallelism(instances);
    numbers.global().sink("seen", seen.factory());
    job
}

/// Every number of every split, once.
fn assert_all_once(name: &str, outside: &Outside, seen: &Collected<(String, u64)>) {
    let mut events = seen.events();
    events.sort();
    let splits = &outside.0.lock().splits;
    let all = splits.iter().flat_map(|(split, length)| (0..*length).map(|n| (split.clone(), n)));
    let expected: Vec<_> = all.collect();
    assert_eq!(events.len(), expected.len(), "{name}");
    assert_eq!(events, expected, "{name}");
}

fn stop(handle: JobHandle) {
    handle.stop_within(Duration::from_secs(10)).unwrap();
}

#[test]
fn positions_are_dealt_out_to_any_number_of_instances_at_the_next_start() {
    for (name, guarantee) in STORED {
        let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
        let outside = Outside::with([("a", 100), ("b", 50), ("c", 70), ("d", 0), ("e", 9)]).open();
        for instances in [1, 3, 2, 7, 1] {
            let handle =
                job(&outside, instances, &seen).start(guarantee(directory.path())).unwrap();
            let more = |split: &str| {
                let mut world = outside.0.lock();
                *world.splits.get_mut(split).unwrap() += 40;
            };
            ["a", "d", "e"].into_iter().for_each(more);
            let all: u64 = outside.0.lock().splits.values().sum();
            wait_until("all is read", || seen.len() as u64 >= all);
            stop(handle);
            let begun = outside.begun();
            assert_eq!(begun.len(), 5, "{name}, {instances}: each split in one place: {begun:?}");
            let used: BTreeSet<usize> = begun.iter().map(|(_, instance, _)| *instance).collect();
            assert_eq!(used.len(), instances.min(5), "{name}: evenly: {begun:?}");
        }
        assert_all_once(name, &outside, &seen);
    }
}

#[test]
fn a_split_begins_where_the_user_says_at_the_first_start_and_from_its_beginning_when_it_appears() {
    for (name, guarantee) in STORED {
        let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
        let outside = Outside::with([("a", 10), ("b", 10)]).open();
        let handle = job(&outside, 2, &seen).start(guarantee(directory.path())).unwrap();
        wait_until("the first two are read", || seen.len() == 20);
        let first = outside.begun();
        assert!(first.iter().all(|(_, _, start)| *start == SplitStart::First), "{name}: {first:?}");
        outside.put("c", 5);
        wait_until("the third is found while the job runs", || seen.len() == 25);
        stop(handle);
        let [(_, _, start)] = &outside.begun()[..] else { panic!("{name}: one more") };
        assert_eq!(*start, SplitStart::Appeared, "{name}: `latest` would skip what is new");
        outside.put("d", 5);
        outside.close();
        job(&outside, 3, &seen).run(guarantee(directory.path())).unwrap();
        let mut begun = outside.begun();
        begun.sort_by(|a, b| a.0.cmp(&b.0));
        let starts: Vec<_> = begun.into_iter().map(|(_, _, start)| start).collect();
        let at = SplitStart::At;
        assert_eq!(starts, [at(10), at(10), at(5), SplitStart::Appeared], "{name}");
        assert_all_once(name, &outside, &seen);
    }
}

#[test]
fn a_split_that_is_gone_is_removed_and_one_that_cannot_be_looked_for_is_read_on() {
    let seen = Collected::new();
    let outside = Outside::with([("a", 10), ("b", 10)]).open();
    let handle = job(&outside, 1, &seen).start(AtMostOnce::new()).unwrap();
    wait_until("both are read", || seen.len() == 20);
    outside.0.lock().discover_fails = true;
    outside.put("a", 15);
    wait_until("it is read on", || seen.len() == 25);
    {
        let mut world = outside.0.lock();
        world.discover_fails = false;
        world.splits.remove("b");
    }
    wait_until("it is removed", || outside.0.lock().removed == ["b"]);
    outside.close();
    handle.wait().unwrap();
    assert_eq!(seen.len(), 25);
}

#[test]
fn a_source_that_fails_goes_on_at_the_position_of_each_of_its_splits() {
    for (name, guarantee) in STORED {
        let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
        let outside = Outside::with([("a", 3_000), ("b", 3_000), ("c", 3_000)]);
        let job = Job::new("splits");
        let reader = Reader::failing(&outside, Faults::once([700, 2_100]));
        let numbers = job.split_source("numbers", reader).parallelism(2);
        numbers.global().sink("seen", seen.factory());
        job.run(guarantee(directory.path())).unwrap();
        let unique: BTreeSet<_> = seen.events().into_iter().collect();
        assert_eq!(unique.len(), 9_000, "{name}: nothing is lost");
        if name == "at-most-once" || name == "at-least-once" {
            assert_eq!(seen.len(), 9_000, "{name}: the source alone goes back");
        }
    }
}

#[test]
fn a_source_is_told_which_positions_have_become_durable() {
    for (name, guarantee) in STORED {
        let directory = tempfile::tempdir().unwrap();
        let outside = Outside::with([("a", 40), ("b", 0)]);
        job(&outside, 2, &Collected::new()).run(guarantee(directory.path())).unwrap();
        let durable = std::mem::take(&mut outside.0.lock().durable);
        assert_eq!(durable.get("a"), Some(&40), "{name}: {durable:?}");
    }
}

#[test]
fn a_split_that_comes_back_is_new_and_does_not_begin_where_an_old_checkpoint_has_it() {
    for (name, guarantee) in STORED.into_iter().filter(|(name, _)| *name != "at-most-once") {
        let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
        let outside = Outside::with([("a", 10), ("b", 10)]).open();
        let handle = job(&outside, 2, &seen).start(guarantee(directory.path())).unwrap();
        wait_until("both are read", || seen.len() == 20);
        stop(handle);
        let handle = job(&outside, 2, &seen).start(guarantee(directory.path())).unwrap();
        wait_until("both are found again", || outside.0.lock().begun.len() == 4);
        outside.begun();
        outside.0.lock().splits.remove("a");
        wait_until("it is removed", || outside.0.lock().removed == ["a"]);
        outside.put("a", 15);
        wait_until("it is read as what it is now", || seen.len() == 35);
        stop(handle);
        let [(_, _, start)] = &outside.begun()[..] else { panic!("{name}: one is back") };
        assert_eq!(*start, SplitStart::Appeared, "{name}");
    }
}

/// Otherwise `latest` would be resolved again, or an old split would count as one that has appeared.
#[test]
fn under_at_most_once_a_position_is_durable_before_the_first_event_of_its_split() {
    let (directory, outside) = (tempfile::tempdir().unwrap(), Outside::with([("a", 0), ("b", 0)]));
    for start in [SplitStart::First, SplitStart::At(0)] {
        let guarantee = AtMostOnce::new().store_in(directory.path());
        job(&outside, 2, &Collected::new()).run(guarantee).unwrap();
        let begun = outside.begun();
        assert!(begun.iter().all(|(_, _, begun)| *begun == start), "{begun:?}");
    }
}

/// Panics when it is told of its first durable position, while it is idle.
struct Startled(u64, Arc<AtomicUsize>);

impl StatefulSource for Startled {
    type Out = u64;
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.0 = state.unwrap_or(0);
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        if self.0 == 1 {
            return Ok(Next::End);
        }
        out.emit(self.0);
        self.0 += 1;
        Ok(Next::WhenWoken)
    }
    fn state(&self) -> u64 {
        self.0
    }
    fn checkpointed(&mut self, _: &u64) -> Result<(), BoxError> {
        match self.1.load(Ordering::SeqCst) {
            1 => panic!("it was startled"),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_source_that_panics_as_it_is_told_of_a_position_is_built_anew_though_nothing_wakes_it() {
    let (directory, setups) = (tempfile::tempdir().unwrap(), Arc::new(AtomicUsize::new(0)));
    let (job, seen, of_source) = (Job::new("startled"), Collected::new(), Arc::clone(&setups));
    job.stateful_source("numbers", move || Startled(0, Arc::clone(&of_source)))
        .sink("seen", seen.factory());
    let guarantee = AtMostOnce::new().store_in(directory.path());
    let handle = job.start(guarantee).unwrap();
    wait_until("it has ended", || handle.is_finished());
    handle.wait().unwrap();
    assert_eq!((seen.events(), setups.load(Ordering::SeqCst)), (vec![0], 2));
}

/// Fails at once, and notes when it is built.
struct Hasty(Arc<Mutex<Vec<Instant>>>);

impl StatefulSource for Hasty {
    type Out = u64;
    type State = ();
    fn setup(&mut self, _: &Instance, _: Option<()>) -> Result<(), BoxError> {
        self.0.lock().push(Instant::now());
        Ok(())
    }
    fn get_events(&mut self, _: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        if self.0.lock().len() < 3 { Err("not yet".into()) } else { Ok(Next::End) }
    }
    fn state(&self) {}
}

#[test]
fn between_a_failure_of_a_source_and_its_next_start_lies_the_pause_of_the_restart_policy() {
    let (job, built) = (Job::new("hasty"), Arc::new(Mutex::new(Vec::new())));
    let of_source = Arc::clone(&built);
    job.stateful_source("numbers", move || Hasty(Arc::clone(&of_source))).for_each(|_| ());
    let backoff = Duration::from_millis(20);
    job.run(AtMostOnce::new().restarts(Restarts { backoff, ..Restarts::default() })).unwrap();
    let built = built.lock();
    assert_eq!(built.len(), 3);
    assert!(built.windows(2).all(|two| two[1] - two[0] >= backoff), "{built:?}");
}

/// A source without splits that notes what has become durable.
struct Plain(u64, Collected<u64>);

impl StatefulSource for Plain {
    type Out = u64;
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.0 = state.unwrap_or(0);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        while self.0 < 500 && out.room() > 0 {
            out.emit(self.0);
            self.0 += 1;
        }
        Ok(if self.0 == 500 { Next::End } else { Next::Now })
    }
    fn state(&self) -> u64 {
        self.0
    }
    fn checkpointed(&mut self, state: &u64) -> Result<(), BoxError> {
        streamwork::Sink::write(&mut self.1.factory()(), *state)?;
        Err("an error is only told".into())
    }
}

#[test]
fn a_source_without_splits_is_told_too_and_its_error_harms_nothing() {
    for (name, guarantee) in STORED {
        let (directory, told, seen) =
            (tempfile::tempdir().unwrap(), Collected::new(), Collected::new());
        let job = Job::new("plain");
        let source = told.clone();
        job.stateful_source("numbers", move || Plain(0, source.clone()))
            .sink("seen", seen.factory());
        let report = job.run(guarantee(directory.path())).unwrap();
        assert_eq!((seen.len(), report.metrics.restarts), (500, 0), "{name}");
        assert_eq!(told.events().last(), Some(&500), "{name}");
    }
}

#[test]
fn a_source_that_had_no_splits_is_refused_by_name_and_not_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let job_of = |splits: bool| {
        let job = Job::new("changed");
        if splits {
            let outside = Outside::with([("a", 3)]);
            job.split_source("numbers", Reader::of(&outside)).for_each(|_| ());
        } else {
            job.stateful_source("numbers", || Plain(0, Collected::new())).for_each(|_| ());
        }
        job
    };
    job_of(false).run(ExactlyOnce::checkpoints_in(directory.path())).unwrap();
    let ended = job_of(true).run(ExactlyOnce::checkpoints_in(directory.path()));
    let Err(RunError::Refused(Refused::Incompatible { reason, .. })) = ended else {
        panic!("{ended:?}")
    };
    assert!(reason.contains("\"numbers\" was a source and is a split source now"), "{reason}");
}

/// Otherwise a start that was resolved (`latest`, a time) would be resolved again after a crash.
#[test]
fn the_first_checkpoint_of_every_run_holds_where_each_split_begins_also_before_the_first_event() {
    for (name, guarantee) in STORED.into_iter().filter(|(name, _)| *name != "at-most-once") {
        let directory = tempfile::tempdir().unwrap();
        let outside = Outside::with([("a", 0), ("b", 7), ("c", 0)]).open();
        for _ in 0..2 {
            let seen = Collected::new();
            let handle = job(&outside, 2, &seen).start(guarantee(directory.path())).unwrap();
            handle.checkpoint_now().unwrap();
            let store = DirectoryStore::open(directory.path()).unwrap();
            let manifest = store.latest().unwrap().unwrap().manifest;
            let splits: BTreeSet<String> = manifest
                .parts
                .iter()
                .filter_map(|part| match &part.name.unit {
                    Unit::Split(split) => Some(split.clone()),
                    _ => None,
                })
                .collect();
            assert_eq!(splits, ["a", "b", "c"].map(String::from).into(), "{name}");
            stop(handle);
        }
    }
}
