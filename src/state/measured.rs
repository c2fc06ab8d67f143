//! How much memory a store takes: exactly for its tables, by a sample for what keys and values own beside them (state B6.1).

use std::hash::Hash;
use std::mem::needs_drop;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::api::state::State;
use crate::state::block;
use crate::state::keyed_state::StateSize;
use crate::state::segment::Entry;
use crate::state::store::KeyedStore;

/// Entries that are encoded to learn what one owns.
const SAMPLE: usize = 64;

/// What was found when the store was looked at last.
#[derive(Debug, Default)]
pub(super) struct Measured {
    entries: usize,
    /// What an entry owns beside its place in the table.
    owned: usize,
}

impl<K: State + Hash + Eq, V: State> KeyedStore<K, V> {
    /// What the store has now.
    pub(crate) fn size(&mut self) -> StateSize {
        let entries = self.tables.iter().map(|table| table.len()).sum::<usize>();
        let tables = self.tables.iter().map(|table| table.allocation_size()).sum::<usize>();
        let owns = needs_drop::<K>() || needs_drop::<V>();
        // An estimate holds until there are a quarter more or fewer.
        if owns && entries.abs_diff(self.measured.entries) > self.measured.entries / 4 {
            self.measured.entries = entries;
            self.measured.owned = self.owned_by_one();
        }
        let bytes = (tables + entries * self.measured.owned) as u64;
        StateSize { entries: entries as u64, bytes }
    }

    /// The mean of what some entries own, by the bytes that they have when they are encoded.
    fn owned_by_one(&self) -> usize {
        let (mut bytes, mut seen, mut scratch) = (0, 0, Vec::new());
        // From all over the store: those of one segment may have been added at one time.
        let some = self.tables.iter().step_by((self.tables.len() / SAMPLE).max(1));
        for Entry { key, value, .. } in some.filter_map(|table| table.iter().next()) {
            scratch.clear();
            let put = || block::put(key, value, None, self.saves.codec(), &mut scratch);
            if matches!(catch_unwind(AssertUnwindSafe(put)), Ok(Ok(()))) {
                bytes += scratch.len();
                seen += 1;
            }
        }
        bytes / seen.max(1)
    }
}
