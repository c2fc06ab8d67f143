//! [`TrackedSource`]: a source's side of at-least-once. It keeps emitted events, takes answers, replays
//! events that failed, and knows the position up to which everything is acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::api::dead_letter::DeadLetter;
use crate::channel::frame::{BATCH, Batch};
use crate::clock::{Timestamp, earlier};
use crate::delivery::at_least_once::acknowledger::{Acknowledger, TakenAnswers};
use crate::delivery::at_least_once::replay_buffer::{Consequence, ReplayBuffer, ReplayOptions};
use crate::delivery::source_side::{Admission, MARK_EVERY, OpenTokens, Position, SourceSide};
use crate::error::{Cause, Failure};
use crate::id::{InstanceName, Root};

pub(crate) struct TrackedSource<T> {
    acknowledger: Arc<Acknowledger>,
    source: usize,
    buffer: ReplayBuffer<T>,
    bytes_of: fn(&[T]) -> usize,
    answers: TakenAnswers,
    /// Positions after an entry, oldest first. A position can be saved when the front has reached its entry.
    marks: VecDeque<(u64, Arc<[u8]>)>,
    settled: Option<Arc<[u8]>>,
    next_mark: Timestamp,
    options: ReplayOptions,
    next_expiry: Option<Timestamp>,
}

impl<T: Clone> TrackedSource<T> {
    /// `bytes_of` weighs events.
    pub(crate) fn new(
        acknowledger: Arc<Acknowledger>,
        source: usize,
        options: ReplayOptions,
        bytes_of: fn(&[T]) -> usize,
        start: Option<Arc<[u8]>>,
    ) -> Self {
        if options.timeout.is_some() {
            acknowledger.outstanding(source).first.keep_times();
        }
        Self {
            acknowledger,
            source,
            buffer: ReplayBuffer::new(options),
            bytes_of,
            answers: TakenAnswers::default(),
            marks: VecDeque::new(),
            settled: start,
            next_mark: Timestamp(0),
            options,
            next_expiry: None,
        }
    }

    /// Fails events without progress for the time that the user set.
    fn expire(&mut self, now: Timestamp) {
        let Some(timeout) = self.options.timeout else { return };
        if self.next_expiry.is_some_and(|at| now < at) || self.answers.unfinished == 0 {
            return;
        }
        // Looking at all events takes time. Four times per timeout is exact enough.
        self.next_expiry = Some(now.after(timeout / 4));
        // The acknowledger's clock, since the times of progress are read from it.
        let clock = self.acknowledger.now();
        let before = Timestamp(clock.0.saturating_sub(Timestamp(0).after(timeout).0));
        let expired = self.acknowledger.outstanding(self.source).expire(before);
        let failure = Failure {
            instance: InstanceName::new("acknowledger", self.source),
            callback: "timeout",
            cause: Cause::error(format!("no progress for {timeout:?}")),
        };
        self.answers.failed.extend(expired.into_iter().map(|entry| (entry, failure.clone())));
    }

    /// Drops the events below the front, and settles the newest position that may be saved: the events before
    /// it are all acknowledged.
    fn advance(&mut self) {
        self.buffer.release(self.answers.front);
        while self.marks.front().is_some_and(|(after, _)| *after <= self.answers.front) {
            self.settled = self.marks.pop_front().map(|(_, state)| state);
        }
    }

    fn take_answers(&mut self) {
        self.acknowledger.outstanding(self.source).take_answers(&mut self.answers);
        self.advance();
    }

    fn rewind(&mut self) {
        let acknowledger = Arc::clone(&self.acknowledger);
        let mut outstanding = acknowledger.outstanding(self.source);
        // Events that failed meanwhile are replayed with all the others; it is not counted as an attempt.
        outstanding.take_answers(&mut self.answers);
        self.answers.failed.clear();
        outstanding.rewind();
        // Under the same lock: the rewind has changed what is outstanding.
        outstanding.take_answers(&mut self.answers);
        drop(outstanding);
        self.advance();
        self.buffer.rewind();
    }
}

impl<T: Clone> SourceSide<T> for TrackedSource<T> {
    fn room(&self) -> usize {
        self.buffer.room().min(BATCH)
    }

