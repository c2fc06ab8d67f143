//! A source of lines that reads several files: each line once, at any parallelism, whatever happens to the directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use streamwork::testkit::Collected;
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, ExactlyOnce, Guarantee, Instance, Job, JobHandle,
    LinesSource, Next, OnLostPosition, Refused, RunError, SourceOutput, StatefulSource,
    TransactionalFiles,
};
use tempfile::TempDir;

use crate::support::{ALL, Faults, counts, guarantee, wait_until};

/// The guarantees that continue where an earlier run has ended.
const STORED: [&str; 4] =
    ["at-most-once stored", "at-least-once stored", "at-least-once-checkpoint", "exactly-once"];

/// It keeps the position of every file that there has been.
const AT_MOST_ONCE_STORED: &str = "at-most-once stored";

/// A directory of files, and places for the stores of the jobs that read it.
struct Scene {
    input: TempDir,
    stores: TempDir,
}

impl Scene {
    fn new() -> Self {
        let directory = || tempfile::tempdir().expect("a directory");
        Self { input: directory(), stores: directory() }
    }

    fn with(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let scene = Self::new();
        files.into_iter().for_each(|(name, text)| scene.put(&name, text));
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.input.path().join(name)
    }

    /// Creates a file that is visible as a whole, or not at all.
    fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        let unfinished = self.path(&format!("{name}.tmp"));
        fs::write(&unfinished, text).expect("written");
        fs::rename(unfinished, self.path(name)).expect("renamed");
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = fs::OpenOptions::new().append(true).open(self.path(name)).expect("opened");
        file.write_all(text.as_bytes()).expect("written");
    }

    fn source(&self) -> LinesSource {
        LinesSource::in_directory(self.input.path())
    }

    fn followed(&self) -> LinesSource {
        self.source().discover_every(Duration::from_millis(2))
    }

    fn guarantee(&self, name: &str) -> Guarantee {
        guarantee(name, &self.stores.path().join(name))
    }

    /// Starts a job that reads the directory for ever.
    fn follow(&self, name: &str, instances: usize, seen: &Collected<String>) -> JobHandle {
        let job = job(self.followed(), instances, seen);
        job.start(self.guarantee(name)).expect("the job starts")
    }

    /// The lines of a run that comes to its end, in order.
    fn run(&self, name: &str, source: LinesSource) -> Result<Vec<String>, RunError> {
        let seen = Collected::new();
        job(source, 2, &seen).run(self.guarantee(name))?;
        let mut lines = seen.events();
        lines.sort();
        Ok(lines)
    }
}

fn job(source: LinesSource, instances: usize, seen: &Collected<String>) -> Job {
    let job = Job::new("files");
    let lines = job.lines("lines", source).parallelism(instances);
    lines.global().sink("seen", seen.factory());
    job
}

fn lines(file: &str, numbers: impl IntoIterator<Item = usize>) -> String {
    numbers.into_iter().map(|n| format!("{file} {n}\n")).collect()
}

fn stop(handle: JobHandle) {
    handle.stop_within(Duration::from_secs(10)).expect("the job stops");
}

/// Every line of every file once, those of a file in their order.
#[track_caller]
fn assert_all_once(what: &str, seen: &Collected<String>, directory: &Path) {
    let mut of_file: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in seen.events() {
        let file = line.split(' ').next().unwrap_or_default().to_owned();
        of_file.entry(file).or_default().push(line);
    }
    for entry in fs::read_dir(directory).expect("the directory is there") {
        let entry = entry.expect("an entry");
        let text = fs::read_to_string(entry.path()).expect("the file is there");
        let name = entry.file_name().into_string().expect("a plain name");
        let found = of_file.remove(&name).unwrap_or_default();
        assert_eq!(found, text.lines().collect::<Vec<_>>(), "{what}: {name}");
    }
    assert_eq!(of_file, BTreeMap::new(), "{what}: of no file");
}

