//! [`Acknowledger`]: where reports from all instances meet the sources that wait for them.
//!
//! ```text
//!   operator instance           acknowledger                   source instance
//!   report(entries) ───────────▶ lock outstanding, count
//!                                 front, failures ───────────▶ take_answers
//!                                 source waits? ─▶ wake
//! ```
//! One lock per source instance, taken once per batch of reports. The counting rule needs reports in an
//! order: that in which they take the lock. There is no queue that could fill up.
//!
//! First attempts, replays and groups are counted separately: a root names its tracker, which is source
//! `n`, the replays of source `n`, or the groups of instance `n`, in this order.

use std::sync::Arc;

use crate::api::token::{Answers, Fate};
use crate::api::waker::Waker;
use crate::channel::ledger::{Entries, Reports};
use crate::clock::{Clock, Timestamp};
use crate::delivery::at_least_once::counts::Counts;
use crate::delivery::at_least_once::tracker::Tracker;
use crate::error::Failure;
use crate::id::Root;
use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};

/// Counts for all source instances and groups of one execution.
pub(crate) struct Acknowledger {
    sources: Vec<SourceEntry>,
    groups: Vec<Mutex<Tracker<Vec<Root>>>>,
    clock: Arc<dyn Clock>,
    closed: AtomicBool,
}

/// Aligned so that the locks of two sources never share a cache line.
#[repr(align(128))]
struct SourceEntry {
    outstanding: Mutex<Outstanding>,
    waker: Waker,
}

/// The outstanding events of one source instance.
pub(crate) struct Outstanding {
    pub(crate) first: Counts,
    /// Replays, each for an event of `first`.
    pub(crate) again: Tracker<u64>,
    failed: Vec<(u64, Failure)>,
    /// The front that the source waits for.
    awaited: Option<u64>,
}

/// Answers for a source.
#[derive(Debug, Default)]
pub(crate) struct TakenAnswers {
    /// All events below this one are done.
    pub(crate) front: u64,
    /// Events that are not done.
    pub(crate) unfinished: usize,
    /// Every outstanding delivery is in a token.
    all_held: bool,
    /// Events whose attempt failed.
    pub(crate) failed: Vec<(u64, Failure)>,
}

/// Where the deliveries of a root are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TrackerOf {
    Source(usize),
    Replays(usize),
    Groups(usize),
    Unknown,
}

impl Acknowledger {
    /// For source instances with these wakers, and this many instances that may form groups.
    pub(crate) fn new(sources: Vec<Waker>, instances: usize, clock: Arc<dyn Clock>) -> Arc<Self> {
        let entry = |(source, waker)| SourceEntry {
            outstanding: Mutex::new(Outstanding::new(source)),
            waker,
        };
        Arc::new(Self {
            sources: sources.into_iter().enumerate().map(entry).collect(),
            groups: (0..instances).map(|_| Mutex::default()).collect(),
            clock,
            closed: AtomicBool::new(false),
        })
    }

    /// The outstanding events of a source instance, for the source itself.
    pub(crate) fn outstanding(&self, source: usize) -> MutexGuard<'_, Outstanding> {
        self.sources[source].outstanding.lock()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The root of a replay of this source.
    pub(crate) fn root_again(&self, source: usize, sequence: u64) -> Root {
        Root::new(self.sources.len() + source, sequence)
    }

    /// Where the tokens of an instance are answered.
    pub(crate) fn answers_of(self: &Arc<Self>, instance: usize) -> InstanceAnswers {
        InstanceAnswers { acknowledger: Arc::clone(self), instance }
    }

    /// The execution is over: answers of tokens are ignored from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    fn tracker_of(&self, tracker: usize) -> TrackerOf {
        let sources = self.sources.len();
        match tracker {
            _ if tracker < sources => TrackerOf::Source(tracker),
            _ if tracker < 2 * sources => TrackerOf::Replays(tracker - sources),
            _ if tracker < 2 * sources + self.groups.len() => {
                TrackerOf::Groups(tracker - 2 * sources)
            }
            _ => TrackerOf::Unknown,
        }
    }

    /// Applies one report. If it completes or fails a group, applies what follows for its members.
    fn apply(&self, root: Root, report: Report) {
        let mut work = vec![(root, report)];
        let now = self.now();
        while let Some((root, report)) = work.pop() {
            let group = match self.tracker_of(root.tracker()) {
                TrackerOf::Source(source) => {
                    self.enter(source, |outstanding| {
                        outstanding.enter_first(root.sequence(), report, now)
                    });
                    continue;
                }
                TrackerOf::Replays(source) => {
                    self.enter(source, |outstanding| {
                        outstanding.enter_again(root.sequence(), report, now)
                    });
                    continue;
                }
                TrackerOf::Groups(instance) => &self.groups[instance],
                TrackerOf::Unknown => continue,
            };
            let members = match &report {
                Report::Change(delta) => group.lock().change(root.sequence(), *delta, now),
                Report::Failed(_) => group.lock().retire(root.sequence()),
            };
            let each = match report {
                Report::Change(_) => Report::Change(-1),
                failed => failed,
            };
            work.extend(members.into_iter().flatten().map(|member| (member, each.clone())));
        }
    }

    /// Changes the outstanding events of a source, and wakes the source if it waits for that.
    fn enter(&self, source: usize, entries: impl FnOnce(&mut Outstanding)) {
        let entry = &self.sources[source];
        let mut outstanding = entry.outstanding.lock();
        entries(&mut outstanding);
        let wake = outstanding.has_news();
        drop(outstanding);
        if wake {
            entry.waker.notify();
        }
    }

    /// Counts entries, each a change of a root's deliveries. First attempts are counted by `count`: it takes all
    /// entries up to the first that has another tracker, under one lock, and returns the rest.
    fn count<'e, E>(
        &self,
        mut entries: &'e [E],
        change: impl Fn(&E) -> (Root, i64),
        count: impl Fn(&mut Counts, &'e [E]) -> &'e [E],
    ) {
        while let Some((entry, others)) = entries.split_first() {
            let (root, delta) = change(entry);
            match self.tracker_of(root.tracker()) {
                TrackerOf::Source(source) => {
                    self.enter(source, |outstanding| {
                        entries = count(&mut outstanding.first, entries)
                    });
                }
                _ => {
                    self.apply(root, Report::Change(delta));
                    entries = others;
                }
            }
        }
    }
}

