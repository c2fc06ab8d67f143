//! [`Acknowledger`]: where reports from all instances meet the sources that wait for them.
//!
//! ```text
//!   operator instance           acknowledger                   source instance
//!   report(changes, failures) ─▶ lock tracker, count
//!                                 done / failed ─▶ answers ──▶ take_answers
//!                                 source waits? ─▶ wake
//! ```
//! One lock per source instance, taken once per batch of reports. The order in which the lock is
//! taken is the queue that the counting rule needs; nothing here can fill up or block.

use std::sync::Arc;

use crate::api::token::{Answers, Fate};
use crate::api::waker::Waker;
use crate::channel::ledger::Reports;
use crate::clock::{Clock, Timestamp};
use crate::delivery::at_least_once::tracker::Tracker;
use crate::error::Failure;
use crate::id::Root;
use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};

/// Counts for all source instances and groups of one execution.
pub(crate) struct Acknowledger {
    sources: Vec<SourceDesk>,
    groups: Vec<Mutex<Tracker<Vec<Root>>>>,
    clock: Arc<dyn Clock>,
    closed: AtomicBool,
}

struct SourceDesk {
    book: Mutex<Book>,
    waker: Waker,
}

/// What is known of one source instance's events.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) tracker: Tracker<u64>,
    answers: TakenAnswers,
    source_waits: bool,
}

/// Answers for a source: entries of its replay buffer that are done, and those that failed.
#[derive(Debug, Default)]
pub(crate) struct TakenAnswers {
    pub(crate) done: Vec<u64>,
    pub(crate) failed: Vec<(u64, Failure)>,
}

impl TakenAnswers {
    pub(crate) fn is_empty(&self) -> bool {
        self.done.is_empty() && self.failed.is_empty()
    }
}

impl Acknowledger {
    /// For source instances with these wakers, and this many instances that may form groups.
    pub(crate) fn new(sources: Vec<Waker>, instances: usize, clock: Arc<dyn Clock>) -> Arc<Self> {
        let desk = |waker| SourceDesk { book: Mutex::default(), waker };
        Arc::new(Self {
            sources: sources.into_iter().map(desk).collect(),
            groups: (0..instances).map(|_| Mutex::default()).collect(),
            clock,
            closed: AtomicBool::new(false),
        })
    }

    /// The book of a source instance, for the source itself.
    pub(crate) fn book(&self, source: usize) -> MutexGuard<'_, Book> {
        self.sources[source].book.lock()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Where the tokens of an instance are answered.
    pub(crate) fn desk(self: &Arc<Self>, instance: usize) -> Desk {
        Desk { acknowledger: Arc::clone(self), instance }
    }

    /// The execution is over; what still comes changes nothing.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Applies one report and, where that completes or fails a group, what follows for its members.
    fn apply(&self, root: Root, report: Report) {
        let mut work = vec![(root, report)];
        let now = self.now();
        while let Some((root, report)) = work.pop() {
            let tracker = root.tracker();
            if let Some(desk) = self.sources.get(tracker) {
                let woken = desk.book.lock().enter(root.sequence(), report, now);
                if woken {
                    desk.waker.notify();
                }
                continue;
            }
            let mut group = self.groups[tracker - self.sources.len()].lock();
            let members = match &report {
                Report::Change(delta) => group.change(root.sequence(), *delta, now),
                Report::Failed(_) => group.retire(root.sequence()),
            };
            let each = match report {
                Report::Change(_) => Report::Change(-1),
                failed => failed,
            };
            work.extend(members.into_iter().flatten().map(|member| (member, each.clone())));
        }
    }
}

#[derive(Clone)]
enum Report {
    Change(i64),
    Failed(Failure),
}

impl Book {
    /// Notes a report; whether the source is to be woken.
    fn enter(&mut self, sequence: u64, report: Report, now: Timestamp) -> bool {
        match report {
            Report::Change(delta) => {
                self.answers.done.extend(self.tracker.change(sequence, delta, now));
                self.source_waits && !self.answers.is_empty()
            }
            Report::Failed(failure) => {
                let entry = self.tracker.retire(sequence);
                self.answers.failed.extend(entry.map(|entry| (entry, failure)));
                !self.answers.failed.is_empty()
            }
        }
    }

