//! [`Outbox`]: the end of a stage towards other threads. It distributes events over one open batch per
//! receiver, sends a batch when it is full or on `flush`, and keeps batches that do not fit.
//!
//! Never blocks. While anything waits, its instance takes no input.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::api::columns::Columns;
use crate::api::weight::Weigher;
use crate::channel::frame::{Batch, Control, Frame};
use crate::channel::moves::MoveOut;
use crate::channel::push::{Context, InstanceCall, Push, Stage};
use crate::channel::queue::QueueSender;
use crate::channel::routing::Routing;
use crate::clock::Timestamp;
use crate::metrics::Counters;

/// The number of receivers up to which batches have full size. With more receivers each batch is smaller, so
/// that the open batches of a sender do not take more room in the caches together.
const WIDE: usize = 8;

/// The least number of events in a batch to one of many receivers, if a full batch has that many: each batch
/// costs its receiver as much as about ten events.
const WIDE_LEAST: usize = 128;

/// Batches to each receiver that a stage may emit before it checks whether they can be sent.
const BATCHES: usize = 4;

/// The maximum number of bytes in a batch of more than one event, as far as their number is known.
const BYTES: usize = 1 << 20;

/// What an edge does with a batch when the receiver's queue is full.
///
/// The dropping policies are refused under guarantees that may not lose events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Wait: the sender takes no more input, nor do the instances before it, up to the source.
    #[default]
    Block,
    /// Drop the batch that does not fit, and count its events.
    DropNewest,
    /// Drop the batch that has waited longest in the queue, and count its events.
    DropOldest,
}

pub(crate) struct Outbox<T> {
    routing: Routing<T>,
    lanes: Vec<Lane<T>>,
    targets: Vec<u64>,
    /// The end of the stream has gone.
    ended: bool,
}

struct Lane<T> {
    queue: QueueSender<T>,
    open: Batch<T>,
    /// It is sent when it has this many events: as many as the receiver's budget allows,
    full: usize,
    /// and never more than these.
    most: usize,
    waiting: VecDeque<Frame<T>>,
    /// What the receiver had spent on pauses when frames began to wait.
    paused_before: Duration,
    overflow: Overflow,
    counters: Arc<Counters>,
    weigher: Option<Weigher<T>>,
}

impl<T: Clone> Outbox<T> {
    /// `counters` are the receiving instances', where shed events are counted.
    pub(crate) fn new(
        routing: Routing<T>,
        queues: Vec<(QueueSender<T>, Arc<Counters>)>,
        overflow: Overflow,
        weigher: Option<&Weigher<T>>,
    ) -> Self {
        let most = match routing {
            Routing::One(_) | Routing::All => Batch::<T>::FULL,
            Routing::RoundRobin { .. } | Routing::Key { .. } => full_of::<T>(queues.len()),
        };
        let lanes = queues.into_iter().map(|(queue, counters)| Lane {
            open: Batch::default(),
            full: queue.batch().min(most),
            most,
            waiting: VecDeque::new(),
            paused_before: Duration::ZERO,
            queue,
            overflow,
            counters,
            weigher: weigher.cloned(),
        });
        Self { routing, lanes: lanes.collect(), targets: Vec::new(), ended: false }
    }

    fn deal(&mut self, batch: &mut Batch<T>, context: &mut Context) {
        self.routing.targets(batch, self.lanes.len(), &mut self.targets, context);
        if let [lane] = &mut self.lanes[..] {
            return lane.take(batch, context);
        }
        let lanes = &mut self.lanes[..];
        lanes.iter_mut().for_each(|lane| lane.open.born = lane.open.born.min(batch.born));
        let (columns, born) = (&batch.columns, batch.born);
        let mut events = MoveOut::out_of(&mut batch.events);
        // A loop for each case, so that none asks for every event which columns are used.
        if !columns.times.is_empty() {
            deal_with_times(lanes, &self.targets, columns, events, born, context);
        } else if columns.roots.is_empty() {
            for target in &self.targets {
                let lane = &mut lanes[*target as usize];
                events.next_to(&mut lane.open.events);
                lane.ship_full(batch.born, context);
            }
        } else {
            for (target, root) in self.targets.iter().zip(&columns.roots) {
                let lane = &mut lanes[*target as usize];
                events.next_to(&mut lane.open.events);
                lane.open.columns.roots.push(*root);
                lane.ship_full(batch.born, context);
            }
        }
        // The next event in a batch that is still empty may be much younger.
        let empty = lanes.iter_mut().filter(|lane| lane.open.is_empty());
        empty.for_each(|lane| lane.open.born = Timestamp(u64::MAX));
    }
}

