//! Savepoints: a checkpoint in a directory of its own, and jobs that start from it (state P3, P4).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use streamwork::checkpoint::{CheckpointStore as _, DirectoryStore};
use streamwork::testkit::{Collected, Published};
use streamwork::{
    AtLeastOnce, AtMostOnce, Checkpointed, ExactlyOnce, Guarantee, Job, JobHandle, Outcome,
    Refused, SavepointError,
};

use crate::keyed_state::numbers;
use crate::support::wait_until;

const END: u64 = 20_000;
const KEYS: u64 = 100;

struct Run {
    handle: JobHandle,
    counts: Collected<(u64, u64)>,
    shown: Published<u64>,
}

/// Counts by key; the numbers themselves are shown by a transactional sink.
fn start(guarantee: impl Into<Guarantee>, limit: u64, parallelism: usize) -> Result<Run, Refused> {
    start_showing(Published::new(), guarantee, limit, parallelism)
}

/// The same, with what was shown and prepared before.
fn start_showing(
    shown: Published<u64>,
    guarantee: impl Into<Guarantee>,
    limit: u64,
    parallelism: usize,
) -> Result<Run, Refused> {
    let (job, counts) = (Job::new("savepoints"), Collected::new());
    let limit = Arc::new(AtomicUsize::new(limit as usize));
    let numbers = numbers(&job, &limit, END);
    let by_key = numbers.key_by(|n| n % KEYS).count().at_end().named("counts");
    by_key.parallelism(parallelism).sink("seen", counts.factory());
    numbers.transactional_sink("shown", shown.factory());
    Ok(Run { handle: job.start(guarantee)?, counts, shown })
}

fn await_numbers(run: &Run, numbers: u64) {
    wait_until("all are there", || {
        run.handle.metrics().sum("numbers", |m| m.emitted) >= numbers
            && run.handle.metrics().sum("counts", |m| m.processed) >= numbers
    });
}

/// What comes out if each number counts once.
fn all_counted() -> BTreeMap<u64, u64> {
    (0..KEYS).map(|key| (key, END / KEYS)).collect()
}

fn finished(run: Run) -> (BTreeMap<u64, u64>, Vec<u64>) {
    assert_eq!(run.handle.wait().unwrap().outcome, Outcome::Finished);
    (run.counts.events().into_iter().collect(), run.shown.events())
}

fn below(directory: &tempfile::TempDir, name: &str) -> std::path::PathBuf {
    directory.path().join(name)
}

fn exactly_once(directory: &Path) -> Checkpointed {
    ExactlyOnce::checkpoints_in(directory).every(Duration::from_millis(5)).incremental_above(0)
}

#[test]
fn a_savepoint_is_taken_while_the_job_goes_on_and_two_jobs_start_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let savepoint = below(&directory, "savepoint");
    let first = start(exactly_once(&below(&directory, "a")), 5_000, 2).unwrap();
    await_numbers(&first, 5_000);
    let taken = first.handle.savepoint_to(&savepoint).unwrap();
    let kept = DirectoryStore::open(&savepoint).unwrap().latest().unwrap().unwrap();
    assert_eq!(kept.manifest.checkpoint, taken);
    first.handle.stop();
    first.handle.wait().unwrap();
    // Nothing of the store that it was taken from is needed, and it may be used any number of times.
    std::fs::remove_dir_all(below(&directory, "a")).unwrap();
    let guarantees: [Guarantee; 2] = [
        exactly_once(&below(&directory, "b")).start_from(&savepoint).into(),
        AtLeastOnce::checkpoints_in(below(&directory, "c")).start_from(&savepoint).into(),
    ];
    for (guarantee, parallelism) in guarantees.into_iter().zip([5, 1]) {
        let run = start(guarantee, END, parallelism).unwrap();
        let (counts, shown) = finished(run);
        assert_eq!(counts, all_counted());
        assert_eq!(shown, (5_000..END).collect::<Vec<_>>());
    }
}

