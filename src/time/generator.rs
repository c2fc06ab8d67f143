//! [`Generator`]: the watermarks that follow from the times of a stream's events. A value: times of events and
//! moments of the clock go in, changes to be passed on come out; it reads no clock and knows no event.
//!
//! Each partition has a maximum and a watermark. How they are combined, and what an idle one means, is the same
//! as for the inputs of an instance ([`Watermarks`]).
//!
//! Source: Akidau et al., "The Dataflow Model", VLDB 2015, section 2.3; the bound on disorder and the detection of
//! idle partitions as in Flink's `BoundedOutOfOrdernessWatermarks` and `WatermarksWithIdleness`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::time::EventTime;
use crate::time::watermarks::{Change, Watermarks};

/// How watermarks follow from times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// How much older than the newest event an event may be without being behind the watermark.
    pub(crate) bound: Duration,
    /// The time without an event after which a partition is idle.
    pub(crate) idle_after: Option<Duration>,
    /// How far ahead of the clock a time may be and still move the watermark.
    pub(crate) future_at_most: Option<Duration>,
    /// The watermark does not wait for events that may be replayed.
    pub(crate) replays_may_be_late: bool,
}

impl Default for Rules {
    fn default() -> Self {
        let future_at_most = Some(Duration::from_secs(5 * 60));
        let (bound, idle_after) = (Duration::ZERO, None);
        Self { bound, idle_after, future_at_most, replays_may_be_late: false }
    }
}

/// The largest time of each partition, minus the bound; `None` if no time has counted.
pub(crate) type Maxima = Vec<(u64, Option<EventTime>)>;

/// The watermarks of one stream, of one partition or several.
#[derive(Debug)]
pub(crate) struct Generator {
    rules: Rules,
    partitions: BTreeMap<u64, Partition>,
    combined: Watermarks,
    /// Whether there were events since the last watermark.
    touched: bool,
    /// From when on the stream counts as idle while it has no partition.
    began: Timestamp,
    /// The time that readers have kept the stream waiting. It does not make a partition idle.
    waited: Duration,
    waits_since: Option<Timestamp>,
    idle: bool,
}

#[derive(Debug)]
struct Partition {
    lane: usize,
    /// The largest time so far, minus the bound, or the largest mark.
    largest: Option<EventTime>,
    /// When its last event came, not counting the time of waiting.
    last_event: Timestamp,
    idle: bool,
    touched: bool,
}

impl Generator {
    /// A stream that begins at this moment.
    pub(crate) fn new(rules: Rules, now: Timestamp) -> Self {
        Self {
            rules,
            partitions: BTreeMap::new(),
            combined: Watermarks::of(0),
            touched: false,
            began: now,
            waited: Duration::ZERO,
            waits_since: None,
            idle: false,
        }
    }

    /// Whether the watermark waits for events that may be replayed.
    pub(crate) fn waits_for_replays(&self) -> bool {
        !self.rules.replays_may_be_late
    }

    /// An event of this time came, while the wall clock showed `unix_ms`. Returns whether its time is so far ahead
    /// that it does not move the watermark (state T7).
    pub(crate) fn event(
        &mut self,
        partition: u64,
        time: EventTime,
        now: Timestamp,
        unix_ms: u64,
    ) -> bool {
        let bound = self.rules.bound;
        let future = self.rules.future_at_most.is_some_and(|most| {
            let unix_ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
            time > EventTime::from_unix_ms(unix_ms) + most
        });
        self.note(partition, (!future).then(|| time - bound), now);
        future
    }

    /// An event came. If it is a mark, no event older than this follows in its partition (state T4).
    pub(crate) fn mark(&mut self, partition: u64, to: Option<EventTime>, now: Timestamp) {
        self.note(partition, to, now);
    }

    fn note(&mut self, partition: u64, to: Option<EventTime>, now: Timestamp) {
        let last_event = self.active_time(now);
        let combined = &mut self.combined;
        let of = self.partitions.entry(partition).or_insert_with(|| Partition {
            lane: combined.add_lane(),
            largest: None,
            last_event,
            idle: false,
            touched: false,
        });
        of.largest = of.largest.max(to);
        (of.last_event, of.touched) = (last_event, true);
        self.touched = true;
    }

    /// A batch of events has passed. Returns what is to be passed on after it, with at most one watermark (state T3).
    pub(crate) fn after_batch(&mut self) -> Change {
        if !std::mem::take(&mut self.touched) {
            return Change::default();
        }
        let mut change = Change { active: std::mem::take(&mut self.idle), ..Change::default() };
        for of in self.partitions.values_mut().filter(|of| of.touched) {
            (of.touched, of.idle) = (false, false);
            let one = match of.largest {
                Some(largest) => self.combined.advance(of.lane, largest),
                None => self.combined.resume(of.lane),
            };
            change.active |= one.active;
            change.watermark = one.watermark.or(change.watermark);
        }
        change
    }

