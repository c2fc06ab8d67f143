//! One bounded queue from one instance to another, and the way back for emptied buffers.
//!
//! ```text
//!   sender                                  receiver
//!   try_send ── frames (bounded) ─────────▶ try_recv
//!      │ full: sender_waits := true            │ half empty: sender_waits? wake the sender
//!      ◀──────── emptied batches (bounded) ──── recycle
//! ```
//! The sender sets the flag *before* it tries once more, the receiver reads it *after* it took a frame:
//! one of them sees the other, so neither sleeps while the queue moves. The sender is woken when half of
//! the queue is free and not for each frame: it then has work for a while, and is woken less often.
//!
//! A queue is also full while as much is in flight to the receiver as its [`Budget`] allows, over all queues
//! into it. One that is empty takes a batch nevertheless: so a sender that waits has something in its queue,
//! and is woken when that is taken.

use std::sync::Arc;
use std::time::Duration;

use crate::api::waker::Waker;
use crate::channel::budget::Budget;
use crate::channel::frame::{Batch, Frame};
use crate::sync::{AtomicBool, Ordering, Receiver, Sender, TrySendError, bounded};

/// Frames per queue; with [`BATCH`](crate::channel::frame::BATCH) events each at most.
pub(crate) const QUEUE_FRAMES: usize = 8;

pub(crate) struct QueueSender<T> {
    frames: Sender<Frame<T>>,
    emptied: Receiver<Batch<T>>,
    /// Used only to shed the oldest batch.
    head: Receiver<Frame<T>>,
    receiver: Waker,
    sender_waits: Arc<AtomicBool>,
    bound: Bound,
}

pub(crate) struct QueueReceiver<T> {
    frames: Receiver<Frame<T>>,
    emptied: Sender<Batch<T>>,
    sender: Waker,
    sender_waits: Arc<AtomicBool>,
    /// The sender is woken when this many frames are left.
    few: usize,
    budget: Arc<Budget>,
}

/// The bounds of a queue in addition to its length.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bound {
    /// The events in flight to the receiver, over all its queues.
    pub(crate) budget: Arc<Budget>,
    /// Its events count there like the others, and it is full only when its length is reached, or as many bytes
    /// are in flight as allowed.
    pub(crate) by_length_alone: bool,
}

/// A queue between two instances, each known by its waker.
pub(crate) fn queue<T>(
    frames: usize,
    sender: Waker,
    receiver: Waker,
    bound: Bound,
) -> (QueueSender<T>, QueueReceiver<T>) {
    let budget = Arc::clone(&bound.budget);
    // One more, since the receiver is processing one.
    budget.add_queue((frames + 1) * Batch::<T>::FULL);
    let (frames_in, frames_out) = bounded(frames);
    let (emptied_in, emptied_out) = bounded(frames + 1);
    let sender_waits = Arc::new(AtomicBool::new(false));
    (
        QueueSender {
            frames: frames_in,
            emptied: emptied_out,
            head: frames_out.clone(),
            receiver,
            sender_waits: Arc::clone(&sender_waits),
            bound,
        },
        QueueReceiver {
            frames: frames_out,
            emptied: emptied_in,
            sender,
            sender_waits,
            few: frames / 2,
            budget,
        },
    )
}

impl<T> QueueSender<T> {
    /// Gives the frame back if the queue is full; the sender is then woken when there is room.
    pub(crate) fn try_send(&self, frame: Frame<T>) -> Result<(), Frame<T>> {
        let frame = match self.offer(frame) {
            Ok(()) => return Ok(()),
            Err(frame) => frame,
        };
        self.sender_waits.store(true, Ordering::SeqCst);
        self.offer(frame)
    }

    fn offer(&self, frame: Frame<T>) -> Result<(), Frame<T>> {
        let amount = frame.amount();
        let Bound { budget, by_length_alone } = &self.bound;
        let is_bounded = amount.events > 0 && !self.frames.is_empty();
        let admits = || match by_length_alone {
            true => budget.admits_bytes(amount.bytes),
            false => budget.admits(amount),
        };
        if is_bounded && !admits() {
            budget.want();
            return Err(frame);
        }
        // Before it can be taken out.
        budget.enter(amount);
        match self.frames.try_send(frame) {
            Ok(()) => {
                self.receiver.notify();
                Ok(())
            }
            Err(TrySendError::Full(frame)) => {
                budget.leave(amount);
                budget.want();
                Err(frame)
            }
            Err(TrySendError::Disconnected(_)) => {
                unreachable!("the sender itself keeps the queue open")
            }
        }
    }

