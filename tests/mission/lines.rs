//! A source of lines: which lines are events, and how it continues in a file that has grown or was replaced.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use streamwork::testkit::Collected;
use streamwork::{
    AtLeastOnce, AtMostOnce, ExactlyOnce, Guarantee, Job, LinesSource, OnLostPosition, Restarts,
    RunError,
};
use tempfile::TempDir;

use crate::support::{ALL, guarantee};

/// A file, and a store for the job that reads it.
struct Scene {
    directory: TempDir,
    source: LinesSource,
}

/// Its place among the guarantees.
const AT_MOST_ONCE: usize = 3;

/// Every guarantee that continues where an earlier run has ended.
fn guarantees(store: &Path) -> Vec<Guarantee> {
    let once = Restarts { limit: 0, ..Restarts::default() };
    vec![
        ExactlyOnce::checkpoints_in(store).restarts(once).into(),
        AtLeastOnce::checkpoints_in(store).restarts(once).into(),
        AtLeastOnce::new().store_in(store).restarts(once).into(),
        AtMostOnce::new().store_in(store).restarts(once).into(),
    ]
}

impl Scene {
    fn new(text: impl AsRef<[u8]>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let source = LinesSource::new(directory.path().join("lines"));
        let scene = Self { directory, source };
        scene.put(text);
        scene
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("lines")
    }

    fn put(&self, text: impl AsRef<[u8]>) {
        fs::write(self.path(), text).expect("written");
    }

    fn append(&self, text: &str) {
        let mut file = fs::OpenOptions::new().append(true).open(self.path()).expect("opened");
        file.write_all(text.as_bytes()).expect("written");
    }

    /// The lines that a run emits under one of the guarantees.
    fn run(&self, guarantee: usize) -> Result<Vec<String>, RunError> {
        let seen = Collected::new();
        let job = Job::new("lines");
        job.lines("lines", self.source.clone()).sink("seen", seen.factory());
        let store = self.directory.path().join(format!("store-{guarantee}"));
        job.run(guarantees(&store).swap_remove(guarantee)).map(|_| seen.events())
    }

    #[track_caller]
    fn emits(&self, guarantee: usize, lines: &[&str]) {
        match self.run(guarantee) {
            Ok(seen) => assert_eq!(seen, lines, "guarantee {guarantee}"),
            Err(error) => panic!("guarantee {guarantee}: {error}"),
        }
    }

    #[track_caller]
    fn refuses(&self, guarantee: usize, reason: &str) {
        let error = self.run(guarantee).expect_err("the position is lost").to_string();
        assert!(error.contains(reason), "guarantee {guarantee}: {error}");
        assert!(error.contains("lines") && error.contains("on_lost_position"), "{error}");
    }
}

#[test]
fn a_file_that_has_grown_is_read_on_under_every_guarantee() {
    for guarantee in 0..4 {
        let scene = Scene::new("one\ntwo\n");
        scene.emits(guarantee, &["one", "two"]);
        scene.append("three\n");
        scene.emits(guarantee, &["three"]);
        scene.emits(guarantee, &[]);
        // A copy in its place is the same file.
        let text = fs::read(scene.path()).unwrap();
        fs::remove_file(scene.path()).unwrap();
        scene.put(text);
        scene.append("four\r\n");
        scene.emits(guarantee, &["four"]);
    }
}

/// fault F18: the offset was taken for the position, whatever file was there.
#[test]
fn another_file_in_the_place_of_the_one_that_was_read_is_refused() {
    for guarantee in 0..4 {
        for (what, text) in [
            ("Shorter", "one\n"),
            ("Shorter", ""),
            ("Changed", "ONE\ntwo\n"),
            ("Changed", "one\nTWO\n"),
            ("Changed", "another file of more lines\nthan before\nand they go on\n"),
        ] {
            let scene = Scene::new("one\ntwo\n");
            scene.emits(guarantee, &["one", "two"]);
            scene.put(text);
            let reason = match what {
                "Shorter" => "there is nothing beyond",
                _ => "is not what had been read",
            };
            scene.refuses(guarantee, reason);
            // Nothing is forgotten by the refusal: the file comes back.
            scene.put("one\ntwo\nthree\n");
            scene.emits(guarantee, &["three"]);
        }
    }
}

#[test]
fn a_large_file_that_changed_just_before_the_position_or_at_its_beginning_is_refused() {
    let line = |n: u32| format!("{n:09}\n");
    let text: String = (0..100_000).map(line).collect();
    for changed in [0, 60_000, text.len() - 60_000, text.len() - 2] {
        let scene = Scene::new(&text);
        assert_eq!(scene.run(0).expect("it is read").len(), 100_000);
        let mut other = text.clone().into_bytes();
        other[changed] = b'x';
        scene.put(other);
        scene.refuses(0, "is not what had been read");
    }
}

