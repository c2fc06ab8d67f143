//! [`KeyedStore`]: the keyed state of one instance.

use std::hash::Hash;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Place;

use crate::api::state::State;
use crate::channel::key::hash_key;
use crate::checkpoint::{CodecError, CodecId, EncodedState, HashRange, decode_from};
use crate::clock::Timestamp;
use crate::state::block::{self, Record, Times};
use crate::state::cleanup::Cleanup;
use crate::state::measured::Measured;
use crate::state::save::Saves;
use crate::state::segment::{Changes, Entry, Progress, rehash, remixed};
use crate::state::time_to_live::{Expiry, Since, TimeToLive};

/// Segments of a store at most. More make each growth shorter, and a look-up slower.
const SEGMENTS: u64 = 256;

/// The keyed state of one instance: the keys whose routing hash lies in its range.
pub(crate) struct KeyedStore<K, V> {
    pub(super) range: HashRange,
    /// The segment of a hash is its distance from the first one, shifted by this.
    shift: u32,
    /// The entries of each segment; what saves need of it is apart, so that look-ups touch little memory.
    pub(super) tables: Vec<HashTable<Entry<K, V>>>,
    pub(super) progress: Vec<Progress<K>>,
    pub(super) saves: Saves,
    pub(super) measured: Measured,
    pub(super) cleanup: Cleanup,
    /// Called with a value whose time is over. Whether nothing is left of it.
    pub(super) expires: fn(&mut V) -> bool,
}

/// The moments that a restore has to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restore {
    /// Now, by the clock of the instance.
    pub(crate) now: Timestamp,
    /// The cut of the checkpoint by the clock of that time; that of the part if it is not known.
    pub(crate) cut_at: Option<Timestamp>,
}

/// A place of an entry that is valid until the next entry is added or removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(super) segment: usize,
    pub(super) bucket: usize,
}

impl<K: State + Hash + Eq, V: State> KeyedStore<K, V> {
    /// An empty store for the keys of this range. Once it has more bytes than `incremental_above`, saves are of what has
    /// changed.
    pub(crate) fn new(range: HashRange, codec: CodecId, incremental_above: u64) -> Self {
        let width = range.last - range.first;
        let shift = (0..64).find(|shift| width >> shift < SEGMENTS).unwrap_or(63);
        let segments = usize::try_from(width >> shift).unwrap_or(0) + 1;
        Self {
            range,
            shift,
            tables: (0..segments).map(|_| HashTable::new()).collect(),
            progress: (0..segments).map(|_| Progress::new()).collect(),
            saves: Saves::new(segments, codec, incremental_above),
            measured: Measured::default(),
            cleanup: Cleanup::default(),
            expires: |_| true,
        }
    }

    /// As it is, with entries that live for this time. `expires` is called with a value whose time is over, and says
    /// whether nothing is left of it.
    pub(crate) fn with_time_to_live(
        mut self,
        ttl: Option<TimeToLive>,
        expires: fn(&mut V) -> bool,
    ) -> Self {
        self.saves.expiry = ttl.map(Expiry::new);
        self.expires = expires;
        self
    }

    #[inline]
    fn segment_of(&self, hash: u64) -> usize {
        debug_assert!((self.range.first..=self.range.last).contains(&hash));
        ((hash - self.range.first) >> self.shift) as usize
    }

    pub(super) fn first_of(&self, segment: usize) -> u64 {
        self.range.first + ((segment as u64) << self.shift)
    }

    /// Takes over what a part has of this range: the whole of it in place of what there is, or what has changed.
    /// Entries that do not belong to the range of the store are left out. `each` sees the others first, with the
    /// moment of the cut.
    ///
    /// # Errors
    /// The part cannot be decoded.
    pub(crate) fn load(
        &mut self,
        part: &EncodedState,
        of: HashRange,
        at: Restore,
        each: impl FnMut(&K, &mut V, Timestamp),
    ) -> Result<(), CodecError> {
        self.load_with(part, of, at, decode_from, each)
    }

    /// As [`load`](Self::load), with entries that `decode` reads.
    ///
    /// # Errors
    /// The part cannot be decoded.
    pub(crate) fn load_with(
        &mut self,
        part: &EncodedState,
        of: HashRange,
        Restore { now, cut_at }: Restore,
        decode: impl Fn(&[u8], CodecId) -> Result<(K, V), CodecError>,
        mut each: impl FnMut(&K, &mut V, Timestamp),
    ) -> Result<(), CodecError> {
        if block::is_whole(part) {
            self.clear(of);
        }
        if let Some(expiry) = &mut self.saves.expiry {
            expiry.clock(now);
        }
        block::read(part, decode, |record: Record<K, V>, written| {
            let at = cut_at.unwrap_or(written);
            let key = match &record {
                Record::Entry(key, ..) | Record::Removed(key) => key,
            };
            let hash = hash_key(key);
            if !(self.range.first..=self.range.last).contains(&hash) {
                return;
            }
            let number = self.segment_of(hash);
            let (table, progress) = (&mut self.tables[number], &self.progress[number]);
            match record {
                Record::Entry(key, mut value, touched) => {
                    each(&key, &mut value, at);
                    let mut entry = self.saves.entry(progress, key, value);
                    if let (Some(expiry), Some((times, moment))) = (&mut self.saves.expiry, touched)
                        && expiry.is_in_event_time() == (times == Times::Event)
                    {
                        entry.touched = expiry.restored(moment, at, now);
                    }
                    match table.entry(remixed(hash), |known| known.key == entry.key, rehash) {
                        Place::Occupied(mut place) => *place.get_mut() = entry,
                        Place::Vacant(place) => drop(place.insert(entry)),
                    }
                }
                Record::Removed(key) => {
                    if let Ok(place) = table.find_entry(remixed(hash), |entry| entry.key == key) {
                        place.remove();
                    }
                }
            }
        })
    }

