//! How much is in flight. [`Budget`] bounds the events in flight to one instance, over all queues into it
//! together; [`Throughput`] measures how many events the instance completes in [`SPAN`], from which the bound
//! follows.
//!
//! So a barrier, a stop and the first result take a fraction of a second, however slow a callback is.
//! Flink calls it buffer debloating (FLIP-183, over bytes); here it is events, and the size of the batches too.
//! The bound grows like a congestion window: it at most doubles (RFC 5681, section 3.1), and only while
//! senders wait for it (RFC 7661), so that a burst after a quiet time meets a small bound.

use std::time::Duration;

use crate::channel::frame::Amount;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// How much work may be in flight towards an instance.
pub(crate) const SPAN: Duration = Duration::from_millis(100);

/// The limit for events in flight if each batch has a fixed cost that many events have to share.
const LONGEST_SPAN: Duration = Duration::from_secs(2);

/// The least number of events that may be in flight, also before anything has been measured.
const LEAST: usize = 2;

/// Bytes in flight at most, as far as their number is known.
const BYTES_MAX: usize = 32 << 20;

/// Batches that the events in flight are cut into: while one is worked on, the next is there.
pub(crate) const BATCHES: usize = 2;

/// The time over which measurements are averaged.
const MEMORY: Duration = SPAN;

/// The bound on the events in flight to one instance. Shared by it and its senders.
///
/// The bound is soft: two senders that look at the same time may each send a batch. A sender whose queue is
/// empty is never refused, so each has its turn however many there are.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Events that may be in flight.
    limit: AtomicUsize,
    /// Events that are in flight: in the queues, and those that the instance is processing.
    under_way: AtomicUsize,
    bytes: AtomicUsize,
    /// A sender has been refused since this was asked last.
    wanted: AtomicBool,
    /// Queues into the instance.
    queues: AtomicUsize,
    /// The maximum number of events in the queues: the largest limit.
    ceiling: AtomicUsize,
    /// Nanoseconds that the instance has spent on the fixed cost of batches. Never falls.
    paused: AtomicU64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            limit: AtomicUsize::new(LEAST),
            under_way: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            wanted: AtomicBool::new(false),
            queues: AtomicUsize::new(0),
            ceiling: AtomicUsize::new(0),
            paused: AtomicU64::new(0),
        }
    }
}

impl Budget {
    /// Another queue leads to the instance, which holds this many events at most.
    pub(crate) fn add_queue(&self, events: usize) {
        self.queues.fetch_add(1, Ordering::Relaxed);
        self.ceiling.fetch_add(events, Ordering::Relaxed);
    }

    /// The maximum number of events in a batch of one of its senders.
    pub(crate) fn batch(&self) -> usize {
        let queues = self.queues.load(Ordering::Relaxed).max(1);
        (self.limit.load(Ordering::Relaxed) / (BATCHES * queues)).max(1)
    }

    /// Whether this many more may be sent now.
    pub(crate) fn admits(&self, more: Amount) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let under_way = self.under_way.load(Ordering::SeqCst);
        under_way.saturating_add(more.events) <= limit && self.admits_bytes(more.bytes)
    }

    /// Whether this many bytes more may be sent now, however many events they are.
    pub(crate) fn admits_bytes(&self, more: usize) -> bool {
        more == 0 || self.bytes.load(Ordering::SeqCst).saturating_add(more) <= BYTES_MAX
    }

    /// A sender waits for it.
    pub(crate) fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn enter(&self, more: Amount) {
        self.under_way.fetch_add(more.events, Ordering::SeqCst);
        if more.bytes > 0 {
            self.bytes.fetch_add(more.bytes, Ordering::SeqCst);
        }
    }

    pub(crate) fn leave(&self, done: Amount) {
        self.under_way.fetch_sub(done.events, Ordering::SeqCst);
        if done.bytes > 0 {
            self.bytes.fetch_sub(done.bytes, Ordering::SeqCst);
        }
    }

    /// What the instance has measured.
    pub(crate) fn adjust(&self, throughput: &mut Throughput) {
        let ceiling = self.ceiling.load(Ordering::Relaxed);
        let before = throughput.limit();
        let wanted = before < ceiling && self.wanted.swap(false, Ordering::Relaxed);
        throughput.adjust(wanted, ceiling);
        if throughput.limit() != before {
            self.limit.store(throughput.limit(), Ordering::Relaxed);
        }
    }

    /// The instance spent this long on the fixed cost of a batch.
    pub(crate) fn pause(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.paused.fetch_add(nanos, Ordering::Relaxed);
    }

    /// How long it has spent on that in all.
    pub(crate) fn paused(&self) -> Duration {
        Duration::from_nanos(self.paused.load(Ordering::Relaxed))
    }
}

