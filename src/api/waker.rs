//! [`Waker`]: how anything tells a parked instance that there is something to do.
//!
//! ```text
//!   any thread                       the instance's thread
//!   ----------                       ---------------------
//!   make work visible
//!   wake():  notified := true   ->   park(): notified? take it, go on
//!            was false? notify        else wait on the condition
//! ```
//! A wake-up between the instance's last look and its `park` is kept in `notified`, so none is
//! lost; several become one.

use std::sync::Arc;
use std::time::Duration;

use crate::sync::{AtomicBool, Condvar, Mutex, Ordering};

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
    lock: Mutex<()>,
    condition: Condvar,
}

impl Waker {
    /// Makes the source of this instance be asked for events again, soon and at least once.
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
        if !self.shared.notified.swap(true, Ordering::SeqCst) {
            // The lock orders this with a parker between its check and its wait.
            drop(self.shared.lock.lock());
            self.shared.condition.notify_one();
        }
    }

    /// Takes a wake-up as [`park`](Waker::park) would, without waiting for one.
    pub(crate) fn take_notice(&self) -> bool {
        self.shared.notified.swap(false, Ordering::SeqCst)
    }

    /// Waits for a wake-up, at most this long; `None` waits without bound.
    pub(crate) fn park(&self, at_most: Option<Duration>) {
        let mut guard = self.shared.lock.lock();
        while !self.shared.notified.swap(false, Ordering::SeqCst) {
            match at_most {
                None => self.shared.condition.wait(&mut guard),
                Some(time) => {
                    // A timed-out or spurious return only makes the instance look once more.
                    self.shared.condition.wait_for(&mut guard, time);
                    self.shared.notified.store(false, Ordering::SeqCst);
                    return;
                }
            }
        }
    }
}