/// Moves each event to its target with its entries in all columns. Not part of the function that calls it: the loops
/// there are measured.
#[inline(never)]
fn deal_with_times<T: Clone>(
    lanes: &mut [Lane<T>],
    targets: &[u64],
    columns: &Columns,
    mut events: MoveOut<'_, T>,
    born: Timestamp,
    context: &mut Context,
) {
    for (at, target) in targets.iter().enumerate() {
        let lane = &mut lanes[*target as usize];
        events.next_to(&mut lane.open.events);
        lane.open.columns.push(columns.row(at));
        lane.ship_full(born, context);
    }
}

/// Events of a full batch if a sender distributes them over this many receivers.
fn full_of<T>(receivers: usize) -> usize {
    let most = Batch::<T>::FULL;
    (most * WIDE / receivers.max(WIDE)).max(most.min(WIDE_LEAST))
}

impl<T: Clone> Stage for Outbox<T> {
    fn control(&mut self, control: Control, context: &mut Context) {
        // Where one of several readers in an instance still waits at the end, its barriers come here too.
        if self.ended {
            return;
        }
        self.ended = matches!(control, Control::End(_));
        for lane in &mut self.lanes {
            lane.ship(context);
            lane.send(Frame::Control(control));
        }
    }

    fn call_instance(&mut self, _: InstanceCall, _: &mut Context) {}

