//! [`ReplayBuffer`]: the events of one source instance that are not done, oldest first. A value: it
//! knows entries and times, not roots, threads or queues.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use crate::api::dead_letter::DeadLetter;
use crate::clock::Timestamp;
use crate::delivery::at_least_once::chunks::Chunks;
use crate::delivery::options::{LONGEST_WAIT, SHORTEST_LIMIT, refuse};
use crate::error::{Failure, Refused};

/// In which order events are replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplayOrder {
    /// Only the failed event, behind the others.
    FailedLast,
    /// Everything from the lowest unfinished event on.
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

impl ReplayOptions {
    /// Refuses values with which no event could be processed, or none could succeed.
    pub(crate) fn check(&self) -> Result<(), Refused> {
        if self.events_max == 0 {
            return refuse("replay_events_max", "at least 1: no event could be emitted");
        }
        if self.bytes_max == 0 {
            return refuse("replay_bytes_max", "at least 1: no event could be emitted");
        }
        if self.attempts_max == 0 {
            return refuse("attempts_max", "at least 1: the first attempt");
        }
        if self.backoff.min(self.backoff_max) > LONGEST_WAIT {
            return refuse("backoff", "at most a year: what has failed would not come again");
        }
        if self.timeout.is_some_and(|timeout| timeout < SHORTEST_LIMIT) {
            return refuse("timeout", "at least 1 ms: no event is done in less");
        }
        Ok(())
    }
}

pub(crate) struct ReplayBuffer<T> {
    options: ReplayOptions,
    /// The lowest entry that is not done.
    front: u64,
    events: Chunks<T>,
    /// Events before the chunks that are not done; the done events around them were dropped.
    stragglers: BTreeMap<u64, T>,
    /// The weights of runs of events, in bytes: the entry after each run, and the weight of the run.
    weights: VecDeque<(u64, usize)>,
    /// In more bits than a weight has, since a source may give any number.
    bytes: u128,
    /// For entries that have failed: the number of attempts, and the last failure.
    attempts: BTreeMap<u64, (u32, Failure)>,
    due: BinaryHeap<Reverse<(Timestamp, u64)>>,
    /// While ordered replay waits to begin or runs: the next entry to replay.
    rewound_to: Option<u64>,
    rewind_at: Timestamp,
}

/// What a failure leads to.
#[derive(Debug)]
pub(crate) enum Consequence<T> {
    /// The event is replayed.
    Replay,
    /// Everything from the front on is replayed.
    Rewind,
    /// The event becomes a dead letter.
    GiveUp(DeadLetter<T>),
}

impl<T: Clone> ReplayBuffer<T> {
    pub(crate) fn new(options: ReplayOptions) -> Self {
        Self {
            options,
            front: 0,
            events: Chunks::default(),
            stragglers: BTreeMap::new(),
            weights: VecDeque::new(),
            bytes: 0,
            attempts: BTreeMap::new(),
            due: BinaryHeap::new(),
            rewound_to: None,
            rewind_at: Timestamp(0),
        }
    }

    /// How many more events fit. One always does when the buffer is empty, however large it is.
    pub(crate) fn room(&self) -> usize {
        if self.rewound_to.is_some() || self.is_heavy() {
            return 0;
        }
        // Events that are done count until all events before them are: the bound is on the whole range.
        self.options.events_max.saturating_sub((self.end() - self.front) as usize)
    }

    /// Whether the bound in bytes is reached.
    pub(crate) fn is_heavy(&self) -> bool {
        self.bytes >= self.options.bytes_max as u128
    }

    /// The number of kept events.
    pub(crate) fn len(&self) -> usize {
        self.stragglers.len() + self.events.len()
    }

    /// Keeps these events, with their weight together.
    pub(crate) fn keep(&mut self, events: &[T], bytes: usize) {
        self.events.extend(events);
        self.bytes += bytes as u128;
        self.weights.push_back((self.end(), bytes));
    }

