//! [`Accounts`]: which outputs came from which event, so that an event is done when all its outputs are.
//!
//! Owns the columns of the events that an operator is given and of the outputs that it emits: roots and times. Per event it
//! writes one number. [`settle`](Accounts::settle) works out the outstanding deliveries of many events at
//! once, and only where events are tracked. Never holds an event.

use std::ops::Range;
use std::sync::Arc;

use crate::api::columns::{Columns, Row};
use crate::api::token::{Answers, Deferred, Holder};
use crate::error::{Cause, Failure};
use crate::id::{InstanceName, Root};
use crate::metrics::Counters;
use crate::time::EventTime;

/// Where the answers of an instance go, and what they need.
pub(crate) struct InstanceContext {
    pub(crate) answers: Arc<dyn Answers>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) instance: InstanceName,
    /// Keeps the events that are deferred.
    pub(crate) holder: Arc<dyn Holder>,
    /// Whether events carry roots.
    pub(crate) tracked: bool,
    /// Whether outputs carry times.
    pub(crate) timed: bool,
}

/// The accounts of the events that an operator was given.
pub(crate) struct Accounts {
    context: InstanceContext,
    /// Deliveries that each output becomes: one per reader.
    copies: u32,
    /// The columns of the events whose account is closed, of the event at hand, and of those after it.
    inputs: Columns,
    /// The columns of the settled outputs.
    pub(crate) outputs: Columns,
    counting: Counting,
    /// For each closed event the end of its outputs; empty as long as each event has one output.
    ends: Vec<usize>,
    current: Current,
    /// Closed events that did more than emit on the main output.
    effects: Vec<SideEffects>,
    /// Outputs that stand for other events: their index and their root.
    anchors: Vec<(usize, Root)>,
    /// Outputs that were emitted with a time: their index and that time.
    stamps: Vec<(usize, EventTime)>,
    /// The events that the outputs of the event at hand stand for.
    stood_for: Vec<Arc<Deferred>>,
    /// The number of events that were deferred since it was last taken.
    deferred: usize,
}

/// How closed events and their outputs correspond. Most operators emit one output per event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counting {
    /// Each event has one output.
    OneEach,
    /// For each event the end of its outputs is noted in `ends`.
    Noted,
}

/// When the account of the event at hand is closed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// When its call returns.
    WithTheCall,
    /// Later: the event is alone in its batch, and a failure is injected after its call.
    Later,
}

/// Whether the event at hand did more than emit on the main output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    Emitting,
    /// It used a side output, a timer or a token.
    More,
}

/// The event at hand. `first_output` is written for every event; the rest only if the event does more than
/// emit.
struct Current {
    first_output: usize,
    doing: Doing,
    closing: Closing,
    /// The number of events that did more than emit.
    ordinal: u64,
    first_timer: usize,
    anchored: usize,
    side_deliveries: i64,
    deferred: Option<Arc<Deferred>>,
}

/// What a closed event did beside emitting on the main output.
struct SideEffects {
    /// Its index among the closed events.
    event: usize,
    anchored: usize,
    side_deliveries: i64,
}

/// What has to be discarded of a failed event.
pub(crate) struct TakenBack {
    pub(crate) first_output: usize,
    /// If the event did more than emit: its ordinal, and its first timer.
    pub(crate) more: Option<(u64, usize)>,
    /// Whether it was deferred, so that a token may still be answered.
    pub(crate) deferred: bool,
}

/// The first output of events that have no outputs to discard if they fail.
const NOTHING_TO_TAKE_BACK: usize = usize::MAX;

impl Accounts {
    pub(crate) fn new(context: InstanceContext, copies: u32) -> Self {
        Self {
            context,
            copies,
            inputs: Columns::default(),
            outputs: Columns::default(),
            counting: Counting::OneEach,
            ends: Vec::new(),
            current: Current {
                first_output: 0,
                doing: Doing::Emitting,
                closing: Closing::WithTheCall,
                ordinal: 0,
                first_timer: 0,
                anchored: 0,
                side_deliveries: 0,
                deferred: None,
            },
            effects: Vec::new(),
            anchors: Vec::new(),
            stamps: Vec::new(),
            stood_for: Vec::new(),
            deferred: 0,
        }
    }

    pub(crate) fn copies(&self) -> u32 {
        self.copies
    }

    /// The part of these entries that an output carries.
    pub(crate) fn used(&self, row: Row) -> Row {
        let InstanceContext { tracked, timed, .. } = self.context;
        let root = tracked.then(|| row.root.unwrap_or(Root::NONE));
        Row { root, time: timed.then(|| row.time.unwrap_or(EventTime::MIN)) }
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.context.counters
    }

    /// Whether outputs carry times.
    pub(crate) fn timed(&self) -> bool {
        self.context.timed
    }

