//! [`Collector`]: what `apply` emits into, and where it can defer the answer for the event at hand.

use std::ops::{Deref, DerefMut};

use crate::api::output::Output;
use crate::api::token::Token;
use crate::time::EventTime;

/// What [`apply`](crate::Operator::apply) emits into: an [`Output`], and the event at hand.
#[derive(Debug)]
pub struct Collector<T> {
    output: Output<T>,
}

impl<T> Collector<T> {
    pub(crate) fn new(output: Output<T>) -> Self {
        Self { output }
    }

    /// The time of the event at hand; `None` on a stream without event time. [`EventTime::MAX`] stands for a time that
    /// was too far in the future; see [`Stream::event_time`](crate::Stream::event_time).
    ///
    /// ```
    /// use streamwork::{BoxError, Collector, EventTime, Guarantee, Job, Operator};
    ///
    /// /// Says how long after the beginning of its day each event happened.
    /// struct TimeOfDay;
    ///
    /// impl Operator for TimeOfDay {
    ///     type In = &'static str;
    ///     type Out = (i64, &'static str);
    ///     const NEEDS_EVENT_TIME: bool = true;
    ///     fn apply(&mut self, event: &'static str, out: &mut Collector<Self::Out>) -> Result<(), BoxError> {
    ///         let time = out.time().ok_or("an event without a time")?;
    ///         out.emit((time.unix_ms().rem_euclid(86_400_000), event));
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let job = Job::new("times");
    /// job.from_iter("events", || [(86_400_007, "seven"), (-1, "before")])
    ///     .event_time(|(at, _)| EventTime::from_unix_ms(*at), |watermarks| watermarks)
    ///     // The time stays with the event.
    ///     .map(|(_, name)| name)
    ///     .operator("time of day", || TimeOfDay)
    ///     .for_each(|(at, name)| assert_eq!(at, if name == "seven" { 7 } else { 86_399_999 }));
    /// let report = job.run(Guarantee::default())?;
    /// assert_eq!(report.metrics.sum("for_each", |m| m.delivered), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn time(&self) -> Option<EventTime> {
        self.output.accounts.time()
    }

    /// Defers the answer for the event at hand: it is acknowledged when `apply` has returned `Ok(())` and the
    /// token is acknowledged. An event that is deferred several times is done when all its tokens are answered.
    /// Until then the operator holds it; see [`Token`].
    pub fn defer(&mut self) -> Token {
        let output = &mut self.output;
        output.accounts.begin_side_effects(output.timers.len());
        output.accounts.defer().token()
    }
}

impl<T> Deref for Collector<T> {
    type Target = Output<T>;

    #[inline(always)]
    fn deref(&self) -> &Output<T> {
        &self.output
    }
}

impl<T> DerefMut for Collector<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Output<T> {
        &mut self.output
    }
}
