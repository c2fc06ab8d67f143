//! [`Routing`]: which of the receiving instances an event goes to. Groupings become one of these
//! when the job is planned.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::channel::frame::Batch;
use crate::channel::key::instance_of;
use crate::channel::push::Context;
use crate::error::Cause;
use crate::id::Root;

/// Hashes the keys of a batch, in order. One dynamic call per batch. If it panics, what it has written by
/// then are the hashes of the events before the one at hand.
pub(crate) type KeyOf<T> = Arc<dyn Fn(&[T], &mut Vec<u64>) + Send + Sync>;

/// Decides what becomes of an event whose key function panicked.
pub(crate) trait OnKeyPanic {
    fn on_key_panic(&self, root: Root, cause: Cause, context: &mut Context);
}

/// How an edge distributes its events.
pub(crate) enum Routing<T> {
    /// All to one instance: forward, global, and whatever leads to a single one.
    One(usize),
    /// To each in turn.
    RoundRobin {
        /// Whose turn it is.
        next: usize,
    },
    /// By key: the same key always to the same instance.
    Key { key_of: KeyOf<T>, on_panic: Box<dyn OnKeyPanic> },
    /// To all of them.
    All,
}

impl<T> Routing<T> {
    /// Which instance each event goes to; used for `RoundRobin` and `Key`. An event that has no key leaves
    /// the batch.
    pub(crate) fn targets(
        &mut self,
        batch: &mut Batch<T>,
        instances: usize,
        targets: &mut Vec<u64>,
        context: &mut Context,
    ) {
        targets.clear();
        match self {
            Self::RoundRobin { next } => {
                targets.extend(batch.events.iter().map(|_| {
                    let target = *next;
                    *next = if target + 1 == instances { 0 } else { target + 1 };
                    target as u64
                }));
            }
            Self::Key { key_of, on_panic } => {
                while targets.len() < batch.len() {
                    let rest = &batch.events[targets.len()..];
                    let hashed = catch_unwind(AssertUnwindSafe(|| key_of(rest, targets)));
                    let Err(payload) = hashed else { break };
                    let culprit = targets.len();
                    let root = batch.remove(culprit);
                    on_panic.on_key_panic(root, Cause::panic(payload), context);
                }
                for hash in targets.iter_mut() {
                    *hash = instance_of(*hash, instances) as u64;
                }
            }
            Self::One(instance) => targets.resize(batch.len(), *instance as u64),
            Self::All => unreachable!("a broadcast has no single target"),
        }
    }
}

#[cfg(any(test, feature = "pieces"))]
impl OnKeyPanic for () {
    fn on_key_panic(&self, _: Root, _: Cause, _: &mut Context) {}
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::api::columns::Columns;
    use crate::channel::key::hash_key;
    use crate::channel::ledger::Ledger;
    use crate::clock::MonotonicClock;
    use crate::time::EventTime;

    /// The roots of events whose key function panicked, and what it said.
    #[derive(Clone, Default)]
    struct Panicked(Rc<RefCell<Vec<(Root, String)>>>);

    impl OnKeyPanic for Panicked {
        fn on_key_panic(&self, root: Root, cause: Cause, _: &mut Context) {
            self.0.borrow_mut().push((root, cause.to_string()));
        }
    }

    #[test]
    fn exactly_the_events_whose_key_panics_leave_the_batch_and_each_key_is_asked_for_once() {
        let asked = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let (counted, panicked) = (Arc::clone(&asked), Panicked::default());
        let key = move |n: &u64| {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            assert!(n % 4 != 3, "no key for {n}");
            *n
        };
        let key_of = Arc::new(move |events: &[u64], hashes: &mut Vec<u64>| {
            hashes.extend(events.iter().map(|event| hash_key(&key(event))));
        });
        let mut routing = Routing::Key { key_of, on_panic: Box::new(panicked.clone()) };
        let columns = Columns {
            roots: (0..8).map(|n| Root::new(0, n)).collect(),
            times: (0..8).map(EventTime::from_unix_ms).collect(),
        };
        let mut batch = Batch { events: (0..8_u64).collect(), columns, ..Batch::default() };
        let mut context = Context::new(Arc::new(MonotonicClock::default()), Ledger::default());
        let mut targets = Vec::new();
        routing.targets(&mut batch, 2, &mut targets, &mut context);
        assert_eq!(batch.events, [0, 1, 2, 4, 5, 6]);
        let left = [0, 1, 2, 4, 5, 6].map(|n| Root::new(0, n));
        assert_eq!(batch.columns.roots, left);
        assert_eq!(batch.columns.times, [0, 1, 2, 4, 5, 6].map(EventTime::from_unix_ms));
        let expected = [0_u64, 1, 2, 4, 5, 6].map(|n| instance_of(hash_key(&n), 2) as u64);
        assert_eq!(targets, expected);
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 8);
        let said = [3, 7].map(|n| (Root::new(0, n), format!("panicked: no key for {n}")));
        assert_eq!(*panicked.0.borrow(), said);
    }
}
