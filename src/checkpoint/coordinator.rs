//! [`Coordinator`]: when a checkpoint begins, what it waits for, when it is complete. A value: events
//! in, actions out; no clock, no disk, no thread. The supervisor owns those and performs the actions.
//!
//! ```text
//!            due / asked                all parts stored             manifest renamed
//!   Idle ───────────────▶ Gathering ───────────────────▶ Sealing ───────────────────▶ Idle
//!     ▲                       │ part failed, timeout         │ commit failed           Announce
//!     └───────────────────────┴─────── Abandon ──────────────┘
//! ```
//! Source: Carbone et al., "Lightweight Asynchronous Snapshots for Distributed Dataflows", 2015;
//! final checkpoints after the end of input as in Flink's FLIP-147.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::CheckpointId;

/// How the parts of a checkpoint fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Barriers travel in the streams; an instance takes its part when they have passed.
    Barriers {
        /// Whether queues whose barrier has arrived are held until all barriers have.
        hold: bool,
    },
    /// The positions of the sources up to which everything is acknowledged, then the operators' state.
    Positions,
    /// Only the operators' state; the sources write their positions ahead.
    Operators,
}

impl Cut {
    /// Whether this word of a manifest is that of a cut by barriers.
    pub(crate) fn is_by_barriers(word: &str) -> bool {
        [true, false].into_iter().any(|hold| Self::Barriers { hold }.word() == word)
    }

    /// The word that a manifest carries.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Barriers { hold: true } => "aligned barriers",
            Self::Barriers { hold: false } => "barriers",
            Self::Positions => "acknowledged positions",
            Self::Operators => "operators",
        }
    }
}

/// When checkpoints are taken, and how failed ones are handled.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub(crate) every: Duration,
    pub(crate) minimum_pause: Duration,
    pub(crate) timeout: Duration,
    pub(crate) failures_in_a_row_max: u32,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(1),
            minimum_pause: Duration::ZERO,
            timeout: Duration::from_secs(60),
            failures_in_a_row_max: 5,
        }
    }
}

/// What happened. Instances are numbered by the plan.
#[derive(Debug)]
pub(crate) enum Event {
    /// Time passed.
    Tick,
    /// A request, with this ticket, for a checkpoint whose cut is taken from now on.
    Asked { ticket: u64 },
    /// All parts of this instance for this checkpoint are durable.
    Stored { checkpoint: CheckpointId, instance: usize },
    /// A part could not be taken or stored.
    Failed { checkpoint: CheckpointId, reason: String },
    /// This instance has ended; its last parts stand for every later checkpoint.
    Ended { instance: usize },
    /// The manifest is in place.
    Committed { checkpoint: CheckpointId },
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Tell the sources to save their state (and send a barrier, if the cut has them).
    Inject(CheckpointId),
    /// Tell these instances to take the current state of their operators.
    Snapshot { checkpoint: CheckpointId, instances: BTreeSet<usize> },
    /// Write the manifest.
    Commit { checkpoint: CheckpointId, last: bool },
    /// Tell all instances that it is complete, answer these tickets, and clean up older ones.
    Announce { checkpoint: CheckpointId, last: bool, tickets: Vec<u64> },
    /// Remove its files, and answer these tickets.
    Abandon { checkpoint: CheckpointId, reason: String, tickets: Vec<u64> },
    /// End the job: too many have failed in a row.
    GiveUp { failures: u32, reason: String },
}

#[derive(Debug)]
pub(crate) struct Coordinator {
    schedule: Schedule,
    cut: Cut,
    sources: BTreeSet<usize>,
    others: BTreeSet<usize>,
    ended: BTreeSet<usize>,
    phase: Phase,
    next: CheckpointId,
    due: Timestamp,
    /// Tickets of requests since the running checkpoint began: its cut may be older than they are.
    asked: Vec<u64>,
    /// Tickets that the running checkpoint answers.
    answers: Vec<u64>,
    failures_in_a_row: u32,
    /// Something waits for the first checkpoint.
    urgent: bool,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Gathering(Gathering),
    Sealing {
        checkpoint: CheckpointId,
        last: bool,
    },
    /// The last checkpoint is complete.
    Over,
}

#[derive(Debug)]
struct Gathering {
    checkpoint: CheckpointId,
    began: Timestamp,
    missing: BTreeSet<usize>,
    /// Instances to be asked once the sources' parts are stored.
    then: BTreeSet<usize>,
}

