//! How a store is saved: a barrier begins it, whoever changes an entry encodes it first, and a scan encodes the rest
//! between batches.

use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::api::state::State;
use crate::channel::key::hash_key;
use crate::checkpoint::{CodecError, CodecId, HashRange, Part, PartKind, PartName, Unit};
use crate::error::Cause;
use crate::id::CheckpointId;
use crate::state::bases::{Bases, SavedBytes, Turn};
use crate::state::block::{self, Block, Times};
use crate::state::keyed_state::SaveBegin;
use crate::state::segment::{Changes, Entry, Marks, Mode, Progress, SAVES_MAX, remixed};
use crate::state::store::KeyedStore;
use crate::state::time_to_live::Expiry;
use crate::sync::{AtomicUsize, Ordering};

/// A part is closed when it has this many bytes, at the end of a segment.
const PART_BYTES: usize = 1 << 20;

/// The bytes that wait for the checkpoint writer at most; beyond that the instance waits.
const UNSENT_BYTES: usize = 16 << 20;

/// What a store knows of its saves.
pub(super) struct Saves {
    /// The number of the newest save. An entry that bears it has changed since the cut of that save.
    pub(super) number: u32,
    /// The number of the newest save that is in a complete checkpoint.
    stored: Option<u32>,
    /// The checkpoint of the newest save.
    newest: Option<Newest>,
    running: Option<Running>,
    bases: Bases,
    pub(super) expiry: Option<Expiry>,
    codec: CodecId,
    /// Whether an entry has been read back from its bytes.
    read_back: bool,
    unsent: Arc<AtomicUsize>,
}

/// The newest save, which may be through.
struct Newest {
    of: CheckpointId,
    turn: Turn,
    bytes: SavedBytes,
}

/// How an entry becomes bytes.
#[derive(Clone, Copy)]
struct Encoding {
    codec: CodecId,
    expiry: Option<Expiry>,
}

/// A save that goes on.
struct Running {
    begin: SaveBegin,
    turn: Turn,
    /// The segment that is being scanned; those before it are saved.
    segment: usize,
    /// The first segment of the part that is open.
    part_from: usize,
    part: Vec<u8>,
    kind: PartKind,
    /// The bytes of all `early`.
    early: usize,
    bytes: SavedBytes,
    /// Why the checkpoint must fail.
    failed: Option<CodecError>,
}

impl Saves {
    pub(super) fn new(segments: usize, codec: CodecId, incremental_above: u64) -> Self {
        Self {
            number: 0,
            stored: None,
            newest: None,
            running: None,
            bases: Bases::new(segments, incremental_above),
            expiry: None,
            codec,
            read_back: false,
            unsent: Arc::default(),
        }
    }

    pub(super) fn codec(&self) -> CodecId {
        self.codec
    }

    /// The marks of an entry that is made now.
    #[inline(always)]
    pub(super) fn marks<K>(&self, progress: &Progress<K>) -> Marks {
        Marks::new(self.number, progress.walk)
    }

    /// An entry that is made now.
    #[inline(always)]
    pub(super) fn entry<K, V>(&self, progress: &Progress<K>, key: K, value: V) -> Entry<K, V> {
        let touched = self.expiry.as_ref().map_or(0, Expiry::mark);
        Entry { marks: self.marks(progress), touched, key, value }
    }

    /// Whether the time of an entry is over.
    #[inline(always)]
    pub(super) fn is_over<K, V>(&self, entry: &Entry<K, V>) -> bool {
        self.expiry.as_ref().is_some_and(|expiry| expiry.is_over(entry.touched))
    }

    /// Called before an entry changes for the first time since the newest cut: encodes it if the running save needs
    /// it as it is, and notes that it changes.
    #[inline(never)]
    pub(super) fn before_change<K: State, V: State>(
        &mut self,
        progress: &mut Progress<K>,
        hash: u64,
        entry: &mut Entry<K, V>,
        entries: usize,
    ) {
        self.encode_early(progress, entry);
        progress.changes.put(hash, entries);
        entry.marks = self.marks(progress);
    }

    /// Encodes an entry if the running save needs it as it is.
    pub(super) fn encode_early<K: State, V: State>(
        &mut self,
        progress: &mut Progress<K>,
        entry: &Entry<K, V>,
    ) {
        if entry.marks.changed() == self.number {
            return;
        }
        let is_wanted = match progress.mode {
            Mode::Through => false,
            Mode::Whole => entry.marks.walked() != progress.walk,
            Mode::Delta => self.has_changed(entry.marks),
        };
        let Some(running) = self.running.as_mut().filter(|_| is_wanted) else { return };
        if progress.mode == Mode::Whole {
            progress.unwalked -= 1;
        }
        let how = Encoding { codec: self.codec, expiry: self.expiry };
        running.early += running.encode(entry, how, &mut progress.early, &mut self.read_back);
    }

