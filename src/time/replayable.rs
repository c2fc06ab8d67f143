//! [`Replayable`]: holds a watermark back to the least time among the events that may be replayed, so that none of
//! them is late when it comes again (state T16). A value: numbers of events and their times go in, in order. It keeps
//! no more entries than there are events that may be replayed.

use std::collections::VecDeque;

use crate::time::EventTime;
use crate::time::watermarks::Change;

/// The times of the events that may be replayed, and what was held back because of them.
#[derive(Debug, Default)]
pub(crate) struct Replayable {
    /// Ascending in both. Each entry has the least time of the events after the entry before it, up to its number,
    /// and no event behind it is older: so the first entry has the least time of all. `None` is less than any time.
    least: VecDeque<(u64, Option<EventTime>)>,
    /// The number after the largest one so far.
    next: u64,
    /// The watermark without these events.
    watermark: Option<EventTime>,
    /// The stream is idle, and that has not been passed on.
    rests: bool,
}

impl Replayable {
    /// An event of this time came. Its number is `None` if it is a replay, or stands for several events: then it
    /// counts until all events so far are acknowledged.
    pub(crate) fn event(&mut self, number: Option<u64>, time: EventTime) {
        // An older number may come late, out of a token.
        let after = number.map_or(self.next, |number| (number + 1).max(self.next));
        if after > self.next + 1 {
            // Those between were left out, or have failed and come again. In their places they would not have been older
            // than the watermark.
            self.push(after - 2, self.watermark);
        }
        self.next = after;
        self.push(after.saturating_sub(1), Some(time));
    }

    fn push(&mut self, number: u64, time: Option<EventTime>) {
        while self.least.back().is_some_and(|(_, other)| *other >= time) {
            self.least.pop_back();
        }
        self.least.push_back((number, time));
    }

    /// What can be passed on of this change, and of what was held back before, when all events below the `front` are
    /// acknowledged. The stream does not become idle while one of its events may be replayed.
    pub(crate) fn hold_back(&mut self, change: Change, front: u64) -> Change {
        while self.least.front().is_some_and(|(number, _)| *number < front) {
            self.least.pop_front();
        }
        self.watermark = self.watermark.max(change.watermark);
        // If it is active again before anybody was told that it rests, there is nothing to tell.
        let active = change.active && !std::mem::take(&mut self.rests);
        self.rests |= change.idle;
        let least = self.least.front().map(|(_, time)| *time);
        let watermark = least.map_or(self.watermark, |least| self.watermark.min(least));
        let idle = self.least.is_empty() && std::mem::take(&mut self.rests);
        Change { active, watermark, idle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: i64) -> EventTime {
        EventTime::from_unix_ms(ms)
    }

    fn risen(to: i64) -> Change {
        Change { watermark: Some(at(to)), ..Change::default() }
    }

    /// The watermark that is passed on when all events below `front` are acknowledged.
    fn passed(of: &mut Replayable, to: i64, front: u64) -> Option<i64> {
        of.hold_back(risen(to), front).watermark.map(EventTime::unix_ms)
    }

    /// State T16.
    #[test]
    fn the_watermark_passes_the_time_of_no_event_that_is_not_acknowledged() {
        let mut of = Replayable::default();
        for (number, time) in [(0, 10), (1, 30), (2, 5), (3, 40), (4, 20)] {
            of.event(Some(number), at(time));
        }
        let fronts = (0..=5).map(|front| passed(&mut of, 40, front));
        assert_eq!(fronts.collect::<Vec<_>>(), [5, 5, 5, 20, 20, 40].map(Some));
        of.event(Some(5), at(50));
        assert_eq!(passed(&mut of, 45, 5), Some(45), "it is lower than any of them");
    }

    proptest! {
        /// State T16.
        #[test]
        fn the_least_time_is_that_of_a_search_through_all_events(
            steps in proptest::collection::vec((0_i64..100, 0_usize..3), 0..300),
        ) {
            let (mut of, mut front) = (Replayable::default(), 0);
            let times: Vec<i64> = steps.iter().map(|(time, _)| *time).collect();
            for (number, (time, done)) in steps.into_iter().enumerate() {
                of.event(Some(number as u64), at(time));
                front = (front + done).min(number + 1);
                let least = times[front..=number].iter().min().copied().unwrap_or(100);
                prop_assert_eq!(passed(&mut of, 100, front as u64), Some(least));
            }
        }
    }

    /// State T16.
    #[test]
    fn an_event_that_did_not_come_through_is_taken_to_be_as_old_as_the_watermark_in_its_place() {
        let mut of = Replayable::default();
        // The first one has failed before its time was known.
        of.event(Some(1), at(20));
        assert_eq!([0, 1, 2].map(|front| passed(&mut of, 20, front)), [None, Some(20), Some(20)]);
        of.event(Some(2), at(30));
        assert_eq!(passed(&mut of, 30, 3), Some(30));
        of.event(Some(3), at(40));
        of.event(Some(6), at(50));
        of.event(Some(6), at(60));
        assert_eq!([3, 4, 5].map(|front| passed(&mut of, 60, front)), [Some(30); 3]);
        assert_eq!([6, 7].map(|front| passed(&mut of, 60, front)), [Some(50), Some(60)]);
    }

    /// State T16.
    #[test]
    fn a_replay_counts_until_all_events_before_it_are_acknowledged() {
        let mut of = Replayable::default();
        (0..4).for_each(|number| of.event(Some(number), at(30)));
        of.event(None, at(10));
        assert_eq!([3, 4].map(|front| passed(&mut of, 50, front)), [Some(10), Some(50)]);
    }

    /// State T6, T16.
    #[test]
    fn a_stream_with_events_that_may_be_replayed_is_not_idle() {
        let (rests, wakes) = (
            Change { idle: true, ..Change::default() },
            Change { active: true, ..Change::default() },
        );
        let mut of = Replayable::default();
        of.event(Some(0), at(10));
        assert_eq!(of.hold_back(rests, 0), Change::default());
        assert_eq!(of.hold_back(wakes, 0), Change::default(), "nobody was told");
        assert_eq!(of.hold_back(rests, 0), Change::default());
        assert_eq!(of.hold_back(Change::default(), 1), rests);
        assert_eq!(of.hold_back(wakes, 1), wakes);
    }
}
