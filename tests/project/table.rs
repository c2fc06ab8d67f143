//! `tests/README.md` says which test proves which promise; this says that they exist.

use crate::{read, root};

/// The chapters of promises, and how many each has.
const CHAPTERS: [(char, usize); 6] = [('A', 7), ('B', 4), ('C', 10), ('D', 10), ('E', 2), ('F', 5)];

/// The row of a promise: `| [A1] | what | tests |`.
fn row<'a>(table: &'a str, number: &str) -> &'a str {
    let begin = format!("| {number} |");
    let mut rows = table.lines().filter(|line| line.starts_with(&begin));
    let row = rows.next().unwrap_or_else(|| panic!("tests/README.md has no row for {number}"));
    assert!(rows.next().is_none(), "tests/README.md has two rows for {number}");
    row
}

/// The tests named in a row, as file and function: `` `tests/kill/main.rs::name` ``.
fn tests(row: &str) -> Vec<(&str, &str)> {
    row.split('`').skip(1).step_by(2).filter_map(|word| word.split_once(".rs::")).collect()
}

/// Whether the file has a function of that name with `#[test]` on it.
fn is_a_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let begin = format!("fn {name}(");
    let at = lines.iter().position(|line| line.trim_start().starts_with(&begin));
    at.is_some_and(|at| lines[..at].iter().rev().take(4).any(|line| line.trim() == "#[test]"))
}

#[test]
fn every_number_of_the_mission_has_a_test() {
    let table = read("tests/README.md");
    for (chapter, promises) in CHAPTERS {
        for number in (1..=promises).map(|n| format!("[{chapter}{n}]")) {
            let row = row(&table, &number);
            assert!(!tests(row).is_empty(), "{number} names no test");
        }
    }
    for (file, name) in table.lines().flat_map(tests) {
        let file = format!("{file}.rs");
        assert!(root().join(&file).is_file(), "tests/README.md names {file}, which is not there");
        assert!(is_a_test(&read(&file), name), "{file} has no test {name}");
    }
}