    /// Whether an entry with these marks has changed between the cut of the newest complete checkpoint and the
    /// newest cut.
    fn has_changed(&self, marks: Marks) -> bool {
        marks.changed() != self.number && self.stored.is_none_or(|stored| marks.changed() >= stored)
    }

    /// The checkpoint is complete. Whether the newest save is in it.
    fn complete(&mut self, checkpoint: CheckpointId) -> bool {
        // That of a save before the newest one says nothing new: its changes are joined to those of the newest.
        let Some(Newest { turn, bytes, .. }) =
            self.newest.take_if(|newest| newest.of == checkpoint)
        else {
            return false;
        };
        self.bases.stored(turn, bytes);
        self.stored = Some(self.number);
        true
    }

    /// Whether the checkpoint writer is too far behind: no more is to be changed before it has caught up.
    pub(super) fn are_too_many(&self) -> bool {
        self.running.is_some() && self.unsent.load(Ordering::Relaxed) > UNSENT_BYTES
    }
}

impl<K: State + Hash + Eq, V: State> KeyedStore<K, V> {
    /// Begins a save: what the store has now. If another save goes on, that is given up.
    pub(crate) fn begin_save(&mut self, begin: SaveBegin) {
        if self.saves.number + 1 == SAVES_MAX {
            self.renumber();
        }
        let saves = &mut self.saves;
        let is_stored = saves.stored == Some(saves.number);
        let (turn, has_base) = (saves.bases.turn(), saves.stored.is_some());
        saves.number += 1;
        for (number, (table, progress)) in
            self.tables.iter_mut().zip(&mut self.progress).enumerate()
        {
            let are_known = progress.cut(is_stored, table.len());
            let mode =
                if has_base && are_known && !turn.has(number) { Mode::Delta } else { Mode::Whole };
            progress.begin(mode, table);
        }
        saves.newest = None;
        saves.running = Some(Running {
            begin,
            turn,
            segment: 0,
            part_from: 0,
            part: Vec::new(),
            kind: PartKind::Whole,
            early: 0,
            bytes: SavedBytes::default(),
            failed: None,
        });
    }

    /// Numbers of saves begin anew, before they come round. The next save is whole.
    fn renumber(&mut self) {
        for (table, progress) in self.tables.iter_mut().zip(&mut self.progress) {
            table.iter_mut().for_each(|entry| entry.marks = Marks::new(0, entry.marks.walked()));
            progress.changes = Changes::unknown();
        }
        (self.saves.number, self.saves.stored) = (0, None);
    }

    /// Scans the next places, and adds parts that are complete. Whether the save is through.
    pub(crate) fn go_on(&mut self, places: usize, to: &mut Vec<Part>) -> bool {
        let Some(mut running) = self.saves.running.take() else { return true };
        let mut left = places;
        while running.segment < self.tables.len() {
            if left == 0 && running.early < UNSENT_BYTES {
                self.saves.running = Some(running);
                return false;
            }
            let mode = self.progress[running.segment].mode;
            let kind = if mode == Mode::Delta { PartKind::Delta } else { PartKind::Whole };
            if kind != running.kind && running.part_from < running.segment {
                to.push(self.close_part(&mut running));
            }
            running.kind = kind;
            let (seen, is_through) = match mode {
                Mode::Delta => self.scan_changes(&mut running, left.max(64)),
                Mode::Whole | Mode::Through => self.scan_table(&mut running, left.max(64)),
            };
            left = left.saturating_sub(seen);
            if !is_through {
                continue;
            }
            let progress = &mut self.progress[running.segment];
            progress.mode = Mode::Through;
            running.early -= progress.early.len();
            running.part.append(&mut progress.early);
            progress.early = Vec::new();
            running.segment += 1;
            let is_last = running.segment == self.tables.len();
            if is_last || running.part.len() >= PART_BYTES {
                to.push(self.close_part(&mut running));
            }
        }
        let Running { begin, turn, bytes, .. } = running;
        self.saves.newest = Some(Newest { of: begin.checkpoint, turn, bytes });
        true
    }

    /// Encodes the entries of the next places of a table. How many places that were, at least one, and whether the
    /// segment is saved.
    fn scan_table(&mut self, running: &mut Running, places: usize) -> (usize, bool) {
        let (table, progress) =
            (&mut self.tables[running.segment], &mut self.progress[running.segment]);
        if progress.cursor >= table.num_buckets() {
            // Entries were moved to places that were scanned before.
            progress.cursor = 0;
        }
        let from = progress.cursor;
        let to = if progress.unwalked == 0 { from } else { table.num_buckets().min(from + places) };
        progress.cursor = to;
        let how = Encoding { codec: self.saves.codec, expiry: self.saves.expiry };
        let mut part = std::mem::take(&mut running.part);
        for bucket in from..to {
            let Some(entry) = table.get_bucket_mut(bucket) else { continue };
            if entry.marks.walked() != progress.walk {
                let changed = entry.marks.changed();
                entry.marks = Marks::new(changed, progress.walk);
                progress.unwalked -= 1;
                running.encode(entry, how, &mut part, &mut self.saves.read_back);
            }
        }
        running.part = part;
        ((to - from).max(1), progress.unwalked == 0)
    }

