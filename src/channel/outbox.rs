//! [`Outbox`]: the end of a stage towards other threads. Deals events out into one open batch per
//! receiver, sends a batch when it is full or on `flush`, and keeps what does not fit.
//!
//! Never blocks. While anything waits, its instance takes no input.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::channel::frame::{BATCH, Batch, Control, Frame};
use crate::channel::partition::Partition;
use crate::channel::push::{Context, Local, Push};
use crate::channel::queue::QueueSender;
use crate::clock::Timestamp;
use crate::metrics::Counters;

/// What an edge does with a batch when the receiver's queue is full.
///
/// The dropping policies are refused under guarantees that may not lose events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// Wait: the sender takes no more input, and so back to the source.
    #[default]
    Block,
    /// Drop the batch that does not fit, and count its events.
    DropNewest,
    /// Drop the batch that has waited longest, and count its events.
    DropOldest,
}

pub(crate) struct Outbox<T> {
    partition: Partition<T>,
    lanes: Vec<Lane<T>>,
    targets: Vec<u64>,
}

struct Lane<T> {
    queue: QueueSender<T>,
    open: Batch<T>,
    waiting: VecDeque<Frame<T>>,
    overflow: Overflow,
    counters: Arc<Counters>,
}

impl<T: Clone> Outbox<T> {
    /// `counters` are the receiving instances', where shed events are counted.
    pub(crate) fn new(
        partition: Partition<T>,
        queues: Vec<(QueueSender<T>, Arc<Counters>)>,
        overflow: Overflow,
    ) -> Self {
        let lanes = queues.into_iter().map(|(queue, counters)| Lane {
            open: Batch::default(),
            waiting: VecDeque::new(),
            queue,
            overflow,
            counters,
        });
        Self { partition, lanes: lanes.collect(), targets: Vec::new() }
    }

    fn deal(&mut self, batch: &mut Batch<T>, context: &mut Context) {
        self.partition.targets(&batch.events, self.lanes.len(), &mut self.targets);
        let targets = self.targets.iter().map(|target| *target as usize);
        let tracked = !batch.roots.is_empty();
        let mut roots = batch.roots.drain(..);
        for (event, target) in batch.events.drain(..).zip(targets) {
            let lane = &mut self.lanes[target];
            lane.open.events.push(event);
            if tracked {
                lane.open.roots.extend(roots.next());
            }
            if lane.open.len() == 1 {
                lane.open.born = batch.born;
            }
            if lane.open.len() >= BATCH {
                lane.ship(context);
            }
        }
    }
}

impl<T: Clone> Push<T> for Outbox<T> {
    fn push(&mut self, batch: &mut Batch<T>, context: &mut Context) {
        match &self.partition {
            Partition::One(instance) => self.lanes[*instance].take(batch, context),
            Partition::All => {
                let (last, others) = self.lanes.split_last_mut().expect("an edge has a receiver");
                for lane in others {
                    lane.copy(batch, context);
                }
                last.take(batch, context);
            }
            _ => self.deal(batch, context),
        }
        batch.clear();
    }

    fn control(&mut self, control: Control, context: &mut Context) {
        for lane in &mut self.lanes {
            lane.ship(context);
            lane.send(Frame::Control(control));
        }
    }

    fn local(&mut self, _: Local, _: &mut Context) {}

    fn tick(&mut self, _: &mut Context) {
        self.lanes.iter_mut().for_each(Lane::retry);
    }

    fn flush(&mut self, context: &mut Context) -> bool {
        self.lanes.iter_mut().fold(false, |moved, lane| lane.ship(context) | moved)
    }

    fn blocked(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.waiting.is_empty())
    }

    fn deadline(&self) -> Option<Timestamp> {
        None
    }

    fn copies(&self) -> u32 {
        match self.partition {
            Partition::All => self.lanes.len() as u32,
            _ => 1,
        }
    }
}

impl<T: Clone> Lane<T> {
    /// Takes the whole batch, without copying it if nothing is open.
    fn take(&mut self, batch: &mut Batch<T>, context: &mut Context) {
        self.open.append(batch);
        if self.open.len() >= BATCH {
            self.ship(context);
        }
    }

    fn copy(&mut self, batch: &Batch<T>, context: &mut Context) {
        self.open.events.extend_from_slice(&batch.events);
        self.open.roots.extend_from_slice(&batch.roots);
        self.open.born = self.open.born.min(batch.born);
        if self.open.len() >= BATCH {
            self.ship(context);
        }
    }

    /// Sends the open batch. Reports go before emits: the ledger first.
    fn ship(&mut self, context: &mut Context) -> bool {
        if self.open.is_empty() {
            return false;
        }
        context.ledger.send();
        let batch = std::mem::replace(&mut self.open, self.queue.buffer());
        self.send(Frame::Batch(batch));
        true
    }

    fn send(&mut self, frame: Frame<T>) {
        if !self.waiting.is_empty() {
            self.waiting.push_back(frame);
            return;
        }
        let Err(frame) = self.queue.try_send(frame) else { return };
        match (self.overflow, frame) {
            (Overflow::DropNewest, Frame::Batch(batch)) => self.shed(batch),
            (Overflow::DropOldest, frame) => {
                match self.queue.take_oldest() {
                    Some(Frame::Batch(oldest)) => self.shed(oldest),
                    Some(control) => self.waiting.push_back(control),
                    None => {}
                }
                self.waiting.push_back(frame);
                self.retry();
            }
            (_, frame) => self.waiting.push_back(frame),
        }
    }

    fn shed(&mut self, batch: Batch<T>) {
        self.counters.dropped.add(batch.len() as u64);
    }

    fn retry(&mut self) {
        while let Some(frame) = self.waiting.pop_front() {
            if let Err(frame) = self.queue.try_send(frame) {
                self.waiting.push_front(frame);
                return;
            }
        }
    }
}
