//! [B1]–[B4]: fire and forget; every dropped event is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use streamwork::testkit::Collected;
use streamwork::{
    AtMostOnce, BoxError, Collector, Instance, Job, Operator, Overflow, StatefulOperator,
};

use crate::support::{Sum, counts, guarantee, wait_until};

#[test]
fn events_are_never_copied_where_one_reader_takes_them() {
    static COPIES: AtomicUsize = AtomicUsize::new(0);
    #[derive(Debug)]
    struct Precious(u64);
    impl Clone for Precious {
        fn clone(&self) -> Self {
            COPIES.fetch_add(1, Ordering::SeqCst);
            Self(self.0)
        }
    }
    let job = Job::new("untracked");
    job.from_iter("numbers", || (0..5_000).map(Precious))
        .shuffle()
        .inspect(|_| ())
        .parallelism(2)
        .for_each(drop);
    let metrics = job.run(AtMostOnce::new()).unwrap().metrics;
    assert_eq!(metrics.sum("for_each", |m| m.delivered), 5_000);
    assert_eq!(metrics.total(|m| m.unacknowledged), 0);
    assert_eq!(COPIES.load(Ordering::SeqCst), 0);
}

#[test]
fn an_error_or_panic_drops_that_event_alone_and_is_counted_and_told() {
    for panics in [false, true] {
        let told = Arc::new(AtomicU64::new(0));
        let hook = Arc::clone(&told);
        let seen = Collected::new();
        let job = Job::new("drops");
        job.from_iter("numbers", || 0..10_000_u64)
            .try_map(move |n| match n % 100 {
                7 if panics => panic!("seven"),
                7 => Err("seven".into()),
                _ => Ok(n),
            })
            .sink("seen", seen.factory());
        let guarantee = AtMostOnce::new().on_drop(move |dropped| {
            assert_eq!(dropped.failure.instance.to_string(), "try_map[0]");
            assert!(dropped.failure.cause.to_string().contains("seven"));
            hook.fetch_add(1, Ordering::Relaxed);
        });
        let metrics = job.run(guarantee).unwrap().metrics;
        let expected: Vec<u64> = (0..10_000).filter(|n| n % 100 != 7).collect();
        assert_eq!(seen.events(), expected);
        assert_eq!(told.load(Ordering::Relaxed), 100);
        let (emitted, delivered, dropped) = (
            metrics.sum("numbers", |m| m.emitted),
            metrics.sum("seen", |m| m.delivered),
            metrics.total(|m| m.dropped),
        );
        assert_eq!(emitted, delivered + dropped, "something vanished uncounted");
        assert_eq!(metrics.sum("try_map", |m| m.restarts), if panics { 100 } else { 0 });
    }
}

#[test]
fn after_a_panic_the_instance_is_rebuilt_from_its_factory_with_what_it_knew() {
    struct Counter(u64);
    impl StatefulOperator for Counter {
        type In = u64;
        type Out = u64;
        type State = u64;
        fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
            self.0 = state.unwrap_or(0);
            Ok(())
        }
        fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
            assert!(event != 50, "fifty");
            self.0 += 1;
            out.emit(self.0);
            Ok(())
        }
        fn state(&self) -> u64 {
            self.0
        }
    }
    let built = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&built);
    let seen = Collected::new();
    let job = Job::new("rebuilt");
    job.from_iter("numbers", || 0..100)
        .stateful("counter", move || {
            count.fetch_add(1, Ordering::SeqCst);
            Counter(0)
        })
        .sink("seen", seen.factory());
    job.run(AtMostOnce::new()).unwrap();
    assert_eq!(built.load(Ordering::SeqCst), 2);
    assert_eq!(seen.events(), (1..=99).collect::<Vec<_>>());
}

#[test]
fn a_full_edge_drops_and_counts_so_that_a_slow_instance_does_not_stall_its_siblings() {
    for overflow in [Overflow::DropNewest, Overflow::DropOldest] {
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock();
        let hold = Arc::clone(&gate);
        let fast = Collected::new();
        let job = Job::new("siblings");
        let numbers = job.from_iter("numbers", || 0..500_000_u64);
        numbers.map(|n| n).own_thread().sink("fast", fast.factory());
        let slow = numbers.overflow(overflow).map(|n| n).named("slow").own_thread();
        slow.for_each(move |_| drop(hold.lock())).named("stalled");
        let handle = job.start(AtMostOnce::new()).unwrap();
        wait_until("the fast sibling is done", || fast.len() == 500_000);
        drop(closed);
        let metrics = handle.wait().unwrap().metrics;
        let (received, dropped) =
            (metrics.sum("slow", |m| m.received), metrics.sum("slow", |m| m.dropped));
        assert!(dropped > 0, "{overflow:?}");
        assert_eq!(received + dropped, 500_000, "{overflow:?}");
    }
}

