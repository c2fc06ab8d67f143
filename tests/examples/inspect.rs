//! The inspector: what it says of sound and damaged directories, and that it changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use streamwork::checkpoint::{CheckpointStore, DirectoryStore};
use streamwork::log::{EventLog, LogOptions, Retention};
use streamwork::{
    AtMostOnce, BoxError, Collector, ExactlyOnce, Instance, Job, JobHandle, StatefulOperator,
};

use crate::program::Program;

/// Remembers one text.
#[derive(Default)]
struct Note(String);

impl StatefulOperator for Note {
    type In = u64;
    type Out = u64;
    type State = String;
    fn setup(&mut self, _: &Instance, state: Option<String>) -> Result<(), BoxError> {
        self.0 = state.unwrap_or_default();
        Ok(())
    }
    fn apply(&mut self, event: u64, _: &mut Collector<u64>) -> Result<(), BoxError> {
        self.0 = format!(r#"{{"last": {event}}}"#);
        Ok(())
    }
    fn state(&self) -> String {
        self.0.clone()
    }
}

fn job(events: u64) -> Job {
    let job = Job::new("notes");
    job.from_iter("numbers", move || 0..events).stateful("note", Note::default).ignore();
    job
}

/// A directory after two runs: two complete checkpoints at least.
fn two_runs(directory: &Path) {
    for events in [10, 20] {
        job(events).run(hourly(directory)).expect("the job runs");
    }
}

fn hourly(directory: &Path) -> streamwork::Checkpointed {
    ExactlyOnce::checkpoints_in(directory).every(Duration::from_secs(3600))
}

/// Every file with its bytes and the time of its last change, every directory with the latter.
type Content = BTreeMap<PathBuf, (Option<Vec<u8>>, SystemTime)>;

fn content(directory: &Path) -> Content {
    let mut found = Content::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let changed = path.metadata().expect("measured").modified().expect("a time");
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("listed");
            left.extend(entries.map(|entry| entry.expect("listed").path()));
            found.insert(path, (None, changed));
        } else {
            found.insert(path.clone(), (Some(fs::read(&path).expect("read")), changed));
        }
    }
    found
}

/// Runs the inspector, and returns its exit code and its output. It must not have changed anything.
#[track_caller]
fn inspect(what: &str, directory: &Path, flags: &[&str]) -> (i32, String) {
    let before = content(directory);
    let said = run(what, directory, flags);
    assert!(content(directory) == before, "{what} {flags:?} changed the directory");
    said
}

fn run(what: &str, directory: &Path, flags: &[&str]) -> (i32, String) {
    let program = Program::example("inspect").flag(what).flag(&directory.display().to_string());
    let program = flags.iter().fold(program, |program, flag| program.flag(flag));
    let output = program.output();
    let said = [output.stdout, output.stderr].concat();
    let code = output.status.code().expect("it ends by itself");
    (code, String::from_utf8(said).expect("text"))
}

#[track_caller]
fn assert_says(said: &str, lines: &[&str]) {
    for line in lines {
        assert!(said.contains(line), "it does not say {line:?}:\n{said}");
    }
}

/// The directories of complete checkpoints, oldest first.
fn checkpoints(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("listed").map(|entry| entry.expect("one").path());
    let is_checkpoint = |path: &PathBuf| {
        let name = path.file_name().expect("named").to_string_lossy();
        name.starts_with("chk-") && path.join("MANIFEST").exists()
    };
    let mut found: Vec<_> = entries.filter(is_checkpoint).collect();
    found.sort();
    found
}

