//! [`Copy`]: the crate in a directory where it may be broken, and what is built of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::table::Mutant;
use crate::{read, root};

/// The crate, where it may be broken.
pub(crate) struct Copy {
    directory: PathBuf,
    /// Files that are not as in the crate, with what they have there.
    changed: BTreeMap<PathBuf, String>,
    built: usize,
}

/// Which tests are built together.
#[derive(PartialEq, Eq)]
pub(crate) enum Binary {
    Unit,
    /// One module of a directory in `tests`.
    Integration {
        directory: &'static str,
        module: &'static str,
    },
}

impl Binary {
    /// The one that has a test, named `file::test`.
    pub(crate) fn of(test: &'static str) -> Self {
        let (file, _) = test.split_once("::").expect("file::test");
        match file.strip_prefix("tests/").and_then(|rest| rest.split_once('/')) {
            Some((directory, file)) => {
                Self::Integration { directory, module: file.trim_end_matches(".rs") }
            }
            None => Self::Unit,
        }
    }
}

/// A test binary that has been built. Its file is removed when it is dropped.
pub(crate) struct Executable {
    pub(crate) path: PathBuf,
    /// Where its package lies.
    pub(crate) package: PathBuf,
}

impl Drop for Executable {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Copy {
    pub(crate) fn make() -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
        for part in
            ["src", "tests", "examples", "benches/pieces", "Cargo.toml", "Cargo.lock", "README.md"]
        {
            copy(&root().join(part), &directory.join(part));
        }
        Self { directory, changed: BTreeMap::new(), built: 0 }
    }

    /// Builds a binary, with a broken crate if a mutant is given. `None` if it does not compile.
    pub(crate) fn build(&mut self, binary: &Binary, mutant: Option<&Mutant>) -> Option<Executable> {
        let mut changed = BTreeMap::new();
        if let Some(mutant) = mutant {
            let broken = read(&root().join(mutant.file)).replace(mutant.whole, mutant.broken);
            changed.insert(PathBuf::from(mutant.file), broken);
        }
        let target = match *binary {
            Binary::Unit => vec!["--lib"],
            Binary::Integration { directory, module } => {
                let main = Path::new("tests").join(directory).join("main.rs");
                changed.insert(main, main_of_one_module(directory, module));
                vec!["--test", directory]
            }
        };
        self.change(changed);
        let built = self.cargo(&target)?;
        // A name of its own: the next build writes to the same file while this one runs.
        self.built += 1;
        let path = built.with_file_name(format!("mutant-{}", self.built));
        std::fs::rename(built, &path).expect("a file of the build directory");
        Some(Executable { path, package: self.directory.clone() })
    }

    /// Makes the copy differ from the crate in these files and no others. What stays as it is is not written, so that
    /// it need not be compiled again.
    fn change(&mut self, to: BTreeMap<PathBuf, String>) {
        for path in self.changed.keys().filter(|path| !to.contains_key(*path)) {
            let whole = read(&root().join(path));
            std::fs::write(self.directory.join(path), whole).expect("the copy is ours");
        }
        for (path, text) in &to {
            if self.changed.get(path) != Some(text) {
                std::fs::write(self.directory.join(path), text).expect("the copy is ours");
            }
        }
        self.changed = to;
    }

    /// Builds one target. Where cargo put it.
    fn cargo(&self, target: &[&str]) -> Option<PathBuf> {
        let built = Command::new(env!("CARGO"))
            .current_dir(&self.directory)
            .args(["test", "--offline", "--locked", "--no-run", "--message-format", "json"])
            .args(target)
            // A build directory of its own: in the crate's a broken engine would lie under the names of the
            // whole one.
            .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants-built"))
            // Nobody looks at where a test failed, and most of the time of a build would go there.
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .stderr(Stdio::null())
            .output()
            .expect("cargo can be started");
        let messages = String::from_utf8(built.stdout).expect("cargo writes text");
        let mut executables = messages.lines().filter_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(PathBuf::from(message["executable"].as_str()?))
        });
        executables.next_back().filter(|_| built.status.success())
    }
}

/// The main file of a test binary with one of its modules, and those which that one needs: a binary of all modules
/// takes ten times as long to build.
fn main_of_one_module(directory: &str, module: &str) -> String {
    let directory = root().join("tests").join(directory);
    let file_of = |module: &str| directory.join(module).with_extension("rs");
    let (mut needed, mut unread) = (BTreeSet::new(), vec![module.to_owned()]);
    while let Some(module) = unread.pop() {
        if file_of(&module).is_file() && needed.insert(module.clone()) {
            unread.extend(names_before_colons(&read(&file_of(&module))));
        }
    }
    let is_left_out = |line: &&str| {
        let module = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'));
        module.is_some_and(|module| file_of(module).is_file() && !needed.contains(module))
    };
    let main = read(&directory.join("main.rs"));
    main.lines().filter(|line| !is_left_out(line)).flat_map(|line| [line, "\n"]).collect()
}

/// What may be the name of a module.
fn names_before_colons(text: &str) -> impl Iterator<Item = String> {
    let name_at_the_end = |part: &str| {
        let name = part.rsplit(|c: char| c != '_' && !c.is_alphanumeric()).next();
        name.unwrap_or_default().to_owned()
    };
    let mut parts: Vec<_> = text.split("::").map(name_at_the_end).collect();
    parts.pop();
    parts.into_iter()
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