    /// The entry that the next event will get.
    pub(crate) fn end(&self) -> u64 {
        self.events.end()
    }

    /// Drops all events below this entry: they are done.
    pub(crate) fn release(&mut self, front: u64) {
        if front == self.front {
            return;
        }
        self.front = front;
        self.events.release(front);
        while self.weights.front().is_some_and(|(end, _)| *end <= front) {
            self.bytes -= self.weights.pop_front().map_or(0, |(_, bytes)| bytes as u128);
        }
        if !self.stragglers.is_empty() {
            self.stragglers = self.stragglers.split_off(&front);
        }
        if !self.attempts.is_empty() {
            self.attempts = self.attempts.split_off(&front);
        }
    }

    /// Drops all events that are done, also behind an outstanding one, so that one event that takes long
    /// does not hold the weight of all events after it. With ordered replay they stay, since they may be
    /// replayed.
    pub(crate) fn reclaim(&mut self, is_done: impl Fn(u64) -> bool, bytes_of: fn(&[T]) -> usize) {
        if self.options.order == ReplayOrder::Ordered {
            return;
        }
        self.stragglers.extend(self.events.take());
        self.stragglers.retain(|entry, _| !is_done(*entry));
        let weights = self.stragglers.iter();
        self.weights = weights
            .map(|(entry, event)| (entry + 1, bytes_of(std::slice::from_ref(event))))
            .collect();
        self.bytes = self.weights.iter().map(|(_, bytes)| *bytes as u128).sum();
    }

    /// Whether an event waits to be replayed.
    pub(crate) fn replay_pending(&self) -> bool {
        !self.due.is_empty() || self.rewound_to.is_some()
    }

    /// Whether an event is to be replayed by this time.
    pub(crate) fn replay_due_by(&self, by: Timestamp) -> bool {
        self.deadline().is_some_and(|at| at <= by)
    }

    /// Makes dead letters of events that would be replayed only after this time, and returns them. With
    /// ordered replay it does nothing, since all later events would have to become dead letters too.
    pub(crate) fn give_up_after(&mut self, by: Timestamp) -> Vec<(u64, DeadLetter<T>)> {
        let (later, sooner): (Vec<_>, Vec<_>) =
            self.due.drain().partition(|Reverse((at, _))| *at > by);
        self.due.extend(sooner);
        let letters = later.into_iter().filter_map(|Reverse((_, entry))| {
            let event = self.event(entry)?.clone();
            let (attempts, failure) = self.attempts.get(&entry)?.clone();
            Some((entry, DeadLetter { event, failure, attempts }))
        });
        letters.collect()
    }

    /// The entry's attempt failed. After [`Consequence::Rewind`] follows [`rewind`](Self::rewind).
    pub(crate) fn failed(
        &mut self,
        entry: u64,
        failure: Failure,
        now: Timestamp,
    ) -> Option<Consequence<T>> {
        let options = self.options;
        let event = self.event(entry)?;
        let attempts = self.attempts.get(&entry).map_or(0, |(attempts, _)| *attempts) + 1;
        if attempts >= options.attempts_max || failure.cause.is_permanent() {
            let event = event.clone();
            return Some(Consequence::GiveUp(DeadLetter { event, failure, attempts }));
        }
        self.attempts.insert(entry, (attempts, failure));
        let doubled = options.backoff.saturating_mul(1 << (attempts - 1).min(20));
        let at = now.after(doubled.min(options.backoff_max));
        Some(match options.order {
            ReplayOrder::FailedLast => {
                self.due.push(Reverse((at, entry)));
                Consequence::Replay
            }
            ReplayOrder::Ordered => {
                self.rewind_at = self.rewind_at.max(at);
                Consequence::Rewind
            }
        })
    }

    /// Every kept event is replayed.
    pub(crate) fn rewind(&mut self) {
        self.rewound_to = Some(self.front);
    }