/// The pause before a last checkpoint that failed is taken again.
const AGAIN_AT_THE_END: Duration = Duration::from_millis(100);

impl Coordinator {
    /// `first` is the number of the first checkpoint, higher than any in the store.
    pub(crate) fn new(
        schedule: Schedule,
        cut: Cut,
        sources: BTreeSet<usize>,
        others: BTreeSet<usize>,
        first: CheckpointId,
        now: Timestamp,
    ) -> Self {
        let due = now.after(schedule.every);
        Self {
            schedule,
            cut,
            sources,
            others,
            ended: BTreeSet::new(),
            phase: Phase::Idle,
            next: first,
            due,
            asked: Vec::new(),
            answers: Vec::new(),
            failures_in_a_row: 0,
            urgent: false,
        }
    }

    /// The first checkpoint is taken at once, and if it fails not an interval later but soon.
    pub(crate) fn first_at_once(self, now: Timestamp) -> Self {
        Self { due: now, urgent: true, ..self }
    }

    /// The running checkpoint, if any.
    pub(crate) fn in_flight(&self) -> Option<CheckpointId> {
        match &self.phase {
            Phase::Gathering(gathering) => Some(gathering.checkpoint),
            Phase::Sealing { checkpoint, .. } => Some(*checkpoint),
            Phase::Idle | Phase::Over => None,
        }
    }

    /// Whether the running checkpoint was requested.
    pub(crate) fn was_asked(&self) -> bool {
        !self.answers.is_empty()
    }