    /// Whether readers keep the stream waiting at this moment. That time makes no partition idle (state T6).
    pub(crate) fn waits(&mut self, waits: bool, now: Timestamp) {
        match (waits, self.waits_since) {
            (true, None) => self.waits_since = Some(now),
            (false, Some(since)) => {
                self.waited += now.since(since);
                self.waits_since = None;
            }
            _ => {}
        }
    }

    /// The maximum of each partition, for a restart (state T14).
    pub(crate) fn maxima(&self) -> Maxima {
        self.partitions.iter().map(|(partition, of)| (*partition, of.largest)).collect()
    }

    /// Continues from these maxima. The watermark that follows from them was passed on before.
    pub(crate) fn restore(&mut self, maxima: Maxima, now: Timestamp) {
        maxima.into_iter().for_each(|(partition, largest)| self.note(partition, largest, now));
        self.after_batch();
    }

    /// Time has passed. Returns what is to be passed on if that has made partitions idle (state T6).
    pub(crate) fn at(&mut self, now: Timestamp) -> Change {
        let Some(idle_after) = self.rules.idle_after else { return Change::default() };
        let now = self.active_time(now);
        let mut change = Change::default();
        for of in self.partitions.values_mut().filter(|of| !of.idle && !of.touched) {
            if now < of.last_event.after(idle_after) {
                continue;
            }
            of.idle = true;
            let one = self.combined.rest(of.lane);
            change.watermark = one.watermark.or(change.watermark);
            change.idle |= one.idle;
        }
        let is_empty = self.partitions.is_empty() && now >= self.began.after(idle_after);
        change.idle |= is_empty && !self.idle;
        self.idle |= change.idle;
        change
    }