    /// Encodes the next changes of a segment: first the keys that were removed, since a key may have come again.
    /// How many, at least one, and whether the segment is saved.
    fn scan_changes(&mut self, running: &mut Running, places: usize) -> (usize, bool) {
        let (table, progress) =
            (&self.tables[running.segment], &mut self.progress[running.segment]);
        let Changes { hashes, removed, .. } = &progress.before;
        let all = removed.len() + hashes.len();
        let from = progress.cursor;
        progress.cursor = all.min(from + places);
        let how = Encoding { codec: self.saves.codec, expiry: self.saves.expiry };
        let mut part = std::mem::take(&mut running.part);
        for key in &removed[from.min(removed.len())..progress.cursor.min(removed.len())] {
            running.encode_removed::<K, V>(key, self.saves.codec, &mut part);
        }
        let of_entries = |place: usize| place.saturating_sub(removed.len());
        for &hash in &hashes[of_entries(from)..of_entries(progress.cursor)] {
            // Two keys may have the same hash.
            let changed =
                table.iter_hash(remixed(hash)).filter(|entry| hash_key(&entry.key) == hash);
            for entry in changed {
                if self.saves.has_changed(entry.marks) {
                    running.encode(entry, how, &mut part, &mut self.saves.read_back);
                }
            }
        }
        running.part = part;
        ((progress.cursor - from).max(1), progress.cursor == all)
    }

    fn close_part(&self, running: &mut Running) -> Part {
        let first = self.first_of(running.part_from);
        let last = match running.segment == self.tables.len() {
            true => self.range.last,
            false => self.first_of(running.segment) - 1,
        };
        let records = std::mem::take(&mut running.part);
        let times = self.saves.expiry.map(|expiry| match expiry.is_in_event_time() {
            true => Times::Event,
            false => Times::Clock,
        });
        let head = block::head(running.kind, times, running.begin.at, records.len());
        let bytes = records.len() as u64;
        match running.kind == PartKind::Whole && running.turn.has(running.part_from) {
            true => running.bytes.in_turn += bytes,
            false => running.bytes.others += bytes,
        }
        running.part_from = running.segment;
        let records = running.failed.take().map_or(Ok(records), Err);
        let unit = Unit::Range(HashRange { first, last });
        let name = PartName::of(&*running.begin.component, "", unit);
        let block = Block::new(self.saves.codec, head, records, &self.saves.unsent);
        Part {
            name,
            state: Box::new(block),
            watermark: running.begin.watermark,
            cut_at: Some(running.begin.at),
            kind: running.kind,
        }
    }

    /// A checkpoint is complete.
    pub(crate) fn complete(&mut self, checkpoint: CheckpointId) {
        if self.saves.complete(checkpoint) {
            self.progress.iter_mut().for_each(Progress::is_stored);
        }
    }
}

impl Running {
    /// Encodes an entry. The number of bytes.
    fn encode<K: State, V: State>(
        &mut self,
        entry: &Entry<K, V>,
        Encoding { codec, expiry }: Encoding,
        to: &mut Vec<u8>,
        read_back: &mut bool,
    ) -> usize {
        let before = to.len();
        let encoded = catch_unwind(AssertUnwindSafe(|| {
            let touched = expiry.map(|expiry| expiry.moment(entry.touched));
            block::put(&entry.key, &entry.value, touched, codec, to)?;
            match std::mem::replace(read_back, true) {
                true => Ok(()),
                false => {
                    let end = to.len() - touched.map_or(0, |_| block::TOUCHED);
                    block::read_back(&entry.key, &entry.value, codec, &to[before..end])
                }
            }
        }));
        self.encoded::<V>(encoded, before, to)
    }

    fn encode_removed<K: State, V>(&mut self, key: &K, codec: CodecId, to: &mut Vec<u8>) {
        let before = to.len();
        let encoded = catch_unwind(AssertUnwindSafe(|| block::put_removed(key, codec, to)));
        self.encoded::<V>(encoded, before, to);
    }

    /// The number of bytes. What could not be encoded makes the checkpoint fail.
    fn encoded<V>(
        &mut self,
        encoded: std::thread::Result<Result<(), CodecError>>,
        before: usize,
        to: &mut Vec<u8>,
    ) -> usize {
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

/// For the store's own tests.
#[cfg(test)]
impl<K, V> KeyedStore<K, V> {
    pub(super) fn is_saving(&self) -> bool {
        self.saves.running.is_some()
    }

    pub(super) fn set_number_of_saves(&mut self, number: u32) {
        assert!(self.tables.iter().all(hashbrown::HashTable::is_empty));
        self.saves.number = number;
    }
}