#[test]
fn every_line_of_several_files_comes_once_at_any_parallelism_under_every_guarantee() {
    // Files of no line, of one, of more than a turn.
    let lengths = [0, 1, 2, 700, 3_000, 40, 0, 1_024, 1_025];
    let files = || lengths.iter().enumerate().map(|(n, count)| (format!("f{n}"), *count));
    let scene = Scene::with(files().map(|(name, count)| (name.clone(), lines(&name, 0..count))));
    for name in ALL {
        for instances in 1..=4 {
            let named = LinesSource::of_files(files().map(|(name, _)| scene.path(&name)));
            for source in [scene.source(), named] {
                let seen = Collected::new();
                let store = tempfile::tempdir().expect("a directory");
                job(source, instances, &seen).run(guarantee(name, store.path())).expect("it runs");
                assert_all_once(&format!("{name}, {instances}"), &seen, scene.input.path());
            }
        }
    }
}

#[test]
fn a_later_run_at_another_parallelism_reads_what_has_been_added_and_nothing_again() {
    let files = ["a", "b", "c", "d", "e"];
    for name in STORED {
        let scene = Scene::with(files.map(|file| (file.to_owned(), lines(file, 0..50))));
        let seen = Collected::new();
        for (run, instances) in [1, 3, 2, 4, 1].into_iter().enumerate() {
            job(scene.source(), instances, &seen).run(scene.guarantee(name)).expect("it runs");
            assert_all_once(&format!("{name}, run {run}"), &seen, scene.input.path());
            let grown = files[run];
            scene.append(grown, &lines(grown, 50..80));
            let new = format!("new-{run}");
            scene.put(&new, lines(&new, 0..7));
        }
    }
}

#[test]
fn a_run_that_is_stopped_anywhere_goes_on_there_in_each_file_at_another_parallelism() {
    let files = || (0..7).map(|n| format!("f{n}"));
    for name in STORED {
        let scene = Scene::with(files().map(|file| (file.clone(), lines(&file, 0..3_000))));
        let seen = Collected::new();
        for instances in [2, 1, 4] {
            let before = seen.len();
            let handle = scene.follow(name, instances, &seen);
            wait_until("some lines are read", || seen.len() > before.min(20_000));
            stop(handle);
        }
        job(scene.source(), 3, &seen).run(scene.guarantee(name)).expect("it runs");
        assert_all_once(name, &seen, scene.input.path());
    }
}

#[test]
fn a_job_that_fails_and_goes_back_loses_no_line_of_any_file() {
    let files = || (0..5).map(|n| format!("f{n}"));
    for name in STORED {
        let scene = Scene::with(files().map(|file| (file.clone(), lines(&file, 0..2_000))));
        let (seen, faults) = (Collected::new(), Faults::once(files().map(|f| format!("{f} 1500"))));
        let job = Job::new("files");
        let struck = faults.clone();
        job.lines("lines", scene.source())
            .parallelism(2)
            .try_map(move |line| match struck.strike(&line) {
                true => Err(format!("struck at {line}").into()),
                false => Ok(line),
            })
            .global()
            .sink("seen", seen.factory());
        job.run(scene.guarantee(name)).expect("it runs");
        assert!(faults.spent(), "{name}: nothing has failed");
        let counts = counts(seen.events());
        let expected = if name.starts_with("at-most-once") { 9_995 } else { 10_000 };
        assert_eq!(counts.len(), expected, "{name}");
    }
}