fn flip_in_the_middle(path: &Path) {
    let mut bytes = fs::read(path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("written");
}

/// Flips a bit in the middle of a component's part of the newest checkpoint, which shares its file with others.
fn flip_in_part(directory: &Path, component: &str) {
    let newest = DirectoryStore::open(directory).expect("opens").list().expect("read").remove(0);
    let part = newest.parts.iter().find(|part| part.name.component == component);
    let (file, range) = part.expect("it has a part").at.file.split_once('@').expect("a small one");
    let (start, bytes) = range.split_once('+').expect("a range");
    let [start, bytes] = [start, bytes].map(|number| number.parse::<usize>().expect("a number"));
    let path = checkpoints(directory).pop().expect("there is one").join(file);
    let mut content = fs::read(&path).expect("read");
    content[start + bytes / 2] ^= 1;
    fs::write(path, content).expect("written");
}

fn part_of(checkpoint: &Path, component: &str) -> PathBuf {
    let entries = fs::read_dir(checkpoint).expect("listed");
    let mut paths = entries.map(|entry| entry.expect("one").path());
    let is_it =
        |path: &PathBuf| path.file_name().expect("named").to_string_lossy().starts_with(component);
    paths.find(is_it).expect("it has a part")
}

#[test]
fn a_sound_directory_is_listed_with_its_parts_and_the_start_that_follows() {
    let directory = tempfile::tempdir().expect("a directory");
    two_runs(directory.path());
    let (code, said) = inspect("checkpoints", directory.path(), &[]);
    assert_eq!(code, 0, "{said}");
    let newest = DirectoryStore::open(directory.path()).expect("opens").list().expect("read");
    let newest = &newest[0];
    assert_says(
        &said,
        &[
            "newest execution: 2",
            "complete, every part verifies",
            r#"job "notes", cut: aligned barriers"#,
            "numbers: 1 part, ",
            "note: 1 part, ",
            &format!(
                "a start uses checkpoint {} of execution {}: the newest that verifies",
                newest.checkpoint, newest.execution
            ),
        ],
    );
}

#[test]
fn a_damaged_newest_checkpoint_is_named_with_what_a_start_would_do_and_is_removed_only_on_demand() {
    let directory = tempfile::tempdir().expect("a directory");
    two_runs(directory.path());
    flip_in_part(directory.path(), "note");
    // One that was begun and never finished, newer than all others.
    let orphan = directory.path().join("chk-00000000000000000099-x2");
    fs::create_dir(&orphan).expect("created");
    fs::write(orphan.join("note.part"), b"half").expect("written");

    let (code, said) = inspect("checkpoints", directory.path(), &[]);
    assert_eq!(code, 1, "{said}");
    assert_says(
        &said,
        &[
            "DAMAGED: ",
            "checksum of the part does not match",
            "checkpoint 99 of execution 2: unfinished",
            "not checkpoint 99 of execution 2: it is not finished",
            "it would be set aside",
        ],
    );
    let (used, _) = said
        .split_once("a start uses checkpoint ")
        .expect("a start is possible")
        .1
        .split_once(' ')
        .expect("words");
    let report = job(20).run(hourly(directory.path())).expect("it starts");
    assert_eq!(report.restored_from.expect("from a checkpoint").to_string(), used);

    let (code, said) = inspect("checkpoints", directory.path(), &[]);
    assert_eq!(code, 1, "{said}");
    assert_says(&said, &["SET ASIDE: ", "checksum of the part does not match"]);
    let (code, said) = inspect("checkpoints", directory.path(), &["--remove-set-aside"]);
    assert_eq!(code, 1, "{said}");
    assert_says(&said, &["would remove ", "nothing was removed: add --yes"]);
    let before = content(directory.path());
    let (code, said) = run("checkpoints", directory.path(), &["--remove-set-aside", "--yes"]);
    assert_eq!(code, 0, "{said}");
    let after = content(directory.path());
    let gone: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).collect();
    assert!(!gone.is_empty(), "{said}");
    for path in gone {
        let name = path.strip_prefix(directory.path()).expect("inside").to_string_lossy();
        assert!(name.starts_with("damaged-1-chk-"), "{name} was removed");
    }
    assert_eq!(inspect("checkpoints", directory.path(), &[]).0, 0);
}

#[test]
fn when_no_checkpoint_is_usable_a_start_is_refused_and_nothing_may_be_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    two_runs(directory.path());
    let all = checkpoints(directory.path());
    all.iter().for_each(|one| flip_in_the_middle(&one.join("MANIFEST")));
    let (code, said) = inspect("checkpoints", directory.path(), &[]);
    assert_eq!(code, 1, "{said}");
    assert_says(&said, &[&format!("a start is refused: none of the {} checkpoints", all.len())]);

    for one in &all {
        let name = one.file_name().expect("named").to_string_lossy();
        fs::rename(one, directory.path().join(format!("damaged-1-{name}"))).expect("moved");
    }
    let flags = ["--remove-set-aside", "--yes"];
    let (code, said) = inspect("checkpoints", directory.path(), &flags);
    assert_eq!(code, 2, "{said}");
    assert_says(&said, &["without those set aside a start would begin from nothing"]);
}

