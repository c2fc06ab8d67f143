//! Row 6: while a job runs, every operation of the disk fails once, or the operation and all later ones
//! until space returns. The job continues or ends with an error that names the cause, and a fresh start
//! on the same disk has the result that the guarantee promises.

use std::error::Error;
use std::iter::successors;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use streamwork::checkpoint::{CheckpointStore, DirectoryStore};
use streamwork::storage::Disk;
use streamwork::testkit::{DiskFailures, DiskFault};

use crate::CHECKPOINTS;
use crate::memory_disk::MemoryDisk;
use crate::tier;
use crate::world::{Fault as NoFault, Shape, World, assert_promised, run};

/// How many operations fail one after the other, how, and how many cases of that are tried at the same time: those
/// with many failures mostly wait, for pauses and intervals.
const WINDOWS: [(u64, DiskFault, usize); 4] = [
    (1, DiskFault::Refuse, 1),
    (1, DiskFault::Deny, 1),
    (25, DiskFault::Refuse, 3),
    (10_000, DiskFault::Refuse, 3),
];

/// How many cases in a row must not have reached their operation before all have been tried: how
/// many operations a run has depends on its checkpoints.
const BEYOND: usize = 12;

/// Runs a job on a disk that fails in this way, and then another one on a disk that works. Returns whether the first
/// failed, and the number of its newest checkpoint if it did not.
fn check(guarantee: &str, failures: DiskFailures) -> Result<u64, Failed> {
    let what = format!("{guarantee}, {failures:?}");
    let memory = MemoryDisk::new();
    memory.fail(failures);
    let world = World::new(NoFault::none(), None, Shape::Plain);
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let first = run(&world, guarantee, &disk, &what);
    if let Err(error) = &first {
        let causes = successors(Some(error as &dyn Error), |&error| error.source());
        let said: Vec<_> = causes.map(ToString::to_string).collect();
        let said = said.join(": ");
        assert!(memory.failures() > 0, "{what}: without a failure: {said}");
        assert!(said.contains("no storage space"), "{what}: {said}");
    }
    assert_promised(guarantee, &world, first.is_ok(), false, &what);
    drop((disk, first));
    let undisturbed = (memory.failures() == 0).then(|| newest(&memory.fork()));
    memory.heal();
    let healed = world.healed();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let second = run(&healed, guarantee, &disk, &what);
    second.unwrap_or_else(|error| {
        let causes = successors(Some(&error as &dyn Error), |&error| error.source());
        let said: Vec<_> = causes.map(ToString::to_string).collect();
        panic!("{what}: started again: {}", said.join(": "))
    });
    assert_promised(guarantee, &healed, true, true, &what);
    undisturbed.ok_or(Failed)
}

/// An operation was reached that was to fail.
struct Failed;

fn newest(disk: &MemoryDisk) -> u64 {
    let store = DirectoryStore::open_on(Arc::new(disk.clone()), "/store").expect("it opens");
    let manifests = store.list().expect("readable");
    manifests.first().map_or(0, |newest| newest.checkpoint.0)
}

/// What the cases of one test have come to.
#[derive(Default)]
struct Sum {
    tried: AtomicUsize,
    /// The most checkpoints of a job that nothing failed under.
    checkpoints: AtomicU64,
}

/// The cases of one window: which is next, and how many in a row had no failure.
#[derive(Default)]
struct Cases {
    next: AtomicUsize,
    beyond: AtomicUsize,
}

impl Cases {
    fn try_all(&self, guarantee: &str, (times, fault): (u64, DiskFault), sum: &Sum) {
        while self.beyond.load(Ordering::SeqCst) < BEYOND {
            let after = self.next.fetch_add(1, Ordering::SeqCst) as u64;
            let failures = DiskFailures { after, times, fault, ..DiskFailures::default() };
            match check(guarantee, failures) {
                Err(Failed) => {
                    self.beyond.store(0, Ordering::SeqCst);
                    sum.tried.fetch_add(1, Ordering::SeqCst);
                }
                Ok(newest) => {
                    self.beyond.fetch_add(1, Ordering::SeqCst);
                    sum.checkpoints.fetch_max(newest, Ordering::SeqCst);
                }
            }
        }
    }
}

fn at_every_operation(guarantee: &'static str, test: &str) {
    let (started, sum) = (Instant::now(), &Sum::default());
    for _ in 0..tier::times(1, 100) {
        let cases = WINDOWS.map(|_| Cases::default());
        std::thread::scope(|threads| {
            for ((times, fault, at_a_time), cases) in WINDOWS.into_iter().zip(&cases) {
                for _ in 0..at_a_time {
                    threads.spawn(move || cases.try_all(guarantee, (times, fault), sum));
                }
            }
        });
    }
    let tried = sum.tried.load(Ordering::SeqCst) as u64;
    assert!(tried > 100, "only {tried} operations were tried");
    let checkpoints = sum.checkpoints.load(Ordering::SeqCst);
    assert!(Some(checkpoints) >= CHECKPOINTS, "only {checkpoints} checkpoints in a run");
    tier::report(6, test, tried, "failing operations", 0, started.elapsed());
}

#[test]
fn a_full_disk_makes_at_most_once_repeat_nothing() {
    at_every_operation("at-most-once stored", "a_full_disk_makes_at_most_once_repeat_nothing");
}

#[test]
fn a_full_disk_makes_at_least_once_lose_nothing() {
    at_every_operation("at-least-once stored", "a_full_disk_makes_at_least_once_lose_nothing");
}

#[test]
fn a_full_disk_makes_at_least_once_by_checkpoints_lose_nothing() {
    at_every_operation(
        "at-least-once-checkpoint",
        "a_full_disk_makes_at_least_once_by_checkpoints_lose_nothing",
    );
}

#[test]
fn a_full_disk_leaves_exactly_once_exact() {
    at_every_operation("exactly-once", "a_full_disk_leaves_exactly_once_exact");
}
