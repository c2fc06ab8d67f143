//! [`Waker`]: wakes a parked instance when there is something to do.
//!
//! ```text
//!   any thread                       the instance's thread
//!   ----------                       ---------------------
//!   make work visible
//!   notify(): notified := true   ->  linger(): gives way a few times, notified? go on
//!             parked?                park():   parked := true
//!             notify the condition             notified? take it, go on; else wait on the condition
//! ```
//! Each side writes its own flag before it reads the other's, so one of them sees the other and no
//! wake-up is lost; several become one. Waking an instance that is awake makes no system call.

use std::sync::Arc;
use std::time::Duration;

use crate::sync::{AtomicBool, Condvar, Mutex, Ordering, give_way};

/// Wakes one instance. Cheap to clone, may be called from any thread, at any time, also when the
/// instance has ended.
///
/// A source that gets its events from elsewhere (a socket, a channel) returns
/// [`Next::WhenWoken`](crate::Next::WhenWoken) and lets the other side call [`Waker::wake`].
#[derive(Clone, Debug, Default)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    signal: AtomicBool,
    notified: AtomicBool,
    parked: AtomicBool,
    lock: Mutex<()>,
    condition: Condvar,
}

impl Waker {
    /// Makes the engine ask the source of this instance for events, soon and at least once.
    pub fn wake(&self) {
        self.shared.signal.store(true, Ordering::SeqCst);
        self.notify();
    }

    /// Whether somebody has called [`wake`](Waker::wake) since this was last asked.
    pub(crate) fn take_signal(&self) -> bool {
        self.shared.signal.load(Ordering::SeqCst)
            && self.shared.signal.swap(false, Ordering::SeqCst)
    }

    /// Makes the instance look again; if it is not parked, its next attempt to park returns at
    /// once.
    pub(crate) fn notify(&self) {
        let shared = &self.shared;
        if !shared.notified.swap(true, Ordering::SeqCst) && shared.parked.load(Ordering::SeqCst) {
            // The lock orders this with a parker between its check and its wait.
            drop(shared.lock.lock());
            shared.condition.notify_one();
        }
    }

    /// Takes a wake-up as [`park`](Waker::park) would, without waiting for one.
    pub(crate) fn take_notice(&self) -> bool {
        self.shared.notified.swap(false, Ordering::SeqCst)
    }

    /// Gives way to other threads, at most this many times. Returns whether a wake-up has come.
    pub(crate) fn linger(&self, times: u32) -> bool {
        for _ in 0..times {
            if self.shared.notified.load(Ordering::Relaxed) && self.take_notice() {
                return true;
            }
            give_way();
        }
        false
    }

    /// Waits for a wake-up, at most this long; `None` waits without bound.
    pub(crate) fn park(&self, at_most: Option<Duration>) {
        let shared = &self.shared;
        let mut guard = shared.lock.lock();
        shared.parked.store(true, Ordering::SeqCst);
        while !shared.notified.swap(false, Ordering::SeqCst) {
            match at_most {
                None => shared.condition.wait(&mut guard),
                Some(time) => {
                    // A timed-out or spurious return only makes the instance look once more.
                    shared.condition.wait_for(&mut guard, time);
                    shared.notified.store(false, Ordering::SeqCst);
                    break;
                }
            }
        }
        shared.parked.store(false, Ordering::SeqCst);
    }
}