/// fault F18: what the user wants instead.
#[test]
fn a_policy_reads_another_file_from_its_beginning_or_its_end() {
    for guarantee in 0..4 {
        let mut scene = Scene::new("one\ntwo\n");
        scene.source = scene.source.on_lost_position(OnLostPosition::Earliest);
        scene.emits(guarantee, &["one", "two"]);
        scene.put("1\n2\n3");
        scene.emits(guarantee, &["1", "2", "3"]);
        scene.source = scene.source.on_lost_position(OnLostPosition::Latest);
        scene.put("i\nii\n");
        scene.emits(guarantee, &[]);
        if guarantee == AT_MOST_ONCE {
            // It stores a position with the events that follow it, and none did.
            continue;
        }
        scene.append("iii\n");
        scene.source = scene.source.on_lost_position(OnLostPosition::Fail);
        scene.emits(guarantee, &["iii"]);
    }
}

/// fault F19: "amount=12" and "34" were two events.
#[test]
fn a_last_line_that_was_not_over_is_refused_when_the_file_goes_on_within_it() {
    for guarantee in 0..4 {
        let scene = Scene::new("amount=7\namount=12");
        scene.emits(guarantee, &["amount=7", "amount=12"]);
        scene.emits(guarantee, &[]);
        scene.append("34\namount=5\n");
        scene.refuses(guarantee, "had no end");
        scene.put("amount=7\namount=12");
        scene.emits(guarantee, &[]);
    }
}

#[test]
fn a_last_line_to_which_only_its_end_was_missing_is_one_event() {
    for (guarantee, end) in (0..4).zip(["\n", "\r\n", "\n", "\r\n"]) {
        let scene = Scene::new("one\ntwo");
        scene.emits(guarantee, &["one", "two"]);
        scene.append(end);
        scene.emits(guarantee, &[]);
        scene.append("\nthree");
        scene.emits(guarantee, &["", "three"]);
        scene.append(end);
        scene.append("four");
        scene.emits(guarantee, &["four"]);
    }
}

#[test]
fn the_end_of_a_file_that_a_policy_goes_on_behind_is_the_end_of_a_line() {
    let mut scene = Scene::new("one\n");
    scene.source = scene.source.on_lost_position(OnLostPosition::Latest);
    scene.emits(0, &["one"]);
    scene.put("1\n2");
    scene.emits(0, &[]);
    scene.append("0\n3\n");
    // Half of the line "20" had been skipped: the source continues at the end of the file again.
    scene.emits(0, &[]);
    scene.append("4\n");
    scene.emits(0, &["4"]);
}

/// fault F19: a file without line ends was read into memory as a whole.
#[test]
fn a_line_that_is_too_long_is_refused_by_its_place_and_one_of_just_that_length_is_not() {
    let mut scene = Scene::new("12\n123\n1234\n");
    scene.source = scene.source.line_bytes_max(4);
    let error = scene.run(0).expect_err("the line is too long").to_string();
    assert!(error.contains("byte 7: the line is longer than 4 bytes"), "{error}");
    scene.put("12\n123\n1234");
    scene.emits(0, &["12", "123", "1234"]);
    for bytes_max in [0, usize::MAX] {
        scene.source = scene.source.clone().line_bytes_max(bytes_max);
        scene.put("\n\n");
        let seen = scene.run(1 + usize::from(bytes_max > 0));
        assert_eq!(seen.expect("empty lines are allowed"), ["", ""]);
    }
}

#[test]
fn a_line_that_is_not_text_is_refused_by_its_place() {
    let scene = Scene::new(b"one\ntwo \xff\n");
    let error = scene.run(0).expect_err("this is not UTF-8").to_string();
    assert!(error.contains("byte 4: the line is not UTF-8"), "{error}");
}

/// fault F33: the file was looked for where the program happened to be when the job started.
#[test]
fn a_relative_path_counts_from_where_the_program_was_when_it_was_given() {
    let told = format!("{:?}", LinesSource::new("some/lines"));
    let absolute = std::env::current_dir().unwrap().join("some/lines");
    assert!(told.contains(absolute.to_str().unwrap()), "{told}");
}

#[test]
fn a_job_that_still_exists_can_be_run_again_on_its_store() {
    for name in ALL {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        std::fs::write(&path, "one\n").unwrap();
        let (job, seen) = (Job::new("lines"), Collected::new());
        job.lines("lines", LinesSource::new(&path)).sink("seen", seen.factory());
        for _ in 0..2 {
            job.run(guarantee(name, &directory.path().join("store"))).unwrap();
        }
        let is_stored = !matches!(name, "at-most-once" | "at-least-once");
        assert_eq!(seen.len(), if is_stored { 1 } else { 2 }, "{name}");
    }
}