#[test]
fn what_cannot_be_read_is_told_from_what_is_damaged() {
    let directory = tempfile::tempdir().expect("a directory");
    for what in ["checkpoints", "log"] {
        let missing = directory.path().join("missing");
        let (code, said) = run(what, &missing, &[]);
        assert_eq!(code, 2, "{said}");
        assert_says(&said, &["is no directory"]);
        assert!(!missing.exists(), "it was made");
        assert_eq!(inspect(what, directory.path(), &[]).0, 2, "there is nothing of ours");
    }
    two_runs(directory.path());
    let newest = checkpoints(directory.path()).pop().expect("there are two");
    let mut bytes = fs::read(newest.join("MANIFEST")).expect("read");
    bytes[8] = 9;
    let end = bytes.len() - 4;
    let checksum = crc32fast::hash(&bytes[..end]).to_le_bytes();
    bytes[end..].copy_from_slice(&checksum);
    fs::write(newest.join("MANIFEST"), bytes).expect("written");
    let (code, said) = inspect("checkpoints", directory.path(), &[]);
    assert_eq!(code, 2, "{said}");
    assert_says(&said, &["of another version", "format version 9", "a start is refused"]);
}

#[test]
fn the_state_of_an_instance_is_shown_as_bytes_and_what_reads_as_text() {
    let directory = tempfile::tempdir().expect("a directory");
    two_runs(directory.path());
    let (code, said) = inspect("checkpoints", directory.path(), &["--dump", "note[0]"]);
    assert_eq!(code, 0, "{said}");
    assert_says(
        &said,
        &[
            "note[0] in checkpoint ",
            "bincode, which does not describe itself",
            // The length of the text, and the text.
            "00000000  0c 00 00 00 00 00 00 00 7b 22 6c 61 73 74 22 3a  ........{\"last\":",
            "00000008  JSON: {\n  \"last\": 19\n}",
        ],
    );
    let (code, said) = inspect("checkpoints", directory.path(), &["--dump", "nose[0]"]);
    assert_eq!(code, 2, "{said}");
    assert_says(&said, &["has no nose[0], but note[0], numbers[0]"]);
}

#[test]
fn positions_written_ahead_are_shown_and_verified() {
    let directory = tempfile::tempdir().expect("a directory");
    job(1_000).run(AtMostOnce::new().store_in(directory.path())).expect("it runs");
    let (code, said) = inspect("checkpoints", directory.path(), &[]);
    assert_eq!(code, 0, "{said}");
    assert_says(&said, &["positions written ahead:", "numbers[0]: e803000000000000"]);
    let positions = directory.path().join("positions");
    flip_in_the_middle(&part_of(&positions, "numbers"));
    let (code, said) = inspect("checkpoints", directory.path(), &[]);
    assert_eq!(code, 1, "{said}");
    assert_says(&said, &["DAMAGED: ", "position file"]);
}

/// An endless job, which has taken a checkpoint.
fn running(directory: &Path, every: Duration) -> JobHandle {
    let job = Job::new("notes");
    job.from_iter("numbers", || 0_u64..).stateful("note", Note::default).ignore();
    let handle = job.start(ExactlyOnce::checkpoints_in(directory).every(every)).expect("it starts");
    handle.checkpoint_now().expect("a checkpoint");
    handle
}

#[test]
fn a_running_job_is_neither_disturbed_nor_taken_for_damaged() {
    let directory = tempfile::tempdir().expect("a directory");
    let handle = running(directory.path(), Duration::from_secs(3600));
    let (code, said) = inspect("checkpoints", directory.path(), &[]);
    assert_eq!(code, 0, "{said}");
    assert_says(&said, &["a start uses checkpoint 1 of execution 1"]);
    handle.stop_within(Duration::from_secs(10)).expect("it stops");

    // Now one that adds and removes checkpoints all the time.
    let handle = running(directory.path(), Duration::from_millis(1));
    for _ in 0..20 {
        let (code, said) = run("checkpoints", directory.path(), &[]);
        assert_eq!(code, 0, "{said}");
        assert_says(&said, &["a start uses checkpoint "]);
    }
    let report = handle.stop_within(Duration::from_secs(10)).expect("it stops");
    assert_eq!(report.metrics.checkpoints_failed, 0);
}

