//! [`ReplayBuffer`]: the events of one source instance that are not done, oldest first. A value: it
//! knows entries and moments, not roots, threads or queues.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::api::dead_letter::DeadLetter;
use crate::clock::Timestamp;
use crate::error::Failure;

/// In which order failed events come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplayOrder {
    /// The failed one only, after the others.
    FailedLast,
    /// Everything from the lowest unfinished one.
    Ordered,
}

/// Bounds and pauses; see [`AtLeastOnce`](crate::AtLeastOnce) for what each means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplayOptions {
    pub(crate) events_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) attempts_max: u32,
    pub(crate) backoff: Duration,
    pub(crate) backoff_max: Duration,
    pub(crate) order: ReplayOrder,
    pub(crate) timeout: Option<Duration>,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self {
            events_max: 65_536,
            bytes_max: 64 << 20,
            attempts_max: 10,
            backoff: Duration::from_millis(1),
            backoff_max: Duration::from_secs(1),
            order: ReplayOrder::FailedLast,
            timeout: None,
        }
    }
}

pub(crate) struct ReplayBuffer<T> {
    options: ReplayOptions,
    base: u64,
    entries: VecDeque<Entry<T>>,
    bytes: usize,
    unfinished: usize,
    due: BinaryHeap<Reverse<(Timestamp, u64)>>,
    /// While ordered replay waits to begin or runs: the next entry to emit again.
    rewound_to: Option<u64>,
    rewind_at: Timestamp,
}

struct Entry<T> {
    /// `None` once it cannot come again.
    event: Option<T>,
    done: bool,
    bytes: usize,
    attempts: u32,
    /// The root that is out for it.
    root: Option<u64>,
}

impl<T: Clone> ReplayBuffer<T> {
    pub(crate) fn new(options: ReplayOptions) -> Self {
        Self {
            options,
            base: 0,
            entries: VecDeque::new(),
            bytes: 0,
            unfinished: 0,
            due: BinaryHeap::new(),
            rewound_to: None,
            rewind_at: Timestamp(0),
        }
    }

    /// How many more events fit. One always does when the buffer is empty, however large it is.
    pub(crate) fn room(&self) -> usize {
        if self.rewound_to.is_some() || (self.bytes >= self.options.bytes_max) {
            return 0;
        }
        // The ring keeps finished entries behind an unfinished one: bound its length.
        self.options.events_max.saturating_sub(self.entries.len())
    }

    /// Keeps an event; its entry.
    pub(crate) fn keep(&mut self, event: T, bytes: usize) -> u64 {
        self.bytes += bytes;
        self.unfinished += 1;
        self.entries.push_back(Entry {
            event: Some(event),
            done: false,
            bytes,
            attempts: 1,
            root: None,
        });
        self.base + self.entries.len() as u64 - 1
    }

    /// This root is out for the entry.
    pub(crate) fn sent_as(&mut self, entry: u64, root: u64) {
        if let Some(entry) = self.entry(entry) {
            entry.root = Some(root);
        }
    }

    /// The lowest entry that is not done; all below it are.
    pub(crate) fn front(&self) -> u64 {
        self.base
    }

    /// Entries that are not done.
    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Whether anything waits to be emitted again.
    pub(crate) fn replay_pending(&self) -> bool {
        !self.due.is_empty() || self.rewound_to.is_some()
    }

    pub(crate) fn done(&mut self, entry: u64) {
        // To keep the order, what came after a failed event is emitted again even if it was done.
        let ordered = self.options.order == ReplayOrder::Ordered;
        if self.rewound_to.is_some_and(|next| entry >= next) {
            // It is about to be emitted again in any case.
            return;
        }
        self.finish(entry, ordered);
    }

    fn finish(&mut self, entry: u64, comes_again: bool) {
        let Some(found) = self.entry(entry).filter(|found| !found.done) else { return };
        found.done = true;
        found.root = None;
        if !comes_again {
            found.event = None;
            let bytes = std::mem::take(&mut found.bytes);
            self.bytes -= bytes;
        }
        self.unfinished -= 1;
        while self.entries.front().is_some_and(|entry| entry.done) {
            self.bytes -= self.entries.pop_front().map_or(0, |entry| entry.bytes);
            self.base += 1;
        }
    }