    /// Takes the oldest frame back out of the queue.
    pub(crate) fn take_oldest(&self) -> Option<Frame<T>> {
        let frame = self.head.try_recv().ok()?;
        self.bound.budget.leave(frame.amount());
        Some(frame)
    }

    /// Events of a batch that should be sent at most.
    pub(crate) fn batch(&self) -> usize {
        if self.bound.by_length_alone { usize::MAX } else { self.bound.budget.batch() }
    }

    /// The time that the receiver has spent on pauses in all.
    pub(crate) fn paused(&self) -> Duration {
        self.bound.budget.paused()
    }

    /// An emptied buffer that came back, or a new one.
    pub(crate) fn buffer(&self) -> Batch<T> {
        self.emptied.try_recv().unwrap_or_default()
    }
}

impl<T> QueueReceiver<T> {
    pub(crate) fn try_recv(&self) -> Option<Frame<T>> {
        let frame = self.frames.try_recv().ok()?;
        if self.sender_waits.load(Ordering::SeqCst)
            && self.frames.len() <= self.few
            && self.sender_waits.swap(false, Ordering::SeqCst)
        {
            self.sender.notify();
        }
        Some(frame)
    }

    /// Returns an emptied buffer to the sender; if it is not needed there, it is freed.
    pub(crate) fn recycle(&self, mut batch: Batch<T>) {
        batch.clear();
        let _ = self.emptied.try_send(batch);
    }

    pub(crate) fn depth(&self) -> usize {
        self.frames.len()
    }

    /// The bound on the events in flight; events count there until the receiver says that they are done.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::frame::{Amount, Control};

    #[test]
    fn a_full_queue_gives_the_frame_back_and_wakes_the_sender_when_there_is_room() {
        let (from, to) = (Waker::default(), Waker::default());
        let (sender, receiver) = queue::<u8>(1, from.clone(), to, Bound::default());
        assert!(sender.try_send(Frame::Control(Control::Drain)).is_ok());
        assert!(sender.try_send(Frame::Control(Control::Idle)).is_err());
        let parked = std::thread::spawn(move || from.park(None));
        assert!(matches!(receiver.try_recv(), Some(Frame::Control(Control::Drain))));
        parked.join().expect("the sender was woken");
        assert!(sender.try_send(Frame::Control(Control::Idle)).is_ok());
    }

    #[test]
    fn what_is_under_way_in_all_queues_together_is_bounded_and_an_empty_queue_takes_a_batch_all_the_same()
     {
        let budget = Arc::<Budget>::default();
        let bound = Bound { budget: Arc::clone(&budget), by_length_alone: false };
        let make = || queue::<u8>(8, Waker::default(), Waker::default(), bound.clone());
        let ((a, from_a), (b, from_b)) = (make(), make());
        let batch = |events| Frame::Batch(Batch { events, ..Batch::default() });
        assert!(a.try_send(batch(vec![1])).is_ok());
        assert!(a.try_send(batch(vec![2])).is_ok());
        assert!(a.try_send(batch(vec![3])).is_err(), "two are under way");
        assert!(
            a.try_send(Frame::Control(Control::Idle)).is_ok(),
            "what is no event needs no room"
        );
        assert!(b.try_send(batch(vec![4, 5, 6])).is_ok(), "each sender has its turn");
        assert!(b.try_send(batch(vec![7])).is_err());
        assert!(from_a.try_recv().is_some() && from_b.try_recv().is_some());
        assert!(b.try_send(batch(vec![7])).is_ok(), "its queue is empty");
        assert!(a.try_send(batch(vec![3])).is_err(), "the receiver is not done with those");
        from_a.budget().leave(Amount { events: 6, bytes: 0 });
        assert!(a.try_send(batch(vec![3])).is_ok());
    }

    #[test]
    fn an_emptied_buffer_comes_back_with_its_memory() {
        let (sender, receiver) =
            queue::<u8>(1, Waker::default(), Waker::default(), Bound::default());
        let mut batch = sender.buffer();
        batch.events.reserve(100);
        assert!(sender.try_send(Frame::Batch(batch)).is_ok());
        let Some(Frame::Batch(batch)) = receiver.try_recv() else { panic!("a batch was sent") };
        receiver.recycle(batch);
        assert!(sender.buffer().events.capacity() >= 100);
    }
}
