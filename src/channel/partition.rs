//! [`Partition`]: which of the receiving instances an event goes to. Groupings become one of these
//! when the job is planned.

use std::sync::Arc;

use crate::channel::key::instance_of;

/// Hashes the keys of a batch. One dynamic call per batch.
pub(crate) type KeyOf<T> = Arc<dyn Fn(&[T], &mut Vec<u64>) + Send + Sync>;

/// How an edge deals its events out.
pub(crate) enum Partition<T> {
    /// All to one instance: forward, global.
    One(usize),
    /// To each in turn.
    RoundRobin {
        /// Whose turn it is.
        next: usize,
    },
    /// By key: the same key always to the same instance.
    Key(KeyOf<T>),
    /// To all of them.
    All,
}

impl<T> Partition<T> {
    /// Which instance each event goes to; used for `RoundRobin` and `Key`.
    pub(crate) fn targets(&mut self, events: &[T], instances: usize, targets: &mut Vec<u64>) {
        targets.clear();
        match self {
            Self::RoundRobin { next } => {
                targets.extend(events.iter().map(|_| {
                    let target = *next;
                    *next = if target + 1 == instances { 0 } else { target + 1 };
                    target as u64
                }));
            }
            Self::Key(key_of) => {
                key_of(events, targets);
                for hash in targets.iter_mut() {
                    *hash = instance_of(*hash, instances) as u64;
                }
            }
            Self::One(instance) => targets.resize(events.len(), *instance as u64),
            Self::All => unreachable!("a broadcast has no single target"),
        }
    }
}