#[test]
fn a_directory_that_is_followed_is_read_on_whatever_appears_grows_and_goes() {
    for name in ALL {
        let scene = Scene::with([("a".to_owned(), lines("a", 0..3))]);
        scene.put("b", lines("b", 0..3));
        let seen = Collected::new();
        let handle = scene.follow(name, 2, &seen);
        wait_until("both are read", || seen.len() == 6);
        scene.put("c", lines("c", 0..3));
        wait_until("a file that appears is read from its beginning", || seen.len() == 9);
        scene.append("a", &lines("a", 3..5));
        wait_until("a file that grows is read on", || seen.len() == 11);
        fs::remove_file(scene.path("b")).expect("removed");
        scene.put("d", lines("d", 0..1));
        wait_until("the directory is looked through after that", || seen.len() == 12);
        let mut lines = 12;
        if name != AT_MOST_ONCE_STORED {
            scene.put("b", "b is new\n");
            wait_until("it is another file of that name", || seen.len() == 13);
            lines = 13;
        }
        stop(handle);
        let distinct: BTreeSet<_> = seen.events().into_iter().collect();
        assert_eq!(distinct.len(), lines, "{name}: {distinct:?}");
    }
}

/// A position that the store has from before must not be taken for that of the new file.
#[test]
fn a_file_that_went_while_the_job_ran_is_forgotten_also_if_the_job_had_been_started_with_it() {
    for name in STORED.into_iter().filter(|name| *name != AT_MOST_ONCE_STORED) {
        let scene = Scene::with([("a".to_owned(), lines("a", 0..3))]);
        let seen = Collected::new();
        let handle = scene.follow(name, 2, &seen);
        wait_until("it is read", || seen.len() == 3);
        stop(handle);
        let handle = scene.follow(name, 2, &seen);
        scene.append("a", &lines("a", 3..4));
        wait_until("it is read on", || seen.len() == 4);
        fs::remove_file(scene.path("a")).expect("removed");
        scene.put("b", lines("b", 0..1));
        wait_until("the directory is looked through after that", || seen.len() == 5);
        scene.put("a", "a is new\n");
        wait_until("the new one is read", || seen.len() == 6);
        stop(handle);
        assert_eq!(seen.events()[5], "a is new", "{name}");
    }
}

#[test]
fn a_file_that_was_replaced_is_found_and_named_and_the_positions_of_the_others_stay() {
    for name in STORED {
        let scene = Scene::with(["a", "b", "c"].map(|file| (file.to_owned(), lines(file, 0..9))));
        assert_eq!(scene.run(name, scene.source()).expect("it runs").len(), 27);
        scene.put("b", "another\n");
        scene.append("a", "a more\n");
        let error = scene.run(name, scene.source()).expect_err("it is another").to_string();
        let place = format!("{}: cannot go on at 36", scene.path("b").display());
        assert!(error.contains(&place), "{name}: {error}");
        let source = scene.source().on_lost_position(OnLostPosition::Earliest);
        assert_eq!(scene.run(name, source).expect("it runs"), ["a more", "another"], "{name}");
    }
}

#[test]
fn a_file_that_is_replaced_while_it_is_followed_ends_the_job_with_its_name() {
    let scene = Scene::with([("a".to_owned(), lines("a", 0..9))]);
    let seen = Collected::new();
    let handle = scene.follow("exactly-once", 2, &seen);
    wait_until("it is read", || seen.len() == 9);
    scene.put("a", "another\n");
    wait_until("the job ends", || handle.is_finished());
    let error = handle.wait().expect_err("it is another file").to_string();
    let place = format!("{}: cannot go on at 36", scene.path("a").display());
    assert!(error.contains(&place), "{error}");
    assert_eq!(seen.len(), 9);
}

