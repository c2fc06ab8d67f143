//! The floors: a file uses only files on lower floors. `src/lib.rs` and `docs/ARCHITECTURE.md` say the
//! same in words.

use std::path::Path;

use crate::{lines_of_code, read, rust_files};

/// The modules that a module may use beside itself.
enum Uses {
    /// Everything on lower floors.
    Below,
    /// These only.
    Only(&'static [&'static str]),
    /// Everything on lower floors, and these modules of the same floor.
    BelowAnd(&'static [&'static str]),
}

use Uses::{Below, BelowAnd, Only};

/// Every module of the crate, its floor, and what it may use. A module that needs less than its
/// floor allows says so.
const MODULES: [(&str, u8, Uses); 20] = [
    ("id", 0, Only(&[])),
    ("clock", 0, Only(&[])),
    ("time", 0, Only(&["clock"])),
    ("sync", 0, Only(&[])),
    ("metrics", 0, Only(&["id"])),
    // Upwards, and alone in that: both errors carry the store's error by its type.
    ("error", 0, Only(&["id", "checkpoint"])),
    ("storage", 1, Only(&[])),
    ("checkpoint", 2, Only(&["id", "clock", "time", "storage"])),
    ("api", 2, BelowAnd(&["checkpoint"])),
    ("channel", 3, Below),
    ("state", 4, Below),
    ("delivery", 4, Below),
    ("executor", 5, Below),
    ("job", 6, Below),
    ("log", 6, Only(&["storage"])),
    ("connectors", 6, BelowAnd(&["job", "log"])),
    ("testkit", 7, Below),
    // Loops around single pieces, for benches.
    ("pieces", 7, Below),
    // Where threads meet, under many orders; a test.
    ("schedules", 7, Below),
    // The doors of the crate: declarations and re-exports.
    ("lib", 8, Below),
];

/// The tests in a file may use everything: the test kit is above what it tests. So may a file that has only tests.
fn is_tests(file: &Path) -> bool {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    name == "tests" || name.ends_with("_tests")
}

fn before_its_tests((_, line): &(usize, &str)) -> bool {
    *line != "#[cfg(test)]"
}

fn module(name: &str) -> Option<&'static (&'static str, u8, Uses)> {
    MODULES.iter().find(|(module, ..)| *module == name)
}

fn may_use(from: &str, to: &str) -> bool {
    let ((_, from_floor, uses), (_, to_floor, _)) = match (module(from), module(to)) {
        (Some(from), Some(to)) => (from, to),
        _ => return false,
    };
    from == to
        || match uses {
            Below => to_floor < from_floor,
            Only(these) => these.contains(&to),
            BelowAnd(these) => to_floor < from_floor || these.contains(&to),
        }
}

/// The module of the crate that a file belongs to, and how deep below the crate's root it is.
fn place(file: &Path) -> (String, usize) {
    let path = file.strip_prefix("src").expect("a file of the crate").with_extension("");
    let mut names: Vec<_> = path.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if names.last().is_some_and(|name| name == "mod") {
        names.pop();
    }
    let depth = if names == ["lib"] { 0 } else { names.len() };
    (names.swap_remove(0), depth)
}

/// The names that follow `crate::` in a line, and those that `super::` reaches at the crate's root.
fn used(code: &str, depth: usize) -> Vec<&str> {
    let after_crate = code.match_indices("crate::").map(|(at, word)| &code[at + word.len()..]);
    let supers = "super::".repeat(depth);
    let after_supers = code
        .match_indices(&supers)
        .filter(|_| depth > 0)
        .filter(|(at, _)| !code[..*at].ends_with("super::"))
        .map(|(at, word)| &code[at + word.len()..])
        .filter(|rest| module(name_at(rest)).is_some());
    after_crate.chain(after_supers).map(name_at).collect()
}

fn name_at(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")
}

#[test]
fn imports_go_down_only() {
    let mut wrong = Vec::new();
    for file in rust_files("src") {
        let (from, depth) = place(&file);
        assert!(module(&from).is_some(), "{}: give {from} a floor in MODULES", file.display());
        if is_tests(&file) {
            continue;
        }
        for (number, code) in lines_of_code(&read(&file)).take_while(before_its_tests) {
            for to in used(code, depth) {
                if !may_use(&from, to) {
                    wrong.push(format!("{}:{number}: {from} uses {to}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "not by way of a lower floor's own name:\n{}", wrong.join("\n"));
}

#[test]
fn the_floors_themselves_go_down_with_one_exception() {
    for (from, from_floor, uses) in &MODULES {
        let (Below, Only(these) | BelowAnd(these)) = (Below, uses) else { continue };
        for to in *these {
            let (_, to_floor, back) = module(to).expect("a module of the table");
            let upwards = to_floor > from_floor;
            assert!(!upwards || (*from, *to) == ("error", "checkpoint"), "{from} uses {to}");
            let mutual = matches!(back, Only(these) | BelowAnd(these) if these.contains(from));
            assert!(!mutual, "{from} and {to} use each other");
        }
    }
}

#[test]
fn a_path_upwards_would_be_seen() {
    assert_eq!(used("use crate::job::Job;", 2), ["job"]);
    assert_eq!(used("    crate::log::Offset::ZERO + super::super::job::x()", 2), ["log", "job"]);
    assert_eq!(used("use super::super::manifest::Manifest;", 3), [""; 0]);
    assert_eq!(place(Path::new("src/channel/mod.rs")), ("channel".to_owned(), 1));
    assert_eq!(place(Path::new("src/channel/queue.rs")), ("channel".to_owned(), 2));
    assert!(may_use("executor", "delivery") && may_use("connectors", "log"));
    assert!(!may_use("delivery", "executor") && !may_use("job", "connectors"));
    assert!(!may_use("checkpoint", "api") && !may_use("log", "error"));
}
