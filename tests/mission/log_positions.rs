//! A source of an event log continues where it stopped, or fails if it cannot: in another log, in one that was restored from
//! an older copy, or in one whose retention has overtaken the source.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use streamwork::log::{EventLog, LogOptions, Retention};
use streamwork::testkit::Collected;
use streamwork::{
    AtLeastOnce, AtMostOnce, EventLogSource, ExactlyOnce, Guarantee, Job, JobHandle,
    OnLostPosition, Restarts, RunError,
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// A log of one partition, and a store for the job that reads it.
struct Scene {
    directory: TempDir,
    policy: OnLostPosition,
}

fn guarantee(number: usize, store: &Path) -> Guarantee {
    let once = Restarts { limit: 0, ..Restarts::default() };
    match number {
        0 => ExactlyOnce::checkpoints_in(store).restarts(once).into(),
        1 => AtLeastOnce::checkpoints_in(store).restarts(once).into(),
        2 => AtLeastOnce::new().store_in(store).restarts(once).into(),
        _ => AtMostOnce::new().store_in(store).restarts(once).into(),
    }
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory, policy: OnLostPosition::Fail }
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Appends numbers in segments of a few records, and retains this many bytes.
    fn append(&self, numbers: std::ops::Range<u64>, kept_bytes: Option<u64>) {
        let retention = Retention { max_partition_bytes: kept_bytes, ..Retention::default() };
        let options = LogOptions {
            partitions: Some(1),
            segment_bytes: 400,
            retention,
            ..LogOptions::default()
        };
        let mut log = EventLog::create_or_open(self.log(), options).expect("the log opens");
        for number in numbers {
            log.append(0, number as i64, &number).expect("appended");
        }
        log.apply_retention().expect("applied");
        log.close().expect("closed");
    }

    fn remove(&self) {
        fs::remove_dir_all(self.log()).expect("removed");
    }

    fn source(&self) -> EventLogSource<u64> {
        let source = EventLogSource::open(self.log()).expect("the log is there");
        source.on_lost_position(self.policy).poll_every(Duration::from_millis(1))
    }

    fn run(&self, number: usize) -> Result<Vec<u64>, RunError> {
        let (job, seen) = (Job::new("positions"), Collected::new());
        job.event_log("log", self.source().until_end()).sink("seen", seen.factory());
        let store = self.directory.path().join(format!("store-{number}"));
        job.run(guarantee(number, &store)).map(|_| seen.events())
    }

    /// A job that follows the log, and its output.
    fn follow(&self) -> (JobHandle, Receiver<u64>) {
        let job = Job::new("following");
        let (tell, told) = channel();
        job.event_log("log", self.source()).try_for_each(move |number| Ok(tell.send(number)?));
        let store = self.directory.path().join("store-following");
        (job.start(guarantee(0, &store)).expect("a start"), told)
    }

    #[track_caller]
    fn emits(&self, number: usize, expected: std::ops::Range<u64>) {
        match self.run(number) {
            Ok(seen) => assert_eq!(seen, expected.collect::<Vec<_>>(), "guarantee {number}"),
            Err(error) => panic!("guarantee {number}: {error}"),
        }
    }

    #[track_caller]
    fn refuses(&self, number: usize, reason: &str) {
        let error = self.run(number).expect_err("the position is lost").to_string();
        assert!(error.contains(reason), "guarantee {number}: {error}");
        assert!(error.contains("partition 0 of ") && error.contains("on_lost_position"), "{error}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("created");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

/// fault F18: the first hundred records of the new log were skipped.
#[test]
fn a_log_that_was_made_anew_between_two_runs_is_refused() {
    for number in 0..4 {
        let scene = Scene::new();
        scene.append(0..100, None);
        scene.emits(number, 0..100);
        scene.remove();
        // As long, shorter, and with the very records that had been read.
        for records in [1000..1150, 1000..1050, 0..100] {
            scene.append(records, None);
            scene.refuses(number, "had been read");
            scene.remove();
        }
    }
}

#[test]
fn a_policy_reads_a_log_that_was_made_anew_from_its_beginning_or_its_end() {
    for number in 0..4 {
        let mut scene = Scene::new();
        scene.append(0..100, None);
        scene.emits(number, 0..100);
        scene.remove();
        scene.append(100..250, None);
        scene.policy = OnLostPosition::Earliest;
        scene.emits(number, 100..250);
        scene.remove();
        scene.append(300..350, None);
        scene.policy = OnLostPosition::Latest;
        scene.emits(number, 0..0);
        if number < 3 {
            // At-most-once stores a position with the events that follow it.
            scene.policy = OnLostPosition::Fail;
            scene.append(350..360, None);
            scene.emits(number, 350..360);
        }
    }
}

#[test]
fn a_log_that_was_moved_copied_and_put_back_is_the_same_log() {
    for number in 0..4 {
        let scene = Scene::new();
        scene.append(0..100, None);
        scene.emits(number, 0..100);
        let elsewhere = scene.directory.path().join("elsewhere");
        fs::rename(scene.log(), &elsewhere).expect("moved");
        copy(&elsewhere, &scene.log());
        scene.append(100..150, None);
        scene.emits(number, 100..150);
    }
}

/// fault F18: a position behind the end waited silently until the log had reached it again with other records.
#[test]
fn a_log_that_was_put_back_from_an_older_copy_is_refused_also_when_it_was_written_on() {
    for number in 0..4 {
        let scene = Scene::new();
        scene.append(0..60, None);
        let backup = scene.directory.path().join("backup");
        copy(&scene.log(), &backup);
        scene.append(60..100, None);
        scene.emits(number, 0..100);
        scene.remove();
        copy(&backup, &scene.log());
        scene.refuses(number, "there is nothing beyond 60");
        scene.append(1000..1020, None);
        scene.refuses(number, "there is nothing beyond 80");
        scene.append(1020..1100, None);
        scene.refuses(number, "what stands before is not what had been read");
    }
}

/// fault F18, a related one: the next records had been removed by retention.
#[test]
fn a_source_that_retention_has_overtaken_says_so_or_goes_on_as_its_policy_says() {
    for number in 0..4 {
        let mut scene = Scene::new();
        scene.append(0..100, None);
        scene.emits(number, 0..100);
        // Retention up to just before, at, and beyond the position.
        scene.append(100..200, Some(2_000));
        scene.append(200..300, Some(1_000));
        scene.refuses(number, "retention has removed everything before");
        scene.policy = OnLostPosition::Earliest;
        let seen = scene.run(number).expect("it goes on");
        assert!(!seen.is_empty() && seen.len() < 100, "{seen:?}");
        assert_eq!(seen, (300 - seen.len() as u64..300).collect::<Vec<_>>());
        scene.policy = OnLostPosition::Fail;
        scene.emits(number, 0..0);
        // Everything that had been read is gone, and nothing else: no position is lost.
        scene.append(300..301, Some(1));
        scene.emits(number, 300..301);
    }
}

/// After a power failure the end mark may be behind records that readers have seen, until a writer opens the log.
#[test]
fn a_position_behind_a_mark_that_a_power_loss_has_put_back_is_not_lost() {
    for number in 0..4 {
        let scene = Scene::new();
        scene.append(0..5, None);
        let mark = scene.log().join("partition-00000/end");
        let old = fs::read(&mark).expect("the mark is a file");
        scene.append(5..9, None);
        scene.emits(number, 0..9);
        fs::write(&mark, old).expect("put back");
        scene.emits(number, 0..0);
        scene.append(9..20, None);
        scene.emits(number, 9..20);
    }
}

/// fault F18, a related one: the files of a removed log stayed open, and no event ever came from them again.
#[test]
fn a_log_that_is_made_anew_under_a_source_that_follows_it_ends_the_job() {
    let scene = Scene::new();
    scene.append(0..100, None);
    let (handle, told) = scene.follow();
    assert!((0..100).all(|n| told.recv_timeout(PATIENCE) == Ok(n)));
    scene.remove();
    scene.append(1000..1200, None);
    assert!(told.recv_timeout(PATIENCE).is_err(), "a record of the new log was emitted");
    let error = handle.wait().expect_err("the log is another").to_string();
    assert!(error.contains("had been read") || error.contains("no longer there"), "{error}");
}

#[test]
fn a_policy_lets_a_source_that_follows_go_on_in_a_log_that_is_made_anew() {
    let mut scene = Scene::new();
    scene.policy = OnLostPosition::Earliest;
    scene.append(0..100, None);
    let (handle, told) = scene.follow();
    assert!((0..100).all(|n| told.recv_timeout(PATIENCE) == Ok(n)));
    for made_anew in [1000..1200, 0..300] {
        scene.remove();
        scene.append(made_anew.clone(), None);
        for n in made_anew {
            assert_eq!(told.recv_timeout(PATIENCE), Ok(n));
        }
    }
    handle.stop_within(PATIENCE).expect("a stop");
}