#[test]
fn thousands_of_files_are_read_once_each_and_by_all_instances() {
    let file = |n: usize| format!("f{n:04}");
    for name in ["at-most-once", "at-least-once stored", "exactly-once"] {
        let scene = Scene::with((0..3_000).map(|n| (file(n), lines(&file(n), 0..n % 4))));
        let seen = Collected::new();
        for run in 0..2 {
            let job = job(scene.source(), 3, &seen);
            let report = job.run(scene.guarantee(name)).expect("it runs");
            let of_all =
                report.metrics.instances.iter().filter(|of| &*of.instance.component == "lines");
            let emitted: Vec<u64> = of_all.map(|of| of.emitted).collect();
            let lines = if run == 0 { 4_500 } else { 0 };
            assert_eq!(emitted.iter().sum::<u64>(), lines, "{name}: {emitted:?}");
            assert!(run > 0 || emitted.iter().all(|n| *n > 1_000), "{name}: {emitted:?}");
            if name == "at-most-once" {
                break;
            }
        }
        assert_all_once(name, &seen, scene.input.path());
    }
}

const CHILD_INPUT: &str = "STREAMWORK_LINE_FILES_INPUT";
const CHILD_STORES: &str = "STREAMWORK_LINE_FILES_STORES";

/// The process that is killed.
#[test]
fn copies_a_directory_when_it_is_told_to() {
    let (Ok(input), Ok(stores)) = (std::env::var(CHILD_INPUT), std::env::var(CHILD_STORES)) else {
        return;
    };
    let out = Path::new(&stores).join("out");
    let line = |line: &String, file: &mut Vec<u8>| {
        file.extend_from_slice(line.as_bytes());
        file.push(b'\n');
    };
    let job = Job::new("files");
    let lines = job.lines("lines", LinesSource::in_directory(input)).parallelism(3);
    lines.transactional_sink("out", TransactionalFiles::factory(out, line));
    job.run(guarantee("exactly-once", &Path::new(&stores).join("store"))).expect("it runs");
}