    /// When it needs its next tick.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Idle if self.asked.is_empty() || self.all_ended() => Some(self.due),
            Phase::Idle => Some(Timestamp(0)),
            Phase::Gathering(g) => Some(g.began.after(self.schedule.timeout)),
            Phase::Sealing { .. } | Phase::Over => None,
        }
    }

    /// The one transition function.
    pub(crate) fn on(&mut self, event: Event, now: Timestamp) -> Vec<Action> {
        match event {
            Event::Tick => self.tick(now),
            Event::Asked { ticket } => {
                self.asked.push(ticket);
                self.tick(now)
            }
            Event::Stored { checkpoint, instance } => self.stored(checkpoint, instance),
            Event::Failed { checkpoint, reason } if self.in_flight() == Some(checkpoint) => {
                self.abandon(checkpoint, reason, now)
            }
            Event::Failed { .. } => Vec::new(),
            Event::Ended { instance } => self.instance_ended(instance),
            Event::Committed { checkpoint } => self.committed(checkpoint, now),
        }
    }

    fn tick(&mut self, now: Timestamp) -> Vec<Action> {
        match &self.phase {
            Phase::Idle if self.all_ended() && now >= self.due => self.seal_last(),
            Phase::Idle if self.all_ended() => Vec::new(),
            Phase::Idle if !self.asked.is_empty() || now >= self.due => self.begin(now),
            Phase::Gathering(g) if now >= g.began.after(self.schedule.timeout) => {
                let (checkpoint, missing) = (g.checkpoint, g.missing.len());
                let reason =
                    format!("{missing} instances had not answered in {:?}", self.schedule.timeout);
                self.abandon(checkpoint, reason, now)
            }
            _ => Vec::new(),
        }
    }

    fn begin(&mut self, now: Timestamp) -> Vec<Action> {
        self.answers = std::mem::take(&mut self.asked);
        let checkpoint = self.take_number();
        let open = |of: &BTreeSet<usize>| of.difference(&self.ended).copied().collect();
        let (sources, others): (BTreeSet<_>, BTreeSet<_>) =
            (open(&self.sources), open(&self.others));
        let everybody: BTreeSet<_> = sources.union(&others).copied().collect();
        let inject = Action::Inject(checkpoint);
        let (missing, then, action) = match self.cut {
            Cut::Barriers { .. } => (everybody, BTreeSet::new(), inject),
            Cut::Positions if !sources.is_empty() => (sources, others, inject),
            Cut::Positions | Cut::Operators => {
                let action = Action::Snapshot { checkpoint, instances: everybody.clone() };
                (everybody, BTreeSet::new(), action)
            }
        };
        self.phase = Phase::Gathering(Gathering { checkpoint, began: now, missing, then });
        let mut actions = vec![action];
        actions.extend(self.seal_if_gathered());
        actions
    }

    fn stored(&mut self, checkpoint: CheckpointId, instance: usize) -> Vec<Action> {
        match &mut self.phase {
            Phase::Gathering(g) if g.checkpoint == checkpoint => {
                g.missing.remove(&instance);
                self.seal_if_gathered()
            }
            _ => Vec::new(),
        }
    }

    fn instance_ended(&mut self, instance: usize) -> Vec<Action> {
        self.ended.insert(instance);
        if let Phase::Gathering(g) = &mut self.phase {
            g.missing.remove(&instance);
            g.then.remove(&instance);
            return self.seal_if_gathered();
        }
        match self.phase {
            Phase::Idle if self.all_ended() => self.seal_last(),
            _ => Vec::new(),
        }
    }

    fn seal_if_gathered(&mut self) -> Vec<Action> {
        let Phase::Gathering(g) = &mut self.phase else { return Vec::new() };
        if !g.missing.is_empty() {
            return Vec::new();
        }
        let checkpoint = g.checkpoint;
        if !g.then.is_empty() {
            g.missing = std::mem::take(&mut g.then);
            return vec![Action::Snapshot { checkpoint, instances: g.missing.clone() }];
        }
        // Not the last one, even if all have ended meanwhile: an instance that answered before its end has
        // processed more since. The last checkpoint, which follows, covers that.
        self.phase = Phase::Sealing { checkpoint, last: false };
        vec![Action::Commit { checkpoint, last: false }]
    }

    fn seal_last(&mut self) -> Vec<Action> {
        let checkpoint = self.take_number();
        // No event was processed since the last instance ended, so it answers all requests.
        self.answers.append(&mut self.asked);
        self.phase = Phase::Sealing { checkpoint, last: true };
        vec![Action::Commit { checkpoint, last: true }]
    }

    fn committed(&mut self, checkpoint: CheckpointId, now: Timestamp) -> Vec<Action> {
        let Phase::Sealing { checkpoint: sealing, last } = self.phase else { return Vec::new() };
        if sealing != checkpoint {
            return Vec::new();
        }
        (self.failures_in_a_row, self.urgent) = (0, false);
        self.phase = if last { Phase::Over } else { Phase::Idle };
        self.rest(now);
        if last {
            self.answers.append(&mut self.asked);
        }
        let tickets = std::mem::take(&mut self.answers);
        let mut actions = vec![Action::Announce { checkpoint, last, tickets }];
        if !last && self.all_ended() {
            actions.extend(self.seal_last());
        }
        actions
    }

    fn abandon(&mut self, checkpoint: CheckpointId, reason: String, now: Timestamp) -> Vec<Action> {
        self.phase = Phase::Idle;
        self.failures_in_a_row += 1;
        if self.all_ended() || self.urgent {
            // Nothing else is left to do, or events wait for this checkpoint, so it does not wait for the interval.
            self.due = now.after(self.schedule.minimum_pause.max(AGAIN_AT_THE_END));
        } else {
            self.rest(now);
        }
        let tickets = std::mem::take(&mut self.answers);
        let mut actions = vec![Action::Abandon { checkpoint, reason: reason.clone(), tickets }];
        if self.failures_in_a_row >= self.schedule.failures_in_a_row_max {
            actions.push(Action::GiveUp { failures: self.failures_in_a_row, reason });
        }
        actions
    }

    /// Sets when the next one is due: by the interval, and not before the pause is over.
    fn rest(&mut self, now: Timestamp) {
        self.due = self.due.after(self.schedule.every);
        self.due = self.due.max(now.after(self.schedule.minimum_pause));
    }

    fn all_ended(&self) -> bool {
        self.ended.len() == self.sources.len() + self.others.len()
    }

    fn take_number(&mut self) -> CheckpointId {
        let number = self.next;
        self.next.0 += 1;
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Timestamp = Timestamp(1_000_000_000);
    const ONE: CheckpointId = CheckpointId(1);

    fn coordinator(cut: Cut) -> Coordinator {
        let (sources, others) = (BTreeSet::from([0]), BTreeSet::from([1]));
        Coordinator::new(Schedule::default(), cut, sources, others, ONE, Timestamp(0))
    }

    fn stored(instance: usize) -> Event {
        Event::Stored { checkpoint: ONE, instance }
    }

    #[test]
    fn nothing_is_committed_before_every_part_is_stored() {
        let mut c = coordinator(Cut::Barriers { hold: true });
        assert_eq!(c.on(Event::Tick, Timestamp(5)), []);
        assert_eq!(c.on(Event::Tick, SECOND), [Action::Inject(ONE)]);
        assert_eq!(c.on(stored(1), SECOND), []);
        assert_eq!(c.on(stored(0), SECOND), [Action::Commit { checkpoint: ONE, last: false }]);
        let announce = Action::Announce { checkpoint: ONE, last: false, tickets: vec![] };
        assert_eq!(c.on(Event::Committed { checkpoint: ONE }, SECOND), [announce]);
    }

    #[test]
    fn operators_are_asked_only_after_the_positions_are_stored() {
        let mut c = coordinator(Cut::Positions);
        assert_eq!(c.on(Event::Asked { ticket: 7 }, Timestamp(1)), [Action::Inject(ONE)]);
        let operators = Action::Snapshot { checkpoint: ONE, instances: BTreeSet::from([1]) };
        assert_eq!(c.on(stored(0), Timestamp(1)), [operators]);
        assert_eq!(
            c.on(stored(1), Timestamp(1)),
            [Action::Commit { checkpoint: ONE, last: false }]
        );
    }

    #[test]
    fn operators_that_are_fused_to_a_source_are_asked_too() {
        let mut c = coordinator(Cut::Operators);
        let all = Action::Snapshot { checkpoint: ONE, instances: BTreeSet::from([0, 1]) };
        assert_eq!(c.on(Event::Asked { ticket: 7 }, Timestamp(1)), [all]);
        assert_eq!(c.on(stored(1), Timestamp(1)), []);
    }

    #[test]
    fn at_most_one_checkpoint_is_in_flight() {
        let mut c = coordinator(Cut::Barriers { hold: false });
        assert_eq!(c.on(Event::Asked { ticket: 7 }, Timestamp(1)), [Action::Inject(ONE)]);
        assert_eq!(c.on(Event::Asked { ticket: 7 }, SECOND), []);
        assert_eq!(c.on(Event::Tick, SECOND), []);
    }

    #[test]
    fn who_asks_during_a_checkpoint_is_answered_by_the_next_whose_cut_is_younger_than_the_question()
    {
        let mut c = coordinator(Cut::Barriers { hold: true });
        c.on(Event::Tick, SECOND);
        assert_eq!(c.on(Event::Asked { ticket: 1 }, SECOND), []);
        c.on(stored(0), SECOND);
        c.on(stored(1), SECOND);
        let first = c.on(Event::Committed { checkpoint: ONE }, SECOND);
        assert_eq!(first, [Action::Announce { checkpoint: ONE, last: false, tickets: vec![] }]);
        assert_eq!(c.deadline(), Some(Timestamp(0)), "it begins at once and not when it is due");
        assert!(!c.was_asked(), "nobody had asked for the first");
        let two = CheckpointId(2);
        assert_eq!(c.on(Event::Tick, SECOND), [Action::Inject(two)]);
        assert!(c.was_asked());
        c.on(Event::Stored { checkpoint: two, instance: 0 }, SECOND);
        c.on(Event::Stored { checkpoint: two, instance: 1 }, SECOND);
        let second = c.on(Event::Committed { checkpoint: two }, SECOND);
        assert_eq!(second, [Action::Announce { checkpoint: two, last: false, tickets: vec![1] }]);
    }

    #[test]
    fn who_asks_while_the_last_checkpoint_is_sealed_is_answered_by_it() {
        let mut c = coordinator(Cut::Barriers { hold: true });
        c.on(Event::Ended { instance: 0 }, Timestamp(1));
        c.on(Event::Ended { instance: 1 }, Timestamp(1));
        assert_eq!(c.on(Event::Asked { ticket: 4 }, Timestamp(1)), []);
        let announce = Action::Announce { checkpoint: ONE, last: true, tickets: vec![4] };
        assert_eq!(c.on(Event::Committed { checkpoint: ONE }, SECOND), [announce]);
    }

    #[test]
    fn a_late_answer_of_an_abandoned_checkpoint_changes_nothing() {
        let mut c = coordinator(Cut::Barriers { hold: true });
        c.on(Event::Asked { ticket: 7 }, Timestamp(1));
        let gone = c.on(Event::Failed { checkpoint: ONE, reason: "full".into() }, Timestamp(1));
        let reason = "full".to_owned();
        assert_eq!(gone, [Action::Abandon { checkpoint: ONE, reason, tickets: vec![7] }]);
        assert_eq!(
            c.on(Event::Asked { ticket: 7 }, Timestamp(2)),
            [Action::Inject(CheckpointId(2))]
        );
        assert_eq!(c.on(stored(0), SECOND), []);
        assert_eq!(c.on(stored(1), SECOND), []);
        assert_eq!(c.in_flight(), Some(CheckpointId(2)));
    }

    #[test]
    fn a_checkpoint_that_takes_too_long_is_abandoned_and_too_many_end_the_job() {
        let schedule = Schedule { failures_in_a_row_max: 1, ..Schedule::default() };
        let mut c = coordinator(Cut::Barriers { hold: true });
        c.schedule = schedule;
        c.on(Event::Asked { ticket: 7 }, Timestamp(0));
        let late = Timestamp(0).after(Duration::from_secs(60));
        assert_eq!(c.deadline(), Some(late));
        let actions = c.on(Event::Tick, late);
        assert!(matches!(
            actions[..],
            [Action::Abandon { .. }, Action::GiveUp { failures: 1, .. }]
        ));
    }

    #[test]
    fn when_all_have_ended_a_last_checkpoint_is_taken_and_no_other() {
        let mut c = coordinator(Cut::Barriers { hold: true });
        assert_eq!(c.on(Event::Ended { instance: 0 }, Timestamp(1)), []);
        let commit = Action::Commit { checkpoint: ONE, last: true };
        assert_eq!(c.on(Event::Ended { instance: 1 }, Timestamp(1)), [commit]);
        let announce = Action::Announce { checkpoint: ONE, last: true, tickets: vec![] };
        assert_eq!(c.on(Event::Committed { checkpoint: ONE }, Timestamp(1)), [announce]);
        assert_eq!(c.on(Event::Tick, SECOND), []);
        assert_eq!(c.deadline(), None);
    }

    #[test]
    fn a_last_checkpoint_that_failed_is_taken_again_without_waiting_for_the_interval() {
        let mut c = coordinator(Cut::Barriers { hold: true });
        c.schedule.every = Duration::from_secs(3600);
        c.on(Event::Ended { instance: 0 }, Timestamp(1));
        c.on(Event::Ended { instance: 1 }, Timestamp(1));
        c.on(Event::Failed { checkpoint: ONE, reason: "full".into() }, Timestamp(1));
        assert_eq!(c.deadline(), Some(Timestamp(1).after(AGAIN_AT_THE_END)));
        assert_eq!(c.on(Event::Tick, Timestamp(2)), []);
        let commit = Action::Commit { checkpoint: CheckpointId(2), last: true };
        assert_eq!(c.on(Event::Tick, SECOND), [commit]);
    }

    #[test]
    fn an_end_during_a_checkpoint_counts_as_its_answer() {
        let mut c = coordinator(Cut::Barriers { hold: true });
        c.on(Event::Asked { ticket: 7 }, Timestamp(1));
        c.on(stored(0), Timestamp(1));
        let commit = Action::Commit { checkpoint: ONE, last: false };
        assert_eq!(c.on(Event::Ended { instance: 1 }, Timestamp(1)), [commit]);
        assert_eq!(c.on(Event::Ended { instance: 0 }, Timestamp(1)), []);
        let actions = c.on(Event::Committed { checkpoint: ONE }, Timestamp(1));
        assert!(matches!(
            actions[..],
            [Action::Announce { .. }, Action::Commit { last: true, .. }]
        ));
    }

    #[test]
    fn a_checkpoint_that_someone_answered_before_its_end_is_not_the_last() {
        let mut c = coordinator(Cut::Positions);
        c.on(Event::Asked { ticket: 7 }, Timestamp(1));
        c.on(stored(0), Timestamp(1));
        c.on(Event::Ended { instance: 0 }, Timestamp(1));
        let older = Action::Commit { checkpoint: ONE, last: false };
        assert_eq!(c.on(Event::Ended { instance: 1 }, Timestamp(1)), [older]);
        let actions = c.on(Event::Committed { checkpoint: ONE }, Timestamp(1));
        let announced = Action::Announce { checkpoint: ONE, last: false, tickets: vec![7] };
        let last = Action::Commit { checkpoint: CheckpointId(2), last: true };
        assert_eq!(actions, [announced, last]);
    }
}