    /// Removes the entries of a range, before anything is saved.
    fn clear(&mut self, range: HashRange) {
        let Some(range) = range.and(self.range) else { return };
        for number in self.segment_of(range.first)..=self.segment_of(range.last) {
            self.tables[number]
                .retain(|entry| !(range.first..=range.last).contains(&hash_key(&entry.key)));
        }
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
        let table = &mut self.tables[number];
        let entries = table.len();
        let is = |entry: &Entry<K, V>| entry.key == key;
        let entry = match table.entry(remixed(hash), is, rehash) {
            Place::Occupied(place) => {
                let entry = place.into_mut();
                if entry.marks.changed() != self.saves.number {
                    self.saves.before_change(&mut self.progress[number], hash, entry, entries);
                }
                match &self.saves.expiry {
                    None => next(&mut entry.value, event),
                    Some(expiry) if expiry.is_over(entry.touched) => {
                        (entry.value, entry.touched) = (first(event), expiry.mark());
                    }
                    Some(expiry) => {
                        next(&mut entry.value, event);
                        if expiry.counts(Since::Written) {
                            entry.touched = expiry.touched(entry.touched);
                        }
                    }
                }
                entry
            }
            Place::Vacant(place) => {
                let value = first(event);
                let progress = &mut self.progress[number];
                progress.changes.put(hash, entries);
                place.insert(self.saves.entry(progress, key, value)).into_mut()
            }
        };
        (&entry.key, &mut entry.value)
    }

    /// Where the entry of a key is.
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &K) -> Option<Found> {
        let segment = self.segment_of(hash);
        let table = &self.tables[segment];
        let bucket = table.find_bucket_index(remixed(hash), |entry| entry.key == *key)?;
        Some(Found { segment, bucket })
    }

    /// The value at a place.
    #[inline]
    pub(crate) fn at(&self, found: Found) -> Option<&V> {
        self.tables[found.segment].get_bucket(found.bucket).map(|entry| &entry.value)
    }

    /// The value at a place, to be changed.
    #[inline]
    pub(crate) fn at_mut(&mut self, found: Found) -> Option<&mut V> {
        let table = &mut self.tables[found.segment];
        let entries = table.len();
        let entry = table.get_bucket_mut(found.bucket)?;
        if entry.marks.changed() != self.saves.number {
            let hash = hash_key(&entry.key);
            self.saves.before_change(&mut self.progress[found.segment], hash, entry, entries);
        }
        Some(&mut entry.value)
    }

    /// Whether the time of the entry at a place is over.
    pub(crate) fn is_over(&self, found: Found) -> bool {
        let entry = self.tables[found.segment].get_bucket(found.bucket);
        entry.is_some_and(|entry| self.saves.is_over(entry))
    }

    /// The entry at a place is read, written or made now.
    pub(crate) fn touch(&mut self, found: Found, how: Since) {
        let Some(expiry) = self.saves.expiry else { return };
        if !expiry.counts(how) || self.at_mut(found).is_none() {
            return;
        }
        if let Some(entry) = self.tables[found.segment].get_bucket_mut(found.bucket) {
            entry.touched = match how {
                Since::Created => expiry.mark(),
                Since::Written | Since::Read => expiry.touched(entry.touched),
            };
        }
    }

    /// Removes an entry.
    pub(crate) fn remove(&mut self, found: Found) -> Option<V> {
        let table = &mut self.tables[found.segment];
        let progress = &mut self.progress[found.segment];
        let place = table.get_bucket_entry(found.bucket).ok()?;
        self.saves.encode_early(progress, place.get());
        let (Entry { key, value, .. }, _) = place.remove();
        progress.changes.put_removed(key, table.len());
        Some(value)
    }

    /// Number of entries.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.tables.iter().map(HashTable::len).sum()
    }

    /// Removes the entries of the next buckets, until there were some. Whether there are more.
    pub(crate) fn drain_some(&mut self, mut each: impl FnMut(K, V)) -> bool {
        let mut seen = 0;
        for (table, progress) in self.tables.iter_mut().zip(&mut self.progress) {
            for bucket in 0..table.num_buckets() {
                if let Ok(place) = table.get_bucket_entry(bucket) {
                    self.saves.encode_early(progress, place.get());
                    let is_over = self.saves.is_over(place.get());
                    let (Entry { key, value, .. }, _) = place.remove();
                    // Its keys are given away. There will be none: a save of the whole segment says so.
                    progress.changes = Changes::unknown();
                    if !is_over {
                        each(key, value);
                    }
                    seen += 1;
                }
                if seen == VISITED {
                    return true;
                }
            }
            // Its memory is not needed any more, and is not to be looked through again.
            *table = HashTable::new();
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
        while let Some(table) = self.tables.get(segment) {
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
        (segment < self.tables.len()).then_some((segment, bucket))
    }

    /// Whether the checkpoint writer is too far behind: no more is to be changed before it has caught up.
    pub(crate) fn is_full(&self) -> bool {
        self.saves.are_too_many()
    }
}

/// Buckets that one visit looks at.
const VISITED: usize = 1024;

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