    /// Takes the columns of the next events.
    pub(crate) fn take_in(&mut self, columns: &Columns, events: Range<usize>) {
        self.inputs.clear();
        self.inputs.extend_from(columns, events);
    }

    /// A call without an event follows: its outputs have the time of the watermark, and before the first watermark the
    /// least time.
    pub(crate) fn take_in_call(&mut self, watermark: Option<EventTime>) {
        self.inputs.clear();
        if self.context.timed {
            self.inputs.times.push(watermark.unwrap_or(EventTime::MIN));
        }
    }

    /// Opens the account of the next event; `outputs` have been emitted before it.
    #[inline]
    pub(crate) fn begin(&mut self, outputs: usize) {
        self.current.first_output = outputs;
    }

    /// Opens the account of events that emit one output each, or none if they fail.
    pub(crate) fn begin_one_to_one(&mut self) {
        self.current.first_output = NOTHING_TO_TAKE_BACK;
    }

    /// The event at hand does more than emit; `timers` have been requested before it. Returns its ordinal.
    pub(crate) fn begin_side_effects(&mut self, timers: usize) -> u64 {
        let current = &mut self.current;
        if current.doing == Doing::Emitting {
            current.doing = Doing::More;
            current.ordinal += 1;
            current.first_timer = timers;
            current.anchored = 0;
            current.side_deliveries = 0;
        }
        current.ordinal
    }

    /// The event at hand emits on a side output with `copies` readers. Returns the entries of that output.
    pub(crate) fn emit_aside(&mut self, copies: u32) -> Row {
        if self.context.tracked {
            self.current.side_deliveries += i64::from(copies);
        }
        self.used(self.inputs.row(self.closed()))
    }

    /// The output at this index has this time.
    #[inline]
    pub(crate) fn stamp(&mut self, output: usize, time: EventTime) {
        if self.context.timed {
            self.stamps.push((output, time));
        }
    }

    /// The time of the event at hand, if events have times.
    pub(crate) fn time(&self) -> Option<EventTime> {
        self.inputs.row(self.closed()).time
    }

    /// Defers the answer for the event at hand.
    pub(crate) fn defer(&mut self) -> &Arc<Deferred> {
        let (root, context) = (self.root(), &self.context);
        self.current.deferred.get_or_insert_with(|| {
            let (answers, counters) = (Arc::clone(&context.answers), Arc::clone(&context.counters));
            let holder = Arc::clone(&context.holder);
            Deferred::new(root, answers, counters, context.instance.clone(), holder)
        })
    }

    /// The output at this index stands for these events.
    pub(crate) fn anchor(&mut self, output: usize, events: impl Iterator<Item = Arc<Deferred>>) {
        let first = self.stood_for.len();
        self.stood_for.extend(events);
        if !self.context.tracked {
            return;
        }
        let mut members: Vec<Root> =
            self.stood_for[first..].iter().map(|deferred| deferred.root).collect();
        members.retain(|root| !root.is_none());
        let root = match members[..] {
            [] => return,
            [root] => {
                self.context.answers.change(root, i64::from(self.copies) - 1);
                root
            }
            _ => self.context.answers.group(members, self.copies),
        };
        self.anchors.push((output, root));
        self.current.anchored += 1;
    }

    /// The number of events with entries that were closed before the one at hand and are not settled.
    fn closed(&self) -> usize {
        match self.counting {
            Counting::Noted => self.ends.len(),
            // One output per event, and `self.outputs` counts the settled ones.
            Counting::OneEach => self.current.first_output.saturating_sub(self.outputs.rows()),
        }
    }

    /// The root of the event at hand.
    fn root(&self) -> Root {
        self.inputs.root(self.closed())
    }

    /// Closes the account of an event that did not fail.
    #[inline]
    pub(crate) fn end(&mut self) {
        if self.current.doing == Doing::More {
            self.end_side_effects();
        }
    }

    /// Notes the end of the outputs of an event with entries whose account was closed. As long as each event has one
    /// output there is nothing to note.
    #[inline]
    pub(crate) fn end_tracked(&mut self, outputs: usize) {
        if self.counting == Counting::Noted || outputs != self.current.first_output + 1 {
            self.note_end(outputs);
        }
    }

    fn note_end(&mut self, outputs: usize) {
        if self.current.closing == Closing::Later {
            return;
        }
        self.note_ends_up_to(self.current.first_output);
        self.ends.push(outputs);
    }

    /// From now on the ends of outputs are noted; each event so far had one output, up to `end`.
    fn note_ends_up_to(&mut self, end: usize) {
        if self.counting == Counting::OneEach {
            self.counting = Counting::Noted;
            self.ends.extend(self.outputs.rows() + 1..=end);
        }
    }

    /// Keeps the account of the next event open, so that it can still fail after its call.
    pub(crate) fn keep_open(&mut self) {
        self.current.closing = Closing::Later;
    }

