//! Cases from the test suites of other systems: what goes in, when, and what has to come out.
//!
//! `cargo test --test conformance` runs every case of `tests/conformance/cases`, `STREAMWORK_CASES=DIRECTORY` those of
//! another directory. Each case names the project, file, test and commit in which it was read. A case whose result
//! differs from ours on purpose, or that needs what is not there, is *not applicable*, and its reason is printed.
//!
//! It is a program of its own (`harness = false`), so that its last line is seen without `--nocapture`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

mod watermarks;

/// What became of a case.
enum Outcome {
    Passed,
    Failed(String),
    NotApplicable(String),
}

/// What a case asks for that is not there yet, by the field of its operator.
const NOT_THERE: [(&str, &str); 6] = [
    ("window", "windows are not there yet"),
    ("join", "joins are not there yet"),
    ("top", "top is not there yet"),
    ("latest", "latest is not there yet"),
    ("async", "async operators are not there yet"),
    ("nexmark", "the queries of Nexmark are not there yet"),
];

fn run(case: &Value) -> Outcome {
    if case["agrees"] == Value::Bool(false) {
        let note = case["note"].as_str().unwrap_or("it differs from ours on purpose");
        return Outcome::NotApplicable(note.to_owned());
    }
    let operator = &case["operator"];
    let has = |field: &str| !operator[field].is_null();
    let result = if has("combine") {
        watermarks::combine(case)
    } else if has("generate") {
        watermarks::generate(case)
    } else {
        let not_there = NOT_THERE.iter().find(|(field, _)| has(field));
        let reason = not_there.map_or("no operator of this kind is known", |(_, reason)| reason);
        return Outcome::NotApplicable(reason.to_owned());
    };
    match result {
        Ok(()) => Outcome::Passed,
        Err(what) => Outcome::Failed(what),
    }
}

/// The files of a directory that hold cases, in the order of their names.
fn case_files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.expect("an entry of the directory").path());
    let mut files: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|of| of == "json")).collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no cases", directory.display());
    files
}

fn read(file: &Path) -> Value {
    let text = std::fs::read_to_string(file);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let read = serde_json::from_str(&text);
    read.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn main() -> ExitCode {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/cases");
    let directory = std::env::var_os("STREAMWORK_CASES").map_or_else(own, PathBuf::from);
    let (mut passed, mut failed, mut not_applicable) = (0, 0, 0);
    for file in case_files(&directory) {
        let cases = read(&file);
        let family = cases["family"].as_str().unwrap_or_default();
        let list = cases["cases"].as_array();
        let list = list.unwrap_or_else(|| panic!("{} has no list of cases", file.display()));
        for case in list {
            let name =
                format!("{family}/{}", case["id"].as_str().unwrap_or("a case without a name"));
            match run(case) {
                Outcome::Passed => passed += 1,
                Outcome::Failed(what) => {
                    failed += 1;
                    println!("failed: {name}: {what}");
                }
                Outcome::NotApplicable(reason) => {
                    not_applicable += 1;
                    println!("not applicable: {name}: {reason}");
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed, {not_applicable} not applicable");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
