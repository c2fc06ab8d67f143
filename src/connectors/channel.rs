//! A source that other threads of the program send to.
//!
//! ```text
//!   any thread                     the channel                      the source's thread
//!   send ── room? ───────────────▶ queue (bounded) ───────────────▶ get_events
//!     │ full: wait for room          │ was empty: wake the instances
//!     ◀── Closed ─────────────── closed: the job stops, has ended, or was dropped
//! ```
//! One lock orders everything: an event is either in the queue before the channel is closed, and then the
//! job takes it, or its sender gets an error.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{self, Poll};

use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::source::{Next, OnStop, Source};
use crate::api::source_output::SourceOutput;
use crate::api::waker::Waker;
use crate::error::BoxError;
use crate::executor::blueprint::Surroundings;
use crate::job::Job;
use crate::job::stream::Stream;
use crate::sync::{Condvar, Mutex};

/// Sends events into a job. Clones send to the same source, which ends when all are dropped.
///
/// Events that were accepted before a stop or a drain are processed by it. From then on, and when the
/// job has ended or failed, no event is accepted any more. A job that is run again first takes the
/// events that were accepted before and not yet taken; [`waiting`](EventSender::waiting) counts them.
#[derive(Debug)]
pub struct EventSender<T> {
    channel: Arc<Channel<T>>,
}

/// The event could not be sent and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError<T> {
    /// The channel is full; the job is behind.
    #[error("the channel into the job is full")]
    Full(T),
    /// The job was dropped, is being stopped, or has ended.
    #[error("the job no longer takes events")]
    Closed(T),
}

/// What senders and the source share.
#[derive(Debug)]
struct Channel<T> {
    state: Mutex<State<T>>,
    /// Signals waiting senders: there is room, or the channel was closed.
    room: Condvar,
}

#[derive(Debug)]
struct State<T> {
    queue: VecDeque<T>,
    capacity: usize,
    senders: usize,
    running: bool,
    closed: bool,
    /// The waker of each instance that reads.
    wakers: BTreeMap<usize, Waker>,
    /// Tasks that wait for room.
    tasks: Vec<task::Waker>,
}

impl<T> Channel<T> {
    fn close(&self) {
        self.state.lock().closed = true;
        self.wake_waiting();
    }

    /// Wakes all threads and tasks that wait for room.
    fn wake_waiting(&self) {
        self.room.notify_all();
        let tasks = std::mem::take(&mut self.state.lock().tasks);
        tasks.into_iter().for_each(task::Waker::wake);
    }
}

impl<T> State<T> {
    fn push(&mut self, event: T) {
        self.queue.push_back(event);
        if self.queue.len() == 1 {
            self.wake();
        }
    }

    fn wake(&self) {
        self.wakers.values().for_each(Waker::wake);
    }
}

impl<T> EventSender<T> {
    /// Sends an event, waiting while the channel is full.
    ///
    /// # Errors
    /// [`SendError::Closed`] if no job will read it, also if the channel is closed while it waits.
    pub fn send(&self, event: T) -> Result<(), SendError<T>> {
        let mut state = self.channel.state.lock();
        while !state.closed && state.queue.len() >= state.capacity {
            self.channel.room.wait(&mut state);
        }
        if state.closed {
            return Err(SendError::Closed(event));
        }
        state.push(event);
        Ok(())
    }

    /// Sends an event if there is room.
    ///
    /// # Errors
    /// The event, and why it was not taken.
    pub fn try_send(&self, event: T) -> Result<(), SendError<T>> {
        let mut state = self.channel.state.lock();
        if state.closed {
            return Err(SendError::Closed(event));
        }
        if state.queue.len() >= state.capacity {
            return Err(SendError::Full(event));
        }
        state.push(event);
        Ok(())
    }

