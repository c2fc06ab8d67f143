//! [`Inbox`]: all queues into one instance, read in turn. A held queue is not read; that is all
//! there is to alignment.
//!
//! An edge may delay: its frames are taken out of the queue when they arrive and handed on in order
//! when their time has come. Barriers are frames like others, so a cut needs nothing of this.

use std::collections::VecDeque;
use std::time::Duration;

use crate::channel::frame::{Batch, Control, End, Frame};
use crate::channel::queue::QueueReceiver;
use crate::clock::{Timestamp, earlier};

/// Events that one delaying queue keeps at most; more wait in the queue.
const DELAYED_EVENTS: usize = 65_536;

pub(crate) struct Inbox<T> {
    lanes: Vec<Lane<T>>,
    next: usize,
    watermark: Option<i64>,
}

struct Lane<T> {
    queue: QueueReceiver<T>,
    delay: Duration,
    delayed: VecDeque<(Timestamp, Frame<T>)>,
    delayed_events: usize,
    held: bool,
    drained: bool,
    ended: Option<End>,
    watermark: Option<i64>,
}

impl<T> Inbox<T> {
    pub(crate) fn new(queues: Vec<(QueueReceiver<T>, Duration)>) -> Self {
        let lanes = queues.into_iter().map(|(queue, delay)| Lane {
            queue,
            delay,
            delayed: VecDeque::new(),
            delayed_events: 0,
            held: false,
            drained: false,
            ended: None,
            watermark: None,
        });
        Self { lanes: lanes.collect(), next: 0, watermark: None }
    }

    /// The next frame of a queue that is not held, and which queue it came from.
    pub(crate) fn poll(&mut self, now: Timestamp) -> Option<(usize, Frame<T>)> {
        for _ in 0..self.lanes.len() {
            let lane = self.next;
            self.next = if lane + 1 == self.lanes.len() { 0 } else { lane + 1 };
            if self.lanes[lane].held {
                continue;
            }
            if let Some(frame) = self.lanes[lane].next(now) {
                match &frame {
                    Frame::Batch(_) => self.lanes[lane].drained = false,
                    Frame::Control(Control::Drain) => self.lanes[lane].drained = true,
                    Frame::Control(Control::End(end)) => self.lanes[lane].ended = Some(*end),
                    Frame::Control(_) => {}
                }
                return Some((lane, frame));
            }
        }
        None
    }

    pub(crate) fn recycle(&self, lane: usize, batch: Batch<T>) {
        self.lanes[lane].queue.recycle(batch);
    }

    pub(crate) fn hold(&mut self, lane: usize) {
        self.lanes[lane].held = true;
    }

    pub(crate) fn release_all(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.held = false);
    }

    /// Whether every source behind every queue has said that only replays can follow.
    pub(crate) fn all_drained(&self) -> bool {
        self.lanes.iter().all(|lane| lane.drained || lane.ended.is_some())
    }

    /// How the input ended, once all of it has.
    pub(crate) fn ended(&self) -> Option<End> {
        let mut ends = self.lanes.iter().map(|lane| lane.ended);
        ends.try_fold(End::Finished, |all, end| match end? {
            End::Finished => Some(all),
            End::Suspended => Some(End::Suspended),
        })
    }

    /// Notes a queue's watermark; the least of all open queues, if it has risen.
    pub(crate) fn watermark(&mut self, lane: usize, unix_ms: i64) -> Option<i64> {
        let known = &mut self.lanes[lane].watermark;
        *known = (*known).max(Some(unix_ms));
        self.risen_watermark()
    }

    /// The least watermark of the open queues, if it is higher than when last asked.
    pub(crate) fn risen_watermark(&mut self) -> Option<i64> {
        // A stream that will be resumed still holds the others back.
        let open = self.lanes.iter().filter(|lane| lane.ended != Some(End::Finished));
        let least = open.map(|lane| lane.watermark).min().flatten()?;
        if self.watermark.is_some_and(|known| known >= least) {
            return None;
        }
        self.watermark = Some(least);
        Some(least)
    }

    /// When a delayed frame becomes due.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let open = self.lanes.iter().filter(|lane| !lane.held);
        open.fold(None, |least, lane| earlier(least, lane.delayed.front().map(|(due, _)| *due)))
    }

    pub(crate) fn depth(&self) -> usize {
        self.lanes.iter().map(|lane| lane.queue.depth()).sum()
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }
}

impl<T> Lane<T> {
    fn next(&mut self, now: Timestamp) -> Option<Frame<T>> {
        if self.delay.is_zero() {
            return self.queue.try_recv();
        }
        while self.delayed_events < DELAYED_EVENTS && self.delayed.len() < DELAYED_EVENTS {
            let Some(frame) = self.queue.try_recv() else { break };
            self.delayed_events += frame.events();
            self.delayed.push_back((now.after(self.delay), frame));
        }
        self.delayed.front().filter(|(due, _)| *due <= now)?;
        let (_, frame) = self.delayed.pop_front()?;
        self.delayed_events -= frame.events();
        Some(frame)
    }
}
