//! Deliberately broken engines: for each the table names the test that must fail. A test suite that
//! passes on a broken engine proves nothing.
//!
//! `cargo test --test mutants -- --ignored` breaks a copy of the crate in each way of the table and runs the
//! named test on it. It builds the crate many times, so it is not part of `cargo test`, which only checks that
//! each change of the table still applies. `STREAMWORK_MUTANTS=words` chooses the mutants with these words in
//! their name.
//!
//! Each test is first run on the unbroken crate, where it must pass. While one crate is built, the test of the
//! crate before it runs:
//!
//! ```text
//!   builder    whole 1 | broken 1a | broken 1b | whole 2 | broken 2a | ...
//!   runner               whole 1   | broken 1a | broken 1b | whole 2 | ...
//! ```

#[path = "../tier/mod.rs"]
mod tier;

mod copy;
mod table;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use copy::{Binary, Copy, Executable};
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
    let some = std::env::var("STREAMWORK_MUTANTS").unwrap_or_default();
    let mut chosen: Vec<_> = MUTANTS.iter().filter(|row| row.name.contains(&some)).collect();
    // Those of one binary in a row, so that as little as possible is built.
    chosen.sort_by_key(|mutant| mutant.killed_by);
    let mut copy = Copy::make();
    let (built, to_run) = sync_channel(16);
    let surprises = std::thread::scope(|scope| {
        let runner = scope.spawn(|| run_all(to_run));
        let run = |trial, executable| built.send((trial, executable)).expect("the runner is there");
        for rows in chosen.chunk_by(|one, next| binary(one) == binary(next)) {
            let whole = copy.build(&binary(rows[0]), None).map(Arc::new);
            for tests in rows.chunk_by(|one, next| one.killed_by == next.killed_by) {
                let test = tests[0].killed_by;
                let trial = Trial { name: "unbroken", test, expected: Verdict::Passed };
                run(trial, whole.clone());
            }
            for mutant in rows {
                let test = mutant.killed_by;
                let trial = Trial { name: mutant.name, test, expected: Verdict::Failed };
                run(trial, copy.build(&binary(mutant), Some(mutant)).map(Arc::new));
            }
        }
        drop(built);
        runner.join().expect("the runner does not panic")
    });
    assert!(surprises.is_empty(), "not as expected: {surprises:#?}");
    let (test, done) =
        ("every_mutant_is_caught_by_the_test_that_is_named_for_it", chosen.len() as u64);
    tier::report(0, test, done, "mutants", 0, began.elapsed());
}

fn binary(mutant: &Mutant) -> Binary {
    Binary::of(mutant.killed_by)
}

/// A crate, broken or not, and what its test must say.
#[derive(Debug)]
struct Trial {
    name: &'static str,
    /// `file::test`.
    test: &'static str,
    expected: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    DidNotBuild,
    TookTooLong,
}

/// Runs what has been built, in order. Returns what did not end as expected.
fn run_all(to_run: Receiver<(Trial, Option<Arc<Executable>>)>) -> Vec<(Trial, Verdict)> {
    let mut surprises = Vec::new();
    for (trial, executable) in to_run {
        let began = Instant::now();
        let verdict = executable.map_or(Verdict::DidNotBuild, |built| run(&built, &trial));
        let took = began.elapsed().as_secs_f64();
        println!("{}: {verdict:?} by {} in {took:.1} s", trial.name, trial.test);
        if verdict != trial.expected {
            surprises.push((trial, verdict));
        }
    }
    surprises
}

/// Runs the named test. On a broken crate that is the long tier, in which a random test is repeated until it
/// fails or its time is over.
fn run(executable: &Executable, trial: &Trial) -> Verdict {
    let (_, test) = trial.test.split_once("::").expect("file::test");
    let tier = if trial.expected == Verdict::Failed { "long" } else { "quick" };
    // What it says is of no interest, it is meant to fail.
    let mut child = Command::new(&executable.path)
        .args(["--quiet", test])
        .current_dir(&executable.package)
        .env("STREAMWORK_TIER", tier)
        .env("RUST_BACKTRACE", "0")
        .env_remove("STREAMWORK_REPORT")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("what was built can be started");
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("it can be asked") {
            return if status.success() { Verdict::Passed } else { Verdict::Failed };
        }
        if began.elapsed() > Duration::from_secs(120) {
            // The whole group: a test may have started processes.
            let group = format!("-{}", child.id());
            let killed = Command::new("kill").args(["-KILL", "--", &group]).status();
            assert!(killed.expect("kill can be started").success(), "the test goes on");
            let _ = child.wait();
            return Verdict::TookTooLong;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
