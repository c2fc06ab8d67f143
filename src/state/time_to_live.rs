//! [`TimeToLive`]: how long the state of a key lives, and how a store judges that (state O12, B9).

use std::time::Duration;

use crate::clock::Timestamp;
use crate::time::EventTime;

/// How long the state of a key lives. What is over is not seen by any read, and its memory is freed soon after.
///
/// Time is judged in units of a 65,536th of the duration, of at least a millisecond. In processing time, what was left
/// counts on after a restart. In event time, a state is over when the watermark is later than its time by the duration;
/// its time is that of the newest event that counts.
///
/// [`KeyedOperator::time_to_live`](crate::KeyedOperator::time_to_live) gives it to an operator, and
/// [`Table::time_to_live`](crate::Table::time_to_live) to a table.
///
/// ```
/// use std::time::Duration;
/// use streamwork::{EventTime, Guarantee, Job, TimeToLive};
/// use streamwork::testkit::Collected;
///
/// let (job, counts) = (Job::new("visits"), Collected::new());
/// // Visitor 7 comes once, two hours before the others.
/// let visits = job.from_iter("visits", || [(7_u64, 0), (8, 7_200_000), (8, 7_300_000), (9, 7_400_000)]);
/// visits
///     .event_time(|(_, ms)| EventTime::from_unix_ms(*ms), |watermarks| watermarks)
///     .key_by(|(visitor, _)| *visitor)
///     .count()
///     .time_to_live(TimeToLive::since_write(Duration::from_secs(3_600)).in_event_time())
///     .at_end()
///     .sink("counts", counts.factory());
/// job.run(Guarantee::default())?;
/// let mut counts = counts.events();
/// counts.sort();
/// assert_eq!(counts, [(8, 2), (9, 1)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeToLive {
    pub(crate) since: Since,
    pub(crate) lives: Duration,
    pub(crate) in_event_time: bool,
}

/// What a state lives on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    Created,
    Written,
    Read,
}

impl TimeToLive {
    /// From the moment when it was made, in processing time.
    #[must_use]
    pub const fn since_created(lives: Duration) -> Self {
        Self { since: Since::Created, lives, in_event_time: false }
    }

    /// From the last moment when it was changed, or could have been, in processing time.
    #[must_use]
    pub const fn since_write(lives: Duration) -> Self {
        Self { since: Since::Written, lives, in_event_time: false }
    }

    /// From the last moment when it was read or changed, in processing time.
    #[must_use]
    pub const fn since_read(lives: Duration) -> Self {
        Self { since: Since::Read, lives, in_event_time: false }
    }

    /// The same in event time. The plan refuses it on a stream without.
    #[must_use]
    pub const fn in_event_time(self) -> Self {
        Self { in_event_time: true, ..self }
    }
}

/// A time to live at work in one store. Moments are numbers of units, which come round: they are compared by their
/// distance, and the store is looked through long before that is half of all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry {
    ttl: TimeToLive,
    /// Milliseconds.
    unit: i64,
    /// Units.
    lives: i32,
    /// By which it is judged; in event time none before the first watermark.
    now: Option<i64>,
    /// The time of what is read or written now.
    stamp: i64,
}

impl Expiry {
    pub(crate) fn new(ttl: TimeToLive) -> Self {
        let lives = i64::try_from(ttl.lives.as_millis()).unwrap_or(i64::MAX).max(1);
        let unit = (lives / 65_536).max(1);
        let units = i32::try_from(lives / unit).unwrap_or(i32::MAX);
        Self { ttl, unit, lives: units, now: None, stamp: 0 }
    }

    pub(crate) fn is_in_event_time(&self) -> bool {
        self.ttl.in_event_time
    }

    pub(crate) fn lives(&self) -> Duration {
        self.ttl.lives
    }

    /// Whether a state lives on from what is done to it.
    pub(crate) fn counts(&self, how: Since) -> bool {
        match self.ttl.since {
            Since::Created => how == Since::Created,
            Since::Written => how != Since::Read,
            Since::Read => true,
        }
    }

    /// It is now this late by the clock.
    pub(crate) fn clock(&mut self, now: Timestamp) {
        if !self.ttl.in_event_time {
            self.stamp = milliseconds(now) / self.unit;
            self.now = Some(self.stamp);
        }
    }

    /// The watermark is this.
    pub(crate) fn watermark(&mut self, watermark: EventTime) {
        // The end of all times is none by which anything is judged.
        if self.ttl.in_event_time && watermark < EventTime::MAX {
            self.stamp = watermark.unix_ms().div_euclid(self.unit);
            self.now = Some(self.stamp);
        }
    }

