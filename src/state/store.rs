//! [`KeyedStore`]: the keyed state of one instance.

use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Place;

use crate::api::state::State;
use crate::channel::key::hash_key;
use crate::checkpoint::{
    CodecError, CodecId, EncodedState, HashRange, Part, PartName, Unit, decode_from,
};
use crate::clock::Timestamp;
use crate::error::Cause;
use crate::state::block::{self, Block};
use crate::state::keyed_state::SaveBegin;
use crate::sync::{AtomicUsize, Ordering};

/// Segments of a store at most. More make each growth shorter, and a look-up slower.
const SEGMENTS: u64 = 256;

/// A part is closed when it has this many bytes, at the end of a segment.
const PART_BYTES: usize = 256 << 10;

/// The bytes that wait for the checkpoint writer at most; beyond that the instance waits.
const UNSENT_BYTES: usize = 16 << 20;

/// After this many saves in a row that were given up, the number of the save starts anew.
const GIVEN_UP_MAX: u8 = 200;

/// The keyed state of one instance: the keys whose routing hash lies in its range.
pub(crate) struct KeyedStore<K, V> {
    range: HashRange,
    /// The segment of a hash is its distance from the first one, shifted by this.
    shift: u32,
    segments: Vec<Segment<K, V>>,
    /// The number of the newest save. An entry of another number is not in that save.
    save: u8,
    given_up: u8,
    saving: Option<Saving>,
    codec: CodecId,
    /// Whether an entry has been read back from its bytes.
    read_back: bool,
    unsent: Arc<AtomicUsize>,
}

struct Segment<K, V> {
    table: HashTable<Entry<K, V>>,
    /// Entries that are not in the running save. When there are none the segment is saved, wherever growth has
    /// moved its entries meanwhile.
    unsaved: usize,
    /// Where the scan of the running save is.
    cursor: usize,
    /// Entries that were encoded because they changed before the scan had reached them.
    early: Vec<u8>,
}

struct Entry<K, V> {
    /// The save that has the entry, or that began before it was made.
    save: u8,
    key: K,
    value: V,
}

/// A save that goes on.
struct Saving {
    begin: SaveBegin,
    /// The segment that is being scanned; those before it are saved.
    segment: usize,
    /// The first segment of the part that is open.
    part_from: usize,
    part: Vec<u8>,
    /// The bytes of all `early`.
    early: usize,
    /// Why the checkpoint must fail.
    failed: Option<CodecError>,
}

/// A place of an entry that is valid until the next entry is added or removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    segment: usize,
    bucket: usize,
}

impl<K: State + Hash + Eq, V: State> KeyedStore<K, V> {
    /// An empty store for the keys of this range.
    pub(crate) fn new(range: HashRange, codec: CodecId) -> Self {
        let width = range.last - range.first;
        let shift = (0..64).find(|shift| width >> shift < SEGMENTS).unwrap_or(63);
        let segments = (width >> shift) + 1;
        let segment =
            |_| Segment { table: HashTable::new(), unsaved: 0, cursor: 0, early: Vec::new() };
        Self {
            range,
            shift,
            segments: (0..segments).map(segment).collect(),
            save: 0,
            given_up: 0,
            saving: None,
            codec,
            read_back: false,
            unsent: Arc::default(),
        }
    }

    #[inline]
    fn segment_of(&self, hash: u64) -> usize {
        debug_assert!((self.range.first..=self.range.last).contains(&hash));
        ((hash - self.range.first) >> self.shift) as usize
    }

    /// Takes over the entries of a block that belong to its range, in place of those that it has of the same keys.
    /// `each` sees them first, with the moment at which the block was cut.
    ///
    /// # Errors
    /// The block cannot be decoded.
    pub(crate) fn load(
        &mut self,
        block: &EncodedState,
        each: impl FnMut(&K, &mut V, Timestamp),
    ) -> Result<(), CodecError> {
        self.load_with(block, decode_from, each)
    }

    /// As [`load`](Self::load), with entries that `decode` reads.
    ///
    /// # Errors
    /// The block cannot be decoded.
    pub(crate) fn load_with(
        &mut self,
        block: &EncodedState,
        decode: impl Fn(&[u8], CodecId) -> Result<(K, V), CodecError>,
        mut each: impl FnMut(&K, &mut V, Timestamp),
    ) -> Result<(), CodecError> {
        block::read(block, decode, |key: K, mut value: V, at| {
            let hash = hash_key(&key);
            if (self.range.first..=self.range.last).contains(&hash) {
                each(&key, &mut value, at);
                let (segment, save) = (self.segment_of(hash), self.save);
                let table = &mut self.segments[segment].table;
                match table.entry(remixed(hash), |entry| entry.key == key, rehash) {
                    Place::Occupied(mut place) => place.get_mut().value = value,
                    Place::Vacant(place) => drop(place.insert(Entry { save, key, value })),
                }
            }
        })
    }

