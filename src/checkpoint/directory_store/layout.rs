//! The names of files and directories: which exist, how they are made, what they tell. Pure; touches no disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write},
    ops::Range,
    path::{Component, Path, PathBuf},
};

use super::super::{
    manifest::{Location, Manifest},
    unit::{PartName, Unit},
};
use crate::id::{CheckpointId, ExecutionId};

pub(super) const LOCK: &str = "LOCK";
pub(super) const EXECUTION: &str = "EXECUTION";
pub(super) const MANIFEST: &str = "MANIFEST";
/// Beside parts that manifests of later checkpoints refer to, or have referred to.
pub(super) const REFERENCED: &str = "REFERENCED";
pub(super) const POSITIONS: &str = "positions";

/// One attempt at one checkpoint, which has a directory of its own: a checkpoint taken again by a later execution never
/// meets what an earlier one left. Ordered by age: every attempt of an execution is older than any of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attempt {
    pub(super) execution: ExecutionId,
    pub(super) checkpoint: CheckpointId,
}

impl Attempt {
    pub(super) fn of(manifest: &Manifest) -> Self {
        Self { execution: manifest.execution, checkpoint: manifest.checkpoint }
    }

    /// The checkpoint for which a part was written.
    pub(super) fn of_location(at: &Location) -> Self {
        Self { execution: at.execution, checkpoint: at.checkpoint }
    }

    pub(super) fn path(self, root: &Path) -> PathBuf {
        root.join(self.to_string())
    }

    /// The name that it gets when it is found damaged, the `nth` time that this name is needed.
    pub(super) fn set_aside_name(self, nth: usize) -> String {
        format!("{SET_ASIDE}{nth}-{self}")
    }

    /// Reads a directory's name; `None` for any name that is not exactly one given by `to_string`.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (checkpoint, execution) = name.strip_prefix("chk-")?.split_once("-x")?;
        let attempt = Self {
            execution: ExecutionId(execution.parse().ok()?),
            checkpoint: CheckpointId(checkpoint.parse().ok()?),
        };
        (attempt.to_string() == name).then_some(attempt)
    }

    /// Reads the name of a directory that was set aside.
    pub(super) fn parse_set_aside(name: &str) -> Option<Self> {
        let (_nth, name) = name.strip_prefix(SET_ASIDE)?.split_once('-')?;
        Self::parse(name)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { execution: ExecutionId(execution), checkpoint: CheckpointId(checkpoint) } = self;
        write!(f, "chk-{checkpoint:020}-x{execution}")
    }
}

/// Where a part lies within the directory of its checkpoint; what the manifest says of it in one word.
///
/// ```text
/// counter-9a3b…-0.part            a file of its own
/// counter-9a3b…-0.parts@128+77    the 77 bytes from byte 128 on, in a file that several parts share
/// ```
///
/// No file that a part is written to has an `@` in its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// The name of the file.
    pub(super) file: &'a str,
    /// The bytes in it, or `None` for all of them.
    pub(super) range: Option<Range<u64>>,
}

impl<'a> Place<'a> {
    /// Reads what a manifest says; `None` for any word that is not exactly one given by `to_string`, or that would lead out of
    /// the checkpoint's directory.
    pub(super) fn parse(word: &'a str) -> Option<Self> {
        let place = match word.split_once('@') {
            None => Self { file: word, range: None },
            Some((file, range)) => {
                let (start, bytes) = range.split_once('+')?;
                let (start, bytes) = (start.parse().ok()?, bytes.parse().ok()?);
                Self { file, range: Some(start..u64::checked_add(start, bytes)?) }
            }
        };
        (is_plain(place.file) && place.to_string() == word).then_some(place)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, range } = self;
        match range {
            None => f.write_str(file),
            Some(Range { start, end }) => write!(f, "{file}@{start}+{}", end - start),
        }
    }
}

/// The files that a manifest names, by the attempts that they were written for.
pub(super) fn files_of(manifest: &Manifest) -> BTreeMap<Attempt, BTreeSet<&str>> {
    let mut files = BTreeMap::<_, BTreeSet<_>>::new();
    for part in &manifest.parts {
        files.entry(Attempt::of_location(&part.at)).or_default().insert(file_of(&part.at));
    }
    files
}

/// The file in which a part lies.
pub(super) fn file_of(at: &Location) -> &str {
    Place::parse(&at.file).map_or(&*at.file, |place| place.file)
}

pub(super) fn part_file(name: &PartName) -> String {
    format!("{}.part", stem(name))
}

