//! [`Counts`]: exact counts of outstanding deliveries for the first attempts of one source instance's
//! events. One number is the entry of an event in the replay buffer, its root, and its index here, so a
//! count is four bytes in a ring. The source is told one number, the *front*: the lowest sequence number
//! still outstanding.
//!
//! After a failed first attempt replays follow, which have other roots
//! ([`Tracker`](super::tracker::Tracker)). The front waits for them, and late reports for the first attempt
//! change nothing.

use std::collections::{BTreeMap, VecDeque};

use crate::clock::Timestamp;
use crate::id::Root;

/// The event is done.
const DONE: u32 = 0;
/// The first attempt is over and the event is not done.
const COMES_AGAIN: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Counts {
    /// The tracker that the roots of these events name.
    tracker: usize,
    front: u64,
    /// For each event from the front on: its outstanding deliveries, or one of the two above.
    slots: VecDeque<u32>,
    /// Events that are not done.
    unfinished: usize,
    /// All outstanding deliveries together, and those of them that are held in tokens.
    outstanding: u64,
    held: i64,
    /// By event; only for events of which a delivery is or was in a token.
    held_by: BTreeMap<u64, i64>,
    /// The time of the last progress of each event, if a timeout is set.
    progress: Option<VecDeque<Timestamp>>,
}

impl Counts {
    /// For the source instance whose roots name this tracker.
    pub(crate) fn new(tracker: usize) -> Self {
        Self {
            tracker,
            front: 0,
            slots: VecDeque::new(),
            unfinished: 0,
            outstanding: 0,
            held: 0,
            held_by: BTreeMap::new(),
            progress: None,
        }
    }

    /// Records the time of the last progress of each event, for [`expire`](Self::expire).
    pub(crate) fn keep_times(&mut self) {
        self.progress.get_or_insert_default();
    }

    /// The lowest event that is not done; all below it are.
    pub(crate) fn front(&self) -> u64 {
        self.front
    }

    /// Events that are not done.
    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Adds this many new events with this many deliveries each, and returns the number of the first. Without
    /// deliveries they are done at once.
    pub(crate) fn open(&mut self, events: usize, copies: u32, now: Timestamp) -> u64 {
        assert!(copies < COMES_AGAIN, "more deliveries than a count can hold");
        let first = self.front + self.slots.len() as u64;
        self.slots.extend(std::iter::repeat_n(copies, events));
        if let Some(times) = &mut self.progress {
            times.extend(std::iter::repeat_n(now, events));
        }
        if copies > 0 {
            self.unfinished += events;
            self.outstanding += events as u64 * u64::from(copies);
        } else {
            self.advance();
        }
        first
    }