    /// Makes that event the one at hand again; its outputs begin at `first_output`.
    pub(crate) fn reopen(&mut self, first_output: usize) {
        self.current.closing = Closing::WithTheCall;
        self.current.first_output = first_output;
    }

    /// The number of events that were deferred since this was last called.
    pub(crate) fn take_deferred(&mut self) -> usize {
        std::mem::take(&mut self.deferred)
    }

    #[cold]
    fn end_side_effects(&mut self) {
        if self.current.closing == Closing::Later {
            return;
        }
        let Current { anchored, side_deliveries, .. } = self.current;
        self.current.doing = Doing::Emitting;
        self.stood_for.drain(..).for_each(|deferred| deferred.done());
        if let Some(deferred) = self.current.deferred.take() {
            self.deferred += 1;
            deferred.returned();
        }
        if self.context.tracked {
            let event = self.closed();
            self.effects.push(SideEffects { event, anchored, side_deliveries });
        }
    }

    /// Settles the accounts of the closed events, where they have entries in a column: gives each of `outputs` outputs
    /// its entries, and calls `change` with the change of each root's outstanding deliveries.
    pub(crate) fn settle(&mut self, outputs: usize, mut change: impl FnMut(Root, i64)) {
        let one_each = self.counting == Counting::OneEach;
        let nothing_changes = self.copies == 1 && self.effects.is_empty();
        if one_each && (nothing_changes || self.inputs.roots.is_empty()) {
            let closed = outputs - self.outputs.rows();
            self.outputs.extend_from(&self.inputs, 0..closed);
        } else {
            self.note_ends_up_to(outputs);
            self.settle_each(&mut change);
        }
        self.counting = Counting::OneEach;
        self.ends.clear();
        self.settle_times(outputs, EventTime::MIN);
    }

    /// Gives outputs without a time this one, and those that were emitted with a time that.
    fn settle_times(&mut self, outputs: usize, time: EventTime) {
        if self.context.timed {
            self.outputs.times.resize(outputs, time);
            self.stamps.drain(..).for_each(|(at, time)| self.outputs.times[at] = time);
        }
    }

    fn settle_each(&mut self, change: &mut impl FnMut(Root, i64)) {
        let mut effects = self.effects.drain(..).peekable();
        for (event, end) in self.ends.iter().enumerate() {
            let (row, made) = (self.inputs.row(event), end - self.outputs.rows());
            let more = effects.next_if(|more| more.event == event);
            let (anchored, sides) =
                more.map_or((0, 0), |more| (more.anchored, more.side_deliveries));
            self.outputs.fill(*end, row);
            if let Some(root) = row.root {
                change(root, (made - anchored) as i64 * i64::from(self.copies) + sides - 1);
            }
        }
        drop(effects);
        self.settle_anchors();
    }

    fn settle_anchors(&mut self) {
        self.anchors.drain(..).for_each(|(at, root)| self.outputs.roots[at] = root);
    }

    /// Closes the account of a call without an event, such as a timer: its outputs have no root, unless they
    /// are anchored.
    pub(crate) fn settle_rootless(&mut self, outputs: usize) {
        self.current.doing = Doing::Emitting;
        self.stood_for.drain(..).for_each(|deferred| deferred.done());
        if self.context.tracked {
            self.outputs.roots.resize(outputs, Root::NONE);
            self.settle_anchors();
        }
        let time = self.inputs.row(0).time.unwrap_or(EventTime::MIN);
        self.settle_times(outputs, time);
    }

    /// The event at hand failed. If an output of it stood for other events, those fail too.
    pub(crate) fn take_back(&mut self, cause: &Cause) -> TakenBack {
        let first_output = self.current.first_output;
        while self.stamps.pop_if(|(at, _)| *at >= first_output).is_some() {}
        if self.current.doing == Doing::Emitting {
            return TakenBack { first_output, more: None, deferred: false };
        }
        self.current.doing = Doing::Emitting;
        let own = self.current.deferred.take();
        if let Some(deferred) = &own {
            deferred.void();
        }
        self.fail_anchored_from(first_output, cause);
        for deferred in self.stood_for.drain(..) {
            match &own {
                Some(own) if Arc::ptr_eq(own, &deferred) => deferred.void(),
                _ => deferred.take_back(cause.clone()),
            }
        }
        let more = Some((self.current.ordinal, self.current.first_timer));
        TakenBack { first_output, more, deferred: own.is_some() }
    }

    fn fail_anchored_from(&mut self, first_output: usize, cause: &Cause) {
        let current = self.root();
        let first = self.anchors.iter().position(|(at, _)| *at >= first_output);
        for (_, root) in self.anchors.drain(first.unwrap_or(self.anchors.len())..) {
            if root != current && !root.is_none() {
                let instance = self.context.instance.clone();
                let failure = Failure { instance, callback: "apply", cause: cause.clone() };
                self.context.answers.fail(root, failure);
            }
        }
    }
}
