//! What a programmer writes who needs this one job and no guarantee: loops, threads, and batches in bounded queues.

pub mod deep;
pub mod hops;
pub mod keyed;
pub mod latency;
pub mod log;
pub mod pipeline;
pub mod sized;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Events in a batch.
pub const BATCH: usize = 1024;

/// Batches that wait in a queue at most.
const WAITING: usize = 8;

/// The sending end of a queue of batches. Emptied ones come back.
pub struct Outlet<T> {
    full: Sender<Vec<T>>,
    empty: Receiver<Vec<T>>,
    batch: Vec<T>,
}

/// The receiving end.
pub struct Inlet<T> {
    full: Receiver<Vec<T>>,
    empty: Sender<Vec<T>>,
}

/// A queue with any number of senders.
pub fn queue<T>(senders: usize) -> (Vec<Outlet<T>>, Inlet<T>) {
    let (full, full_out) = bounded(WAITING);
    let (empty, empty_out) = bounded(WAITING + 2 * senders + 2);
    let outlet = || Outlet {
        full: full.clone(),
        empty: empty_out.clone(),
        batch: Vec::with_capacity(BATCH),
    };
    ((0..senders).map(|_| outlet()).collect(), Inlet { full: full_out, empty })
}

/// The outlet of a queue with one sender.
pub fn only<T>(mut outlets: Vec<Outlet<T>>) -> Outlet<T> {
    outlets.pop().expect("one was asked for")
}

impl<T> Outlet<T> {
    #[inline]
    pub fn push(&mut self, event: T) {
        self.batch.push(event);
        if self.batch.len() == BATCH {
            self.send();
        }
    }

    /// Sends what there is, if there is anything.
    pub fn send(&mut self) {
        if !self.batch.is_empty() {
            let next = self.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(BATCH));
            let full = std::mem::replace(&mut self.batch, next);
            // Nobody receives any more: the job is over.
            let _ = self.full.send(full);
        }
    }
}

impl<T> Inlet<T> {
    /// Waits for batches until all senders are gone.
    pub fn each(&self, mut take: impl FnMut(&[T])) {
        while let Ok(mut batch) = self.full.recv() {
            take(&batch);
            batch.clear();
            // No room: there are enough empty ones.
            let _ = self.empty.try_send(batch);
        }
    }
}
