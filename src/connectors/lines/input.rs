//! Which files a source of lines reads, the name of each as a split, and its path.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirEntry};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::error::LinesError;

/// The name of the split of a single file: its position is valid in a copy at any other path.
const ONLY: &str = "file";

/// Ends of the names of files that are still being written.
const UNFINISHED: [&str; 2] = [".tmp", ".part"];

/// The files.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// One file, at any path.
    File(PathBuf),
    /// Named files, by the path that was given, each with its resolved path.
    Files(BTreeMap<String, PathBuf>),
    /// The files of a directory, by their names in it.
    Directory(Directory),
}

/// A directory, and which of its files are read.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    path: PathBuf,
    pub(super) matching: Option<Matching>,
    pub(super) discover_every: Option<Duration>,
}

/// A choice of files by their names.
#[derive(Clone)]
pub(super) struct Matching(Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl Matching {
    pub(super) fn new(matches: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(matches))
    }
}

impl fmt::Debug for Matching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Matching")
    }
}

impl Input {
    pub(super) fn file(path: PathBuf) -> Self {
        Self::File(absolute(path))
    }

    /// These files, each identified by its path as it is given.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub(super) fn files(paths: impl Iterator<Item = PathBuf>) -> Result<Self, String> {
        let (mut files, mut names) = (BTreeMap::new(), BTreeMap::new());
        for given in paths {
            let Some(name) = given.to_str().map(str::to_owned) else {
                return Err(format!("{}: the path is not UTF-8", given.display()));
            };
            let path = absolute(given);
            if let Some(other) = names.insert(path.clone(), name.clone()) {
                return Err(format!("\"{other}\" and \"{name}\" are one file"));
            }
            files.insert(name, path);
        }
        Ok(Self::Files(files))
    }

    pub(super) fn directory(path: PathBuf) -> Self {
        let path = absolute(path);
        Self::Directory(Directory { path, matching: None, discover_every: None })
    }

    /// Whether there is one file and never another.
    pub(super) fn is_one_file(&self) -> bool {
        match self {
            Self::File(_) => true,
            Self::Files(files) => files.len() == 1,
            Self::Directory(_) => false,
        }
    }

    /// The named files, which must exist.
    pub(super) fn named(&self) -> Box<dyn Iterator<Item = &PathBuf> + '_> {
        match self {
            Self::File(path) => Box::new(std::iter::once(path)),
            Self::Files(files) => Box::new(files.values()),
            Self::Directory(_) => Box::new(std::iter::empty()),
        }
    }

    /// Whether a file may be removed without an error.
    pub(super) fn is_directory(&self) -> bool {
        matches!(self, Self::Directory(_))
    }

    /// How often to list the files, if more than once.
    pub(super) fn discover_every(&self) -> Option<Duration> {
        match self {
            Self::Directory(directory) => directory.discover_every,
            Self::File(_) | Self::Files(_) => None,
        }
    }

    /// The names of all files.
    pub(super) fn names(&self) -> Result<Vec<String>, LinesError> {
        match self {
            Self::File(_) => Ok(vec![ONLY.to_owned()]),
            Self::Files(files) => Ok(files.keys().cloned().collect()),
            Self::Directory(directory) => directory.names(),
        }
    }

    /// The path of the file with this name.
    pub(super) fn path_of(&self, name: &str) -> Option<PathBuf> {
        match self {
            Self::File(path) => (name == ONLY).then(|| path.clone()),
            Self::Files(files) => files.get(name).cloned(),
            Self::Directory(directory) => Some(directory.path.join(name)),
        }
    }
}

impl Directory {
    fn names(&self) -> Result<Vec<String>, LinesError> {
        let failed = || LinesError::io("list", &self.path);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed())? {
            names.extend(self.name_of(&entry.map_err(failed())?)?);
        }
        Ok(names)
    }

    /// The name of an entry, if it is a file to be read.
    fn name_of(&self, entry: &DirEntry) -> Result<Option<String>, LinesError> {
        let name = entry.file_name();
        let shown = name.to_string_lossy();
        if shown.starts_with('.') || UNFINISHED.iter().any(|end| shown.ends_with(end)) {
            return Ok(None);
        }
        let matches = |Matching(matches): &Matching| name.to_str().is_none_or(|name| matches(name));
        if !self.matching.as_ref().is_none_or(matches) || !is_file(entry)? {
            return Ok(None);
        }
        match name.into_string() {
            Ok(name) => Ok(Some(name)),
            Err(_) => Err(LinesError::FileName { path: entry.path() }),
        }
    }
}

/// Whether it is a file, or a link to one. A removed entry is not.
fn is_file(entry: &DirEntry) -> Result<bool, LinesError> {
    let path = entry.path();
    let kind = entry.file_type().and_then(|kind| match kind.is_symlink() {
        true => fs::metadata(&path).map(|behind| behind.file_type()),
        false => Ok(kind),
    });
    match kind.map_err(LinesError::io("look at", &path)) {
        Ok(kind) => Ok(kind.is_file()),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Without a working directory a relative path cannot be resolved; `setup` then fails with that error.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(input: &Input) -> Vec<String> {
        let mut names = input.names().expect("the directory can be listed");
        names.sort();
        names
    }

    #[test]
    fn a_directory_gives_its_files_that_are_finished_and_match() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["a.csv", "b.csv", "c.txt", ".hidden.csv", "d.csv.tmp", "e.csv.part"] {
            fs::write(directory.path().join(name), "").expect("written");
        }
        fs::create_dir(directory.path().join("f.csv")).expect("made");
        let mut input = Input::directory(directory.path().to_owned());
        assert_eq!(names(&input), ["a.csv", "b.csv", "c.txt"]);
        if let Input::Directory(directory) = &mut input {
            directory.matching = Some(Matching::new(|name| name.ends_with(".csv")));
        }
        assert_eq!(names(&input), ["a.csv", "b.csv"]);
    }

    #[test]
    fn files_that_were_named_are_known_by_what_was_given_and_lie_where_the_program_was() {
        let given = ["data/a", "/b"].map(PathBuf::from);
        let input = Input::files(given.into_iter()).expect("two files");
        assert_eq!(names(&input), ["/b", "data/a"]);
        let here = std::env::current_dir().expect("a working directory");
        assert_eq!(input.path_of("data/a"), Some(here.join("data/a")));
        assert_eq!(input.path_of("c"), None);
        let twice = ["a", "./a"].map(PathBuf::from);
        let refused = Input::files(twice.into_iter()).expect_err("one file");
        assert_eq!(refused, "\"a\" and \"./a\" are one file");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_file_is_a_file_and_a_link_to_nothing_is_none() {
        use std::os::unix::fs::symlink;
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), "").expect("written");
        symlink(at("file"), at("link")).expect("linked");
        symlink(at("nothing"), at("broken")).expect("linked");
        symlink(directory.path(), at("directory")).expect("linked");
        assert_eq!(names(&Input::directory(directory.path().to_owned())), ["file", "link"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_whose_name_is_no_text_is_refused_by_its_name_and_not_left_out() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(OsStr::from_bytes(b"odd\xff.csv"));
        fs::write(&path, "").expect("written");
        let input = Input::directory(directory.path().to_owned());
        let error = input.names().expect_err("it cannot be named");
        assert!(
            matches!(&error, LinesError::FileName { path: named } if *named == path),
            "{error}"
        );
    }
}