    /// One delivery under each of these roots is done, up to the first root of another source. Returns the
    /// roots from that one on. The most frequent call of all.
    pub(crate) fn finish<'a>(&mut self, roots: &'a [Root], now: Timestamp) -> &'a [Root] {
        let finished = if self.progress.is_some() || !self.held_by.is_empty() {
            let tracker = self.tracker;
            let own = roots.iter().take_while(|root| root.tracker() == tracker);
            own.map(|root| self.change(root.sequence(), -1, now)).count()
        } else {
            self.finish_plain(roots)
        };
        self.advance();
        &roots[finished..]
    }

    /// As [`finish`](Self::finish), if neither times nor tokens are recorded.
    fn finish_plain(&mut self, roots: &[Root]) -> usize {
        let (mut done, mut late, mut finished) = (0, 0, roots.len());
        let front = Root::new(self.tracker, self.front);
        let (head, tail) = self.slots.as_mut_slices();
        for (at, root) in roots.iter().enumerate() {
            // One difference gives both the owner of the root and its slot.
            let index = root.places_behind(front);
            let slot = match head.get_mut(index) {
                None => tail.get_mut(index.wrapping_sub(head.len())),
                slot => slot,
            };
            match slot.filter(|slot| is_live(**slot)) {
                Some(slot) => {
                    *slot -= 1;
                    done += usize::from(*slot == DONE);
                }
                None if root.tracker() == self.tracker => late += 1,
                None => {
                    finished = at;
                    break;
                }
            }
        }
        self.outstanding -= (finished - late) as u64;
        self.unfinished -= done;
        finished
    }

    /// The deliveries outstanding under these roots have changed by this many each, up to the first root that
    /// is another source's; from that one on they are given back.
    pub(crate) fn change_each<'a>(
        &mut self,
        changes: &'a [(Root, i64)],
        now: Timestamp,
    ) -> &'a [(Root, i64)] {
        let own = changes.iter().take_while(|(root, _)| root.tracker() == self.tracker).count();
        let (own, others) = changes.split_at(own);
        own.iter().for_each(|(root, delta)| self.change(root.sequence(), *delta, now));
        self.advance();
        others
    }

    /// The deliveries outstanding under an event have changed by this many. Call [`advance`](Self::advance)
    /// after many of these.
    pub(crate) fn change(&mut self, event: u64, delta: i64, now: Timestamp) {
        let Some(slot) = self.live_slot(event) else { return };
        let count = u32::try_from(i64::from(*slot) + delta).ok().filter(|n| *n != COMES_AGAIN);
        *slot = count.expect("an event is acknowledged no more often than it was delivered");
        let done = *slot == DONE;
        self.outstanding = self.outstanding.wrapping_add_signed(delta);
        let index = index(event, self.front);
        if let Some(times) = &mut self.progress {
            times[index] = now;
        }
        if done {
            self.unfinished -= 1;
            self.forget_tokens(event);
        }
    }

    /// Moves the front to the lowest event that is not done.
    pub(crate) fn advance(&mut self) {
        let done = self.slots.iter().position(|slot| *slot != DONE).unwrap_or(self.slots.len());
        self.slots.drain(..done);
        if let Some(times) = &mut self.progress {
            times.drain(..done);
        }
        self.front += done as u64;
    }

    /// Ends the first attempt of an event that is not done; `false` if it is over already.
    pub(crate) fn fail(&mut self, event: u64) -> bool {
        let Some(slot) = self.live_slot(event) else { return false };
        let outstanding = std::mem::replace(slot, COMES_AGAIN);
        self.outstanding -= u64::from(outstanding);
        self.forget_tokens(event);
        true
    }

    /// A replay of the event is done, or the event became a dead letter.
    pub(crate) fn done_again(&mut self, event: u64) {
        let slot = self.slots.get_mut(index(event, self.front));
        if let Some(slot) = slot.filter(|slot| **slot == COMES_AGAIN) {
            *slot = DONE;
            self.unfinished -= 1;
            self.advance();
        }
    }

    /// Everything from the front on is replayed, done or not.
    pub(crate) fn rewind(&mut self) {
        self.slots.iter_mut().for_each(|slot| *slot = COMES_AGAIN);
        self.unfinished = self.slots.len();
        (self.outstanding, self.held) = (0, 0);
        self.held_by.clear();
    }

    /// Whether this event is done.
    pub(crate) fn is_done(&self, event: u64) -> bool {
        event < self.front || self.slots.get(index(event, self.front)) == Some(&DONE)
    }

    /// A delivery of the event went into a token (+1) or left it (−1).
    pub(crate) fn hold(&mut self, event: u64, delta: i64) {
        let live = self.slots.get(index(event, self.front));
        if live.is_some_and(|slot| is_live(*slot)) {
            self.held += delta;
            *self.held_by.entry(event).or_default() += delta;
        }
    }

    /// Whether every outstanding delivery is held in a token.
    pub(crate) fn all_held(&self) -> bool {
        self.held.unsigned_abs() == self.outstanding
    }

    /// Ends the first attempts without progress since `before`, and returns them.
    pub(crate) fn expire(&mut self, before: Timestamp) -> Vec<u64> {
        let times = self.progress.iter().flatten();
        let stale = self.slots.iter().zip(times).enumerate();
        let stale = stale.filter(|(_, (slot, heard))| is_live(**slot) && **heard < before);
        let stale: Vec<u64> = stale.map(|(index, _)| self.front + index as u64).collect();
        stale.iter().for_each(|event| assert!(self.fail(*event), "it was live a moment ago"));
        stale
    }

    fn forget_tokens(&mut self, event: u64) {
        if self.held_by.is_empty() {
            return;
        }
        self.held -= self.held_by.remove(&event).unwrap_or(0);
    }

    /// The count of an event whose first attempt is not over.
    #[inline]
    fn live_slot(&mut self, event: u64) -> Option<&mut u32> {
        self.slots.get_mut(index(event, self.front)).filter(|slot| is_live(**slot))
    }
}

