//! Requests to a running job, and how jobs end: each request gets the answer to that request (faults F25,
//! F26, F27).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use streamwork::checkpoint::{CheckpointStore, DirectoryStore};
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, CheckpointId, Collector, ExactlyOnce, Guarantee, Instance,
    Job, JobError, Operator, Outcome, Output, Restarts, StatefulOperator, Transaction,
    TransactionalSink,
};

use crate::support::{Hanging, wait_until};

/// Checkpoints on a disk that hangs while its gate is shut.
fn on(disk: &Hanging, directory: &Path) -> Arc<DirectoryStore> {
    Arc::new(DirectoryStore::open_on(Arc::new(disk.clone()), directory).unwrap())
}

#[test]
fn checkpoint_now_names_a_cut_that_is_taken_after_the_call() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), Hanging::default());
    let store = on(&disk, directory.path());
    let job = Job::new("asked");
    job.from_iter("numbers", || 0_u64..).for_each(|_| ());
    let shared = Arc::clone(&store) as Arc<dyn CheckpointStore>;
    let every = Duration::from_millis(5);
    let handle = job.start(ExactlyOnce::checkpoints_with(shared).every(every)).unwrap();
    for _ in 0..5 {
        let shut = disk.gate.lock();
        wait_until("a periodic checkpoint is being written", || {
            disk.waiting.load(Ordering::SeqCst) == 1
        });
        let complete = store.list().unwrap().into_iter().map(|manifest| manifest.checkpoint).max();
        // Its cut was taken before this moment.
        let under_way = complete.unwrap_or_default().0 + 1;
        let answer = std::thread::scope(|threads| {
            let asked = threads.spawn(|| handle.checkpoint_now());
            // Whether the question comes before or after the gate opens, the answer must be a later cut.
            drop(shut);
            asked.join().unwrap().unwrap()
        });
        assert!(answer > CheckpointId(under_way), "{answer} was under way when it was asked for");
    }
    handle.stop_within(Duration::from_secs(10)).unwrap();
}

/// Notes whether `finish` was called.
struct Finishing(Arc<AtomicBool>);

impl Operator for Finishing {
    type In = u64;
    type Out = u64;
    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        out.emit(n);
        Ok(())
    }
    fn finish(&mut self, _: &mut Output<u64>) -> Result<(), BoxError> {
        self.0.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn a_drain_after_a_stop_reports_the_stop_that_happened_and_a_drain_alone_a_drain() {
    for stop_first in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let finished = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&finished);
        let job = Job::new("both");
        job.from_iter("numbers", || 0_u64..)
            .operator("finishing", move || Finishing(Arc::clone(&told)))
            .for_each(|_| ());
        let handle = job.start(ExactlyOnce::checkpoints_in(directory.path())).unwrap();
        if stop_first {
            handle.stop();
        }
        let report = handle.drain(Duration::from_secs(10)).unwrap();
        let outcome = if stop_first { Outcome::Stopped } else { Outcome::Drained };
        assert_eq!(report.outcome, outcome);
        assert_eq!(finished.load(Ordering::SeqCst), !stop_first);
    }
}

#[test]
fn the_last_request_decides_how_long_a_stop_may_take() {
    let job = Job::new("slow");
    job.from_iter("numbers", || 0..3_u64)
        .for_each(|_| std::thread::sleep(Duration::from_millis(200)));
    let handle = job.start(AtMostOnce::new().stop_within(Duration::from_millis(10))).unwrap();
    wait_until("it runs", || handle.metrics().total(|m| m.emitted) > 0);
    handle.stop();
    let report = handle.stop_within(Duration::from_secs(10)).expect("there was time enough");
    assert_eq!(report.outcome, Outcome::Stopped);
}

/// Its last commit takes a while.
struct SlowCommit(Duration);

impl TransactionalSink for SlowCommit {
    type In = u64;
    type Handle = u64;
    fn write(&mut self, _: u64) -> Result<(), BoxError> {
        Ok(())
    }
    fn prepare(
        &mut self,
        Transaction { checkpoint, .. }: Transaction,
    ) -> Result<Option<u64>, BoxError> {
        Ok(Some(checkpoint.0))
    }
    fn commit(&mut self, _: u64) -> Result<(), BoxError> {
        std::thread::sleep(self.0);
        Ok(())
    }
    fn abort_unfinished(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

fn slow_commit(directory: &Path, commit: Duration) -> (Job, Guarantee) {
    let job = Job::new("commits");
    job.from_iter("numbers", || 0..10_u64).transactional_sink("slow", move || SlowCommit(commit));
    let guarantee = ExactlyOnce::checkpoints_in(directory)
        .every(Duration::from_secs(3600))
        .stop_within(Duration::from_millis(20));
    (job, guarantee.into())
}

#[test]
fn a_last_commit_may_take_longer_than_a_stop_if_nobody_stops_the_job() {
    let directory = tempfile::tempdir().unwrap();
    let (job, guarantee) = slow_commit(directory.path(), Duration::from_millis(300));
    let report = job.run(guarantee).expect("nobody stopped it");
    assert_eq!(report.outcome, Outcome::Finished);
}

#[test]
fn a_last_commit_that_does_not_return_is_named_by_a_stop_within_its_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let (job, guarantee) = slow_commit(directory.path(), Duration::from_secs(3));
    let handle = job.start(guarantee).unwrap();
    wait_until("the last commit", || handle.metrics().checkpoints > 0);
    let asked = Instant::now();
    let error = handle.stop_within(Duration::from_millis(100)).unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    let JobError::StopTimedOut { stuck, .. } = error else { panic!("{error}") };
    let names: Vec<String> = stuck.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["numbers[0]"], "the thread in which the sink is fused to its source");
}