    fn admit(&mut self, batch: &mut Batch<T>, copies: u32, _: Timestamp) -> Admission {
        let events = batch.len();
        if events == 0 {
            return Admission::Emit;
        }
        self.buffer.keep(&batch.events, (self.bytes_of)(&batch.events));
        let mut outstanding = self.acknowledger.outstanding(self.source);
        // Counted before they are emitted: a report for an event without a count would change nothing.
        let first = outstanding.first.open(events, copies, self.acknowledger.now());
        outstanding.take_answers(&mut self.answers);
        drop(outstanding);
        self.advance();
        if copies == 0 {
            // Nothing reads them: they are done at once.
            batch.clear();
        } else {
            batch.columns.roots.extend(Root::range(self.source, first, events));
        }
        Admission::Emit
    }

    fn settle(&mut self, now: Timestamp, letters: &mut Vec<DeadLetter<T>>) -> bool {
        let known = self.answers.front;
        // Answers first: an event that has just been answered has not expired.
        self.take_answers();
        self.expire(now);
        let any_done = self.answers.front > known;
        let failed = std::mem::take(&mut self.answers.failed);
        let any_failed = !failed.is_empty();
        for (entry, failure) in failed {
            match self.buffer.failed(entry, failure, now) {
                Some(Consequence::GiveUp(letter)) => {
                    self.acknowledger.outstanding(self.source).first.done_again(entry);
                    letters.push(letter);
                }
                Some(Consequence::Rewind) => self.rewind(),
                Some(Consequence::Replay) | None => {}
            }
        }
        if any_failed {
            // The front may have passed the events that became dead letters.
            self.take_answers();
        }
        // One event that takes long must not hold the memory of all that were acknowledged after it.
        if self.buffer.is_heavy() && self.buffer.len() > self.answers.unfinished {
            let outstanding = self.acknowledger.outstanding(self.source);
            self.buffer.reclaim(|entry| outstanding.first.is_done(entry), self.bytes_of);
        }
        any_done || any_failed
    }

    fn front(&self) -> Option<Root> {
        Some(Root::new(self.source, self.answers.front))
    }

    fn replays(&mut self, copies: u32, now: Timestamp, most: usize, batch: &mut Batch<T>) {
        if !self.buffer.replay_pending() {
            return;
        }
        let mut outstanding = self.acknowledger.outstanding(self.source);
        let clock = self.acknowledger.now();
        while batch.len() < most {
            let Some((entry, event)) = self.buffer.next_due(now) else { break };
            let sequence = outstanding.again.open(entry, copies, clock);
            batch.events.push(event);
            batch.columns.roots.push(self.acknowledger.root_again(self.source, sequence));
        }
    }

    fn wants_mark(&self, now: Timestamp) -> bool {
        now >= self.next_mark || self.answers.unfinished == 0
    }

    fn mark(&mut self, state: Arc<[u8]>, now: Timestamp) {
        self.next_mark = now.after(MARK_EVERY);
        match self.marks.back_mut() {
            // No event since the newest mark: the position moved over input that was no event.
            Some((after, newest)) if *after == self.buffer.end() => *newest = state,
            _ => self.marks.push_back((self.buffer.end(), state)),
        }
        self.advance();
    }

    fn position(&mut self) -> Position {
        self.advance();
        Position::Settled(self.settled.clone())
    }

    fn deadline(&self) -> Option<Timestamp> {
        let expiry = self.next_expiry.filter(|_| self.answers.unfinished > 0);
        earlier(self.buffer.deadline(), expiry)
    }

    fn at_rest(&self, held: OpenTokens, by: Option<Timestamp>) -> bool {
        if self.answers.unfinished == 0 {
            return true;
        }
        let nothing_is_due = match by {
            Some(by) => !self.buffer.replay_due_by(by),
            None => !self.buffer.replay_pending(),
        };
        held == OpenTokens::Leave
            && nothing_is_due
            && self.acknowledger.outstanding(self.source).waits_for_tokens_only(&self.answers)
    }

    fn give_up_after(&mut self, by: Timestamp, letters: &mut Vec<DeadLetter<T>>) {
        for (entry, letter) in self.buffer.give_up_after(by) {
            self.acknowledger.outstanding(self.source).first.done_again(entry);
            letters.push(letter);
        }
        self.take_answers();
    }

    fn await_answer(&mut self) -> bool {
        // A full source is woken when half of its events are done: then it has work for a while.
        let out = self.buffer.end() - self.answers.front;
        let enough = if self.room() == 0 { out.div_ceil(2) } else { out };
        let front = self.answers.front + enough;
        self.acknowledger.outstanding(self.source).await_front(front, &self.answers)
    }

