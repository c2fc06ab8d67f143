//! Row 6: while a job runs, every operation of the disk fails once, or the operation and all later ones
//! until space returns. The job continues or ends with an error that names the cause, and a fresh start
//! on the same disk has the result that the guarantee promises.

use std::error::Error;
use std::iter::successors;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use streamwork::storage::Disk;
use streamwork::testkit::{DiskFailures, DiskFault};

use crate::memory_disk::MemoryDisk;
use crate::tier;
use crate::world::{Fault as NoFault, Shape, World, assert_promised, run};

/// How many operations fail one after the other, and how.
const WINDOWS: [(u64, DiskFault); 4] = [
    (1, DiskFault::Refuse),
    (1, DiskFault::Deny),
    (25, DiskFault::Refuse),
    (10_000, DiskFault::Refuse),
];

/// How many cases in a row must not have reached their operation before all have been tried: how
/// many operations a run has depends on its checkpoints.
const BEYOND: usize = 12;

/// Runs a job on a disk that fails in this way, and then another one on a disk that works. Returns whether the first
/// failed.
fn check(guarantee: &str, failures: DiskFailures) -> bool {
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
    memory.failures() > 0
}

fn at_every_operation(guarantee: &'static str, test: &str) {
    let started = Instant::now();
    let tried = AtomicUsize::new(0);
    for _ in 0..tier::times(1, 100) {
        for (times, fault) in WINDOWS {
            let (next, beyond) = (AtomicUsize::new(0), AtomicUsize::new(0));
            // They mostly wait, for pauses and intervals.
            std::thread::scope(|threads| {
                for _ in 0..6 {
                    threads.spawn(|| {
                        while beyond.load(Ordering::SeqCst) < BEYOND {
                            let after = next.fetch_add(1, Ordering::SeqCst) as u64;
                            let failures =
                                DiskFailures { after, times, fault, ..DiskFailures::default() };
                            if check(guarantee, failures) {
                                beyond.store(0, Ordering::SeqCst);
                                tried.fetch_add(1, Ordering::SeqCst);
                            } else {
                                beyond.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                    });
                }
            });
        }
    }
    let tried = tried.into_inner() as u64;
    assert!(tried > 100, "only {tried} operations were tried");
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