/// A state that counts how often it is there and how often it was encoded.
#[derive(Debug, Default)]
struct Counted {
    alive: Arc<AtomicU64>,
    encoded: Arc<AtomicU64>,
}

impl Counted {
    fn copy(&self) -> Self {
        self.alive.fetch_add(1, Ordering::SeqCst);
        Self { alive: Arc::clone(&self.alive), encoded: Arc::clone(&self.encoded) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Serialize for Counted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.encoded.fetch_add(1, Ordering::SeqCst);
        // Large enough for a separate file.
        serializer.serialize_bytes(&[0; 100_000])
    }
}

impl<'de> Deserialize<'de> for Counted {
    /// With separate counts: only whether the state can be read back is checked.
    fn deserialize<D: serde::Deserializer<'de>>(bytes: D) -> Result<Self, D::Error> {
        Vec::<u8>::deserialize(bytes).map(|_| Self::default())
    }
}

struct Keeps(Counted);

impl StatefulOperator for Keeps {
    type In = u64;
    type Out = u64;
    type State = Counted;
    fn setup(&mut self, _: &Instance, _: Option<Counted>) -> Result<(), BoxError> {
        Ok(())
    }
    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        out.emit(n);
        Ok(())
    }
    fn state(&self) -> Counted {
        self.0.copy()
    }
}

#[test]
fn states_of_checkpoints_that_were_given_up_are_neither_kept_nor_written() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), Hanging::default());
    let kept = Counted::default();
    kept.alive.store(1, Ordering::SeqCst);
    let (alive, encoded) = (Arc::clone(&kept.alive), Arc::clone(&kept.encoded));
    let job = Job::new("hanging");
    job.from_iter("numbers", || 0_u64..)
        .stateful("keeps", move || Keeps(kept.copy()))
        .for_each(|_| ());
    let guarantee = ExactlyOnce::checkpoints_with(on(&disk, directory.path()))
        .every(Duration::from_millis(2))
        .checkpoint_timeout(Duration::from_millis(5))
        .failed_checkpoints_max(u32::MAX);
    let handle = job.start(guarantee).unwrap();
    wait_until("a checkpoint", || handle.metrics().checkpoints > 0);
    let given_up = || handle.metrics().checkpoints_failed;
    let (shut, before, hung) = loop {
        let shut = disk.gate.lock();
        wait_until("the store hangs", || disk.waiting.load(Ordering::SeqCst) == 1);
        let (before, hung) = (encoded.load(Ordering::SeqCst), given_up());
        let begun = Instant::now();
        while given_up() == hung && begun.elapsed() < Duration::from_millis(300) {
            std::thread::yield_now();
        }
        if given_up() > hung {
            break (shut, before, hung);
        }
        // It hangs in the commit, for which the job waits without a limit: its outcome is not known.
    };
    wait_until("many are given up", || handle.metrics().checkpoints_failed >= hung + 30);
    // The operator's own and its factory's; one being written, one being taken, one in the queue.
    assert!(alive.load(Ordering::SeqCst) <= 5, "{} are kept", alive.load(Ordering::SeqCst));
    let (complete, hung) = (handle.metrics().checkpoints, handle.metrics().checkpoints_failed);
    drop(shut);
    wait_until("checkpoints go on", || handle.metrics().checkpoints > complete);
    let metrics = handle.metrics();
    let since = metrics.checkpoints - complete + metrics.checkpoints_failed - hung;
    let written = encoded.load(Ordering::SeqCst) - before;
    assert!(written <= since + 2, "{written} states were written in {since} checkpoints");
    handle.stop_within(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_handle_that_is_dropped_while_the_job_starts_over_stops_the_job() {
    struct Never(Arc<AtomicU64>);
    impl Operator for Never {
        type In = u64;
        type Out = u64;
        fn setup(&mut self, _: &Instance) -> Result<(), BoxError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Err("not today".into())
        }
        fn apply(&mut self, _: u64, _: &mut Collector<u64>) -> Result<(), BoxError> {
            Ok(())
        }
    }
    for pause in [Duration::from_millis(1), Duration::from_millis(50)] {
        let attempts = Arc::new(AtomicU64::new(0));
        let weak = Arc::downgrade(&attempts);
        let counted = Arc::clone(&attempts);
        let job = Job::new("orphan");
        job.from_iter("numbers", || 0_u64..)
            .operator("never", move || Never(Arc::clone(&counted)))
            .for_each(|_| ());
        let restarts = Restarts { backoff: pause, backoff_max: pause, ..Restarts::unlimited() };
        let handle = job.start(AtLeastOnce::new().restarts(restarts)).unwrap();
        wait_until("it starts over", || attempts.load(Ordering::SeqCst) > 1);
        drop((handle, job, attempts));
        wait_until("nobody is left", || weak.upgrade().is_none());
    }
}