#[test]
fn no_event_is_ever_repeated_whatever_fails_and_a_graceful_stop_and_restart_loses_none() {
    let directory = tempfile::tempdir().unwrap();
    let seen = Collected::new();
    let build = || {
        let job = Job::new("positions");
        job.from_iter("numbers", || 0_u64..)
            .inspect(|n| assert!(n % 1_000 != 999, "poison"))
            .shuffle()
            .map(|n| n)
            .parallelism(2)
            .sink("seen", seen.factory());
        job
    };
    for _ in 0..3 {
        let before = seen.len();
        let handle = build().start(AtMostOnce::new().store_in(directory.path())).unwrap();
        wait_until("events flow", || seen.len() > before + 20_000);
        handle.stop_within(Duration::from_secs(10)).unwrap();
    }
    let mut events = seen.events();
    events.sort_unstable();
    let last = *events.last().unwrap();
    let expected: Vec<u64> = (0..=last).filter(|n| n % 1_000 != 999).collect();
    assert!(counts(events.iter()).values().all(|n| *n == 1), "an event was repeated");
    assert_eq!(events, expected, "a graceful stop lost events");
}

#[test]
fn a_position_is_durable_before_the_events_that_it_covers_are_emitted() {
    struct Look(std::path::PathBuf);
    impl Operator for Look {
        type In = u64;
        type Out = u64;
        fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
            // A copy of what a kill at this moment would leave on the disk.
            let store = copy_of(&self.0)?;
            let position = position_in(&store)?.ok_or("no position is stored")?;
            if position <= event {
                return Err(format!("event {event} is out at position {position}").into());
            }
            out.emit(event);
            Ok(())
        }
    }
    fn copy_of(from: &std::path::Path) -> Result<tempfile::TempDir, BoxError> {
        let to = tempfile::tempdir()?;
        copy_tree(from, to.path())?;
        Ok(to)
    }
    fn copy_tree(from: &std::path::Path, to: &std::path::Path) -> Result<(), BoxError> {
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                std::fs::create_dir_all(&target)?;
                copy_tree(&entry.path(), &target)?;
            } else {
                std::fs::copy(entry.path(), &target)?;
            }
        }
        Ok(())
    }
    fn position_in(store: &tempfile::TempDir) -> Result<Option<u64>, BoxError> {
        use streamwork::checkpoint::{CheckpointStore, DirectoryStore, PartName};
        let store = DirectoryStore::open(store.path())?;
        store.begin_execution()?;
        let name = PartName::new("numbers", 0);
        Ok(store.read_position(&name)?.map(|position| position.decode()).transpose()?)
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let job = Job::new("ahead");
    job.from_iter("numbers", || 0..40_u64)
        .operator("look", move || Look(path.clone()))
        .for_each(|_| ());
    let metrics = job.run(AtMostOnce::new().store_in(directory.path())).unwrap().metrics;
    assert_eq!(metrics.sum("look", |m| m.delivered), 40);
}

#[test]
fn where_nothing_is_stored_a_restarted_source_starts_at_its_own_beginning() {
    let seen = Collected::new();
    let job = Job::new("now");
    job.from_iter("numbers", || 0..10_u64).sink("seen", seen.factory());
    job.run(AtMostOnce::new()).unwrap();
    job.run(AtMostOnce::new()).unwrap();
    assert_eq!(seen.events(), (0..10).chain(0..10).collect::<Vec<_>>());
}

#[test]
fn the_state_of_an_operator_that_is_fused_to_its_source_is_stored_while_the_job_runs() {
    use streamwork::checkpoint::{CheckpointStore, DirectoryStore};
    for name in ["at-most-once stored", "at-least-once stored", "exactly-once"] {
        let directory = tempfile::tempdir().unwrap();
        let job = Job::new("fused");
        job.from_iter("numbers", || 0_u64..).stateful("sum", Sum::default).ignore();
        let handle = job.start(guarantee(name, directory.path())).unwrap();
        let taken = handle.checkpoint_now().unwrap();
        let looking = DirectoryStore::open(directory.path()).unwrap();
        let newest = looking.list().unwrap().remove(0);
        assert!(newest.checkpoint >= taken);
        let has = newest.parts.iter().any(|part| part.name.component == "sum");
        assert!(has, "{name}: {:?}", newest.parts);
        handle.stop_within(Duration::from_secs(10)).unwrap();
    }
}