    fn kept(&self) -> usize {
        self.answers.unfinished
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::token::Answers;
    use crate::api::waker::Waker;
    use crate::channel::ledger::{Entries, Reports};
    use crate::clock::MonotonicClock;

    /// A source's side with one event out, and what its answer goes to.
    fn one_event_out() -> (TrackedSource<u64>, Arc<Acknowledger>, Root) {
        let clock = Arc::new(MonotonicClock::default());
        let acknowledger = Acknowledger::new(vec![Waker::default()], 1, clock);
        let mut source = TrackedSource::new(
            Arc::clone(&acknowledger),
            0,
            ReplayOptions::default(),
            size_of_val,
            None,
        );
        let mut batch = Batch { events: vec![7], ..Batch::default() };
        source.admit(&mut batch, 1, Timestamp(0));
        (source, acknowledger, batch.columns.roots[0])
    }

    /// A source's side with room for no more than the four events that are out, and its waker.
    fn four_events_out() -> (TrackedSource<u64>, Arc<Acknowledger>, Vec<Root>, Waker) {
        let (clock, waker) = (Arc::new(MonotonicClock::default()), Waker::default());
        let acknowledger = Acknowledger::new(vec![waker.clone()], 1, clock);
        let options = ReplayOptions { events_max: 4, ..ReplayOptions::default() };
        let mut source =
            TrackedSource::new(Arc::clone(&acknowledger), 0, options, size_of_val, None);
        let mut batch = Batch { events: vec![7; 4], ..Batch::default() };
        source.admit(&mut batch, 1, Timestamp(0));
        (source, acknowledger, batch.columns.roots, waker)
    }

    #[test]
    fn a_source_is_not_at_rest_before_it_has_taken_in_the_last_answer() {
        let (mut source, acknowledger, root) = one_event_out();
        acknowledger.report(&mut Entries { finished: vec![root], ..Entries::default() });
        assert!(
            !source.at_rest(OpenTokens::Leave, None),
            "the position would lag behind what is done"
        );
        assert!(!source.await_answer());
        source.settle(Timestamp(0), &mut Vec::new());
        assert!(source.at_rest(OpenTokens::Leave, None));
        assert!(source.wants_mark(Timestamp(0)));
    }

    #[test]
    fn a_source_that_is_about_to_wait_learns_that_its_last_event_went_into_a_token() {
        let (mut source, acknowledger, root) = one_event_out();
        source.settle(Timestamp(0), &mut Vec::new());
        assert!(!source.at_rest(OpenTokens::Leave, None));
        acknowledger.outstanding(0).first.hold(root.sequence(), 1);
        assert!(!source.await_answer(), "a stop would wait for an answer that need not come");
        source.settle(Timestamp(0), &mut Vec::new());
        assert!(source.await_answer());
    }

    #[test]
    fn a_full_source_waits_until_half_of_what_is_out_is_done() {
        let (mut source, acknowledger, roots, waker) = four_events_out();
        assert!(source.room() == 0 && source.await_answer());
        let done = |root| Entries { finished: vec![root], ..Entries::default() };
        acknowledger.report(&mut done(roots[0]));
        assert!(!waker.take_notice());
        acknowledger.report(&mut done(roots[1]));
        assert!(waker.take_notice());
        source.settle(Timestamp(0), &mut Vec::new());
        assert_eq!(source.room(), 2);
    }

    #[test]
    fn a_full_source_is_woken_when_nothing_more_comes_by_itself() {
        let (mut source, acknowledger, roots, waker) = four_events_out();
        assert!(source.await_answer());
        // An operator waits for one more event before it answers for the three that it holds.
        let answers = acknowledger.answers_of(0);
        roots[1..].iter().for_each(|root| answers.hold(*root));
        assert!(!waker.take_notice());
        acknowledger.report(&mut Entries { finished: vec![roots[0]], ..Entries::default() });
        assert!(waker.take_notice());
        source.settle(Timestamp(0), &mut Vec::new());
        assert_eq!(source.room(), 1);
    }

    #[test]
    fn a_stop_does_not_wait_for_an_event_that_sits_in_a_token() {
        let (source, acknowledger, root) = one_event_out();
        assert!(!source.at_rest(OpenTokens::Leave, None));
        acknowledger.outstanding(0).first.hold(root.sequence(), 1);
        assert!(source.at_rest(OpenTokens::Leave, None));
        assert!(!source.at_rest(OpenTokens::Wait, None));
    }
}
