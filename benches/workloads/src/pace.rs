//! The open loop: when each event is due, whatever became of those before it, and how late it arrived.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::{CreationError, Histogram};

use crate::measure::Outcome;
use crate::workloads::Task;

/// Time that threads have to start before the first event is due.
const START: Duration = Duration::from_millis(100);

/// Events that are due within this time are not measured: maps grow, pages are touched for the first time.
const WARM_UP: Duration = Duration::from_secs(1);

/// A moment for each event.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    opened: Instant,
    per_second: u64,
}

impl Pace {
    pub fn of(task: &Task) -> Self {
        Self { opened: Instant::now() + START, per_second: task.per_second }
    }

    /// When the first event is due.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    pub fn due(&self, index: u64) -> Instant {
        let nanoseconds = u128::from(index) * 1_000_000_000 / u128::from(self.per_second);
        self.opened + Duration::from_nanos(nanoseconds as u64)
    }

    /// The first event that is not due yet.
    pub fn due_before(&self, now: Instant) -> u64 {
        if now < self.opened {
            return 0;
        }
        let open = now.duration_since(self.opened).as_nanos();
        (open * u128::from(self.per_second) / 1_000_000_000) as u64 + 1
    }

    fn is_warm(&self, index: u64) -> bool {
        index >= self.per_second * WARM_UP.as_secs()
    }
}

/// How late events were, kept without a lock until somebody has time.
pub struct Latencies {
    pace: Pace,
    nanoseconds: Vec<u64>,
}

impl Latencies {
    pub fn of(pace: Pace) -> Self {
        Self { pace, nanoseconds: Vec::new() }
    }

    #[inline]
    pub fn arrived(&mut self, index: u64) {
        if self.pace.is_warm(index) {
            let late = Instant::now().saturating_duration_since(self.pace.due(index));
            self.nanoseconds.push(late.as_nanos() as u64);
        }
    }

    pub fn move_into(&mut self, histogram: &Mutex<Histogram<u64>>) {
        let mut histogram = histogram.lock().expect("nobody panics with it");
        for late in self.nanoseconds.drain(..) {
            histogram.saturating_record(late);
        }
    }
}

/// Which events have arrived, a bit for each: one that comes again after a failure is as late as its first arrival was.
pub struct Arrived(Vec<AtomicU64>);

impl Arrived {
    pub fn none_of(events: u64) -> Self {
        Self((0..events.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    #[inline]
    pub fn is_first(&self, index: u64) -> bool {
        let bit = 1 << (index % 64);
        self.0[(index / 64) as usize].fetch_or(bit, Ordering::Relaxed) & bit == 0
    }
}

/// Up to a minute, in nanoseconds.
pub fn histogram() -> Result<Histogram<u64>, CreationError> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3)
}

pub fn outcome(histogram: &Histogram<u64>) -> Outcome {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
    Outcome { checksum: Some((histogram.len(), 0)), ..Outcome::default() }
        .with("p50", at(0.5))
        .with("p99", at(0.99))
        .with("p99.9", at(0.999))
        .with("max", histogram.max() as f64 / 1e6)
}