#[test]
fn a_job_that_started_from_a_savepoint_goes_on_from_its_own_checkpoints() {
    let directory = tempfile::tempdir().unwrap();
    let (savepoint, own) = (below(&directory, "savepoint"), below(&directory, "b"));
    let first = start(exactly_once(&below(&directory, "a")), 5_000, 2).unwrap();
    await_numbers(&first, 5_000);
    first.handle.savepoint_to(&savepoint).unwrap();
    drop(first);
    let second = start(exactly_once(&own).start_from(&savepoint), 9_000, 3).unwrap();
    wait_until("it has gone on", || {
        second.handle.metrics().sum("counts", |m| m.processed) >= 4_000
    });
    second.handle.stop();
    let second_shown = second.shown.clone();
    second.handle.wait().unwrap();
    // With the option it would go back, so it is refused.
    let refused = start(exactly_once(&own).start_from(&savepoint), END, 3).map(drop).unwrap_err();
    let said = refused.to_string();
    assert!(said.contains("start_from") && said.contains("leave the option out"), "{said}");
    let third = start_showing(second_shown, exactly_once(&own), END, 3).unwrap();
    let (counts, shown) = finished(third);
    assert_eq!(counts, all_counted());
    assert_eq!(shown, (5_000..END).collect::<Vec<_>>());
}

#[test]
fn only_who_continues_commits_what_was_prepared() {
    for continues in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let savepoint = below(&directory, "savepoint");
        let never = Duration::from_secs(600);
        let guarantee = ExactlyOnce::checkpoints_in(below(&directory, "a")).every(never);
        let first = start(guarantee, 5_000, 1).unwrap();
        await_numbers(&first, 5_000);
        first.handle.savepoint_to(&savepoint).unwrap();
        // Of what the first job has prepared and committed, its successor knows by the savepoint only.
        let shown = first.shown.clone();
        first.handle.stop();
        first.handle.wait().unwrap();
        let own = exactly_once(&below(&directory, "b"));
        let (shown, guarantee) = match continues {
            true => (shown, own.continue_from(&savepoint)),
            false => (Published::new(), own.start_from(&savepoint)),
        };
        let (counts, shown) = finished(start_showing(shown, guarantee, END, 1).unwrap());
        assert_eq!(counts, all_counted());
        let first = if continues { 0 } else { 5_000 };
        assert_eq!(shown, (first..END).collect::<Vec<_>>(), "continues: {continues}");
    }
}

#[test]
fn what_cannot_be_a_savepoint_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let savepoint = below(&directory, "savepoint");
    // Positions that sources write by themselves are not in checkpoints.
    let run = start(AtMostOnce::new().store_in(below(&directory, "a")), 10, 1).unwrap();
    let refused = run.handle.savepoint_to(&savepoint).unwrap_err();
    assert!(refused.to_string().contains("by themselves"), "{refused}");
    drop(run);
    let run = start(AtLeastOnce::new(), 10, 1).unwrap();
    let refused = run.handle.savepoint_to(&savepoint).unwrap_err();
    assert!(matches!(refused, SavepointError::Checkpoint(_)), "{refused}");
    drop(run);
    let refusals: [(Guarantee, &str); 3] = [
        (exactly_once(&below(&directory, "b")).start_from(&savepoint).into(), "savepoint"),
        (exactly_once(&below(&directory, "c")).start_from(directory.path()).into(), "no savepoint"),
        (
            AtMostOnce::new().store_in(below(&directory, "d")).start_from(&savepoint).into(),
            "by themselves",
        ),
    ];
    for (guarantee, says) in refusals {
        let refused = start(guarantee, 10, 1).map(drop).unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
    assert!(!savepoint.exists(), "a name that was mistyped makes no directory");
    let run = start(exactly_once(&below(&directory, "e")), 10, 1).unwrap();
    run.handle.savepoint_to(&savepoint).unwrap();
    let again = run.handle.savepoint_to(&savepoint).unwrap_err().to_string();
    assert!(again.contains("is not empty"), "{again}");
}
