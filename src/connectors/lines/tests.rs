//! A source of lines by itself: read from everywhere it has been, what it has open, whose turn it is, and what it sees of a
//! directory that it follows.

use std::fs;
use std::io::Write;
use std::time::Duration;

use tempfile::TempDir;

use super::LinesSource;
use super::instance::LinesInstance;
use crate::api::source::Next;
use crate::api::source_output::SourceOutput;
use crate::api::split_source::{SplitSource, SplitStart};
use crate::testkit::check_split_source;

/// A directory, and an instance that reads all of its files.
struct Scene {
    directory: TempDir,
    instance: LinesInstance,
}

impl Scene {
    fn new(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            fs::write(directory.path().join(name), text).expect("written");
        }
        // Every call is also a look.
        let source = LinesSource::in_directory(directory.path());
        let mut instance = LinesInstance::new(source.discover_every(Duration::from_nanos(1)));
        for name in instance.discover().expect("the directory can be listed") {
            instance.add(&name, SplitStart::First).expect("a file is added");
        }
        Self { directory, instance }
    }

    fn append(&self, name: &str, text: &str) {
        let path = self.directory.path().join(name);
        let mut file = fs::OpenOptions::new().append(true).open(path).expect("opened");
        file.write_all(text.as_bytes()).expect("written");
    }

    /// The lines of one call, at most this many, and when to call again.
    fn call(&mut self, room: usize) -> (Vec<String>, Next) {
        let mut out = SourceOutput::new();
        out.ask(room);
        let next = self.instance.get_events(&mut out).expect("lines are read");
        (out.events, next)
    }
}

fn lines_of(file: usize, count: usize) -> String {
    (0..count).map(|line| format!("{line} of {file}\n")).collect()
}

#[test]
fn at_most_64_files_are_open_and_all_have_their_turns_although_none_comes_to_an_end() {
    let mut scene = Scene::new((0..100).map(|n| (format!("{n:03}"), lines_of(n, 40))));
    let mut begun = 0;
    for _ in 0..64 * 17 + 100 {
        let (lines, next) = scene.call(1);
        begun += lines.iter().filter(|line| line.starts_with("0 of")).count();
        assert_eq!((lines.len(), next), (1, Next::Now));
        assert!(scene.instance.open_files() <= 64, "{} are open", scene.instance.open_files());
    }
    assert_eq!(begun, 100, "each file has had a turn");
}

#[test]
fn a_call_ends_although_thousands_of_files_are_empty_and_none_stays_open() {
    let mut scene = Scene::new((0..1_000).map(|n| (format!("{n}"), String::new())));
    let (lines, next) = scene.call(1_000);
    assert_eq!((lines.len(), next), (0, Next::Now), "there is more to look at");
    let calls = (0..).find(|_| scene.call(1_000).1 != Next::Now).expect("it comes to an end");
    assert!((10..30).contains(&calls), "{calls} calls");
    assert_eq!(scene.instance.open_files(), 0);
}

#[test]
fn a_file_that_grows_after_its_end_is_read_on_and_not_anew() {
    let mut scene = Scene::new([("a".to_owned(), "1\n2\n".to_owned())]);
    assert_eq!(scene.call(10).0, ["1", "2"]);
    assert_eq!(scene.call(10).0, [""; 0]);
    scene.append("a", "3\n");
    assert_eq!(scene.call(10).0, ["3"]);
    assert_eq!(scene.instance.open_files(), 0);
}

/// A writer that has not come to the end of a line must not make two events of it.
#[test]
fn a_last_line_without_an_end_waits_until_its_file_has_stayed_as_it_is() {
    let mut scene = Scene::new([("a".to_owned(), "one\ntw".to_owned())]);
    assert_eq!(scene.call(10).0, ["one"]);
    scene.append("a", "o\nthr");
    assert_eq!(scene.call(10).0, ["two"]);
    scene.append("a", "e");
    assert_eq!(scene.call(10).0, [""; 0]);
    assert_eq!(scene.call(10).0, ["thre"], "nothing has come from one look to the next");
    scene.append("a", "\nfour\n");
    assert_eq!(scene.call(10).0, ["four"], "only the end was missing");
}

#[test]
fn a_file_that_is_replaced_in_a_directory_that_is_followed_is_named_and_not_read() {
    for other in ["1\n", "9\n2\n", "another\nand longer\n"] {
        let mut scene = Scene::new([("a".to_owned(), "1\n2\n".to_owned())]);
        assert_eq!(scene.call(10).0, ["1", "2"]);
        let path = scene.directory.path().join("a");
        let written = fs::metadata(&path).and_then(|file| file.modified()).expect("it is there");
        fs::write(&path, other).expect("written");
        // A file of the same length is noticed by its time, which may be as coarse as a tick of the system.
        let later = written + Duration::from_secs(1);
        let file = fs::OpenOptions::new().write(true).open(&path).expect("opened");
        file.set_modified(later).expect("its time is set");
        let mut out = SourceOutput::new();
        out.ask(10);
        let error = scene.instance.get_events(&mut out).expect_err("it is another file");
        assert!(error.to_string().contains("/a: cannot go on at 4"), "{error}");
        assert_eq!(out.events, [""; 0]);
    }
}

#[test]
fn a_file_that_is_gone_before_its_turn_is_no_error_and_one_that_comes_back_is_read() {
    let mut scene = Scene::new([("a".to_owned(), "1\n".to_owned())]);
    let (path, aside) = (scene.directory.path().join("a"), scene.directory.path().join(".a"));
    fs::rename(&path, &aside).expect("moved");
    assert_eq!(scene.call(10).0, [""; 0]);
    fs::rename(&aside, &path).expect("moved back");
    assert_eq!(scene.call(10).0, ["1"]);
}

/// The lines of a source, by the names of its files.
fn read(source: LinesSource) -> Vec<(String, Vec<String>)> {
    let read = check_split_source(|| LinesInstance::new(source.clone()));
    read.expect("lines are read").into_iter().collect()
}

#[test]
fn lines_go_on_at_the_next_line_whatever_their_lengths_and_ends() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let text = "one\n\ntwo lines\r\nüñí\nno newline at the end";
    std::fs::write(file.path(), text).expect("text is written");
    let read = read(LinesSource::new(file.path()));
    let expected = ["one", "", "two lines", "üñí", "no newline at the end"];
    assert_eq!(read[0].1, expected);
}

#[test]
fn lines_of_more_bytes_than_are_looked_at_go_on_from_everywhere() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let line = |n: usize| format!("{n} {}", "x".repeat(n % 900));
    let lines: Vec<String> = (0..1_000).map(line).collect();
    std::fs::write(file.path(), lines.join("\n") + "\n").expect("text is written");
    assert_eq!(read(LinesSource::new(file.path()))[0].1, lines);
}

#[test]
fn each_of_more_files_than_are_open_at_once_goes_on_from_everywhere() {
    let directory = tempfile::tempdir().expect("a directory");
    let lines_of = |n: usize| (0..n % 7).map(|line| format!("{line} of {n}")).collect();
    let files: Vec<(String, Vec<String>)> =
        (0..150).map(|n| (format!("file-{n:03}"), lines_of(n))).collect();
    for (name, lines) in &files {
        std::fs::write(directory.path().join(name), lines.join("\n")).expect("written");
    }
    assert_eq!(read(LinesSource::in_directory(directory.path())), files);
}
