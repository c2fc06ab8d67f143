//! `promises.txt` says which tests prove which promise. Here it is checked that those tests exist, and
//! that `docs/TESTS.md`, which is generated from it, is up to date.
//!
//! `STREAMWORK_WRITE=1 cargo test --test project promises` writes the page.

use std::fmt::Write;
use std::fs;

use crate::{read, root};

const SOURCE: &str = "tests/project/promises.txt";
const PAGE: &str = "docs/TESTS.md";

/// How many numbered promises each chapter has.
const NUMBERED: [(char, usize); 6] = [('A', 7), ('B', 4), ('C', 10), ('D', 10), ('E', 2), ('F', 5)];

/// The chapter of the promises that no test proves.
const UNPROVEN: &str = "What no test proves yet";

struct Chapter<'a> {
    title: &'a str,
    promises: Vec<Promise<'a>>,
}

struct Promise<'a> {
    /// The text of the promise; it begins with the number in brackets if it has one.
    text: &'a str,
    /// `tests/kill/main.rs::name`.
    tests: Vec<&'a str>,
}

impl<'a> Promise<'a> {
    fn number(&self) -> Option<&'a str> {
        self.text.strip_prefix('[')?.split_once(']').map(|(number, _)| number)
    }
}

fn chapters(source: &str) -> Vec<Chapter<'_>> {
    let mut chapters: Vec<Chapter<'_>> = Vec::new();
    let lines = source.lines().skip_while(|line| !line.starts_with("## "));
    for line in lines.filter(|line| !line.trim().is_empty()) {
        if let Some(title) = line.strip_prefix("## ") {
            chapters.push(Chapter { title, promises: Vec::new() });
            continue;
        }
        let promises = &mut chapters.last_mut().expect("the first line is a chapter").promises;
        if line.starts_with(' ') {
            let promise = promises.last_mut().unwrap_or_else(|| panic!("no promise above: {line}"));
            promise.tests.push(line.trim());
        } else {
            promises.push(Promise { text: line, tests: Vec::new() });
        }
    }
    chapters
}

/// A test as it is written in the source, in two: the file and the function.
fn file_and_name(test: &str) -> (&str, &str) {
    test.split_once("::").unwrap_or_else(|| panic!("{SOURCE}: {test} is not FILE::TEST"))
}

/// Whether the file has a function of that name with `#[test]` on it.
fn is_a_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let begin = format!("fn {name}(");
    let at = lines.iter().position(|line| line.trim_start().starts_with(&begin));
    at.is_some_and(|at| lines[..at].iter().rev().take(4).any(|line| line.trim() == "#[test]"))
}

/// The errors in the source, a line for each.
fn faults(chapters: &[Chapter<'_>]) -> Vec<String> {
    let mut faults = Vec::new();
    let (unproven, proven): (Vec<_>, Vec<_>) =
        chapters.iter().partition(|chapter| chapter.title == UNPROVEN);
    let promises = || proven.iter().flat_map(|chapter| &chapter.promises);

    for (chapter, promised) in NUMBERED {
        for number in (1..=promised).map(|n| format!("{chapter}{n}")) {
            match promises().filter(|promise| promise.number() == Some(&number)).count() {
                0 => faults.push(format!("{number} is missing")),
                1 => {}
                _ => faults.push(format!("{number} is there twice")),
            }
        }
    }
    for promise in promises() {
        if promise.tests.is_empty() {
            faults.push(format!("no test proves: {}", promise.text));
        }
        for (at, test) in promise.tests.iter().enumerate() {
            let (file, name) = file_and_name(test);
            if promise.tests[..at].contains(test) {
                faults.push(format!("twice under one promise: {test}"));
            } else if !root().join(file).is_file() {
                faults.push(format!("there is no file {file}"));
            } else if !is_a_test(&read(file), name) {
                faults.push(format!("{file} has no test {name}"));
            }
        }
    }
    for promise in unproven.iter().flat_map(|chapter| &chapter.promises) {
        if !promise.tests.is_empty() {
            faults.push(format!("listed as unproven, with a test: {}", promise.text));
        }
    }
    faults
}

fn page(chapters: &[Chapter<'_>]) -> String {
    let mut page = format!(
        "# What is promised, and which test proves it\n\n\
         Generated from `{SOURCE}`. [GUARANTEES.md](GUARANTEES.md) explains the promises,\n\
         [tests/README.md](../tests/README.md) how to run the tests.\n"
    );
    let mut line = |text: std::fmt::Arguments<'_>| {
        page.write_fmt(text).expect("a string takes everything");
        page.push('\n');
    };
    for chapter in chapters {
        line(format_args!("\n## {}", chapter.title));
        for promise in &chapter.promises {
            let number = promise.number().unwrap_or_default();
            let text = promise.text.trim_start_matches(&format!("[{number}] "));
            match number {
                "" => line(format_args!("\n**{text}**\n")),
                _ => line(format_args!("\n**{number}: {text}**\n")),
            }
            for (file, name) in promise.tests.iter().map(|test| file_and_name(test)) {
                line(format_args!("- `{name}` in [{file}](../{file})"));
            }
        }
    }
    page
}

#[test]
fn every_promise_has_a_test_that_exists() {
    let source = read(SOURCE);
    let faults = faults(&chapters(&source));
    assert!(faults.is_empty(), "{SOURCE}:\n{}", faults.join("\n"));
}

#[test]
fn the_page_of_promises_is_up_to_date() {
    let source = read(SOURCE);
    let page = page(&chapters(&source));
    if std::env::var_os("STREAMWORK_WRITE").is_some() {
        fs::write(root().join(PAGE), &page).expect("the page can be written");
    }
    assert!(
        page == read(PAGE),
        "{PAGE} is out of date: STREAMWORK_WRITE=1 cargo test --test project promises"
    );
}

#[test]
fn a_missing_number_a_promise_without_a_test_and_a_test_that_is_not_there_are_found() {
    let source = read(SOURCE);
    let faults_after = |from: &str, to: &str| {
        assert_eq!(source.matches(from).count(), 1, "{from} occurs once");
        let changed = source.replacen(from, to, 1);
        faults(&chapters(&changed)).join("\n")
    };
    assert_eq!(faults_after("\n[E2] ", "\n[E3] "), "E2 is missing");
    assert_eq!(faults_after("\n[E2] ", "\n[E1] "), "E1 is there twice\nE2 is missing");
    assert_eq!(faults_after("\n[E2] ", "\nnew\n\n[E2] "), "no test proves: new");
    let here = "tests/project/names.rs::the_names_of_the_guarantees_stay_in_delivery";
    assert_eq!(
        faults_after(here, "tests/project/names.rs::renamed"),
        "tests/project/names.rs has no test renamed"
    );
    assert_eq!(faults_after(here, "tests/gone.rs::renamed"), "there is no file tests/gone.rs");
}
