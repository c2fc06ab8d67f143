//! [`Inbox`]: all queues of one event type into one instance, read in turn. Their state, and which of
//! them are held, is in [`Inputs`].
//!
//! An edge may delay: its frames are taken out of the queue when they arrive, and passed on in order when
//! their delay is over. Barriers are delayed like other frames, so a cut needs nothing of this.

use std::collections::VecDeque;
use std::time::Duration;

use crate::channel::frame::{Batch, Frame};
use crate::channel::inputs::Inputs;
use crate::channel::queue::QueueReceiver;
use crate::clock::{Timestamp, earlier};

/// Events that one delaying queue keeps at most; more wait in the queue.
const DELAYED_EVENTS: usize = 65_536;

/// Bytes that it keeps at most, as far as their number is known.
const DELAYED_BYTES: usize = 64 << 20;

pub(crate) struct Inbox<T> {
    lanes: Vec<Lane<T>>,
    next: usize,
    /// The input of the instance that its first queue is.
    first: usize,
}

struct Lane<T> {
    queue: QueueReceiver<T>,
    delay: Duration,
    delayed: VecDeque<(Timestamp, Frame<T>)>,
    delayed_events: usize,
    delayed_bytes: usize,
    /// The delay is over for good.
    hurries: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new(queues: Vec<(QueueReceiver<T>, Duration)>) -> Self {
        let lanes = queues.into_iter().map(|(queue, delay)| Lane {
            queue,
            delay,
            delayed: VecDeque::new(),
            delayed_events: 0,
            delayed_bytes: 0,
            hurries: false,
        });
        Self { lanes: lanes.collect(), next: 0, first: 0 }
    }

    /// Its first queue is this input of the instance, which has others of other types.
    #[cfg(test)]
    pub(crate) fn first_input(self, first: usize) -> Self {
        Self { first, ..self }
    }

    /// The next frame of a queue that is not held, and which input of the instance it came from.
    pub(crate) fn poll(&mut self, inputs: &Inputs, now: Timestamp) -> Option<(usize, Frame<T>)> {
        for _ in 0..self.lanes.len() {
            let lane = self.next;
            self.next = if lane + 1 == self.lanes.len() { 0 } else { lane + 1 };
            if inputs.is_held(self.first + lane) {
                continue;
            }
            if let Some(frame) = self.lanes[lane].next(now) {
                return Some((self.first + lane, frame));
            }
        }
        None
    }

    pub(crate) fn recycle(&self, lane: usize, batch: Batch<T>) {
        self.lanes[lane - self.first].queue.recycle(batch);
    }

    /// When a delayed frame becomes due.
    pub(crate) fn deadline(&self, inputs: &Inputs) -> Option<Timestamp> {
        let open =
            self.lanes.iter().enumerate().filter(|(lane, _)| !inputs.is_held(self.first + lane));
        let due = open.map(|(_, lane)| lane.delayed.front().map(|(due, _)| *due));
        due.fold(None, earlier)
    }

    /// Delays nothing any more: waiting frames are due now, and later ones at once.
    pub(crate) fn hurry(&mut self) {
        for lane in &mut self.lanes {
            lane.hurries = true;
            lane.delayed.iter_mut().for_each(|(due, _)| *due = Timestamp(0));
        }
    }

    pub(crate) fn depth(&self) -> usize {
        self.lanes.iter().map(|lane| lane.queue.depth()).sum()
    }
}

impl<T> Lane<T> {
    fn next(&mut self, now: Timestamp) -> Option<Frame<T>> {
        if self.delay.is_zero() {
            return self.queue.try_recv();
        }
        while self.delayed_events < DELAYED_EVENTS
            && self.delayed_bytes < DELAYED_BYTES
            && self.delayed.len() < DELAYED_EVENTS
        {
            let Some(frame) = self.queue.try_recv() else { break };
            let amount = frame.amount();
            self.delayed_events += amount.events;
            self.delayed_bytes += amount.bytes;
            // Frames that are delayed do not hold the sender back.
            self.queue.budget().leave(amount);
            let delay = if self.hurries { Duration::ZERO } else { self.delay };
            self.delayed.push_back((now.after(delay), frame));
        }
        self.delayed.front().filter(|(due, _)| *due <= now)?;
        let (_, frame) = self.delayed.pop_front()?;
        let amount = frame.amount();
        self.delayed_events -= amount.events;
        self.delayed_bytes -= amount.bytes;
        self.queue.budget().enter(amount);
        Some(frame)
    }
}
