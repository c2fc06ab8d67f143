//! Rules for the project as a whole: which floor uses which, where the guarantees may be named, that
//! every promise has its test, and that a crate that depends on this one compiles and runs.

mod floors;
mod names;
mod outside;
mod promises;

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the project.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a directory of the project, with their paths from the project's root.
fn rust_files(below: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![root().join(below)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory of the project") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(root()).expect("it is below the root").to_owned());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no Rust file below {below}");
    found
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of a Rust file with their numbers, comments taken out.
fn lines_of_code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(number, line)| {
        let code = line.find("//").map_or(line, |comment| &line[..comment]);
        (number + 1, code)
    })
}