    /// Moves all answers out.
    pub(crate) fn take_answers(&mut self, into: &mut TakenAnswers) {
        self.source_waits = false;
        into.done.append(&mut self.answers.done);
        into.failed.append(&mut self.answers.failed);
    }

    /// Whether nothing more comes before a token is answered: every answer that has come is taken,
    /// and what is outstanding is held.
    pub(crate) fn waits_for_tokens_only(&self) -> bool {
        self.answers.is_empty() && self.tracker.all_held()
    }

    /// Asks for a wake-up at the next answer; `false` if one is there already.
    pub(crate) fn await_answer(&mut self) -> bool {
        self.source_waits = true;
        self.answers.is_empty()
    }
}

impl Reports for Acknowledger {
    fn report(&self, changes: &mut Vec<(Root, i64)>, failures: &mut Vec<(Root, Failure)>) {
        let now = self.now();
        let mut rest = changes.as_slice();
        while let Some((first, _)) = rest.first() {
            let tracker = first.tracker();
            let Some(desk) = self.sources.get(tracker) else {
                let (root, delta) = rest[0];
                self.apply(root, Report::Change(delta));
                rest = &rest[1..];
                continue;
            };
            let same = rest.iter().take_while(|(root, _)| root.tracker() == tracker).count();
            let mut book = desk.book.lock();
            for (root, delta) in &rest[..same] {
                let done = book.tracker.change(root.sequence(), *delta, now);
                book.answers.done.extend(done);
            }
            let wake = book.source_waits && !book.answers.is_empty();
            drop(book);
            if wake {
                desk.waker.notify();
            }
            rest = &rest[same..];
        }
        changes.clear();
        for (root, failure) in failures.drain(..) {
            self.apply(root, Report::Failed(failure));
        }
    }
}

/// An instance's way to answer for tokens.
pub(crate) struct Desk {
    acknowledger: Arc<Acknowledger>,
    instance: usize,
}

impl Desk {
    fn open(&self, root: Root) -> bool {
        !root.is_none() && !self.acknowledger.closed.load(Ordering::SeqCst)
    }

    fn move_held(&self, root: Root, delta: i64) {
        if self.open(root) {
            let acknowledger = &self.acknowledger;
            match acknowledger.sources.get(root.tracker()) {
                Some(desk) => {
                    let mut book = desk.book.lock();
                    book.tracker.hold(root.sequence(), delta);
                    let wake = book.source_waits;
                    drop(book);
                    if wake {
                        desk.waker.notify();
                    }
                }
                None => acknowledger.groups[root.tracker() - acknowledger.sources.len()]
                    .lock()
                    .hold(root.sequence(), delta),
            }
        }
    }
}

impl Answers for Desk {
    fn change(&self, root: Root, delta: i64) {
        if self.open(root) {
            self.acknowledger.apply(root, Report::Change(delta));
        }
    }

    fn fail(&self, root: Root, failure: Failure) -> Fate {
        if root.is_none() {
            return Fate::Dropped;
        }
        if self.open(root) {
            self.acknowledger.apply(root, Report::Failed(failure));
        }
        Fate::ComesAgain
    }

    fn hold(&self, root: Root) {
        self.move_held(root, 1);
    }

    fn unhold(&self, root: Root) {
        self.move_held(root, -1);
    }

    fn group(&self, members: Vec<Root>, copies: u32) -> Root {
        if copies == 0 {
            members.into_iter().for_each(|member| self.change(member, -1));
            return Root::NONE;
        }
        let now = self.acknowledger.now();
        let sequence = self.acknowledger.groups[self.instance].lock().open(members, copies, now);
        Root::new(self.acknowledger.sources.len() + self.instance, sequence)
    }
}

#[cfg(test)]
#[path = "algebra_tests.rs"]
mod algebra_tests;
