//! A source that other threads of the program send to.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use parking_lot::Mutex;

use crate::api::collector::Collector;
use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::source::{Next, Source};
use crate::api::waker::Waker;
use crate::error::BoxError;
use crate::job::Job;
use crate::job::stream::Stream;

/// Sends events into a job. Clones send to the same source, which ends when all are dropped.
#[derive(Debug)]
pub struct EventSender<T> {
    events: Option<Sender<T>>,
    wakers: Wakers,
}

/// The waker of each instance that reads.
type Wakers = Arc<Mutex<BTreeMap<usize, Waker>>>;

/// The event could not be sent and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError<T> {
    /// The channel is full; the job is behind.
    #[error("the channel into the job is full")]
    Full(T),
    /// The job was dropped, or has ended.
    #[error("the job no longer takes events")]
    Closed(T),
}

impl<T> EventSender<T> {
    /// Sends an event, waiting while the channel is full.
    ///
    /// # Errors
    /// [`SendError::Closed`] when no job will read it.
    pub fn send(&self, event: T) -> Result<(), SendError<T>> {
        let sender = self.events.as_ref().expect("taken only when dropped");
        let sent = sender.send(event).map_err(|error| SendError::Closed(error.0));
        self.wake();
        sent
    }

    /// Sends an event if there is room.
    ///
    /// # Errors
    /// The event, and why it was not taken.
    pub fn try_send(&self, event: T) -> Result<(), SendError<T>> {
        let sender = self.events.as_ref().expect("taken only when dropped");
        let sent = sender.try_send(event).map_err(|error| match error {
            TrySendError::Full(event) => SendError::Full(event),
            TrySendError::Disconnected(event) => SendError::Closed(event),
        });
        self.wake();
        sent
    }

    fn wake(&self) {
        self.wakers.lock().values().for_each(Waker::wake);
    }
}

impl<T> Clone for EventSender<T> {
    fn clone(&self) -> Self {
        Self { events: self.events.clone(), wakers: Arc::clone(&self.wakers) }
    }
}

impl<T> Drop for EventSender<T> {
    fn drop(&mut self) {
        drop(self.events.take());
        self.wake();
    }
}

struct ChannelSource<T> {
    events: Receiver<T>,
    wakers: Wakers,
}

impl<T: Event> Source for ChannelSource<T> {
    type Out = T;

    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        self.wakers.lock().insert(instance.index(), instance.waker());
        Ok(())
    }

    fn get_events(&mut self, out: &mut Collector<T>) -> Result<Next, BoxError> {
        while out.room() > 0 {
            match self.events.try_recv() {
                Ok(event) => out.emit(event),
                Err(TryRecvError::Empty) => return Ok(Next::WhenWoken),
                Err(TryRecvError::Disconnected) => return Ok(Next::End),
            }
        }
        Ok(Next::Now)
    }
}

/// What is wrong with this capacity, if anything is. The places of a channel are allocated when it is made.
fn capacity_error<T>(capacity: usize) -> Option<String> {
    let place = size_of::<T>() + size_of::<usize>();
    if capacity == 0 {
        return Some("a capacity of 0 takes no event".to_owned());
    }
    (capacity.saturating_mul(place) > PLACES_BYTES_MAX).then(|| {
        format!("a capacity of {capacity} takes more than {PLACES_BYTES_MAX} bytes before the first event")
    })
}

/// Bytes that the places of one channel may take.
const PLACES_BYTES_MAX: usize = 1 << 30;

impl Job {
    /// Adds a source that emits what is sent to it, from any thread, through a channel that holds
    /// `capacity` events: at least 1, and so many that their places take a gigabyte at most. With
    /// another capacity the job is refused when it is started.
    ///
    /// It cannot be rewound: what the job loses nobody can send again.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("clicks");
    /// let (clicks, stream) = job.channel("clicks", 100);
    /// stream.for_each(|page: &str| println!("{page}"));
    /// let handle = job.start(Guarantee::default())?;
    /// clicks.send("home")?;
    /// drop(clicks);
    /// let report = handle.wait()?;
    /// assert_eq!(report.metrics.sum("clicks", |m| m.emitted), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn channel<T: Event>(
        &self,
        name: impl Into<String>,
        capacity: usize,
    ) -> (EventSender<T>, Stream<T>) {
        let fits = match capacity_error::<T>(capacity) {
            Some(reason) => {
                self.graph.borrow_mut().refuse("channel", reason);
                1
            }
            None => capacity,
        };
        let (sender, events) = bounded(fits);
        let wakers = Wakers::default();
        let sender = EventSender { events: Some(sender), wakers: Arc::clone(&wakers) };
        let stream = self.source(name, move || ChannelSource {
            events: events.clone(),
            wakers: Arc::clone(&wakers),
        });
        (sender, stream)
    }
}
