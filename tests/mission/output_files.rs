//! `TransactionalFiles`: what a reader of the directory sees, even if others write to it or remove files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use streamwork::{
    AtLeastOnce, AtMostOnce, ExactlyOnce, Guarantee, Job, JobReport, RunError, Stream,
    TransactionalFiles,
};

fn line(n: &u64, file: &mut Vec<u8>) {
    file.extend_from_slice(format!("{n}\n").as_bytes());
}

fn sink_into(stream: &Stream<u64>, name: &str, out: &Path) {
    stream.transactional_sink(name, TransactionalFiles::factory(out, line));
}

/// The committed files of a directory.
fn committed(out: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(out).expect("the directory is there");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let visible = |path: &PathBuf| path.extension().is_none_or(|end| end != "pending");
    paths.filter(visible).collect()
}

fn pending(out: &Path) -> usize {
    fs::read_dir(out).expect("the directory is there").count() - committed(out).len()
}

/// Every number in every committed file of these directories, in order.
fn shown(directories: &[&Path]) -> Vec<u64> {
    let files = directories.iter().flat_map(|out| committed(out));
    let text: String = files.map(|file| fs::read_to_string(file).expect("a text file")).collect();
    let mut numbers: Vec<u64> = text.lines().map(|n| n.parse().expect("a number")).collect();
    numbers.sort_unstable();
    numbers
}

fn numbers(until: u64) -> Vec<u64> {
    (0..until).collect()
}

/// Takes all committed files away, as a consumer does. A name that comes twice would show here.
fn archive(out: &Path, archive: &Path) {
    fs::create_dir_all(archive).expect("the archive is made");
    for file in committed(out) {
        let kept = archive.join(file.file_name().expect("a file has a name"));
        assert!(!kept.exists(), "the name {} is given twice", kept.display());
        fs::rename(file, kept).expect("the file is moved");
    }
}

/// Runs a job that writes the numbers below `until` to files.
fn run(until: u64, out: &Path, guarantee: impl Into<Guarantee>) -> Result<JobReport, RunError> {
    let job = Job::new("numbers");
    sink_into(&job.from_iter("numbers", move || 0..until), "files", out);
    job.run(guarantee)
}

