//! The outermost error says in one line what failed and why.

use std::fs;
use std::path::Path;

use streamwork::checkpoint::{CheckpointStore, DirectoryStore};
use streamwork::log::{EventLog, LogOptions};
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, EventLogSource, ExactlyOnce, Guarantee, Job, Restarts,
};

/// The error of a job that cannot use its store.
fn refusals(store: &Path) -> Vec<String> {
    let guarantees: [Guarantee; 4] = [
        ExactlyOnce::checkpoints_in(store).into(),
        AtLeastOnce::checkpoints_in(store).into(),
        AtLeastOnce::new().store_in(store).into(),
        AtMostOnce::new().store_in(store).into(),
    ];
    let run = |guarantee| {
        let job = Job::new("refused");
        job.from_iter("numbers", || 0..3).for_each(|_| ());
        job.run(guarantee).expect_err("the store cannot be used").to_string()
    };
    guarantees.into_iter().map(run).collect()
}

#[track_caller]
fn all_say(store: &Path, path: &Path, reason: &str) {
    for told in refusals(store) {
        assert!(told.starts_with("the checkpoint store cannot be used: "), "{told}");
        assert!(told.contains(path.to_str().unwrap()), "{told}");
        assert!(told.contains(reason), "{told}");
        assert_eq!(told.matches(reason).count(), 1, "said twice: {told}");
        assert!(!told.contains('\n'), "{told}");
    }
}

/// fault F35: "the checkpoint store cannot be used", and nothing else.
#[test]
fn a_store_that_cannot_be_used_is_told_with_its_path_and_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "a file").unwrap();
    all_say(&file, &file, "Not a directory");
    all_say(&file.join("below"), &file.join("below"), "Not a directory");

    let in_use = directory.path().join("in-use");
    let owner = DirectoryStore::open(&in_use).unwrap();
    owner.begin_execution().unwrap();
    all_say(&in_use, &in_use, "in use by another execution");
    drop(owner);

    let damaged = directory.path().join("damaged");
    fs::create_dir(&damaged).unwrap();
    fs::write(damaged.join("EXECUTION"), "rubbish").unwrap();
    all_say(&damaged, &damaged.join("EXECUTION"), "has not the length it says");
}

/// Permission bits do not stop root, and a test cannot mount a disk: so this uses a file system that is never writable.
#[cfg(target_os = "linux")]
#[test]
fn a_store_that_can_only_be_read_is_told_with_its_path_and_the_reason() {
    let store = Path::new("/proc/sys/streamwork");
    let plain = fs::create_dir(store).expect_err("nobody creates anything there").to_string();
    let reason = plain.split(" (os error").next().unwrap();
    all_say(store, store, reason);
}

/// An error whose message leaves its cause to `source()`, as many do.
#[derive(Debug, thiserror::Error)]
#[error("the lookup failed")]
struct Hides(#[source] std::io::Error);

fn error_of(job: &Job) -> String {
    let once = Restarts { limit: 0, ..Restarts::default() };
    let store = tempfile::tempdir().unwrap();
    let guarantee = ExactlyOnce::checkpoints_in(store.path()).restarts(once);
    job.run(guarantee).expect_err("the job fails").to_string()
}

/// fault F35, a related one: the error of a callback was reported without its cause.
#[test]
fn the_error_of_a_job_names_component_callback_and_every_cause_of_what_was_returned() {
    let job = Job::new("hides");
    job.from_iter("numbers", || 0..3)
        .try_map(|n: i32| {
            Err::<i32, BoxError>(Hides(std::io::Error::other(format!("no answer to {n}"))).into())
        })
        .named("lookup")
        .for_each(|_| ());
    let told = error_of(&job);
    assert!(
        told.contains("lookup[0] failed in apply: the lookup failed: no answer to 0"),
        "{told}"
    );
}

#[test]
fn the_error_of_a_job_whose_event_log_is_damaged_says_where_and_why() {
    let directory = tempfile::tempdir().unwrap();
    let options = LogOptions { partitions: Some(1), ..LogOptions::default() };
    EventLog::<u64>::create_or_open(directory.path(), options).unwrap().close().unwrap();
    let source = EventLogSource::<u64>::open(directory.path()).unwrap().until_end();
    let mark = directory.path().join("partition-00000/end");
    fs::remove_file(&mark).unwrap();
    fs::create_dir(&mark).unwrap();
    let job = Job::new("damaged");
    job.event_log("log", source).for_each(|_| ());
    let told = error_of(&job);
    assert!(told.contains("log[0] failed in setup: cannot"), "{told}");
    assert!(told.contains("partition-00000/end: Is a directory"), "{told}");
}

/// A file that is not there is told with its name and the reason too.
#[test]
fn the_error_of_a_job_whose_file_is_missing_says_which_and_why() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let job = Job::new("missing");
    job.from_lines("lines", &missing).for_each(|_| ());
    let told = error_of(&job);
    assert!(told.contains(&format!("cannot open {}: No such file", missing.display())), "{told}");
}
