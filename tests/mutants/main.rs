//! Deliberately broken engines: for each the table names the test that must fail. A test suite that
//! passes on a broken engine proves nothing.
//!
//! `cargo test --test mutants -- --ignored` breaks a copy of the crate in each way of the table and runs the
//! named test on it. It builds the crate many times, so it is not part of `cargo test`, which only checks that
//! each change of the table still applies. `STREAMWORK_MUTANTS=words` chooses the mutants with these words in
//! their name.

#[path = "../tier/mod.rs"]
mod tier;

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use table::{MUTANTS, Mutant};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_mutant_applies_and_names_a_test_that_exists() {
    for mutant in MUTANTS {
        let found = read(&root().join(mutant.file)).matches(mutant.whole).count();
        assert_eq!(
            found, 1,
            "{}: {} has {:?} {found} times",
            mutant.name, mutant.file, mutant.whole
        );
        let (file, test) = mutant.killed_by.split_once("::").expect("file::test");
        let text = read(&root().join(file));
        assert!(text.contains(&format!("fn {test}(")), "{}: no {}", mutant.name, mutant.killed_by);
    }
}

#[test]
#[ignore = "builds the crate for each mutant; the checks of the repository run it"]
fn every_mutant_is_caught_by_the_test_that_is_named_for_it() {
    let began = Instant::now();
    let copy = Copy::make();
    let mut alive = Vec::new();
    MUTANTS.iter().for_each(|mutant| copy.restore(mutant));
    let some = std::env::var("STREAMWORK_MUTANTS").unwrap_or_default();
    let chosen = || MUTANTS.iter().filter(|mutant| mutant.name.contains(&some));
    let mut sound = BTreeSet::new();
    for mutant in chosen().filter(|mutant| sound.insert(mutant.killed_by)) {
        let verdict = copy.run(mutant, "quick");
        assert_eq!(verdict, Verdict::Passed, "{} on the unbroken crate", mutant.killed_by);
    }
    for mutant in chosen() {
        copy.mutate(mutant);
        let verdict = copy.run(mutant, "long");
        println!("{}: {verdict:?} by {}", mutant.name, mutant.killed_by);
        if verdict != Verdict::Failed {
            alive.push((mutant.name, verdict));
        }
        copy.restore(mutant);
    }
    assert!(alive.is_empty(), "not caught: {alive:?}");
    let (test, done) =
        ("every_mutant_is_caught_by_the_test_that_is_named_for_it", chosen().count());
    tier::report(0, test, done as u64, "mutants", 0, began.elapsed());
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    DidNotBuild,
    TookTooLong,
}

/// The crate, where it may be broken.
struct Copy {
    directory: PathBuf,
    /// The original content of the files that are broken and restored.
    whole: BTreeMap<&'static str, String>,
}

impl Copy {
    fn make() -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
        for part in
            ["src", "tests", "examples", "benches/pieces", "Cargo.toml", "Cargo.lock", "README.md"]
        {
            copy(&root().join(part), &directory.join(part));
        }
        let whole = MUTANTS.iter().map(|mutant| (mutant.file, read(&root().join(mutant.file))));
        Self { directory, whole: whole.collect() }
    }

    fn mutate(&self, mutant: &Mutant) {
        let broken = self.whole[mutant.file].replace(mutant.whole, mutant.broken);
        std::fs::write(self.directory.join(mutant.file), broken).expect("the copy is ours");
    }

    fn restore(&self, mutant: &Mutant) {
        let (path, text) = (self.directory.join(mutant.file), &self.whole[mutant.file]);
        if read(&path) != *text {
            std::fs::write(path, text).expect("the copy is ours");
        }
    }

    /// Builds and runs the named test. In the long tier a random test is repeated until it fails or its
    /// time is over.
    fn run(&self, mutant: &Mutant, tier: &str) -> Verdict {
        let built = self.cargo(mutant).args(["--no-run", "--quiet"]).status();
        if !built.expect("cargo can be started").success() {
            return Verdict::DidNotBuild;
        }
        let (_, test) = mutant.killed_by.split_once("::").expect("file::test");
        let mut child = self
            .cargo(mutant)
            .args(["--quiet", "--", test])
            .env("STREAMWORK_TIER", tier)
            .process_group(0)
            .spawn()
            .expect("cargo can be started");
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("it can be asked") {
                return if status.success() { Verdict::Passed } else { Verdict::Failed };
            }
            if began.elapsed() > Duration::from_secs(120) {
                // Not only cargo: the test that hangs is a separate process.
                let group = format!("-{}", child.id());
                let killed = Command::new("kill").args(["-KILL", "--", &group]).status();
                assert!(killed.expect("kill can be started").success(), "the test goes on");
                let _ = child.wait();
                return Verdict::TookTooLong;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn cargo(&self, mutant: &Mutant) -> Command {
        let (file, _) = mutant.killed_by.split_once("::").expect("file::test");
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(&self.directory).args(["test", "--offline", "--locked"]);
        match file.strip_prefix("tests/").and_then(|rest| rest.split('/').next()) {
            Some(binary) => command.args(["--test", binary]),
            None => command.arg("--lib"),
        };
        // A build directory of its own: in the crate's a broken engine would lie under the names of the
        // whole one. What the command says is of no interest, it is meant to fail.
        command
            .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants-built"))
            .env("RUST_BACKTRACE", "0")
            .env_remove("STREAMWORK_REPORT")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

/// Copies only changed files, so that the others need not be compiled again.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).expect("a directory in the build directory");
        for entry in std::fs::read_dir(from).expect("a directory of the crate") {
            let entry = entry.expect("an entry");
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else if from.is_file() && std::fs::read(from).ok() != std::fs::read(to).ok() {
        std::fs::copy(from, to).expect("a file of the crate");
    }
}