    /// The event at hand is of this time.
    pub(crate) fn event(&mut self, time: Option<EventTime>) {
        // Beyond the guard: no time that means anything.
        let time = time.filter(|time| *time < EventTime::MAX);
        let time = time.map(|time| time.unix_ms().div_euclid(self.unit));
        self.stamp = time.or(self.now).unwrap_or(self.stamp);
    }

    /// The mark of an entry that is touched now.
    pub(crate) fn mark(&self) -> u32 {
        self.stamp as u32
    }

    /// The mark of an entry that had this one and is touched now: events may come late.
    pub(crate) fn touched(&self, before: u32) -> u32 {
        let later = self.mark().wrapping_sub(before) as i32 > 0;
        if later { self.mark() } else { before }
    }

    pub(crate) fn is_over(&self, mark: u32) -> bool {
        self.now.is_some_and(|now| (now as u32).wrapping_sub(mark) as i32 >= self.lives)
    }

    /// The moment of a mark, in milliseconds.
    pub(crate) fn moment(&self, mark: u32) -> i64 {
        // All that lives is not far from what is touched now.
        let ago = (self.stamp as u32).wrapping_sub(mark) as i32;
        (self.stamp - i64::from(ago)) * self.unit
    }

    /// The mark of a moment that was saved at `cut`, by a clock that stands at `now`.
    pub(crate) fn restored(&mut self, moment: i64, cut: Timestamp, now: Timestamp) -> u32 {
        if self.ttl.in_event_time {
            let time = moment.div_euclid(self.unit);
            if self.now.is_none() {
                self.stamp = time;
            }
            return time as u32;
        }
        ((milliseconds(now) - (milliseconds(cut) - moment)).div_euclid(self.unit)) as u32
    }
}

fn milliseconds(at: Timestamp) -> i64 {
    i64::try_from(at.0 / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp(ms * 1_000_000)
    }

    #[test]
    fn a_state_is_over_when_its_time_has_passed_and_not_before() {
        let mut expiry = Expiry::new(TimeToLive::since_write(Duration::from_millis(50)));
        expiry.clock(at(100));
        let mark = expiry.mark();
        for (now, over) in [(100, false), (149, false), (150, true), (1_000_000, true)] {
            expiry.clock(at(now));
            assert_eq!(expiry.is_over(mark), over, "{now}");
        }
    }

    #[test]
    fn what_was_left_counts_on_by_another_clock() {
        let mut expiry = Expiry::new(TimeToLive::since_write(Duration::from_millis(50)));
        expiry.clock(at(5_000));
        let moment = expiry.moment(expiry.mark());
        let mut other = Expiry::new(TimeToLive::since_write(Duration::from_millis(50)));
        other.clock(at(7));
        let mark = other.restored(moment, at(5_030), at(7));
        for (now, over) in [(7, false), (26, false), (27, true)] {
            other.clock(at(now));
            assert_eq!(other.is_over(mark), over, "{now}");
        }
    }

    #[test]
    fn event_time_is_judged_by_the_watermark_and_before_1970_too() {
        let hour = Duration::from_secs(3_600);
        let mut expiry = Expiry::new(TimeToLive::since_write(hour).in_event_time());
        let time = EventTime::from_unix_ms;
        let begin = -1_800_000;
        expiry.event(Some(time(begin)));
        let mark = expiry.mark();
        expiry.event(Some(time(begin - 60_000)));
        assert_eq!(expiry.touched(mark), mark, "a late event makes nothing older");
        for (after, over) in [(0, false), (3_599_000, false), (3_601_000, true)] {
            expiry.watermark(time(begin + after));
            assert_eq!(expiry.is_over(mark), over, "{after}");
        }
        let restored = expiry.restored(expiry.moment(mark), at(1), at(2));
        assert_eq!(restored, mark);
        expiry.event(Some(EventTime::MAX));
        assert_eq!(
            Some(i64::from(expiry.mark() as i32)),
            expiry.now.map(|now| i64::from(now as i32))
        );
    }

    #[test]
    fn before_the_first_watermark_nothing_is_over_and_moments_are_known() {
        let day = Duration::from_secs(86_400);
        for first in [-5, 7, 1_000_000_000_000, 1_700_000_000_000, 2_500_000_000_000] {
            let mut expiry = Expiry::new(TimeToLive::since_write(day).in_event_time());
            for more in [0, 60_000, 3_600_000] {
                expiry.event(Some(EventTime::from_unix_ms(first + more)));
                let mark = expiry.mark();
                assert!(!expiry.is_over(mark), "{first}");
                // To a unit.
                assert!((expiry.moment(mark) - first - more).abs() <= 1_400, "{first}");
                let mut other = Expiry::new(TimeToLive::since_write(day).in_event_time());
                assert_eq!(other.restored(expiry.moment(mark), at(1), at(2)), mark);
                assert_eq!(other.moment(mark), expiry.moment(mark), "saved again before an event");
            }
        }
    }
}
