//! Single pieces of the engine with a loop around each, for `benches/` only. Without the feature `pieces` none of it is compiled:
//! users of the crate never see it, and nothing here is ever stable.
//!
//! Each function does this many rounds with one piece and says how long they took; what has to be there
//! before is made before the clock starts.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::api::waker::Waker;
use crate::channel::frame::{BATCH, Batch, Control, Frame};
use crate::channel::inputs::Inputs;
use crate::channel::key::hash_key;
use crate::channel::ledger::{Entries, Ledger, Reports};
use crate::channel::outbox::{Outbox, Overflow};
use crate::channel::push::{Context, Push};
use crate::channel::queue::{Bound, QUEUE_FRAMES, QueueReceiver, QueueSender, queue};
use crate::channel::routing::Routing;
use crate::clock::{MonotonicClock, Timestamp};
use crate::delivery::at_least_once::acknowledger::Acknowledger;
use crate::delivery::at_least_once::replay_buffer::ReplayOptions;
use crate::delivery::at_least_once::tracked_source::TrackedSource;
use crate::delivery::source_side::SourceSide;
use crate::id::CheckpointId;
use crate::metrics::Counters;

/// Events in a batch that is full.
pub const EVENTS_PER_BATCH: u64 = BATCH as u64;

/// An event as large as most are.
type Event = [u64; 4];

/// Queues here are bounded by their length: nobody measures what the receiver does.
fn by_length() -> Bound {
    Bound { by_length_alone: true, ..Bound::default() }
}

/// Sends full batches to another thread, which sends the emptied buffers back.
pub fn hop(batches: u64) -> Duration {
    let (here, there) = (Waker::default(), Waker::default());
    let (sender, receiver) = queue(QUEUE_FRAMES, here.clone(), there.clone(), by_length());
    let receiving = thread::spawn(move || {
        for _ in 0..batches {
            while !empty_one(&receiver) {
                there.park(None);
            }
        }
    });
    let started = Instant::now();
    for _ in 0..batches {
        let mut frame = filled(&sender);
        while let Err(full) = sender.try_send(frame) {
            here.park(None);
            frame = full;
        }
    }
    receiving.join().expect("it only counts");
    started.elapsed()
}

/// The same within one thread: what a hop costs without waiting for anybody.
pub fn hop_alone(batches: u64) -> Duration {
    let (sender, receiver) = queue(QUEUE_FRAMES, Waker::default(), Waker::default(), by_length());
    let started = Instant::now();
    for _ in 0..batches {
        assert!(sender.try_send(filled(&sender)).is_ok(), "the queue is empty");
        empty_one(&receiver);
    }
    started.elapsed()
}

/// Deals full batches out by key, over this many instances.
pub fn partition(batches: u64, instances: usize) -> Duration {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..instances)
        .map(|_| queue(QUEUE_FRAMES, Waker::default(), Waker::default(), by_length()))
        .unzip();
    let senders = senders.into_iter().map(|sender| (sender, Arc::new(Counters::default())));
    let by_key = |events: &[Event], hashes: &mut Vec<u64>| {
        hashes.extend(events.iter().map(|event| hash_key(&event[0])));
    };
    let routing = Routing::Key { key_of: Arc::new(by_key), on_panic: Box::new(()) };
    let mut outbox = Outbox::new(routing, senders.collect(), Overflow::Block, None);
    let mut context = Context::new(Arc::new(MonotonicClock::default()), Ledger::default());
    let mut batch = Batch::default();
    let started = Instant::now();
    for _ in 0..batches {
        fill(&mut batch);
        outbox.push(&mut batch, &mut context);
        // Each instance has at most one more batch in its queue now than before.
        for receiver in &receivers {
            empty_one(receiver);
        }
    }
    started.elapsed()
}

/// Opens a root for each event of full batches, reports it as done, and settles it at its source.
pub fn acknowledger(batches: u64) -> Duration {
    let clock = Arc::new(MonotonicClock::default());
    let acknowledger = Acknowledger::new(vec![Waker::default()], 1, clock);
    let mut source = TrackedSource::<Event>::new(
        Arc::clone(&acknowledger),
        0,
        ReplayOptions::default(),
        size_of_val,
        None,
    );
    let (mut batch, mut entries) = (Batch::default(), Entries::default());
    let started = Instant::now();
    for _ in 0..batches {
        fill(&mut batch);
        source.admit(&mut batch, 1, Timestamp(0));
        entries.finished.extend_from_slice(&batch.columns.roots);
        acknowledger.report(&mut entries);
        source.settle(Timestamp(0), &mut Vec::new());
        batch.clear();
    }
    let took = started.elapsed();
    assert_eq!(source.kept(), 0, "all of them were done");
    took
}

/// Aligns checkpoints: a barrier out of each of this many inputs.
pub fn gate(checkpoints: u64, inputs: usize) -> Duration {
    let mut gate = Inputs::new(inputs, true);
    let mut cuts = 0;
    let started = Instant::now();
    for checkpoint in 1..=checkpoints {
        for input in 0..inputs {
            let verdict = gate.on(input, Control::Barrier(CheckpointId(checkpoint)));
            cuts += u64::from(verdict.cut.is_some());
        }
    }
    let took = started.elapsed();
    assert_eq!(cuts, checkpoints, "each was cut once");
    took
}

fn fill(batch: &mut Batch<Event>) {
    batch.events.extend((0..EVENTS_PER_BATCH).map(|key| [key; 4]));
}

fn filled(sender: &QueueSender<Event>) -> Frame<Event> {
    let mut batch = sender.buffer();
    fill(&mut batch);
    Frame::Batch(batch)
}

/// Takes a batch out of a queue and sends its buffer back. Whether there was one.
fn empty_one(receiver: &QueueReceiver<Event>) -> bool {
    let Some(Frame::Batch(batch)) = receiver.try_recv() else { return false };
    std::hint::black_box(&batch.events);
    receiver.recycle(batch);
    true
}
