//! [`Collected`]: a sink that keeps its events, for a test to read.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::api::event::Event;
use crate::api::sink::Sink;
use crate::error::BoxError;

/// A sink that keeps its events, across instances and restarts. Clones share the events.
///
/// ```
/// use streamwork::testkit::Collected;
/// use streamwork::{Guarantee, Job};
///
/// let seen = Collected::new();
/// let job = Job::new("squares");
/// job.from_iter("numbers", || 1..4).map(|n| n * n).sink("squares", seen.factory());
/// job.run(Guarantee::default())?;
/// assert_eq!(seen.events(), [1, 4, 9]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Collected<T> {
    events: Arc<Mutex<Vec<T>>>,
}

impl<T> Clone for Collected<T> {
    fn clone(&self) -> Self {
        Self { events: Arc::clone(&self.events) }
    }
}

impl<T> Default for Collected<T> {
    fn default() -> Self {
        Self { events: Arc::default() }
    }
}

impl<T: Event> Collected<T> {
    /// A sink without events.
    pub fn new() -> Self {
        Self::default()
    }

    /// The factory for [`Stream::sink`](crate::Stream::sink).
    pub fn factory(&self) -> impl Fn() -> Self + Send + Sync + 'static {
        let shared = self.clone();
        move || shared.clone()
    }

    /// The events, in the order in which they were written.
    pub fn events(&self) -> Vec<T> {
        self.events.lock().clone()
    }

    /// The number of events.
    pub fn len(&self) -> usize {
        self.events.lock().len()
    }

    /// Whether there are no events.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Event> Sink for Collected<T> {
    type In = T;

    fn write(&mut self, event: T) -> Result<(), BoxError> {
        self.events.lock().push(event);
        Ok(())
    }
}
