//! [`InputWatermarks`] and [`EventWatermarks`]: how the engine makes and combines watermarks, step by step.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::time::EventTime;
use crate::time::generator::{Generator, Rules};
use crate::time::watermarks::{Change, Watermarks};

/// A step of a stream's event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatermarkStep {
    /// It was idle and is active again.
    Active,
    /// No event older than this follows.
    Watermark(EventTime),
    /// Nothing follows for a while: it holds no other stream back.
    Idle,
}

/// The steps in the order in which they are passed on.
fn steps(change: Change) -> Vec<WatermarkStep> {
    let active = change.active.then_some(WatermarkStep::Active);
    let watermark = change.watermark.map(WatermarkStep::Watermark);
    active.into_iter().chain(watermark).chain(change.idle.then_some(WatermarkStep::Idle)).collect()
}

/// The watermark of an instance with several inputs, as every instance of a job combines it. Each call returns the
/// steps that the instance passes on to its readers.
///
/// ```
/// use streamwork::EventTime;
/// use streamwork::testkit::{InputWatermarks, WatermarkStep::Watermark};
///
/// let at = EventTime::from_unix_ms;
/// let mut inputs = InputWatermarks::of(2);
/// assert_eq!(inputs.watermark(0, at(5)), []);
/// assert_eq!(inputs.watermark(1, at(3)), [Watermark(at(3))]);
/// // An idle input holds no other back.
/// assert_eq!(inputs.idle(1), [Watermark(at(5))]);
/// ```
#[derive(Debug)]
pub struct InputWatermarks(Watermarks);

impl InputWatermarks {
    /// This many inputs, all without a watermark.
    #[must_use]
    pub fn of(inputs: usize) -> Self {
        Self(Watermarks::of(inputs))
    }

    /// A watermark comes out of an input.
    ///
    /// # Panics
    /// If there is no such input; so do the others.
    pub fn watermark(&mut self, input: usize, to: EventTime) -> Vec<WatermarkStep> {
        steps(self.0.advance(input, to))
    }

    /// An input is idle.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn idle(&mut self, input: usize) -> Vec<WatermarkStep> {
        steps(self.0.rest(input))
    }

    /// An idle input is active again.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn active(&mut self, input: usize) -> Vec<WatermarkStep> {
        steps(self.0.resume(input))
    }

    /// An input is over for good.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn end(&mut self, input: usize) -> Vec<WatermarkStep> {
        steps(self.0.finish(input))
    }
}

/// The watermarks that follow from the times of events. Time is counted from 0, and moves when it is told to.
///
/// ```
/// use std::time::Duration;
/// use streamwork::EventTime;
/// use streamwork::testkit::{EventWatermarks, WatermarkStep::Watermark};
///
/// let at = EventTime::from_unix_ms;
/// let mut events = EventWatermarks::bounded(Duration::from_millis(10));
/// assert_eq!(events.batch([at(40), at(35)]), [Watermark(at(30))]);
/// assert_eq!(events.batch([at(38)]), []);
/// ```
#[derive(Debug)]
pub struct EventWatermarks {
    rules: Rules,
    generator: Generator,
    now: Timestamp,
}

impl EventWatermarks {
    /// An event may be this much older than the newest without being behind the watermark.
    #[must_use]
    pub fn bounded(bound: Duration) -> Self {
        Self::by(Rules { bound, future_at_most: None, ..Rules::default() })
    }

    /// And the stream is idle after so long without an event.
    #[must_use]
    pub fn idle_after(self, time: Duration) -> Self {
        Self::by(Rules { idle_after: Some(time), ..self.rules })
    }

    fn by(rules: Rules) -> Self {
        let now = Timestamp(0);
        Self { rules, generator: Generator::new(rules, now), now }
    }

    /// Events of these times come in one batch.
    pub fn batch(&mut self, times: impl IntoIterator<Item = EventTime>) -> Vec<WatermarkStep> {
        for time in times {
            self.generator.event(0, time, self.now, 0);
        }
        steps(self.generator.after_batch())
    }

    /// This much time passes without an event.
    pub fn pause(&mut self, time: Duration) -> Vec<WatermarkStep> {
        self.now = self.now.after(time);
        steps(self.generator.at(self.now))
    }
}