    /// Sends an event, and waits while the channel is full without blocking a thread: a future that needs no
    /// particular runtime. If it is dropped before it is ready it has sent nothing.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// # fn block_on(future: impl Future) {
    /// #     let mut future = std::pin::pin!(future);
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     while future.as_mut().poll(&mut context).is_pending() {}
    /// # }
    /// let job = Job::new("requests");
    /// let (sender, stream) = job.channel("requests", 10);
    /// stream.for_each(|n: u32| println!("{n}"));
    /// let handle = job.start(Guarantee::default())?;
    /// // In a handler of an asynchronous server, for instance.
    /// let accept = async |n: u32| match sender.send_async(n).await {
    ///     Ok(()) => 202,
    ///     Err(_) => 503,
    /// };
    /// block_on(async { assert_eq!(accept(1).await, 202) });
    /// let report = handle.drain(std::time::Duration::from_secs(10))?;
    /// assert_eq!(report.metrics.sum("requests", |m| m.emitted), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`send`](EventSender::send).
    pub fn send_async(
        &self,
        event: T,
    ) -> impl Future<Output = Result<(), SendError<T>>> + use<'_, T> {
        let mut event = Some(event);
        std::future::poll_fn(move |context| {
            let Some(unsent) = event.take() else { return Poll::Pending };
            let mut state = self.channel.state.lock();
            if state.closed {
                return Poll::Ready(Err(SendError::Closed(unsent)));
            }
            if state.queue.len() < state.capacity {
                state.push(unsent);
                return Poll::Ready(Ok(()));
            }
            event = Some(unsent);
            if !state.tasks.iter().any(|task| task.will_wake(context.waker())) {
                state.tasks.push(context.waker().clone());
            }
            Poll::Pending
        })
    }

    /// The number of events that were accepted and that the job has not taken yet. After the job has
    /// ended: how many it left, which is 0 after a stop or drain that ended in time.
    pub fn waiting(&self) -> usize {
        self.channel.state.lock().queue.len()
    }
}

impl<T> Clone for EventSender<T> {
    fn clone(&self) -> Self {
        self.channel.state.lock().senders += 1;
        Self { channel: Arc::clone(&self.channel) }
    }
}

impl<T> Drop for EventSender<T> {
    fn drop(&mut self) {
        let mut state = self.channel.state.lock();
        state.senders -= 1;
        if state.senders == 0 {
            state.wake();
        }
    }
}

impl<T: Send> Surroundings for Channel<T> {
    fn run_begins(&self) {
        let mut state = self.state.lock();
        (state.running, state.closed) = (true, false);
    }

    fn run_ends(&self) {
        self.state.lock().running = false;
        self.close();
    }

    fn job_is_gone(&self) {
        if !self.state.lock().running {
            self.close();
        }
    }
}

struct ChannelSource<T> {
    channel: Arc<Channel<T>>,
    index: usize,
}

impl<T: Event> Source for ChannelSource<T> {
    type Out = T;

    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        self.index = instance.index();
        let mut state = self.channel.state.lock();
        state.wakers.insert(self.index, instance.waker());
        Ok(())
    }

    fn get_events(&mut self, out: &mut SourceOutput<T>) -> Result<Next, BoxError> {
        let channel = &self.channel;
        let mut state = channel.state.lock();
        let was_full = state.queue.len() >= state.capacity;
        let events = out.room().min(state.queue.len());
        out.emit_all(state.queue.drain(..events));
        let next = match state.queue.is_empty() {
            true if state.closed || state.senders == 0 => Next::End,
            true => Next::WhenWoken,
            false => Next::Now,
        };
        drop(state);
        if was_full {
            channel.wake_waiting();
        }
        Ok(next)
    }

    fn on_stop(&mut self) -> OnStop {
        self.channel.close();
        OnStop::EmitRest
    }
}

/// What is wrong with this capacity, if anything is.
fn capacity_error<T>(capacity: usize) -> Option<String> {
    let place = size_of::<T>() + size_of::<usize>();
    if capacity == 0 {
        return Some("a capacity of 0 takes no event".to_owned());
    }
    (capacity.saturating_mul(place) > PLACES_BYTES_MAX).then(|| {
        format!("the places of {capacity} events can take more than {PLACES_BYTES_MAX} bytes")
    })
}

/// The maximum memory for the places of one channel, in bytes.
const PLACES_BYTES_MAX: usize = 1 << 30;

impl Job {
    /// Adds a source that emits what is sent to it, from any thread, through a channel that holds
    /// `capacity` events: at least 1, and at most as many as fit into a gigabyte. With another
    /// capacity the job is refused when it is started.
    ///
    /// It cannot be rewound: events that the job loses are not sent again. A stop or drain closes the
    /// channel and processes all events that it has accepted.
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
        if let Some(reason) = capacity_error::<T>(capacity) {
            self.graph.lock().refuse("channel", reason);
        }
        let state = State {
            queue: VecDeque::new(),
            // One that cannot be run must not let its senders wait.
            capacity: capacity.max(1),
            senders: 1,
            running: false,
            closed: false,
            wakers: BTreeMap::new(),
            tasks: Vec::new(),
        };
        let channel = Arc::new(Channel { state: Mutex::new(state), room: Condvar::default() });
        let sender = EventSender { channel: Arc::clone(&channel) };
        self.graph.lock().surroundings.push(Arc::clone(&channel) as _);
        let stream =
            self.source(name, move || ChannelSource { channel: Arc::clone(&channel), index: 0 });
        (sender, stream)
    }
}