    /// When the next replay is due.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        match self.rewound_to {
            Some(_) => Some(self.rewind_at),
            None => self.due.peek().map(|Reverse((at, _))| *at),
        }
    }

    /// The next entry to replay, with its event.
    pub(crate) fn next_due(&mut self, now: Timestamp) -> Option<(u64, T)> {
        if self.rewound_to.is_some() {
            return self.next_rewound(now);
        }
        while let Some(Reverse((at, entry))) = self.due.peek().copied() {
            if at > now {
                return None;
            }
            self.due.pop();
            if let Some(event) = self.event(entry) {
                return Some((entry, event.clone()));
            }
        }
        None
    }

    fn next_rewound(&mut self, now: Timestamp) -> Option<(u64, T)> {
        if now < self.rewind_at {
            return None;
        }
        let entry = self.rewound_to?.max(self.front);
        let event = self.event(entry).cloned();
        self.rewound_to = event.is_some().then_some(entry + 1);
        event.map(|event| (entry, event))
    }

    /// The event of an entry that is not done.
    fn event(&self, entry: u64) -> Option<&T> {
        self.events.get(entry).or_else(|| self.stragglers.get(&entry))
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
            bytes_max: 100,
            ..ReplayOptions::default()
        });
        buffer.keep(&['a', 'b', 'c'], 3);
        buffer
    }

    const LATER: Timestamp = Timestamp(u64::MAX);

    #[test]
    fn a_failed_event_comes_again_after_its_pause_and_then_becomes_a_dead_letter() {
        let mut buffer = buffer(ReplayOrder::FailedLast);
        let first = buffer.failed(0, failure(), Timestamp(0));
        assert!(matches!(first, Some(Consequence::Replay)));
        assert!(buffer.next_due(Timestamp(0)).is_none());
        assert_eq!(buffer.next_due(LATER), Some((0, 'a')));
        let Some(Consequence::GiveUp(letter)) = buffer.failed(0, failure(), LATER) else {
            panic!("two attempts are all");
        };
        assert_eq!((letter.event, letter.attempts), ('a', 2));
        buffer.release(1);
        assert!(buffer.failed(0, failure(), LATER).is_none());
    }

    #[test]
    fn ordered_replay_goes_back_to_the_lowest_unfinished_event() {
        let mut buffer = buffer(ReplayOrder::Ordered);
        buffer.release(1);
        let failed = buffer.failed(1, failure(), Timestamp(0));
        assert!(matches!(failed, Some(Consequence::Rewind)));
        buffer.rewind();
        assert_eq!(buffer.room(), 0);
        assert_eq!(buffer.next_due(LATER), Some((1, 'b')));
        assert_eq!(buffer.next_due(LATER), Some((2, 'c')));
        assert_eq!(buffer.next_due(LATER), None);
        assert_eq!(buffer.room(), 2);
    }

    #[test]
    fn the_bound_counts_until_the_front_is_done() {
        let mut buffer = buffer(ReplayOrder::FailedLast);
        assert_eq!(buffer.room(), 1);
        buffer.release(2);
        assert_eq!(buffer.room(), 3);
    }

    #[test]
    fn an_event_that_takes_long_does_not_hold_the_weight_of_those_after_it() {
        let mut buffer = buffer(ReplayOrder::FailedLast);
        buffer.keep(&['d'], 97);
        assert_eq!(buffer.room(), 0);
        assert_eq!(buffer.len(), 4);
        buffer.reclaim(|entry| entry != 1, |events| events.len());
        assert_eq!((buffer.bytes, buffer.end(), buffer.len()), (1, 4, 1));
        buffer.release(1);
        assert_eq!(buffer.room(), 1);
        assert!(matches!(buffer.failed(1, failure(), LATER), Some(Consequence::Replay)));
        assert_eq!(buffer.next_due(LATER), Some((1, 'b')));
        assert!(buffer.failed(2, failure(), LATER).is_none());
        buffer.keep(&['e'], 1);
        buffer.release(5);
        assert_eq!((buffer.bytes, buffer.room()), (0, 4));
    }
}
