//! Files and directories as a process sees them, as they are safe, and all changes in between: what a power
//! failure does to each of those is decided here, and nowhere else.

use std::collections::BTreeMap;

use crate::testkit::random::Random;

/// What a disk writes whole, whatever it is about when the power goes: but for the one piece that it is at.
const SECTOR_BYTES: usize = 512;

/// A file or a directory.
#[derive(Clone, Debug)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

/// A file's content.
#[derive(Clone, Debug, Default)]
pub(super) struct FileNode {
    seen: Vec<u8>,
    safe: Vec<u8>,
    unsafe_changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

impl FileNode {
    pub(super) fn content(&self) -> &[u8] {
        &self.seen
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        put(&mut self.seen, at, bytes);
        self.unsafe_changes.push(Change::Write { at, bytes: bytes.to_vec() });
    }

    pub(super) fn truncate(&mut self, bytes: usize) {
        if self.seen.len() != bytes {
            self.seen.resize(bytes, 0);
            self.unsafe_changes.push(Change::Truncate(bytes));
        }
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsafe_changes.drain(..) {
            match change {
                Change::Write { at, bytes } => put(&mut self.safe, at, &bytes),
                Change::Truncate(bytes) => self.safe.resize(bytes, 0),
            }
        }
    }

    pub(super) fn flip(&mut self, bit: u64) {
        let bit = bit % (self.seen.len() as u64 * 8).max(1);
        for content in [&mut self.seen, &mut self.safe] {
            if let Some(byte) = content.get_mut((bit / 8) as usize) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Each change may have reached the disk or not, and a write in part. Half of the time they did so in order. The disk was at
    /// one of them when the power went, unless it was at a write that is `torn_already`: that one may end at any byte, the
    /// others at the end of a sector.
    pub(super) fn lose_power(&mut self, torn_already: bool, random: &mut Random) {
        let changes = std::mem::take(&mut self.unsafe_changes);
        let in_order = random.coin();
        let torn = random.below(changes.len());
        let unit = if torn_already { SECTOR_BYTES } else { 1 };
        for (number, change) in changes.iter().enumerate() {
            match in_order {
                true if number < torn => change.arrive(&mut self.safe),
                true if number > torn => break,
                _ if number == torn => change.arrive_in_part(&mut self.safe, unit, random),
                _ => change.arrive_in_part(&mut self.safe, SECTOR_BYTES, random),
            }
        }
        self.seen.clone_from(&self.safe);
    }
}

impl Change {
    fn arrive(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write { at, bytes } => put(content, *at, bytes),
            Change::Truncate(bytes) => content.resize(*bytes, 0),
        }
    }

    /// It may be there, missing, or cut where the file has a multiple of `unit` bytes.
    fn arrive_in_part(&self, content: &mut Vec<u8>, unit: usize, random: &mut Random) {
        match self {
            Change::Truncate(_) if random.coin() => {}
            Change::Truncate(_) => self.arrive(content),
            Change::Write { at, bytes } => match random.below(4) {
                0 => {}
                1 => self.arrive(content),
                kind => {
                    let end = at + random.below(bytes.len() + 1);
                    let arrived = (end - end % unit).saturating_sub(*at);
                    // The length may have reached the disk when the bytes did not.
                    let end = at + if kind == 2 { arrived } else { bytes.len() };
                    if arrived > 0 || kind == 3 {
                        content.resize(content.len().max(end), 0);
                        content[*at..at + arrived].copy_from_slice(&bytes[..arrived]);
                    }
                }
            },
        }
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    content.resize(content.len().max(at), 0);
    let (over, beyond) = bytes.split_at(bytes.len().min(content.len() - at));
    content[at..at + over.len()].copy_from_slice(over);
    content.extend_from_slice(beyond);
}

/// The names in a directory, each with the number of what it stands for.
#[derive(Clone, Debug, Default)]
pub(super) struct DirNode {
    seen: BTreeMap<String, usize>,
    safe: BTreeMap<String, usize>,
    unsafe_changes: Vec<NameChange>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(String, usize),
    Remove(String),
    Rename { from: String, to: String, node: usize },
}

impl DirNode {
    pub(super) fn names(&self) -> &BTreeMap<String, usize> {
        &self.seen
    }

    pub(super) fn get(&self, name: &str) -> Option<usize> {
        self.seen.get(name).copied()
    }

    pub(super) fn set(&mut self, name: String, node: usize) {
        self.change(NameChange::Set(name, node));
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.change(NameChange::Remove(name.to_owned()));
    }

    /// Within this directory, which is one change.
    pub(super) fn rename(&mut self, from: String, to: String, node: usize) {
        self.change(NameChange::Rename { from, to, node });
    }

    pub(super) fn sync(&mut self) {
        self.safe.clone_from(&self.seen);
        self.unsafe_changes.clear();
    }

    /// Each change may have reached the disk or not. Half of the time they did so in order.
    pub(super) fn lose_power(&mut self, random: &mut Random) {
        let changes = std::mem::take(&mut self.unsafe_changes);
        let (in_order, upto) = (random.coin(), random.below(changes.len() + 1));
        for (number, change) in changes.iter().enumerate() {
            let arrived = if in_order { number < upto } else { random.coin() };
            if arrived {
                change.arrive(&mut self.safe);
            } else if let NameChange::Rename { to, node, .. } = change
                && random.once_in(4)
            {
                // What was renamed may have both names. It never has none.
                self.safe.insert(to.clone(), *node);
            }
        }
        self.seen.clone_from(&self.safe);
    }

    fn change(&mut self, change: NameChange) {
        change.arrive(&mut self.seen);
        self.unsafe_changes.push(change);
    }
}

impl NameChange {
    fn arrive(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Set(name, node) => {
                names.insert(name.clone(), *node);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
            NameChange::Rename { from, to, node } => {
                if names.get(from) == Some(node) {
                    names.remove(from);
                }
                names.insert(to.clone(), *node);
            }
        }
    }
}