#[derive(Clone)]
enum Report {
    Change(i64),
    Failed(Failure),
}

impl Outstanding {
    /// For the source instance of this number.
    fn new(source: usize) -> Self {
        Self {
            first: Counts::new(source),
            again: Tracker::default(),
            failed: Vec::new(),
            awaited: None,
        }
    }

    fn enter_first(&mut self, event: u64, report: Report, now: Timestamp) {
        match report {
            Report::Change(delta) => {
                self.first.change(event, delta, now);
                self.first.advance();
            }
            Report::Failed(failure) => {
                if self.first.fail(event) {
                    self.failed.push((event, failure));
                }
            }
        }
    }

    fn enter_again(&mut self, sequence: u64, report: Report, now: Timestamp) {
        match report {
            Report::Change(delta) => {
                if let Some(event) = self.again.change(sequence, delta, now) {
                    self.first.done_again(event);
                }
            }
            Report::Failed(failure) => {
                let event = self.again.retire(sequence);
                self.failed.extend(event.map(|event| (event, failure)));
            }
        }
    }

    /// Whether a source that waits would have something to do.
    fn has_news(&self) -> bool {
        let reached = |front| self.first.front() >= front || self.all_held();
        !self.failed.is_empty() || self.awaited.is_some_and(reached)
    }

    /// Tells the front, and hands the failures over.
    pub(crate) fn take_answers(&mut self, into: &mut TakenAnswers) {
        self.awaited = None;
        into.front = self.first.front();
        into.unfinished = self.first.unfinished();
        into.all_held = self.all_held();
        into.failed.append(&mut self.failed);
    }

    /// The source emits everything from the front on again. Outstanding deliveries, first attempts and replays,
    /// no longer count.
    pub(crate) fn rewind(&mut self) {
        self.first.rewind();
        self.again.retire_all();
    }

    /// Fails all events without a report since `before`, and returns them.
    pub(crate) fn expire(&mut self, before: Timestamp) -> Vec<u64> {
        let mut stale = self.first.expire(before);
        stale.extend(self.again.expire(before));
        stale
    }

    /// Whether nothing more comes before a token is answered: the source has taken all answers, and every
    /// outstanding delivery is in a token.
    pub(crate) fn waits_for_tokens_only(&self, known: &TakenAnswers) -> bool {
        self.failed.is_empty() && self.first.front() == known.front && self.all_held()
    }

    fn all_held(&self) -> bool {
        self.first.all_held() && self.again.all_held()
    }

    /// Asks for a wake-up when the front has reached `front`, when an event has failed, or when every
    /// outstanding delivery is in a token, since then nothing more comes by itself. Returns `false` if that has
    /// happened since the answers in `known` were taken.
    pub(crate) fn await_front(&mut self, front: u64, known: &TakenAnswers) -> bool {
        self.awaited = Some(front);
        let moved = self.first.front() > known.front || self.all_held() != known.all_held;
        !(moved && self.has_news()) && self.failed.is_empty()
    }
}

impl Reports for Acknowledger {
    fn report(&self, entries: &mut Entries) {
        let now = self.now();
        self.count(&entries.changes, |entry| *entry, |first, these| first.change_each(these, now));
        self.count(&entries.finished, |root| (*root, -1), |first, these| first.finish(these, now));
        entries.changes.clear();
        entries.finished.clear();
        for (root, failure) in entries.failures.drain(..) {
            self.apply(root, Report::Failed(failure));
        }
    }
}

/// Takes the answers of an instance's tokens.
pub(crate) struct InstanceAnswers {
    acknowledger: Arc<Acknowledger>,
    instance: usize,
}

impl InstanceAnswers {
    fn open(&self, root: Root) -> bool {
        !root.is_none() && self.are_wanted()
    }

    fn move_held(&self, root: Root, delta: i64) {
        if !self.open(root) {
            return;
        }
        let (acknowledger, sequence) = (&self.acknowledger, root.sequence());
        match acknowledger.tracker_of(root.tracker()) {
            TrackerOf::Source(source) => {
                acknowledger.enter(source, |outstanding| outstanding.first.hold(sequence, delta));
            }
            TrackerOf::Replays(source) => {
                acknowledger.enter(source, |outstanding| outstanding.again.hold(sequence, delta));
            }
            TrackerOf::Groups(instance) => {
                acknowledger.groups[instance].lock().hold(sequence, delta)
            }
            TrackerOf::Unknown => {}
        }
    }
}

impl Answers for InstanceAnswers {
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

    fn are_wanted(&self) -> bool {
        !self.acknowledger.closed.load(Ordering::SeqCst)
    }

    fn group(&self, members: Vec<Root>, copies: u32) -> Root {
        if copies == 0 {
            members.into_iter().for_each(|member| self.change(member, -1));
            return Root::NONE;
        }
        let now = self.acknowledger.now();
        let sequence = self.acknowledger.groups[self.instance].lock().open(members, copies, now);
        Root::new(2 * self.acknowledger.sources.len() + self.instance, sequence)
    }
}

#[cfg(test)]
#[path = "algebra_tests.rs"]
mod algebra_tests;