/// fault F1: two sinks of one job gave their files the same names, and one replaced those of the other.
#[test]
fn two_sinks_of_one_job_share_a_directory_and_lose_nothing() {
    let (out, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (name, guarantee) in [
        ("exactly-once", Guarantee::from(ExactlyOnce::checkpoints_in(store.path()))),
        ("at-least-once", AtLeastOnce::new().into()),
        ("at-most-once", AtMostOnce::new().into()),
    ] {
        let out = out.path().join(name);
        let job = Job::new("two sinks");
        sink_into(&job.from_iter("first", || 0..100_u64), "a/b", &out);
        sink_into(&job.from_iter("second", || 100..200_u64), "a\\b", &out);
        job.run(guarantee).expect("the job runs");
        assert_eq!(shown(&[&out]), numbers(200), "{name}");
    }
}

/// fault F1: the same, by two jobs that have every name in common, and are run in turn.
#[test]
fn jobs_of_the_same_names_share_a_directory_and_neither_replaces_nor_discards_files_of_the_other() {
    let (out, stores) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = |name| ExactlyOnce::checkpoints_in(stores.path().join(name));
    let run = |name, numbers: std::ops::Range<u64>| {
        let job = Job::new("same");
        sink_into(&job.from_iter("numbers", move || numbers.clone()), "files", out.path());
        job.run(store(name)).expect("the job runs");
    };
    run("first", 0..50);
    run("first", 0..100);
    run("second", 100..150);
    assert_eq!(shown(&[out.path()]), numbers(150));
    // The first discards its output since the checkpoint before, and nothing of the second.
    damage_newest(&stores.path().join("first"));
    run("first", 0..100);
    run("second", 100..200);
    assert_eq!(shown(&[out.path()]), numbers(200));
}

/// fault F2: numbers came from a listing, so a name was given again once a consumer had taken its file.
#[test]
fn a_consumer_may_take_committed_files_away_between_runs_under_every_guarantee() {
    let stores = tempfile::tempdir().unwrap();
    let store = |name: &str| stores.path().join(name);
    for (name, guarantee) in [
        ("exactly-once", Guarantee::from(ExactlyOnce::checkpoints_in(store("a")))),
        ("at-least-once by checkpoints", AtLeastOnce::checkpoints_in(store("b")).into()),
        ("at-least-once", AtLeastOnce::new().store_in(store("c")).into()),
        ("at-most-once", AtMostOnce::new().store_in(store("d")).into()),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (out, kept) = (directory.path().join("out"), directory.path().join("archive"));
        for until in [10, 20, 20, 30] {
            run(until, &out, guarantee.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
            archive(&out, &kept);
        }
        assert_eq!(shown(&[&out, &kept]), numbers(30), "{name}");
    }
}

/// fault F2: without a store a name must not be used twice either, in this process or in the next.
#[test]
fn names_are_given_once_where_nothing_is_stored() {
    for guarantee in [Guarantee::from(AtLeastOnce::new()), AtMostOnce::new().into()] {
        let directory = tempfile::tempdir().unwrap();
        let (out, kept) = (directory.path().join("out"), directory.path().join("archive"));
        for _ in 0..3 {
            run(10, &out, guarantee.clone()).expect("the job runs");
            archive(&out, &kept);
        }
        assert_eq!(shown(&[&out, &kept]).len(), 30);
    }
}

/// fault F2, its kin: an instance that is rebuilt within an execution continues its numbering.
#[test]
fn a_sink_that_is_built_anew_after_a_panic_replaces_no_file() {
    let out = tempfile::tempdir().unwrap();
    let written = Arc::new(AtomicU64::new(0));
    let encode = move |n: &u64, file: &mut Vec<u8>| {
        let nth = written.fetch_add(1, Ordering::Relaxed);
        assert!(![300, 900, 5_000, 15_000].contains(&nth), "a bad moment");
        line(n, file);
    };
    let job = Job::new("panics");
    job.from_iter("numbers", || 0..20_000_u64)
        .transactional_sink("files", TransactionalFiles::factory(out.path(), encode));
    job.run(AtLeastOnce::new()).expect("the job runs");
    let seen: BTreeSet<u64> = shown(&[out.path()]).into_iter().collect();
    let lost = numbers(20_000).into_iter().filter(|n| !seen.contains(n)).count();
    assert_eq!(lost, 0);
}

/// fault F2: the consumer takes the directory itself.
#[test]
fn an_output_directory_that_a_consumer_took_away_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let (out, kept) = (directory.path().join("out"), directory.path().join("kept"));
    let store = directory.path().join("store");
    run(10, &out, ExactlyOnce::checkpoints_in(&store)).expect("the job runs");
    fs::rename(&out, &kept).expect("moved");
    run(20, &out, ExactlyOnce::checkpoints_in(&store)).expect("the job runs");
    assert_eq!(shown(&[&out, &kept]), numbers(20));
}

/// fault F20: the sink leaves foreign files alone, and continues.
#[test]
fn foreign_entries_in_the_output_directory_are_left_alone_and_hold_nothing_up() {
    let directory = tempfile::tempdir().unwrap();
    let (out, store) = (directory.path().join("out"), directory.path().join("store"));
    run(10, &out, ExactlyOnce::checkpoints_in(&store)).expect("the job runs");
    let known = committed(&out).remove(0).file_name().unwrap().to_owned();
    let like = |ending: &str| out.join(format!("{}{ending}", known.to_string_lossy()));
    // A directory in the place of a pending file of ours, and of one that was committed later.
    fs::create_dir(like("0.pending")).unwrap();
    fs::create_dir(like("0")).unwrap();
    fs::create_dir(out.join("part-mine.pending")).unwrap();
    fs::write(out.join("notes.pending"), "mine").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        std::os::unix::fs::symlink("nowhere", out.join("link.pending")).unwrap();
        fs::write(out.join(std::ffi::OsStr::from_bytes(b"part-\xff.pending")), "mine").unwrap();
    }
    let foreign = pending(&out);
    run(20, &out, ExactlyOnce::checkpoints_in(&store)).expect("the job runs");
    assert_eq!(pending(&out), foreign);
    assert!(like("0").is_dir());
    fs::remove_dir(like("0")).unwrap();
    assert_eq!(shown(&[&out]), numbers(20));
}

/// fault F33: a job whose program changes its working directory writes on where it began.
#[test]
fn a_sink_of_a_relative_path_stays_where_it_was_when_the_program_goes_elsewhere() {
    let job = Job::new("relative");
    let sink = TransactionalFiles::factory("some/where", line);
    let told = format!("{:?}", sink());
    let absolute = std::env::current_dir().unwrap().join("some/where");
    assert!(told.contains(absolute.to_str().unwrap()), "{told}");
    drop(job);
}

fn damage_newest(store: &Path) {
    let checkpoints = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
    let mut complete: Vec<_> = checkpoints.filter(|path| path.join("MANIFEST").exists()).collect();
    complete.sort();
    let newest = complete.pop().expect("there is a checkpoint");
    for file in fs::read_dir(newest).unwrap().map(|entry| entry.unwrap().path()) {
        if file.file_name().is_some_and(|name| name != "MANIFEST") {
            fs::write(&file, "damaged").unwrap();
        }
    }
}