    /// The value of a key, which is made if there is none, to be changed.
    #[inline(always)]
    pub(crate) fn upsert(&mut self, hash: u64, key: K, init: impl FnOnce() -> V) -> (&K, &mut V) {
        self.update(hash, key, (), |()| init(), |_, ()| {})
    }

    /// Makes the value of a key from an event if there is none, or changes it by the event.
    #[inline(always)]
    pub(crate) fn update<T>(
        &mut self,
        hash: u64,
        key: K,
        event: T,
        first: impl FnOnce(T) -> V,
        next: impl FnOnce(&mut V, T),
    ) -> (&K, &mut V) {
        let number = self.segment_of(hash);
        let segment = &mut self.segments[number];
        let is = |entry: &Entry<K, V>| entry.key == key;
        let entry = match segment.table.entry(remixed(hash), is, rehash) {
            Place::Occupied(place) => {
                let entry = place.into_mut();
                if entry.save != self.save {
                    entry.save = self.save;
                    if let Some(saving) = &mut self.saving {
                        segment.unsaved -= 1;
                        let early = &mut segment.early;
                        saving.early +=
                            saving.encode(entry, self.codec, early, &mut self.read_back);
                    }
                }
                next(&mut entry.value, event);
                entry
            }
            Place::Vacant(place) => {
                let value = first(event);
                place.insert(Entry { save: self.save, key, value }).into_mut()
            }
        };
        (&entry.key, &mut entry.value)
    }

    /// Where the entry of a key is.
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &K) -> Option<Found> {
        let segment = self.segment_of(hash);
        let table = &self.segments[segment].table;
        let bucket = table.find_bucket_index(remixed(hash), |entry| entry.key == *key)?;
        Some(Found { segment, bucket })
    }

    /// The value at a place.
    #[inline]
    pub(crate) fn at(&self, found: Found) -> Option<&V> {
        self.segments[found.segment].table.get_bucket(found.bucket).map(|entry| &entry.value)
    }

    /// The value at a place, to be changed.
    #[inline]
    pub(crate) fn at_mut(&mut self, found: Found) -> Option<&mut V> {
        self.save_early(found);
        let entry = self.segments[found.segment].table.get_bucket_mut(found.bucket)?;
        Some(&mut entry.value)
    }

    /// Removes an entry.
    pub(crate) fn remove(&mut self, found: Found) -> Option<V> {
        self.save_early(found);
        let table = &mut self.segments[found.segment].table;
        let place = table.get_bucket_entry(found.bucket).ok()?;
        let (entry, _) = place.remove();
        Some(entry.value)
    }

    /// Encodes the entry at a place if the running save does not have it.
    #[inline]
    fn save_early(&mut self, found: Found) {
        let segment = &mut self.segments[found.segment];
        let Some(entry) = segment.table.get_bucket_mut(found.bucket) else { return };
        if entry.save == self.save {
            return;
        }
        entry.save = self.save;
        if let Some(saving) = &mut self.saving {
            segment.unsaved -= 1;
            let early = &mut segment.early;
            saving.early += saving.encode(entry, self.codec, early, &mut self.read_back);
        }
    }

    /// Number of entries.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.segments.iter().map(|segment| segment.table.len()).sum()
    }

    /// Removes the entries of the next buckets, until there were some. Whether there are more.
    pub(crate) fn drain_some(&mut self, mut each: impl FnMut(K, V)) -> bool {
        let mut seen = 0;
        for number in 0..self.segments.len() {
            for bucket in 0..self.segments[number].table.num_buckets() {
                let found = Found { segment: number, bucket };
                self.save_early(found);
                if let Ok(place) = self.segments[number].table.get_bucket_entry(bucket) {
                    let (Entry { key, value, .. }, _) = place.remove();
                    each(key, value);
                    seen += 1;
                }
                if seen == VISITED {
                    return true;
                }
            }
            // Its memory is not needed any more, and is not to be looked through again.
            self.segments[number].table = HashTable::new();
        }
        false
    }

    /// Calls `each` for the entries of the next buckets, until it has seen some, and returns where to go on. `None`
    /// when there are no more. Entries must be neither added nor removed between two calls.
    pub(crate) fn visit(
        &self,
        from: (usize, usize),
        mut each: impl FnMut(&K, &V),
    ) -> Option<(usize, usize)> {
        let (mut segment, mut bucket) = from;
        let mut left = VISITED;
        while let Some(Segment { table, .. }) = self.segments.get(segment) {
            let end = table.num_buckets().min(bucket + left);
            for entry in (bucket..end).filter_map(|bucket| table.get_bucket(bucket)) {
                each(&entry.key, &entry.value);
            }
            left -= (end - bucket).min(left);
            (segment, bucket) = match end == table.num_buckets() {
                true => (segment + 1, 0),
                false => (segment, end),
            };
            if left == 0 {
                break;
            }
        }
        (segment < self.segments.len()).then_some((segment, bucket))
    }

    /// Begins a save: what the store has now. If another save goes on, that is given up.
    pub(crate) fn begin_save(&mut self, begin: SaveBegin) {
        self.given_up = if self.saving.take().is_some() { self.given_up + 1 } else { 0 };
        if self.given_up == GIVEN_UP_MAX {
            // Otherwise an entry that no save has reached could bear the number of one that is to come.
            self.given_up = 0;
            let entries = self.segments.iter_mut().flat_map(|segment| segment.table.iter_mut());
            entries.for_each(|entry| entry.save = self.save);
        }
        self.save = self.save.wrapping_add(1);
        for segment in &mut self.segments {
            (segment.unsaved, segment.cursor) = (segment.table.len(), 0);
            segment.early = Vec::new();
        }
        let part = block::begin(begin.at);
        self.saving =
            Some(Saving { begin, segment: 0, part_from: 0, part, early: 0, failed: None });
    }

    /// Scans the next buckets, and adds parts that are complete. Whether the save is through.
    pub(crate) fn go_on(&mut self, buckets: usize, to: &mut Vec<Part>) -> bool {
        let Some(mut saving) = self.saving.take() else { return true };
        let mut left = buckets;
        while saving.segment < self.segments.len() {
            if left == 0 && saving.early < UNSENT_BYTES {
                self.saving = Some(saving);
                return false;
            }
            left = left.saturating_sub(self.scan(&mut saving, left.max(64)));
            if self.segments[saving.segment].unsaved > 0 {
                continue;
            }
            let segment = &mut self.segments[saving.segment];
            saving.early -= segment.early.len();
            saving.part.append(&mut segment.early);
            segment.early = Vec::new();
            saving.segment += 1;
            if saving.part.len() >= PART_BYTES || saving.segment == self.segments.len() {
                to.push(self.close_part(&mut saving));
            }
        }
        true
    }

    /// Encodes the entries of the next buckets of a segment. How many buckets that were, at least one.
    fn scan(&mut self, saving: &mut Saving, buckets: usize) -> usize {
        let segment = &mut self.segments[saving.segment];
        if segment.unsaved == 0 {
            return 1;
        }
        if segment.cursor >= segment.table.num_buckets() {
            // Entries were moved to places that were scanned before.
            segment.cursor = 0;
        }
        let from = segment.cursor;
        segment.cursor = segment.table.num_buckets().min(from + buckets);
        let mut part = std::mem::take(&mut saving.part);
        for bucket in from..segment.cursor {
            let Some(entry) = segment.table.get_bucket_mut(bucket) else { continue };
            if entry.save != self.save {
                entry.save = self.save;
                segment.unsaved -= 1;
                saving.encode(entry, self.codec, &mut part, &mut self.read_back);
            }
        }
        saving.part = part;
        segment.cursor - from
    }

    fn close_part(&self, saving: &mut Saving) -> Part {
        let first = self.first_of(saving.part_from);
        let last = match saving.segment == self.segments.len() {
            true => self.range.last,
            false => self.first_of(saving.segment) - 1,
        };
        saving.part_from = saving.segment;
        let bytes = std::mem::replace(&mut saving.part, block::begin(saving.begin.at));
        let bytes = saving.failed.take().map_or(Ok(bytes), Err);
        let unit = Unit::Range(HashRange { first, last });
        let name = PartName::of(&*saving.begin.component, "", unit);
        let block = Block::new(self.codec, bytes, &self.unsent);
        Part::new(name, Box::new(block)).at(saving.begin.watermark)
    }

    fn first_of(&self, segment: usize) -> u64 {
        self.range.first + ((segment as u64) << self.shift)
    }

    /// Whether the checkpoint writer is too far behind: no more is to be changed before it has caught up.
    pub(crate) fn is_full(&self) -> bool {
        self.saving.is_some() && self.unsent.load(Ordering::Relaxed) > UNSENT_BYTES
    }
}