    fn tick(&mut self, context: &mut Context) {
        let retried = self.lanes.iter_mut().map(Lane::retry);
        // If several receivers were waited for, it was at the same time.
        if let Some(paused) = retried.max().filter(|paused| !paused.is_zero()) {
            context.slice.waited_for_pause(paused);
        }
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
}

impl<T: Clone> Push<T> for Outbox<T> {
    fn push(&mut self, batch: &mut Batch<T>, context: &mut Context) {
        match &self.routing {
            Routing::One(instance) => self.lanes[*instance].take(batch, context),
            Routing::All => {
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

    fn copies(&self) -> u32 {
        match self.routing {
            Routing::All => self.lanes.len() as u32,
            _ => 1,
        }
    }

    fn room(&self) -> usize {
        let full = self.lanes.iter().map(|lane| lane.full).min().unwrap_or(usize::MAX);
        let lanes = match self.routing {
            Routing::RoundRobin { .. } | Routing::Key { .. } => self.lanes.len(),
            Routing::One(_) | Routing::All => 1,
        };
        full.saturating_mul(BATCHES * lanes)
    }
}

impl<T: Clone> Lane<T> {
    /// Takes the whole batch. Moves single events only if they are few.
    fn take(&mut self, batch: &mut Batch<T>, context: &mut Context) {
        if batch.len() >= Batch::<T>::FULL / 2 {
            self.ship(context);
        }
        self.open.append(batch);
        if self.open.len() >= self.full {
            self.ship(context);
        }
    }

    fn copy(&mut self, batch: &Batch<T>, context: &mut Context) {
        self.open.events.extend_from_slice(&batch.events);
        self.open.columns.extend_from(&batch.columns, 0..batch.len());
        self.open.born = self.open.born.min(batch.born);
        if self.open.len() >= self.full {
            self.ship(context);
        }
    }

    /// Sends the open batch if it is full; the next one may begin with an event that was `born` then.
    #[inline]
    fn ship_full(&mut self, born: Timestamp, context: &mut Context) {
        if self.open.events.len() >= self.full {
            self.ship(context);
            self.open.born = born;
        }
    }

    /// Sends the open batch. Reports go before emits: the ledger first.
    fn ship(&mut self, context: &mut Context) -> bool {
        if self.open.is_empty() {
            return false;
        }
        context.ledger.send();
        self.full = self.queue.batch().min(self.most);
        // Whole batches move without looking at single events; only one that is far too large is cut.
        while self.open.len() >= 2 * self.full && self.full < self.most {
            self.send_first(self.full);
        }
        while let Some(events) = self.weigh() {
            self.send_first(events);
        }
        let batch = std::mem::replace(&mut self.open, self.queue.buffer());
        self.send(Frame::Batch(batch));
        true
    }

    /// Sends this many events of the open batch.
    fn send_first(&mut self, events: usize) {
        let rest = self.open.split_off(events);
        let mut batch = std::mem::replace(&mut self.open, rest);
        batch.bytes = self.weigher.as_ref().map_or(0, |weigher| weigher.bytes(&batch.events));
        self.send(Frame::Batch(batch));
    }

    /// Weighs the open batch. If it is too heavy, this many of its events are a batch.
    fn weigh(&mut self) -> Option<usize> {
        let weigher = self.weigher.as_ref()?;
        let events = &self.open.events;
        self.open.bytes = weigher.bytes(events);
        if self.open.bytes <= BYTES || events.len() == 1 {
            return None;
        }
        let mut bytes = 0;
        let fits = events.iter().take_while(|event| {
            bytes += weigher.bytes(std::slice::from_ref(*event));
            bytes <= BYTES
        });
        Some(fits.count().max(1))
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
                let _ = self.retry();
            }
            (_, frame) => {
                self.paused_before = self.queue.paused();
                self.waiting.push_back(frame);
            }
        }
    }

    fn shed(&mut self, batch: Batch<T>) {
        self.counters.dropped_on_the_way.add(batch.len() as u64);
    }

    /// Sends waiting batches, if it can. When all are sent, returns how much of the wait was for a pause of
    /// the receiver.
    fn retry(&mut self) -> Duration {
        if self.waiting.is_empty() {
            return Duration::ZERO;
        }
        while let Some(frame) = self.waiting.pop_front() {
            if let Err(frame) = self.queue.try_send(frame) {
                self.waiting.push_front(frame);
                return Duration::ZERO;
            }
        }
        self.queue.paused().saturating_sub(self.paused_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::columns::Row;
    use crate::api::waker::Waker;
    use crate::channel::ledger::Ledger;
    use crate::channel::queue::{Bound, queue};
    use crate::channel::routing::KeyOf;
    use crate::clock::MonotonicClock;
    use crate::id::Root;
    use crate::time::EventTime;

    /// How many events are in the batches that each receiver has got.
    fn dealt(receivers: usize, events: usize) -> Vec<Vec<usize>> {
        let bound = Bound { by_length_alone: true, ..Bound::default() };
        let queue = || queue::<u64>(8, Waker::default(), Waker::default(), bound.clone());
        let pairs = (0..receivers).map(|_| queue());
        let (to, from): (Vec<_>, Vec<_>) = pairs.unzip();
        let to = to.into_iter().map(|to| (to, Arc::default())).collect();
        let mut outbox = Outbox::new(Routing::RoundRobin { next: 0 }, to, Overflow::Block, None);
        let mut context = Context::new(Arc::new(MonotonicClock::default()), Ledger::default());
        let mut batch = Batch { events: (0..events as u64).collect(), ..Batch::default() };
        outbox.push(&mut batch, &mut context);
        let frames = from.iter().map(|from| std::iter::from_fn(|| from.try_recv()));
        let sizes = frames.map(|frames| {
            frames.map(|frame| match frame {
                Frame::Batch(batch) => batch.len(),
                Frame::Control(control) => panic!("nobody sent {control:?}"),
            })
        });
        sizes.map(Iterator::collect).collect()
    }

    #[test]
    fn batches_are_smaller_where_there_are_many_receivers() {
        assert_eq!(dealt(2, 2 * 1_024), vec![vec![1_024]; 2]);
        assert_eq!(dealt(16, 16 * 1_024), vec![vec![512; 2]; 16]);
        assert_eq!(dealt(64, 64 * 300), vec![vec![128; 2]; 64]);
    }

    /// State T13.
    #[test]
    fn each_event_arrives_with_its_own_entries_wherever_it_is_dealt_to() {
        const EVENTS: u64 = 5_000;
        let key_of: KeyOf<u64> =
            Arc::new(|events, hashes| hashes.extend(events.iter().map(|n| n << 60)));
        let ways = |way: usize| match way {
            0 => Routing::One(1),
            1 => Routing::RoundRobin { next: 0 },
            2 => Routing::Key { key_of: Arc::clone(&key_of), on_panic: Box::new(()) },
            _ => Routing::All,
        };
        for (way, copies) in [(0, 1), (1, 1), (2, 1), (3, 3)] {
            for (tracked, timed) in [(true, true), (true, false), (false, true), (false, false)] {
                let bound = Bound { by_length_alone: true, ..Bound::default() };
                let pairs = (0..3)
                    .map(|_| queue::<u64>(64, Waker::default(), Waker::default(), bound.clone()));
                let (to, from): (Vec<_>, Vec<_>) = pairs.unzip();
                let to = to.into_iter().map(|to| (to, Arc::default())).collect();
                let mut outbox = Outbox::new(ways(way), to, Overflow::Block, None);
                let clock = Arc::new(MonotonicClock::default());
                let mut context = Context::new(clock, Ledger::default());
                let all = 0..EVENTS;
                let columns = Columns {
                    roots: all.clone().filter(|_| tracked).map(|n| Root::new(0, n)).collect(),
                    times: all
                        .clone()
                        .filter(|_| timed)
                        .map(|n| EventTime::from_unix_ms(n as i64))
                        .collect(),
                };
                let mut batch = Batch { events: all.collect(), columns, ..Batch::default() };
                outbox.push(&mut batch, &mut context);
                outbox.flush(&mut context);
                let mut arrived = 0;
                for frame in from.iter().flat_map(|from| std::iter::from_fn(|| from.try_recv())) {
                    let Frame::Batch(Batch { events, columns, .. }) = frame else { panic!() };
                    arrived += events.len();
                    let entries = [(tracked, columns.roots.len()), (timed, columns.times.len())];
                    assert_eq!(
                        entries.map(|(used, entries)| (used, entries > 0)),
                        entries.map(|(used, _)| (used, used))
                    );
                    for (at, n) in events.into_iter().enumerate() {
                        let (root, time) = (Root::new(0, n), EventTime::from_unix_ms(n as i64));
                        let own =
                            Row { root: tracked.then_some(root), time: timed.then_some(time) };
                        assert_eq!(columns.row(at), own, "way {way}, event {n}");
                    }
                }
                assert_eq!(arrived as u64, EVENTS * copies);
            }
        }
    }

    #[test]
    fn batches_of_heavy_events_are_cut_by_what_they_weigh() {
        let (to, from) = queue::<Vec<u8>>(8, Waker::default(), Waker::default(), Bound::default());
        let weigher = Weigher::known();
        let one = Routing::One(0);
        let lanes = vec![(to, Arc::default())];
        let mut outbox = Outbox::new(one, lanes, Overflow::Block, weigher.as_ref());
        let mut context = Context::new(Arc::new(MonotonicClock::default()), Ledger::default());
        let bytes = [1, 600_000, 600_000, 3_000_000, 10, 10];
        let events = bytes.map(|bytes| vec![0; bytes]);
        outbox.push(&mut Batch { events: events.into(), ..Batch::default() }, &mut context);
        outbox.flush(&mut context);
        let mut sizes = Vec::new();
        loop {
            while let Some(Frame::Batch(batch)) = from.try_recv() {
                sizes.push(batch.events.iter().map(Vec::len).collect::<Vec<_>>());
                assert!(batch.bytes >= sizes.concat().last().copied().unwrap_or(0));
                from.budget().leave(batch.amount());
            }
            if !outbox.blocked() {
                break;
            }
            outbox.tick(&mut context);
        }
        assert!(sizes.iter().all(|sizes| sizes.len() == 1 || sizes.iter().sum::<usize>() <= BYTES));
        assert_eq!(sizes.concat(), bytes);
    }

    #[test]
    fn a_full_batch_of_large_events_is_no_larger_for_many_receivers() {
        assert_eq!(full_of::<[u8; 4_096]>(2), 16);
        assert_eq!(full_of::<[u8; 4_096]>(64), 16);
        assert_eq!(full_of::<[u8; 128]>(64), 128);
    }
}
