//! Timers by key: each is kept with the state of its key, and an index says which keys have one that is due.
//!
//! The index holds a hint for each timer that was set. A hint whose timer is cleared, or gone with its key, leads to
//! nothing when its time comes. So clearing a timer costs no search, and the timers that are stored are those of
//! the cells.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::api::state::State;
use crate::clock::Timestamp;
use crate::time::EventTime;

/// When a timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Moment {
    /// When the watermark is later than this.
    Event(EventTime),
    /// At this moment of the instance's clock.
    Clock(Timestamp),
}

/// The timers of one key.
#[derive(Serialize, Deserialize)]
#[serde(bound = "T: State")]
pub(crate) struct KeyTimers<T>(Vec<KeyTimer<T>>);

#[derive(Serialize, Deserialize)]
#[serde(bound = "T: State")]
struct KeyTimer<T> {
    at: Moment,
    /// Timers of an instance are numbered in the order in which they are set.
    number: u64,
    timer: T,
}

impl<T> Default for KeyTimers<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> KeyTimers<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The moments and numbers of all.
    pub(crate) fn hints(&self) -> impl Iterator<Item = (Moment, u64)> {
        self.0.iter().map(|timer| (timer.at, timer.number))
    }

    /// Takes out the timer of this number.
    pub(crate) fn take(&mut self, number: u64) -> Option<(Moment, T)> {
        let place = self.0.iter().position(|timer| timer.number == number)?;
        let timer = self.0.remove(place);
        Some((timer.at, timer.timer))
    }

    /// The instance's clock stood at `then` when the timers were saved, and stands at `now`.
    pub(crate) fn restored(&mut self, then: Timestamp, now: Timestamp) {
        for timer in &mut self.0 {
            if let Moment::Clock(at) = &mut timer.at {
                *at = now.after(at.since(then));
            }
        }
    }
}

impl<T: Eq> KeyTimers<T> {
    pub(crate) fn has(&self, at: Moment, timer: &T) -> bool {
        self.0.iter().any(|known| known.at == at && known.timer == *timer)
    }

    /// Sets a timer; false if it is set already, which a timer in processing time never is.
    pub(crate) fn set(&mut self, at: Moment, number: u64, timer: T) -> bool {
        if matches!(at, Moment::Event(_)) && self.has(at, &timer) {
            return false;
        }
        self.0.push(KeyTimer { at, number, timer });
        true
    }

    pub(crate) fn clear(&mut self, at: Moment, timer: &T) {
        self.0.retain(|known| known.at != at || known.timer != *timer);
    }

    pub(crate) fn clear_all(&mut self, timer: &T) {
        self.0.retain(|known| known.timer != *timer);
    }
}

/// Which keys have timers, by time.
pub(crate) struct TimerIndex<K> {
    events: BTreeMap<EventTime, Vec<(u64, K)>>,
    clock: BTreeMap<Timestamp, Vec<(u64, K)>>,
    /// Hints that are due, in the order in which they fire.
    due: VecDeque<(u64, K)>,
    pub(crate) next_number: u64,
    pub(crate) watermark: Option<EventTime>,
    /// The watermark that readers know.
    pub(crate) passed_on: Option<EventTime>,
    /// While the input ends: the latest timer that still fires.
    last: Option<EventTime>,
}

impl<K> Default for TimerIndex<K> {
    fn default() -> Self {
        Self {
            events: BTreeMap::new(),
            clock: BTreeMap::new(),
            due: VecDeque::new(),
            next_number: 0,
            watermark: None,
            passed_on: None,
            last: None,
        }
    }
}

impl<K> TimerIndex<K> {
    /// A timer has been set, with the next number.
    pub(crate) fn add(&mut self, at: Moment, key: K) {
        let number = self.next_number;
        self.next_number += 1;
        match at {
            Moment::Event(at) => self.events.entry(at).or_default().push((number, key)),
            Moment::Clock(at) => self.clock.entry(at).or_default().push((number, key)),
        }
    }

    /// A timer that was restored.
    pub(crate) fn restored(&mut self, at: Moment, number: u64, key: K) {
        self.next_number = self.next_number.max(number + 1);
        let hints = match at {
            Moment::Event(at) => self.events.entry(at).or_default(),
            Moment::Clock(at) => self.clock.entry(at).or_default(),
        };
        hints.push((number, key));
        // They come in any order.
        let mut place = hints.len() - 1;
        while place > 0 && hints[place - 1].0 > hints[place].0 {
            hints.swap(place - 1, place);
            place -= 1;
        }
    }

