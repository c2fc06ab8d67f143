//! A crate that depends on this one by path, made in the target directory: its program runs, and wrong
//! uses of the crate do not compile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use crate::{read, root};

/// The crate, written once for all tests. Its `main.rs` is `outside/main.rs`; every file in `ui` is a
/// separate binary.
static OUTSIDE: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside");
    let binaries = directory.join("src/bin");
    // Sources of an earlier run are removed; what was compiled is used again.
    let _ = fs::remove_dir_all(directory.join("src"));
    fs::create_dir_all(&binaries).expect("the target directory can be written");
    let manifest = format!(
        "[package]\nname = \"outside\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\nstreamwork = {{ path = {:?} }}\n",
        root()
    );
    fs::write(directory.join("Cargo.toml"), manifest).expect("a manifest");
    // The same versions as here, which are on this machine already.
    fs::write(directory.join("Cargo.lock"), read("Cargo.lock")).expect("a lock file");
    fs::write(directory.join("src/main.rs"), read("tests/project/outside/main.rs")).expect("main");
    for case in cases() {
        let text = read(format!("tests/project/ui/{case}.rs"));
        fs::write(binaries.join(format!("{case}.rs")), text).expect("a case");
    }
    directory
});

fn cases() -> Vec<String> {
    let entries = fs::read_dir(root().join("tests/project/ui")).expect("a directory of cases");
    let paths = entries.map(|entry| entry.expect("an entry of it").path());
    let mut cases: Vec<String> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    cases.sort();
    cases
}

fn cargo(arguments: &[&str]) -> Output {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Command::new(cargo)
        .args(arguments)
        .args(["--offline", "--color", "never"])
        .current_dir(&*OUTSIDE)
        .env("CARGO_TARGET_DIR", OUTSIDE.join("target"))
        .output()
        .expect("cargo can be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_crate_that_depends_on_this_one_by_path_builds_and_runs() {
    let ran = cargo(&["run", "--bin", "outside"]);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let expected = "at-most-once: 0 + 1 + … + 999 = 499500\n\
                    at-least-once: 0 + 1 + … + 999 = 499500\n\
                    at-least-once-checkpoint: 0 + 1 + … + 999 = 499500\n\
                    exactly-once: 0 + 1 + … + 999 = 499500\n";
    assert_eq!(text(&ran.stdout), expected);
}

/// Beside each case lies what the compiler must say about it: every line of `NAME.stderr` occurs in
/// its message, in that order. The rest of the message is the compiler's and changes with it.
#[test]
fn what_does_not_fit_does_not_compile_and_says_what_to_do() {
    let cases = cases();
    assert!(!cases.is_empty());
    for case in cases {
        let built = cargo(&["build", "--bin", &case]);
        let said = text(&built.stderr);
        assert!(!built.status.success(), "{case} compiles");
        let expected = read(format!("tests/project/ui/{case}.stderr"));
        assert!(!expected.is_empty(), "{case}: nothing is expected of the message");
        let mut rest = said.as_str();
        for line in expected.lines() {
            let Some(at) = rest.find(line) else {
                panic!("{case}: {line:?} not found in:\n{said}")
            };
            rest = &rest[at + line.len()..];
        }
    }
}
