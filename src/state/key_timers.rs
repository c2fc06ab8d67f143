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