/// The file that several parts share, called after the first of them: parts that are written at the same time for one
/// checkpoint, by several calls, so go to several files.
pub(super) fn shared_file(first: &PartName) -> String {
    format!("{}.parts", stem(first))
}

pub(super) fn position_file(name: &PartName) -> String {
    format!("{}.pos", stem(name))
}

/// The name under which a file is written before it is renamed into its place.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

/// Whether something of this name in the store's directory is the store's.
pub(super) fn is_of_a_store(name: &str) -> bool {
    let name = without_temporary(name);
    [LOCK, EXECUTION, POSITIONS].contains(&name)
        || Attempt::parse(name).is_some()
        || Attempt::parse_set_aside(name).is_some()
}

/// Whether a file of this name in the directory of a checkpoint is the store's.
pub(super) fn is_of_a_checkpoint(name: &str) -> bool {
    let name = without_temporary(name);
    [MANIFEST, REFERENCED].contains(&name) || name.ends_with(".part") || name.ends_with(".parts")
}

/// Whether a file of this name in the directory of positions is the store's.
pub(super) fn is_of_positions(name: &str) -> bool {
    without_temporary(name).ends_with(".pos")
}

fn without_temporary(name: &str) -> &str {
    name.strip_suffix(".tmp").unwrap_or(name)
}

/// Whether a file name that was read from a manifest stays within the checkpoint's directory.
fn is_plain(file: &str) -> bool {
    let mut components = Path::new(file).components();
    matches!(components.next(), Some(Component::Normal(_))) && components.next().is_none()
}

/// A file name for any component name: readable as far as it is harmless, told apart by a hash where that is not enough
/// (long names, file systems that do not tell capitals from small letters).
fn stem(name: &PartName) -> String {
    let mut stem = String::new();
    for byte in name.component.bytes() {
        if stem.len() >= READABLE_BYTES {
            break;
        }
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => stem.push(char::from(byte)),
            _ => write!(stem, "%{byte:02x}").expect("a string takes all that is written"),
        }
    }
    let hash = fnv_1a(name.component.as_bytes());
    match (&name.unit, &*name.state) {
        (Unit::Instance(instance), "") => format!("{stem}-{hash:016x}-{instance}"),
        // What tells the units of a state apart may be long too.
        _ => format!("{stem}-{hash:016x}-{:016x}", fnv_1a(name.to_string().as_bytes())),
    }
}

/// Fowler, Noll and Vo's hash: the same on every machine and in every version.
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

const SET_ASIDE: &str = "damaged-";

/// With the hash, the instance and the extension this stays far below the 255 bytes that file systems allow.
const READABLE_BYTES: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_from_its_word() {
        for (word, file, range) in [
            ("counter-00-0.part", "counter-00-0.part", None),
            ("counter-00-0.parts@0+77", "counter-00-0.parts", Some(0..77)),
            ("counter-00-0.parts@128+0", "counter-00-0.parts", Some(128..128)),
            ("x@18446744073709551614+1", "x", Some(u64::MAX - 1..u64::MAX)),
        ] {
            let place = Place { file, range };
            assert_eq!(place.to_string(), word);
            assert_eq!(Place::parse(word), Some(place));
        }
    }

    #[test]
    fn a_word_that_no_store_has_written_is_no_place() {
        for word in [
            "",
            "@",
            "@0+1",
            "x@",
            "x@0",
            "x@0+",
            "x@+1",
            "x@0+1+1",
            "x@0+1@0+1",
            "x@00+1",
            "x@0+01",
            "x@+0+1",
            "x@0++1",
            "x@-1+2",
            "x@0-1",
            "x@ 0+1",
            "x@0+1 ",
            "x@0x0+1",
            "x@18446744073709551616+1",
            "x@18446744073709551615+1",
            "..",
            "../x",
            "/x",
            "x/y",
            "..@0+1",
            "../x@0+1",
            "/x@0+1",
            "x/y@0+1",
            ".@0+1",
        ] {
            assert_eq!(Place::parse(word), None, "{word}");
        }
    }

    #[test]
    fn no_file_that_parts_are_written_to_looks_like_a_place_in_another() {
        for component in ["a@0+1", "@", "a.parts@0+1", ""] {
            let name = PartName::new(component, 0);
            for file in [part_file(&name), shared_file(&name)] {
                let whole = Place { file: &file, range: None };
                assert_eq!(Place::parse(&file), Some(whole));
            }
            assert_ne!(part_file(&name), shared_file(&name));
        }
    }
}
