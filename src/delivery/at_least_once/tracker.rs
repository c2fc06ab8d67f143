//! [`Tracker`]: exact counts of outstanding deliveries, one per root, in a ring.
//!
//! Roots are dense: the next one has the next number, completed roots are freed from the front, and a
//! report for a root that is no longer there changes nothing. So a late report of an earlier attempt
//! does no harm. Counts are used instead of the XOR of random ids (Apache Storm): a count is never zero
//! by chance.
//!
//! A plain count suffices because an instance reports the deliveries that it made before they become
//! visible. So the count of a live root cannot reach zero while a delivery is outstanding.

use std::collections::VecDeque;

use crate::clock::Timestamp;

/// Counts for roots that each stand for a `K`: an event that is replayed, or a group's members.
#[derive(Debug)]
pub(crate) struct Tracker<K> {
    base: u64,
    slots: VecDeque<Slot<K>>,
    live: usize,
    /// Outstanding deliveries of all roots that are not done, and those of them that are held in tokens.
    outstanding: i64,
    held: i64,
}

#[derive(Debug)]
struct Slot<K> {
    /// `None` once it is done, failed or retired.
    stands_for: Option<K>,
    outstanding: i64,
    held: i64,
    progress: Timestamp,
}

impl<K> Default for Tracker<K> {
    fn default() -> Self {
        Self { base: 0, slots: VecDeque::new(), live: 0, outstanding: 0, held: 0 }
    }
}

impl<K> Tracker<K> {
    /// A new root with this many outstanding deliveries; at least one.
    pub(crate) fn open(&mut self, stands_for: K, copies: u32, now: Timestamp) -> u64 {
        assert!(copies > 0, "a root without deliveries is done before it is opened");
        let sequence = self.base + self.slots.len() as u64;
        self.slots.push_back(Slot {
            stands_for: Some(stands_for),
            outstanding: i64::from(copies),
            held: 0,
            progress: now,
        });
        self.live += 1;
        self.outstanding += i64::from(copies);
        sequence
    }

    /// Changes a count. Returns what the root stood for, if it is done now.
    pub(crate) fn change(&mut self, sequence: u64, delta: i64, now: Timestamp) -> Option<K> {
        let slot = self.live_slot(sequence)?;
        slot.outstanding += delta;
        slot.progress = now;
        assert!(
            slot.outstanding >= 0,
            "root {sequence} was acknowledged more often than delivered"
        );
        let done = slot.outstanding == 0;
        self.outstanding += delta;
        if done { self.retire(sequence) } else { None }
    }

    /// Ends a root before its count is zero: it failed, or its event is replayed.
    pub(crate) fn retire(&mut self, sequence: u64) -> Option<K> {
        let slot = self.live_slot(sequence)?;
        let stood_for = slot.stands_for.take();
        let (outstanding, held) = (slot.outstanding, slot.held);
        self.live -= 1;
        self.outstanding -= outstanding;
        self.held -= held;
        while self.slots.front().is_some_and(|slot| slot.stands_for.is_none()) {
            self.slots.pop_front();
            self.base += 1;
        }
        stood_for
    }

    /// A delivery went into a token (+1) or left it (−1).
    pub(crate) fn hold(&mut self, sequence: u64, delta: i64) {
        if let Some(slot) = self.live_slot(sequence) {
            slot.held += delta;
            self.held += delta;
        }
    }

    /// Ends all roots.
    pub(crate) fn retire_all(&mut self) {
        let base = self.base + self.slots.len() as u64;
        *self = Self { base, ..Self::default() };
    }

    /// Roots that are not done.
    #[cfg(test)]
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Whether every outstanding delivery is held in a token.
    pub(crate) fn all_held(&self) -> bool {
        self.outstanding == self.held
    }

    /// Retires every root without progress since `before`.
    pub(crate) fn expire(&mut self, before: Timestamp) -> Vec<K> {
        let stale = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.stands_for.is_some() && slot.progress < before);
        let stale: Vec<u64> = stale.map(|(i, _)| self.base + i as u64).collect();
        stale.into_iter().filter_map(|sequence| self.retire(sequence)).collect()
    }

    fn live_slot(&mut self, sequence: u64) -> Option<&mut Slot<K>> {
        let index = usize::try_from(sequence.checked_sub(self.base)?).ok()?;
        self.slots.get_mut(index).filter(|slot| slot.stands_for.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(0);

    #[test]
    fn a_root_is_done_exactly_when_its_last_delivery_is() {
        let mut tracker = Tracker::default();
        let root = tracker.open('a', 2, NOW);
        assert_eq!(tracker.change(root, 1, NOW), None);
        assert_eq!(tracker.change(root, -2, NOW), None);
        assert_eq!(tracker.change(root, -1, NOW), Some('a'));
        assert_eq!(tracker.live(), 0);
    }

    #[test]
    fn a_late_report_for_a_retired_root_changes_nothing() {
        let mut tracker = Tracker::default();
        let (old, other) = (tracker.open('a', 1, NOW), tracker.open('b', 1, NOW));
        assert_eq!(tracker.retire(old), Some('a'));
        let again = tracker.open('a', 1, NOW);
        assert_eq!(tracker.change(old, -1, NOW), None);
        assert_eq!(tracker.live(), 2);
        assert_eq!(tracker.change(other, -1, NOW), Some('b'));
        assert_eq!(tracker.change(again, -1, NOW), Some('a'));
        assert!(tracker.slots.is_empty());
    }

    #[test]
    fn a_late_report_for_a_root_retired_in_the_middle_changes_nothing() {
        let mut tracker = Tracker::default();
        let (_first, old) = (tracker.open('a', 1, NOW), tracker.open('b', 1, NOW));
        assert_eq!(tracker.retire(old), Some('b'));
        assert_eq!(tracker.change(old, -1, NOW), None);
        assert_eq!(tracker.change(old, -1, NOW), None);
        assert_eq!(tracker.retire(old), None);
        assert_eq!(tracker.live(), 1);
    }

    proptest! {
        /// Random trees of deliveries, processed in any order: done exactly once, at the end.
        #[test]
        fn any_tree_in_any_order_is_done_once_and_not_early(
            roots in 1_usize..20,
            choices in proptest::collection::vec((0_usize..1000, 0_i64..4), 0..300),
        ) {
            let mut tracker = Tracker::default();
            let mut outstanding: Vec<(u64, usize)> = Vec::new();
            for root in 0..roots {
                outstanding.push((tracker.open(root, 1, NOW), root));
            }
            let mut done = vec![false; roots];
            let ends = std::iter::repeat((0, 0));
            for (pick, children) in choices.into_iter().chain(ends) {
                if outstanding.is_empty() {
                    break;
                }
                let (sequence, root) = outstanding.swap_remove(pick % outstanding.len());
                outstanding.extend((0..children).map(|_| (sequence, root)));
                let finished = !outstanding.iter().any(|(_, r)| *r == root);
                let answer = tracker.change(sequence, children - 1, NOW);
                prop_assert_eq!(answer, finished.then_some(root));
                if finished {
                    prop_assert!(!std::mem::replace(&mut done[root], true));
                }
            }
            prop_assert!(done.iter().all(|d| *d));
            prop_assert!(tracker.slots.is_empty());
        }
    }
}