#[test]
fn a_process_that_is_killed_goes_on_in_each_file_and_repeats_no_line() {
    let files = || (0..6).map(|n| format!("f{n}"));
    let scene = Scene::with(files().map(|file| (file.clone(), lines(&file, 0..20_000))));
    let out = scene.stores.path().join("out");
    let committed = || {
        let entries =
            fs::read_dir(&out).into_iter().flatten().map(|entry| entry.expect("an entry"));
        let whole = |path: &PathBuf| path.extension().is_none();
        entries.map(|entry| entry.path()).filter(whole).collect::<Vec<_>>()
    };
    let spawn = || {
        Command::new(std::env::current_exe().expect("this test is a file"))
            .args(["--exact", "line_files::copies_a_directory_when_it_is_told_to"])
            .env(CHILD_INPUT, scene.input.path())
            .env(CHILD_STORES, scene.stores.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("this test can be started again")
    };
    let mut killed = 0;
    for _ in 0..5 {
        let (before, mut child) = (committed().len(), spawn());
        let mut ended = || child.try_wait().expect("it can be asked").is_some();
        wait_until("something is committed", || committed().len() > before || ended());
        killed += usize::from(!ended());
        child.kill().expect("it can be killed");
        child.wait().expect("it has ended");
    }
    assert!(killed > 1, "the work was done before it was killed");
    assert!(spawn().wait().expect("it ends").success(), "the last one comes to its end");
    let text: String =
        committed().iter().map(|path| fs::read_to_string(path).expect("it is there")).collect();
    let counts = counts(text.lines());
    assert_eq!((text.lines().count(), counts.len()), (120_000, 120_000));
}

/// If there is only one file, its position is valid at any path.
#[test]
fn the_only_file_is_the_same_in_a_copy_at_another_path() {
    for name in STORED {
        let scene = Scene::with([("a".to_owned(), lines("a", 0..3))]);
        let seen = Collected::new();
        let run = |file: &str| {
            let source = LinesSource::new(scene.path(file));
            job(source, 1, &seen).run(scene.guarantee(name)).map(|_| ())
        };
        run("a").expect("it runs");
        scene.put("b", lines("a", 0..5));
        run("b").expect("it runs");
        assert_eq!(seen.len(), 5, "{name}");
        scene.put("c", "another\n");
        let error = run("c").expect_err("this is no copy of it").to_string();
        assert!(error.contains("cannot go on at 20"), "{name}: {error}");
    }
}

#[test]
fn what_is_missing_is_named_at_once_where_it_was_named() {
    let scene = Scene::with([("a".to_owned(), lines("a", 0..3))]);
    let (there, missing) = (scene.path("a"), scene.path("missing"));
    let sources = [
        LinesSource::of_files([&there, &missing]),
        LinesSource::in_directory(&missing),
        LinesSource::in_directory(&there),
    ];
    for (source, path) in sources.into_iter().zip([&missing, &missing, &there]) {
        let error = scene.run("exactly-once", source).expect_err("it is not there").to_string();
        assert!(error.contains(path.to_str().expect("a plain name")), "{error}");
        let callbacks = ["failed in setup", "failed in discover"];
        assert!(callbacks.iter().any(|callback| error.contains(callback)), "{error}");
    }
}

#[test]
fn options_that_mean_nothing_are_refused_by_name() {
    let scene = Scene::with([("a".to_owned(), lines("a", 0..3))]);
    let (file, every) = (scene.path("a"), Duration::from_secs(1));
    let sources = [
        ("discover_every", LinesSource::new(&file).discover_every(every)),
        ("discover_every", LinesSource::of_files([&file]).discover_every(every)),
        ("discover_every", scene.source().discover_every(Duration::ZERO)),
        ("discover_every", scene.source().discover_every(Duration::MAX)),
        ("files_matching", LinesSource::new(&file).files_matching(|_| true)),
        ("of_files", LinesSource::of_files([&file, &file])),
    ];
    for (name, source) in sources {
        let refused = scene.run("at-most-once", source).expect_err(name);
        let RunError::Refused(Refused::Option { option, .. }) = refused else {
            panic!("{name}: {refused}")
        };
        assert_eq!(option, name);
    }
}

/// A source of lines as it was before its files were splits: with a position for the instance.
struct Earlier(bool);

impl StatefulSource for Earlier {
    type Out = String;
    type State = (u64, bool);
    fn setup(&mut self, _: &Instance, state: Option<(u64, bool)>) -> Result<(), BoxError> {
        self.0 = state.is_some();
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<String>) -> Result<Next, BoxError> {
        if !std::mem::replace(&mut self.0, true) {
            out.emit("one".to_owned());
        }
        Ok(Next::End)
    }
    fn state(&self) -> (u64, bool) {
        (4, false)
    }
}

/// The guarantee of that name, under which the source ignores its stored state.
fn anew(name: &str, store: &Path) -> Guarantee {
    match name {
        "at-most-once stored" => AtMostOnce::new().store_in(store).start_anew("lines").into(),
        "at-least-once stored" => AtLeastOnce::new().store_in(store).start_anew("lines").into(),
        "exactly-once" => ExactlyOnce::checkpoints_in(store).start_anew("lines").into(),
        _ => AtLeastOnce::checkpoints_in(store).start_anew("lines").into(),
    }
}

#[test]
fn a_checkpoint_from_before_files_were_splits_is_refused_by_name_and_may_be_left_behind() {
    for name in STORED {
        let scene = Scene::with([("a".to_owned(), "one\n".to_owned())]);
        let earlier = Job::new("files");
        let lines = earlier.stateful_source("lines", || Earlier(false));
        lines.global().sink("seen", Collected::new().factory());
        earlier.run(scene.guarantee(name)).expect("it runs");
        let job = || job(LinesSource::new(scene.path("a")), 1, &Collected::new());
        let refused = job().run(scene.guarantee(name)).expect_err("it has other positions");
        let reason = "\"lines\" was a source and is a split source now";
        assert!(refused.to_string().contains(reason), "{name}: {refused}");
        let report =
            job().run(anew(name, &scene.stores.path().join(name))).expect("it starts anew");
        assert_eq!(report.metrics.sum("lines", |m| m.emitted), 1, "{name}");
    }
}