    /// The entry's attempt failed: it will come again, or is given up as a dead letter.
    pub(crate) fn failed(
        &mut self,
        entry: u64,
        failure: Failure,
        now: Timestamp,
    ) -> Option<DeadLetter<T>> {
        let options = self.options;
        let found = self.entry(entry).filter(|found| !found.done)?;
        let event = found.event.as_ref()?;
        let attempts = found.attempts;
        if attempts >= options.attempts_max {
            let letter = DeadLetter { event: event.clone(), failure, attempts };
            self.finish(entry, false);
            return Some(letter);
        }
        found.attempts += 1;
        found.root = None;
        let doubled = options.backoff.saturating_mul(1 << (attempts - 1).min(20));
        let at = now.after(doubled.min(options.backoff_max));
        match options.order {
            ReplayOrder::FailedLast => self.due.push(Reverse((at, entry))),
            ReplayOrder::Ordered => {
                self.reopen();
                self.rewound_to = Some(self.base);
                self.rewind_at = self.rewind_at.max(at);
            }
        }
        None
    }

    /// Everything kept will be emitted again: none of it is done.
    fn reopen(&mut self) {
        for entry in self.entries.iter_mut().filter(|entry| entry.done && entry.event.is_some()) {
            entry.done = false;
            self.unfinished += 1;
        }
    }

    /// When the next replay is due.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        match self.rewound_to {
            Some(_) => Some(self.rewind_at),
            None => self.due.peek().map(|Reverse((at, _))| *at),
        }
    }

    /// The next entry to emit again, with its event, and the root it was out as and no longer is.
    pub(crate) fn next_due(&mut self, now: Timestamp) -> Option<(u64, T, Option<u64>)> {
        if self.rewound_to.is_some() {
            return self.next_rewound(now);
        }
        while let Some(Reverse((at, entry))) = self.due.peek().copied() {
            if at > now {
                return None;
            }
            self.due.pop();
            if let Some(event) = self.entry(entry).and_then(|e| e.event.clone()) {
                return Some((entry, event, None));
            }
        }
        None
    }

    fn next_rewound(&mut self, now: Timestamp) -> Option<(u64, T, Option<u64>)> {
        if now < self.rewind_at {
            return None;
        }
        let end = self.base + self.entries.len() as u64;
        let mut at = self.rewound_to?.max(self.base);
        while at < end {
            let entry = self.entry(at)?;
            let root = entry.root.take();
            if let Some(event) = entry.event.clone() {
                self.rewound_to = Some(at + 1);
                return Some((at, event, root));
            }
            at += 1;
        }
        self.rewound_to = None;
        None
    }

    fn entry(&mut self, entry: u64) -> Option<&mut Entry<T>> {
        let index = usize::try_from(entry.checked_sub(self.base)?).ok()?;
        self.entries.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;
    use crate::id::InstanceName;

    fn failure() -> Failure {
        Failure {
            instance: InstanceName::new("op", 0),
            callback: "apply",
            cause: Cause::error("no"),
        }
    }

    fn buffer(order: ReplayOrder) -> ReplayBuffer<char> {
        let mut buffer = ReplayBuffer::new(ReplayOptions {
            order,
            attempts_max: 2,
            events_max: 4,
            ..ReplayOptions::default()
        });
        for event in ['a', 'b', 'c'] {
            let entry = buffer.keep(event, 1);
            buffer.sent_as(entry, entry);
        }
        buffer
    }

    const LATER: Timestamp = Timestamp(u64::MAX);

    #[test]
    fn a_failed_event_comes_again_after_its_pause_and_then_becomes_a_dead_letter() {
        let mut buffer = buffer(ReplayOrder::FailedLast);
        assert!(buffer.failed(0, failure(), Timestamp(0)).is_none());
        assert!(buffer.next_due(Timestamp(0)).is_none());
        assert_eq!(buffer.next_due(LATER), Some((0, 'a', None)));
        let letter = buffer.failed(0, failure(), LATER).expect("two attempts are all");
        assert_eq!((letter.event, letter.attempts), ('a', 2));
        assert_eq!(buffer.front(), 1);
    }

    #[test]
    fn ordered_replay_goes_back_to_the_lowest_unfinished_event() {
        let mut buffer = buffer(ReplayOrder::Ordered);
        buffer.done(0);
        assert!(buffer.failed(1, failure(), Timestamp(0)).is_none());
        buffer.done(2);
        assert_eq!((buffer.room(), buffer.unfinished()), (0, 2));
        assert_eq!(buffer.next_due(LATER), Some((1, 'b', None)));
        // Its old root is still out and is to be retired.
        assert_eq!(buffer.next_due(LATER), Some((2, 'c', Some(2))));
        assert_eq!(buffer.next_due(LATER), None);
        assert_eq!((buffer.room(), buffer.unfinished()), (2, 2));
    }

    #[test]
    fn the_bound_counts_until_the_front_is_done() {
        let mut buffer = buffer(ReplayOrder::FailedLast);
        assert_eq!(buffer.room(), 1);
        buffer.done(1);
        assert_eq!(buffer.room(), 1);
        buffer.done(0);
        assert_eq!((buffer.room(), buffer.front()), (3, 2));
    }
}