    /// The next hint that is due, with all that were due before it. Those that are set while these fire come after them
    /// (state O7).
    pub(crate) fn next_due(&mut self, now: Timestamp) -> Option<(u64, K)> {
        if self.due.is_empty() {
            while let Some(first) = self.events.first_entry() {
                // Nothing of this time can follow a later watermark.
                if self.watermark.is_none_or(|watermark| *first.key() >= watermark) {
                    break;
                }
                self.due.extend(first.remove());
            }
            while let Some(first) = self.clock.first_entry() {
                if *first.key() > now {
                    break;
                }
                self.due.extend(first.remove());
            }
        }
        self.due.pop_front()
    }

    /// The same when the input is over: no timer of processing time, and none that is later than the latest one of the
    /// beginning.
    pub(crate) fn next_of_rest(&mut self) -> Option<(u64, K)> {
        if let Some(due) = self.due.pop_front() {
            return Some(due);
        }
        let last = match (self.last, self.events.last_key_value()) {
            (Some(last), _) => last,
            (None, Some((last, _))) => *self.last.insert(*last),
            (None, None) => return None,
        };
        let first = self.events.first_entry().filter(|first| *first.key() <= last)?;
        self.due.extend(first.remove());
        self.due.pop_front()
    }

    /// When the first timer of processing time is due.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.clock.first_key_value().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(at: i64) -> EventTime {
        EventTime::from_unix_ms(at)
    }

    fn fired(index: &mut TimerIndex<&'static str>, now: u64) -> Vec<(u64, &'static str)> {
        std::iter::from_fn(|| index.next_due(Timestamp(now))).collect()
    }

    #[test]
    fn a_timer_is_due_when_the_watermark_is_later_and_not_when_it_is_there() {
        // state O4, O6
        let mut index = TimerIndex::default();
        index.add(Moment::Event(ms(20)), "b");
        index.add(Moment::Event(ms(10)), "a");
        index.add(Moment::Event(ms(10)), "c");
        assert_eq!(fired(&mut index, 0), [], "before the first watermark nothing is due");
        index.watermark = Some(ms(10));
        assert_eq!(fired(&mut index, 0), []);
        index.watermark = Some(ms(11));
        assert_eq!(fired(&mut index, 0), [(1, "a"), (2, "c")]);
        index.watermark = Some(ms(21));
        assert_eq!(fired(&mut index, 0), [(0, "b")]);
    }

    #[test]
    fn a_timer_that_is_set_while_others_fire_comes_after_them() {
        // state O7
        let mut index = TimerIndex { watermark: Some(ms(100)), ..TimerIndex::default() };
        index.add(Moment::Event(ms(10)), "a");
        index.add(Moment::Event(ms(20)), "b");
        assert_eq!(index.next_due(Timestamp(0)), Some((0, "a")));
        index.add(Moment::Event(ms(5)), "later");
        assert_eq!(fired(&mut index, 0), [(1, "b"), (2, "later")]);
    }

    #[test]
    fn at_the_end_what_is_set_again_and_again_comes_to_an_end() {
        // state O10
        let mut index = TimerIndex::default();
        index.add(Moment::Event(ms(10)), "every 10");
        index.add(Moment::Event(ms(35)), "once");
        index.add(Moment::Clock(Timestamp(1)), "by the clock");
        let (mut at, mut fired) = (10, Vec::new());
        while let Some((_, key)) = index.next_of_rest() {
            fired.push(key);
            if key == "every 10" {
                at += 10;
                index.add(Moment::Event(ms(at)), key);
            }
        }
        assert_eq!(fired, ["every 10", "every 10", "every 10", "once"]);
    }

    #[test]
    fn restored_timers_fire_in_the_order_in_which_they_were_set_and_wait_for_the_rest_of_their_time()
     {
        // state O6, O8
        let mut timers = KeyTimers::default();
        assert!(timers.set(Moment::Clock(Timestamp(500)), 7, 'x'));
        assert!(timers.set(Moment::Clock(Timestamp(500)), 8, 'x'), "several are several");
        assert!(timers.set(Moment::Event(ms(9)), 9, 'x'));
        assert!(!timers.set(Moment::Event(ms(9)), 10, 'x'), "twice is once");
        timers.restored(Timestamp(450), Timestamp(3));
        let hints: Vec<_> = timers.hints().collect();
        let left = Moment::Clock(Timestamp(53));
        assert_eq!(hints, [(left, 7), (left, 8), (Moment::Event(ms(9)), 9)]);
        let mut index = TimerIndex::default();
        index.restored(left, 8, "second");
        index.restored(left, 7, "first");
        assert_eq!(fired(&mut index, 52), []);
        assert_eq!(fired(&mut index, 53), [(7, "first"), (8, "second")]);
        index.add(Moment::Clock(Timestamp(60)), "new");
        assert_eq!(fired(&mut index, 60), [(9, "new")], "numbers go on");
    }
}
