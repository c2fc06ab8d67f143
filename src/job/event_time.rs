//! Event time on a stream: [`Stream::event_time`].

use std::sync::Arc;

use crate::api::event::Event;
use crate::api::watermark_strategy::WatermarkStrategy;
use crate::executor::event_times::EventTimes;
use crate::job::graph::{StateScope, Timing};
use crate::job::make::operator;
use crate::job::stream::Stream;
use crate::time::EventTime;

impl<T: Event> Stream<T> {
    /// Takes the time of each event, and makes watermarks from these times after each batch, for `on_watermark` of the
    /// operators after it: no event older than the watermark follows. Earlier times and watermarks of the stream are
    /// replaced.
    ///
    /// The events are not changed. From here on each has its time beside it, which an operator reads with
    /// [`Collector::time`]. What is emitted for an event has the time of that event, on side outputs too. What a timer,
    /// a watermark or `finish` emits has the time of the watermark, and before the first watermark
    /// [`EventTime::MIN`]. [`Output::emit_at`] sets another time. A stream with event time cannot be merged with one
    /// without.
    ///
    /// A time that is too far in the future ([`WatermarkStrategy::future_at_most`]) becomes [`EventTime::MAX`]: the event
    /// flows on, and whoever judges which events are late can tell that its time means nothing.
    ///
    /// The times so far are part of checkpoints, so that watermarks continue where they were. With the acknowledger the
    /// watermark does not pass the time of an event that may be replayed, so `event_time` has to run in the thread of
    /// the source; see [`WatermarkStrategy::replays_may_be_late`].
    ///
    /// [`Collector::time`]: crate::Collector::time
    /// [`Output::emit_at`]: crate::Output::emit_at
    ///
    /// ```
    /// use std::time::Duration;
    /// use streamwork::{BoxError, Collector, EventTime, Guarantee, Job, Operator, Output};
    ///
    /// /// Passes on the highest number of each hour when the hour is over.
    /// #[derive(Default)]
    /// struct Highest { hours: std::collections::BTreeMap<i64, u64> }
    ///
    /// impl Operator for Highest {
    ///     type In = (i64, u64);
    ///     type Out = (i64, u64);
    ///     fn apply(&mut self, (hour, n): (i64, u64), _: &mut Collector<(i64, u64)>) -> Result<(), BoxError> {
    ///         let highest = self.hours.entry(hour).or_default();
    ///         *highest = n.max(*highest);
    ///         Ok(())
    ///     }
    ///     fn on_watermark(&mut self, to: EventTime, out: &mut Output<(i64, u64)>) -> Result<(), BoxError> {
    ///         let later = self.hours.split_off(&(to.unix_ms() / 3_600_000));
    ///         std::mem::replace(&mut self.hours, later).into_iter().for_each(|hour| out.emit(hour));
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let job = Job::new("hours");
    /// job.from_iter("numbers", || [(0, 3_u64), (1, 4), (0, 5), (7, 1)])
    ///     .event_time(|(hour, _)| EventTime::from_unix_ms(hour * 3_600_000), |watermarks| {
    ///         watermarks.bounded(Duration::from_secs(3_600)).idle_after(Duration::from_secs(10))
    ///     })
    ///     .operator("highest", Highest::default)
    ///     .for_each(|(hour, n)| println!("{hour}: {n}"));
    /// let report = job.run(Guarantee::default())?;
    /// // The hours 0 and 1; 7 is not over.
    /// assert_eq!(report.metrics.sum("highest", |m| m.emitted), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn event_time(
        &self,
        time_of: impl Fn(&T) -> EventTime + Send + Sync + 'static,
        strategy: impl FnOnce(WatermarkStrategy<T>) -> WatermarkStrategy<T>,
    ) -> Self {
        let time_of: Arc<dyn Fn(&T) -> EventTime + Send + Sync> = Arc::new(time_of);
        let strategy = strategy(WatermarkStrategy::ascending());
        let replays_may_be_late = strategy.rules.replays_may_be_late;
        let maker = operator(move |execution| {
            let clock = Arc::clone(&execution.clock);
            let registry = Arc::clone(&execution.registry);
            EventTimes::new(Arc::clone(&time_of), strategy.clone(), clock, registry)
        });
        let stream: Self = self.add_made(self.verb_name("event_time"), maker);
        stream.change_nodes(|node| {
            node.scope = StateScope::PerInstance;
            node.timing = Timing::Made { replays_may_be_late };
        });
        stream
    }
}