/// The index of the slot of an event; beyond all slots for an event below the front.
#[inline]
fn index(event: u64, front: u64) -> usize {
    usize::try_from(event.wrapping_sub(front)).unwrap_or(usize::MAX)
}

#[inline]
fn is_live(slot: u32) -> bool {
    slot != DONE && slot != COMES_AGAIN
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(0);

    fn three_events(copies: u32) -> Counts {
        let mut counts = Counts::new(7);
        assert_eq!(counts.open(3, copies, NOW), 0);
        counts
    }

    fn finish<const N: usize>(counts: &mut Counts, events: [u64; N]) {
        let roots = events.map(|event| Root::new(7, event));
        assert!(counts.finish(&roots, NOW).is_empty());
    }

    #[test]
    fn roots_of_others_are_given_back_from_the_first_on() {
        for others in [6, 8, 60_000] {
            let mut counts = three_events(1);
            let other = Root::new(others, 1);
            let roots = [Root::new(7, 0), Root::new(7, 2), other, Root::new(7, 1)];
            assert_eq!(counts.finish(&roots, NOW), [other, Root::new(7, 1)]);
            assert_eq!((counts.front(), counts.unfinished()), (1, 1));
            assert_eq!(counts.finish(&[Root::NONE], NOW), [Root::NONE]);
            // Roots below the front and beyond the end belong to this source too.
            assert_eq!(counts.finish(&[Root::new(7, 0), Root::new(7, 9), other], NOW), [other]);
            assert_eq!((counts.front(), counts.unfinished()), (1, 1));
        }
    }

    #[test]
    fn the_front_waits_for_the_lowest_event_and_then_passes_all_that_is_done() {
        let mut counts = three_events(1);
        finish(&mut counts, [1, 2]);
        assert_eq!((counts.front(), counts.unfinished()), (0, 1));
        finish(&mut counts, [0]);
        assert_eq!((counts.front(), counts.unfinished()), (3, 0));
        assert_eq!(counts.open(1, 1, NOW), 3);
    }

    #[test]
    fn an_event_is_done_exactly_when_its_last_delivery_is() {
        let mut counts = three_events(2);
        counts.change(0, 1, NOW);
        counts.change(0, -2, NOW);
        counts.advance();
        assert!(!counts.is_done(0));
        finish(&mut counts, [0]);
        assert!(counts.is_done(0));
    }

    #[test]
    fn a_late_report_for_a_first_attempt_that_failed_changes_nothing() {
        let mut counts = three_events(1);
        assert!(counts.fail(0));
        assert!(!counts.fail(0));
        finish(&mut counts, [0]);
        counts.change(0, 5, NOW);
        counts.advance();
        assert_eq!((counts.front(), counts.unfinished()), (0, 3));
        counts.done_again(0);
        assert_eq!((counts.front(), counts.unfinished()), (1, 2));
        counts.done_again(0);
        finish(&mut counts, [0]);
        assert_eq!((counts.front(), counts.unfinished()), (1, 2));
    }

    #[test]
    fn deliveries_in_tokens_of_an_event_that_failed_count_no_more() {
        let mut counts = three_events(1);
        counts.hold(1, 1);
        finish(&mut counts, [0]);
        finish(&mut counts, [2]);
        assert!(counts.all_held());
        assert!(counts.fail(1));
        counts.hold(1, -1);
        assert_eq!(counts.open(1, 1, NOW), 3);
        assert!(!counts.all_held());
    }

    #[test]
    fn a_rewind_reopens_what_was_done_behind_the_front() {
        let mut counts = three_events(1);
        finish(&mut counts, [0]);
        finish(&mut counts, [2]);
        counts.advance();
        counts.rewind();
        finish(&mut counts, [1]);
        counts.advance();
        assert_eq!((counts.front(), counts.unfinished()), (1, 2));
    }

    #[test]
    fn what_nothing_reads_is_done_at_once() {
        let mut counts = three_events(0);
        assert_eq!((counts.front(), counts.unfinished()), (3, 0));
        assert_eq!(counts.open(1, 1, NOW), 3);
    }
}
