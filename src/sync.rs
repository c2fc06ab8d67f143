//! Floor 0: the primitives through which threads meet. In production those of `parking_lot`, `std`
//! and `crossbeam-channel`; in a test that is built with `--cfg streamwork_schedules`, stand-ins
//! whose order a scheduler draws, so that [`schedules`](crate) tries orders no machine shows.

#[cfg(not(all(test, streamwork_schedules)))]
pub(crate) use self::real::*;
#[cfg(all(test, streamwork_schedules))]
pub(crate) use self::scheduled::*;

#[cfg(not(all(test, streamwork_schedules)))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    pub(crate) use std::thread::yield_now as give_way;

    pub(crate) use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
}

/// The same interfaces over shuttle's primitives, as far as they are used.
#[cfg(all(test, streamwork_schedules))]
mod scheduled {
    use std::collections::VecDeque;
    use std::ops::{Deref, DerefMut};
    use std::sync::Arc;
    use std::time::Duration;

    pub(crate) use crossbeam_channel::{TryRecvError, TrySendError};
    use shuttle::sync as inner;
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    pub(crate) use shuttle::thread::yield_now as give_way;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(inner::Mutex<T>);

    #[derive(Debug)]
    pub(crate) struct MutexGuard<'a, T>(Option<inner::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(inner::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().expect("nobody panics with the lock")))
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            self.0.as_ref().expect("empty only while it waits")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("empty only while it waits")
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(inner::Condvar);

    impl Condvar {
        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let waiting = guard.0.take().map(|guard| self.0.wait(guard));
            guard.0 = waiting.map(|guard| guard.expect("nobody panics with the lock"));
        }

        /// Time is always up: a return without a notice is allowed at any moment.
        pub(crate) fn wait_for<T>(&self, _: &mut MutexGuard<'_, T>, _: Duration) {
            shuttle::thread::yield_now();
        }
    }

    #[derive(Debug)]
    struct Queue<T> {
        places: usize,
        frames: Mutex<VecDeque<T>>,
    }

    #[derive(Debug)]
    pub(crate) struct Sender<T>(Arc<Queue<T>>);

    #[derive(Debug)]
    pub(crate) struct Receiver<T>(Arc<Queue<T>>);

    impl<T> Clone for Receiver<T> {
        fn clone(&self) -> Self {
            Self(Arc::clone(&self.0))
        }
    }

    pub(crate) fn bounded<T>(places: usize) -> (Sender<T>, Receiver<T>) {
        let queue = Arc::new(Queue { places, frames: Mutex::default() });
        (Sender(Arc::clone(&queue)), Receiver(queue))
    }

    impl<T> Sender<T> {
        pub(crate) fn is_empty(&self) -> bool {
            self.0.frames.lock().is_empty()
        }

        pub(crate) fn try_send(&self, frame: T) -> Result<(), TrySendError<T>> {
            let mut frames = self.0.frames.lock();
            if frames.len() == self.0.places {
                return Err(TrySendError::Full(frame));
            }
            frames.push_back(frame);
            Ok(())
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
            self.0.frames.lock().pop_front().ok_or(TryRecvError::Empty)
        }

        pub(crate) fn len(&self) -> usize {
            self.0.frames.lock().len()
        }
    }
}