/// How many events an instance completes while there is work, and how many may be in flight to it.
///
/// The time it waits for downstream instances is included: then its rate is theirs. The fixed cost of a batch
/// is not included: otherwise smaller batches would make the instance slower, and a slower instance would
/// make the batches smaller.
#[derive(Debug)]
pub(crate) struct Throughput {
    events: f64,
    seconds: f64,
    limit: usize,
    span: Duration,
}

impl Default for Throughput {
    fn default() -> Self {
        Self { events: 0.0, seconds: 0.0, limit: LEAST, span: SPAN }
    }
}

impl Throughput {
    /// Events that may be in flight.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// This many events are done. It took `worked` without the fixed cost of a batch, which is about `pause`
    /// now.
    pub(crate) fn completed(&mut self, events: usize, worked: Duration, pause: Duration) {
        self.events += events as f64;
        self.seconds += worked.as_secs_f64();
        let memory = MEMORY.as_secs_f64();
        if self.seconds > memory {
            // The past counts less and less.
            let share = memory / self.seconds;
            self.events *= share / 2.0;
            self.seconds = memory / 2.0;
        }
        self.span = worth(pause).clamp(SPAN, LONGEST_SPAN);
    }

    /// Sets the limit again: `wanted` says whether a sender waited for it.
    pub(crate) fn adjust(&mut self, wanted: bool, ceiling: usize) {
        // From floats to integers a cast saturates, and what is no number becomes 0.
        let in_span = match self.seconds > 0.0 {
            true => (self.events * self.span.as_secs_f64() / self.seconds) as usize,
            false => usize::MAX,
        };
        let most = if wanted { self.limit.saturating_mul(2) } else { self.limit };
        self.limit = in_span.min(most).clamp(LEAST, ceiling.max(LEAST));
    }
}

/// How long to work before a fixed cost of this duration.
pub(crate) fn worth(pause: Duration) -> Duration {
    pause.saturating_mul(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Completes batches of as many events as are allowed, each event taking so long, until nothing changes.
    fn settled(each: Duration, pause: Duration, ceiling: usize) -> usize {
        let mut throughput = Throughput::default();
        for _ in 0..100 {
            let events = throughput.limit().div_ceil(BATCHES);
            throughput.completed(events, each * events as u32, pause);
            throughput.adjust(true, ceiling);
        }
        throughput.limit()
    }

    #[test]
    fn what_is_under_way_is_a_tenth_of_a_second_of_work_between_a_few_events_and_what_queues_hold()
    {
        assert_eq!(settled(ms(20), Duration::ZERO, 8_192), 5);
        assert_eq!(settled(ms(1), Duration::ZERO, 8_192), 100);
        assert_eq!(settled(ms(1_000), Duration::ZERO, 8_192), LEAST);
        assert_eq!(settled(Duration::from_nanos(50), Duration::ZERO, 8_192), 8_192);
    }

    #[test]
    fn where_each_batch_costs_a_long_time_once_more_may_be_under_way() {
        assert_eq!(settled(ms(1), ms(50), 8_192), 400);
        assert_eq!(settled(ms(1), ms(5_000), 8_192), 2_000);
        assert_eq!(settled(Duration::from_micros(1), ms(100), 8_192), 8_192);
    }

    #[test]
    fn the_limit_doubles_at_most_and_only_while_somebody_waits_for_it_and_falls_at_once() {
        let mut throughput = Throughput::default();
        let mut limits = Vec::new();
        for wanted in [true, true, false, true] {
            throughput.completed(1_000, Duration::from_micros(10), Duration::ZERO);
            throughput.adjust(wanted, 8_192);
            limits.push(throughput.limit());
        }
        assert_eq!(limits, [4, 8, 8, 16]);
        throughput.completed(10, ms(1_000), Duration::ZERO);
        throughput.adjust(true, 8_192);
        assert!(throughput.limit() >= 16, "a moment does not count for more than what was before");
        throughput.completed(10, ms(1_000), Duration::ZERO);
        throughput.adjust(true, 8_192);
        assert!(throughput.limit() < 100);
    }

    #[test]
    fn senders_share_what_is_allowed_and_each_may_send_something() {
        let budget = Budget::default();
        (0..4).for_each(|_| budget.add_queue(8_192));
        assert_eq!(budget.batch(), 1);
        budget.limit.store(400, Ordering::Relaxed);
        assert_eq!(budget.batch(), 50);
        let of = |events, bytes| Amount { events, bytes };
        budget.enter(of(390, 0));
        assert!(budget.admits(of(10, 0)) && !budget.admits(of(11, 0)));
        budget.leave(of(390, 0));
        assert!(budget.admits(of(400, 0)));
        budget.enter(of(1, BYTES_MAX - 10));
        assert!(budget.admits(of(1, 10)) && !budget.admits(of(1, 11)));
    }
}
