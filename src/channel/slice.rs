//! How long an instance works before it looks at its commands: a [`Slice`] of time per step, and per
//! component the [`Pace`] at which the clock is read.
//!
//! Reading the clock for each event would cost more than the event. So between two readings a component
//! handles as many events as took about a millisecond before, and one if an event takes longer. While all
//! components are fast none reads the clock: the time of the whole step is known anyway.

use std::time::Duration;

use crate::channel::budget::worth;
use crate::clock::Timestamp;

/// How long a step works. Then its outputs are passed on, and commands are handled.
const LENGTH: Duration = Duration::from_millis(5);

/// How long it works if every batch has a fixed cost at its end.
const LONGEST: Duration = Duration::from_millis(200);

/// Time between two readings of the clock.
const LOOK: Duration = Duration::from_millis(1);

/// The maximum number of events between two readings: more than a batch.
const MOST: usize = 1 << 20;

/// How many events a component must have handled fast in one piece before it does so without reading the
/// clock.
const TRUSTED: usize = 1_024;

/// The time that one step of an instance may take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slice {
    began: Timestamp,
    looked: Timestamp,
    is_over: bool,
    /// The step before took longer than it should have: something has become slow.
    is_doubtful: bool,
    /// How many steps did so.
    doubts: u64,
    /// How long the step took is known.
    is_closed: bool,
    paused: Duration,
    pause: Duration,
}

impl Slice {
    /// Of a step that begins at this moment.
    pub(crate) fn at(now: Timestamp) -> Self {
        Self { began: now, looked: now, is_closed: true, ..Self::default() }
    }

    /// A step begins. If the one before has not been [closed](Self::close), it ended only now.
    pub(crate) fn begin(&mut self, now: Timestamp) {
        if !self.is_closed {
            self.close(now);
        }
        (self.began, self.looked, self.is_over, self.is_closed) = (now, now, false, false);
    }

    /// The step ends.
    pub(crate) fn close(&mut self, now: Timestamp) {
        self.is_doubtful = now.since(self.began) > LOOK;
        self.doubts += u64::from(self.is_doubtful);
        self.is_closed = true;
    }

    /// Whether the clock should be read where it need not be while everything is fast.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// How many steps took longer than they should have.
    pub(crate) fn doubts(&self) -> u64 {
        self.doubts
    }

    /// It is this late now. Returns how long the work since the last reading took, without pauses.
    pub(crate) fn look(&mut self, now: Timestamp, paused_before: Duration) -> Duration {
        let took = now.since(self.looked).saturating_sub(self.paused - paused_before);
        self.looked = now;
        self.is_over |= now.since(self.began) >= worth(self.pause).clamp(LENGTH, LONGEST);
        took
    }

    /// This much time went into the fixed cost of a batch, up to now.
    pub(crate) fn pause(&mut self, since: Timestamp, now: Timestamp) {
        let took = now.since(since);
        self.paused += took;
        self.pause = took.max(self.pause / 2);
    }

    /// Another instance spent this much time on that, and this one waited for it.
    pub(crate) fn waited_for_pause(&mut self, time: Duration) {
        self.paused += time;
    }

    /// Ends it before its time.
    pub(crate) fn end(&mut self) {
        self.is_over = true;
    }

    /// The newest moment that is known.
    pub(crate) fn looked(&self) -> Timestamp {
        self.looked
    }

    /// Whether the step should come to its end.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// All the time that went into pauses.
    pub(crate) fn paused(&self) -> Duration {
        self.paused
    }

    /// The fixed cost of a batch, approximately.
    pub(crate) fn last_pause(&self) -> Duration {
        self.pause
    }
}

/// How many events a component handles between two readings of the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    events: usize,
    /// The number of long steps that have been taken into account.
    doubts: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { events: 1, doubts: 0 }
    }
}

impl Pace {
    /// Events until the next reading.
    pub(crate) fn events(self) -> usize {
        self.events
    }

    /// Whether the clock need not be read after this many events: more were fast before.
    pub(crate) fn trusts(self, events: usize) -> bool {
        events <= self.events && self.events > TRUSTED
    }

    /// This many steps have taken long so far. One more, and something has become slow, perhaps this: it is
    /// measured anew.
    pub(crate) fn doubt(&mut self, doubts: u64) {
        if self.doubts != doubts {
            *self = Self { doubts, ..Self::default() };
        }
    }

    /// This many events took this long.
    pub(crate) fn took(&mut self, events: usize, time: Duration) {
        if time > LOOK {
            let share = LOOK.as_secs_f64() / time.as_secs_f64();
            self.events = ((events as f64 * share) as usize).max(1);
        } else if events >= self.events {
            self.events = self.events.saturating_mul(8).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp(0).after(Duration::from_millis(ms))
    }

    #[test]
    fn the_clock_is_read_once_a_batch_where_events_are_fast_and_after_each_slow_one() {
        let mut pace = Pace::default();
        let mut looks = 0;
        while pace.events() < 1_024 {
            pace.took(pace.events(), Duration::from_micros(1));
            looks += 1;
        }
        assert_eq!(looks, 4);
        pace.took(1_024, Duration::from_millis(20_480));
        assert_eq!(pace.events(), 1);
        pace.took(1, Duration::from_millis(20));
        assert_eq!(pace.events(), 1);
    }

    #[test]
    fn a_clock_that_is_read_is_trusted_until_a_step_takes_long() {
        let mut slice = Slice::default();
        slice.begin(at(0));
        slice.begin(at(1));
        assert!(!slice.is_doubtful());
        slice.begin(at(22));
        assert!(slice.is_doubtful(), "that one took 21 ms");
        slice.close(at(23));
        slice.begin(at(900));
        assert!(!slice.is_doubtful(), "from 23 to 900 there was nothing to do");
        let mut pace = Pace::default();
        assert!(!pace.trusts(1));
        (0..4).for_each(|_| pace.took(pace.events(), Duration::ZERO));
        assert!(pace.trusts(1_024) && !pace.trusts(10_000));
        pace.doubt(0);
        assert!(pace.trusts(1_024));
        pace.doubt(slice.doubts());
        assert!(!pace.trusts(1_024));
    }

    #[test]
    fn a_batch_that_is_smaller_than_the_pace_says_nothing_unless_it_is_slow() {
        let mut pace = Pace { events: 4_096, doubts: 0 };
        pace.took(10, Duration::from_micros(10));
        assert_eq!(pace.events(), 4_096);
        pace.took(10, Duration::from_millis(2));
        assert_eq!(pace.events(), 5);
    }

    #[test]
    fn a_slice_is_over_after_a_few_milliseconds_or_when_a_costly_end_of_a_batch_is_worth_it() {
        let mut slice = Slice::default();
        slice.begin(at(0));
        slice.look(at(4), Duration::ZERO);
        assert!(!slice.is_over());
        slice.look(at(5), Duration::ZERO);
        assert!(slice.is_over());
        slice.pause(at(5), at(15));
        slice.begin(at(20));
        slice.look(at(99), slice.paused());
        assert!(!slice.is_over());
        slice.look(at(100), slice.paused());
        assert!(slice.is_over());
    }

    #[test]
    fn what_a_batch_costs_once_is_not_the_time_of_its_events() {
        let mut slice = Slice::default();
        slice.begin(at(0));
        let before = slice.paused();
        slice.pause(at(1), at(11));
        assert_eq!(slice.look(at(12), before), Duration::from_millis(2));
    }
}