/// Buckets that one visit looks at.
const VISITED: usize = 1024;

impl Saving {
    /// Encodes an entry. The number of bytes.
    fn encode<K: State, V: State>(
        &mut self,
        entry: &Entry<K, V>,
        codec: CodecId,
        to: &mut Vec<u8>,
        read_back: &mut bool,
    ) -> usize {
        let before = to.len();
        let encoded = catch_unwind(AssertUnwindSafe(|| {
            block::put(&entry.key, &entry.value, codec, to)?;
            match std::mem::replace(read_back, true) {
                true => Ok(()),
                false => block::read_back(&entry.key, &entry.value, codec, &to[before..]),
            }
        }));
        let error = match encoded {
            Ok(Ok(())) => return to.len() - before,
            Ok(Err(error)) => error,
            Err(payload) => CodecError::Encode {
                type_name: std::any::type_name::<V>(),
                source: Cause::panic(payload).to_string().into(),
            },
        };
        to.truncate(before);
        self.failed.get_or_insert(error);
        0
    }
}

/// The routing hash is the same in its first bits for all keys of a segment. A table needs a hash that differs
/// everywhere (state B0.1, point 4: without this it is up to 17 times slower).
#[inline]
fn remixed(hash: u64) -> u64 {
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
}

fn rehash<K: Hash, V>(entry: &Entry<K, V>) -> u64 {
    remixed(hash_key(&entry.key))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