    /// When the next partition becomes idle if no event comes.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let idle_after = self.rules.idle_after?;
        let active = self.partitions.values().filter(|of| !of.idle).map(|of| of.last_event);
        let began = (self.partitions.is_empty() && !self.idle).then_some(self.began);
        let first = active.chain(began).min()?;
        Some(first.after(idle_after).after(self.waited))
    }

    /// A moment, not counting the time of waiting.
    fn active_time(&self, now: Timestamp) -> Timestamp {
        let waited = Timestamp(0).after(self.waited);
        Timestamp(now.0.saturating_sub(waited.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> EventTime {
        EventTime::from_unix_ms(ms)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn moment(after_ms: u64) -> Timestamp {
        Timestamp(0).after(ms(after_ms))
    }

    fn generator(rules: Rules) -> Generator {
        Generator::new(rules, moment(0))
    }

    fn bounded(bound: Duration) -> Generator {
        generator(Rules { bound, future_at_most: None, ..Rules::default() })
    }

    /// Events of these times in one batch.
    fn batch(generator: &mut Generator, times: &[i64]) -> Option<EventTime> {
        times.iter().for_each(|time| assert!(!generator.event(0, at(*time), moment(0), 0)));
        generator.after_batch().watermark
    }

    /// State T1.
    #[test]
    fn after_a_batch_the_watermark_is_the_largest_time_so_far_without_the_bound() {
        let mut ascending = bounded(Duration::ZERO);
        assert_eq!(batch(&mut ascending, &[5, 9, 7]), Some(at(9)));
        let mut disordered = bounded(ms(10));
        assert_eq!(batch(&mut disordered, &[12_345, 12_300]), Some(at(12_335)));
        // Exactly the bound older than the largest: not behind.
        assert!(at(12_335) >= at(12_345 - 10));
        assert_eq!(batch(&mut disordered, &[12_340, 12_280]), None);
    }

    /// State T2.
    #[test]
    fn before_the_first_event_there_is_no_watermark_and_a_bound_does_not_underflow() {
        let mut generator = bounded(ms(u64::MAX));
        assert_eq!(generator.after_batch(), Change::default());
        assert_eq!(batch(&mut generator, &[i64::MIN]), Some(EventTime::MIN));
        assert_eq!(batch(&mut generator, &[i64::MAX]), None);
    }

    /// State T3.
    #[test]
    fn a_batch_is_followed_by_one_watermark_at_most_and_by_none_that_did_not_rise() {
        let mut generator = bounded(Duration::ZERO);
        assert_eq!(batch(&mut generator, &[1, 2, 3]), Some(at(3)));
        assert_eq!(batch(&mut generator, &[3, 2]), None);
        assert_eq!(batch(&mut generator, &[]), None);
        // Of several partitions too.
        for partition in 0..3 {
            generator.event(partition, at(10 + partition as i64), moment(0), 0);
        }
        assert_eq!(generator.after_batch().watermark, Some(at(10)));
    }

    /// State T4.
    #[test]
    fn a_mark_raises_the_watermark_and_never_lowers_it() {
        let mut generator = bounded(Duration::ZERO);
        generator.mark(0, Some(at(7)), moment(0));
        generator.mark(0, None, moment(0));
        assert_eq!(generator.after_batch().watermark, Some(at(7)));
        generator.mark(0, Some(at(3)), moment(0));
        assert_eq!(generator.after_batch().watermark, None);
    }

    /// State T5.
    #[test]
    fn the_watermark_of_several_partitions_is_that_of_the_last_one_and_never_falls() {
        let mut generator = bounded(Duration::ZERO);
        generator.event(1, at(10), moment(0), 0);
        assert_eq!(generator.after_batch().watermark, Some(at(10)), "one not seen holds nothing");
        generator.event(2, at(4), moment(0), 0);
        generator.event(1, at(20), moment(0), 0);
        assert_eq!(generator.after_batch().watermark, None, "it does not fall");
        generator.event(2, at(15), moment(0), 0);
        assert_eq!(generator.after_batch().watermark, Some(at(15)));
    }

    /// State T6.
    #[test]
    fn a_partition_without_events_is_idle_and_time_spent_waiting_does_not_count() {
        let rules = Rules { idle_after: Some(ms(10)), future_at_most: None, ..Rules::default() };
        let mut generator = generator(rules);
        generator.event(1, at(5), moment(0), 0);
        generator.event(2, at(50), moment(5), 0);
        assert_eq!(generator.after_batch().watermark, Some(at(5)));
        assert_eq!(generator.deadline(), Some(moment(10)));
        assert_eq!(generator.at(moment(9)), Change::default());
        let one_is_idle = Change { watermark: Some(at(50)), ..Change::default() };
        assert_eq!(generator.at(moment(10)), one_is_idle);
        generator.waits(true, moment(12));
        generator.waits(true, moment(50));
        generator.waits(false, moment(112));
        assert_eq!(generator.at(moment(114)), Change::default());
        let all_are_idle = Change { idle: true, ..Change::default() };
        assert_eq!(generator.at(moment(115)), all_are_idle);
        assert_eq!(generator.at(moment(500)), Change::default(), "said once");
        // The first event after it: the stream is active, and the partition holds the other from then on.
        generator.event(1, at(60), moment(600), 0);
        let active = Change { active: true, watermark: Some(at(60)), idle: false };
        assert_eq!(generator.after_batch(), active);
    }

    /// State T6.
    #[test]
    fn a_stream_that_never_had_an_event_is_idle_too() {
        let rules = Rules { idle_after: Some(ms(10)), future_at_most: None, ..Rules::default() };
        let mut generator = generator(rules);
        assert_eq!(generator.deadline(), Some(moment(10)));
        assert!(generator.at(moment(10)).idle && !generator.at(moment(20)).idle);
        assert_eq!(generator.deadline(), None);
        generator.event(0, at(1), moment(30), 0);
        let active = Change { active: true, watermark: Some(at(1)), idle: false };
        assert_eq!(generator.after_batch(), active);
    }

    /// State T14.
    #[test]
    fn a_partition_holds_the_others_after_a_restart_as_it_did_before() {
        let mut before = bounded(ms(1));
        before.event(1, at(101), moment(0), 0);
        before.event(2, at(11), moment(0), 0);
        assert_eq!(before.after_batch().watermark, Some(at(10)));
        let mut after = bounded(ms(1));
        after.restore(before.maxima(), moment(0));
        after.event(1, at(201), moment(0), 0);
        assert_eq!(after.after_batch().watermark, None, "partition 2 is at 10");
        after.event(2, at(151), moment(0), 0);
        assert_eq!(after.after_batch().watermark, Some(at(150)));
    }

    /// State T7.
    #[test]
    fn a_time_far_ahead_of_the_clock_moves_nothing() {
        let mut guarded = generator(Rules::default());
        let minutes = |n: i64| at(n * 60_000);
        assert!(!guarded.event(0, minutes(5), moment(0), 0), "just within the guard");
        assert_eq!(guarded.after_batch().watermark, Some(minutes(5)));
        assert!(guarded.event(0, minutes(6), moment(0), 0));
        assert_eq!(guarded.after_batch().watermark, None);
        assert!(!guarded.event(0, minutes(6), moment(0), 60_000), "a minute later");
        assert_eq!(guarded.after_batch().watermark, Some(minutes(6)));
        let rules = Rules { future_at_most: None, ..Rules::default() };
        assert_eq!(batch(&mut generator(rules), &[i64::MAX]), Some(at(i64::MAX)));
    }
}
