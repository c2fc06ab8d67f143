//! What a segment of a store knows beside its table: which entries have changed since when, and how far a save is.

use std::hash::Hash;

use hashbrown::HashTable;

use crate::channel::key::hash_key;

/// Saves have numbers below this one.
pub(super) const SAVES_MAX: u32 = 1 << 24;

/// After this many walks in a row that were given up, the numbers of walks start anew.
const GIVEN_UP_MAX: u8 = 200;

/// An entry of a table.
pub(super) struct Entry<K, V> {
    pub(super) marks: Marks,
    /// When it was touched, if the store has a time to live.
    pub(super) touched: u32,
    pub(super) key: K,
    pub(super) value: V,
}

/// The number of the save after whose cut an entry changed last, and of the walk that has seen it.
///
/// One word, so that an entry of a small key and value has no room that is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks(u32);

impl Marks {
    pub(super) fn new(changed: u32, walked: u8) -> Self {
        debug_assert!(changed < SAVES_MAX);
        Self(changed << 8 | u32::from(walked))
    }

    /// The number of the newest save when the entry changed last.
    #[inline(always)]
    pub(super) fn changed(self) -> u32 {
        self.0 >> 8
    }

    /// The walk through the whole table that has seen the entry, or that began before the entry was made.
    pub(super) fn walked(self) -> u8 {
        self.0.to_le_bytes()[0]
    }
}

/// The keys that have changed since a cut: those of entries by their hashes, those that were removed as they are.
pub(super) struct Changes<K> {
    /// Once there are so many that the segment is written whole, the keys are not kept.
    too_many: bool,
    pub(super) hashes: Vec<u64>,
    pub(super) removed: Vec<K>,
}

impl<K> Changes<K> {
    pub(super) fn none() -> Self {
        Self { too_many: false, hashes: Vec::new(), removed: Vec::new() }
    }

    /// Changes of which no list is kept.
    pub(super) fn unknown() -> Self {
        Self { too_many: true, ..Self::none() }
    }

    pub(super) fn are_known(&self) -> bool {
        !self.too_many
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.len() + self.removed.len()
    }

    /// An entry of this hash has changed, in a table of so many.
    #[inline]
    pub(super) fn put(&mut self, hash: u64, entries: usize) {
        if !self.too_many {
            self.hashes.push(hash);
            self.bound(entries);
        }
    }

    /// An entry was removed from a table that now has so many.
    pub(super) fn put_removed(&mut self, key: K, entries: usize) {
        if !self.too_many {
            self.removed.push(key);
            self.bound(entries);
        }
    }

    /// Adds those of the time after.
    pub(super) fn append(&mut self, mut after: Self, entries: usize) {
        self.too_many |= after.too_many;
        self.hashes.append(&mut after.hashes);
        self.removed.append(&mut after.removed);
        self.bound(entries);
    }

    /// A quarter of the table costs little less than the whole, and a longer list much memory.
    fn bound(&mut self, entries: usize) {
        if self.too_many || self.len() > (entries / 4).max(FEW) {
            *self = Self::unknown();
        }
    }
}

/// So many changes of a segment are always listed.
const FEW: usize = 16;

/// How a segment is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is saved, or nothing is.
    Through,
    /// All entries.
    Whole,
    /// Those that have changed since the cut of the newest complete checkpoint.
    Delta,
}

/// How far a segment is with the running save, and what the next one has to know.
pub(super) struct Progress<K> {
    /// Since the newest cut.
    pub(super) changes: Changes<K>,
    /// Between the cut of the newest complete checkpoint and the newest cut.
    pub(super) before: Changes<K>,
    pub(super) mode: Mode,
    /// The place that the scan looks at next: in the table, or in the list of changes.
    pub(super) cursor: usize,
    /// Entries that were encoded because they changed before the scan had reached them.
    pub(super) early: Vec<u8>,
    /// The newest walk through the whole table.
    pub(super) walk: u8,
    given_up: u8,
    /// Entries that the walk has not seen. When there are none the segment is saved, wherever growth has moved its
    /// entries meanwhile.
    pub(super) unwalked: usize,
}

impl<K: Hash> Progress<K> {
    pub(super) fn new() -> Self {
        Self {
            // Nothing refers to a time before the first cut.
            changes: Changes::unknown(),
            before: Changes::unknown(),
            mode: Mode::Through,
            cursor: 0,
            early: Vec::new(),
            walk: 0,
            given_up: 0,
            unwalked: 0,
        }
    }

    /// A cut: `is_stored` if everything up to the cut before it is in a complete checkpoint. Whether the changes
    /// since the newest complete checkpoint are known.
    pub(super) fn cut(&mut self, is_stored: bool, entries: usize) -> bool {
        let changes = std::mem::replace(&mut self.changes, Changes::none());
        match is_stored {
            true => self.before = changes,
            false => self.before.append(changes, entries),
        }
        self.before.are_known()
    }

    /// Begins to save the segment in this way. What was begun before is given up.
    pub(super) fn begin<V>(&mut self, mode: Mode, table: &mut HashTable<Entry<K, V>>) {
        self.given_up = if self.mode == Mode::Whole { self.given_up + 1 } else { 0 };
        if self.given_up == GIVEN_UP_MAX {
            // Otherwise an entry that no walk has reached could bear the number of one that is to come.
            self.given_up = 0;
            table
                .iter_mut()
                .for_each(|entry| entry.marks = Marks::new(entry.marks.changed(), self.walk));
        }
        (self.mode, self.cursor, self.early) = (mode, 0, Vec::new());
        if mode == Mode::Whole {
            self.walk = self.walk.wrapping_add(1);
            self.unwalked = table.len();
        }
    }

    /// Everything up to the newest cut is in a complete checkpoint.
    pub(super) fn is_stored(&mut self) {
        self.before = Changes::none();
    }
}

/// The routing hash is the same in its first bits for all keys of a segment. A table needs a hash that differs
/// everywhere (state B0.1, point 4: without this it is up to 17 times slower).
#[inline]
pub(super) fn remixed(hash: u64) -> u64 {
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
}

pub(super) fn rehash<K: Hash, V>(entry: &Entry<K, V>) -> u64 {
    remixed(hash_key(&entry.key))
}
