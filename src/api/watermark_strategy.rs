//! [`WatermarkStrategy`]: how the watermarks of a stream follow from the times of its events.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::time::EventTime;
use crate::time::generator::Rules;

type PartitionOf<T> = Arc<dyn Fn(&T) -> u64 + Send + Sync>;
type MarkOf<T> = Arc<dyn Fn(&T, EventTime) -> Option<EventTime> + Send + Sync>;

/// How the watermarks of a stream follow from the times of its events; see
/// [`Stream::event_time`](crate::Stream::event_time).
///
/// By default times are expected to ascend: after each batch the watermark is the largest time so far. It never
/// falls.
pub struct WatermarkStrategy<T> {
    pub(crate) rules: Rules,
    pub(crate) partition_of: Option<PartitionOf<T>>,
    pub(crate) mark_of: Option<MarkOf<T>>,
}

impl<T> WatermarkStrategy<T> {
    pub(crate) fn ascending() -> Self {
        Self { rules: Rules::default(), partition_of: None, mark_of: None }
    }

    /// An event may be this much older than the newest one: the watermark is the largest time so far minus this.
    #[must_use]
    pub fn bounded(mut self, disorder: Duration) -> Self {
        self.rules.bound = disorder;
        self
    }

    /// The watermark comes from marks among the events instead: it rises to the time that the function returns, if
    /// that is higher. The event itself is not late by it.
    #[must_use]
    pub fn punctuated(
        mut self,
        mark_of: impl Fn(&T, EventTime) -> Option<EventTime> + Send + Sync + 'static,
    ) -> Self {
        self.mark_of = Some(Arc::new(mark_of));
        self
    }

    /// Events come from several partitions, and the bound holds within each: the watermark is the lowest of all
    /// partitions. Idle partitions, and those without an event so far, do not hold it back.
    #[must_use]
    pub fn per_partition(
        mut self,
        partition_of: impl Fn(&T) -> u64 + Send + Sync + 'static,
    ) -> Self {
        self.partition_of = Some(Arc::new(partition_of));
        self
    }

    /// A partition, or the whole stream, without an event for this long is idle: until its next event it does not
    /// hold others back. Time in which readers keep the stream waiting does not count. By default nothing is ever
    /// idle.
    #[must_use]
    pub fn idle_after(mut self, time: Duration) -> Self {
        self.rules.idle_after = Some(time);
        self
    }

    /// A time that is further ahead of the machine's clock than this does not move the watermark; the event is
    /// passed on with [`EventTime::MAX`] as its time, and counted ([`InstanceMetrics::future_stamped`](crate::metrics::InstanceMetrics::future_stamped)).
    /// Default 5 minutes. One wrong time would otherwise make all events after it late. Since the clock is read,
    /// a replay may produce other watermarks than the first attempt.
    #[must_use]
    pub fn future_at_most(mut self, ahead: Duration) -> Self {
        self.rules.future_at_most = Some(ahead);
        self
    }

    /// Every time moves the watermark, however far ahead of the clock it is. Each event keeps its own time.
    #[must_use]
    pub fn future_unbounded(mut self) -> Self {
        self.rules.future_at_most = None;
        self
    }

    /// The watermark does not wait for events that are not acknowledged. With the acknowledger it waits by default: it
    /// does not pass the time of an event that may be replayed, so that no replay is late. That takes the age of the
    /// oldest event that is not acknowledged, and an operator that answers for its events only when the watermark has
    /// passed them would wait forever. Under other guarantees this changes nothing.
    #[must_use]
    pub fn replays_may_be_late(mut self) -> Self {
        self.rules.replays_may_be_late = true;
        self
    }
}

impl<T> Clone for WatermarkStrategy<T> {
    fn clone(&self) -> Self {
        let (partition_of, mark_of) = (self.partition_of.clone(), self.mark_of.clone());
        Self { rules: self.rules, partition_of, mark_of }
    }
}

impl<T> fmt::Debug for WatermarkStrategy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatermarkStrategy").field("rules", &self.rules).finish_non_exhaustive()
    }
}