fn log(directory: &Path, options: LogOptions) -> EventLog<String> {
    EventLog::create_or_open(directory, options).expect("it opens")
}

fn append(log: &mut EventLog<String>, events: std::ops::Range<i64>) {
    for at in events {
        log.append(0, 1_700_000_000_000 + at, &format!("event {at}")).expect("appended");
    }
}

#[test]
fn a_log_is_shown_with_its_segments_times_and_what_retention_has_left() {
    let directory = tempfile::tempdir().expect("a directory");
    let retention = Retention { max_partition_bytes: Some(1_000), ..Retention::default() };
    let options =
        LogOptions { partitions: Some(2), segment_bytes: 300, retention, ..LogOptions::default() };
    let mut writer = log(directory.path(), options);
    append(&mut writer, 0..100);
    writer.sync().expect("synced");
    // The writer is still there.
    let (code, said) = inspect("log", directory.path(), &[]);
    assert_eq!(code, 0, "{said}");
    writer.close().expect("closed");
    let (code, said) = inspect("log", directory.path(), &[]);
    assert_eq!(code, 0, "{said}");
    assert_says(
        &said,
        &[
            "2 partitions",
            "partition 0: records ",
            " to 99 to read, retention has removed the ",
            "2023-11-14 22:13:20.0",
            " UTC, full",
            " UTC, being written",
            "partition 1: no records to read",
            "00000000000000000000.log: no records, 32 bytes, being written",
            "every record verifies",
        ],
    );
}

#[test]
fn a_log_whose_writer_is_at_work_is_not_taken_for_damaged() {
    let directory = tempfile::tempdir().expect("a directory");
    let retention = Retention { max_partition_bytes: Some(20_000), ..Retention::default() };
    let options = LogOptions {
        partitions: Some(1),
        segment_bytes: 2_000,
        retention,
        ..LogOptions::default()
    };
    let mut writer = log(directory.path(), options);
    let over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for at in (0..).step_by(10).take_while(|_| !over.load(Ordering::Relaxed)) {
                append(&mut writer, at..at + 10);
                writer.sync().expect("synced");
            }
        });
        let looked: Vec<_> = (0..20).map(|_| run("log", directory.path(), &[])).collect();
        over.store(true, Ordering::Relaxed);
        for (code, said) in looked {
            assert_eq!(code, 0, "{said}");
        }
    });
    writer.close().expect("closed");
}

#[test]
fn damage_to_a_log_is_told_from_the_trace_of_a_crash() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = LogOptions { partitions: Some(1), ..LogOptions::default() };
    let mut writer = log(directory.path(), options);
    append(&mut writer, 0..10);
    writer.close().expect("closed");
    let segment = directory.path().join("partition-00000/00000000000000000000.log");
    let whole = fs::read(&segment).expect("read");

    fs::write(&segment, [&whole[..], b"half a record"].concat()).expect("written");
    let (code, said) = inspect("log", directory.path(), &[]);
    assert_eq!(code, 0, "{said}");
    let place = format!(
        "torn: opening it for writing cuts 13 bytes at byte {} of the last segment, before record 10",
        whole.len()
    );
    assert_says(&said, &[&place]);
    let opened = log(directory.path(), LogOptions::default());
    assert_eq!(opened.repairs()[0].position, whole.len() as u64, "it did as it was said");
    opened.close().expect("closed");

    fs::write(&segment, &whole).expect("written");
    flip_in_the_middle(&segment);
    let (code, said) = inspect("log", directory.path(), &[]);
    assert_eq!(code, 1, "{said}");
    assert_says(&said, &["DAMAGED: ", "does not match its checksum"]);

    fs::write(&segment, &whole).expect("written");
    flip_in_the_middle(&directory.path().join("meta"));
    let (code, said) = inspect("log", directory.path(), &[]);
    assert_eq!(code, 1, "{said}");
    assert_says(&said, &["DAMAGED: "]);
}
