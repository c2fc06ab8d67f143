//! [`Collected`]: a sink that remembers what it was given, for a test to look at.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::api::event::Event;
use crate::api::sink::Sink;
use crate::error::BoxError;

/// Remembers events, across instances and restarts. Clones share what they remember.
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
    /// Remembers nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What to give to [`Stream::sink`](crate::Stream::sink).
    pub fn factory(&self) -> impl Fn() -> Self + Send + Sync + 'static {
        let shared = self.clone();
        move || shared.clone()
    }

    /// What it was given, in the order in which it came.
    pub fn events(&self) -> Vec<T> {
        self.events.lock().clone()
    }

    /// How many events it was given.
    pub fn len(&self) -> usize {
        self.events.lock().len()
    }

    /// Whether it was given none.
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
