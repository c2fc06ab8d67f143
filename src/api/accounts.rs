//! [`Accounts`]: which outputs came of which event, so that an event is done when all that came of it is.
//!
//! Owns the roots of the events that an operator is given and of the outputs it makes. Per event it writes
//! one number; what is owed for many events is worked out in one go, by [`settle`](Accounts::settle), and
//! only where events are tracked. Never holds an event.

use std::sync::Arc;

use crate::api::token::{Answers, Deferred, Holder};
use crate::error::{Cause, Failure};
use crate::id::{InstanceName, Root};
use crate::metrics::Counters;

/// Where answers go, and in whose name.
pub(crate) struct InstanceContext {
    pub(crate) answers: Arc<dyn Answers>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) instance: InstanceName,
    /// Who keeps the events that are deferred.
    pub(crate) holder: Arc<dyn Holder>,
    /// Whether events carry roots.
    pub(crate) tracked: bool,
}

/// What is owed for the events that an operator was given.
pub(crate) struct Accounts {
    context: InstanceContext,
    /// Deliveries that each output becomes.
    copies: u32,
    /// The roots of the events at hand, where events are tracked: of those whose account is closed, and of
    /// those after them.
    inputs: Vec<Root>,
    /// The roots of the outputs that are settled, where events are tracked.
    pub(crate) outputs: Vec<Root>,
    counting: Counting,
    /// Where the outputs of each closed event end, if that is noted.
    ends: Vec<usize>,
    current: Current,
    /// Closed events that did more than emit on the main output.
    effects: Vec<SideEffects>,
    /// Outputs that stand for other events: where they are, and under which root.
    anchors: Vec<(usize, Root)>,
    /// The events that the outputs of the event at hand stand for.
    stood_for: Vec<Arc<Deferred>>,
    /// Events that were deferred, since this was last asked.
    deferred: usize,
}

/// How the outputs of closed events are known. Most operators emit one per event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counting {
    /// Each has one.
    OneEach,
    /// Where they end is noted for each.
    Noted,
}

/// What becomes of the account of the event at hand when its call returns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// It is closed.
    WithTheCall,
    /// It stays open: the event is alone in its batch and fails in the end.
    Later,
}

/// Whether the event at hand did more than emit on the main output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    Emitting,
    /// It used a side output, a timer or a token.
    More,
}

/// The event at hand. Written for every event, so most of it is written only when an event does more than
/// emit.
struct Current {
    first_output: usize,
    doing: Doing,
    closing: Closing,
    /// Counts the events that did more.
    ordinal: u64,
    first_timer: usize,
    anchored: usize,
    side_deliveries: i64,
    deferred: Option<Arc<Deferred>>,
}

/// What a closed event did beside emitting on the main output.
struct SideEffects {
    /// Its place among the closed ones.
    event: usize,
    anchored: usize,
    side_deliveries: i64,
}

/// What is to be removed of a failed event.
pub(crate) struct TakenBack {
    pub(crate) first_output: usize,
    /// If it did more than emit: its ordinal, and its first timer.
    pub(crate) more: Option<(u64, usize)>,
    /// Whether it was deferred, so that a token may still be answered.
    pub(crate) deferred: bool,
}

/// The first output of events of which nothing is left behind if they fail.
const NOTHING_TO_TAKE_BACK: usize = usize::MAX;

impl Accounts {
    pub(crate) fn new(context: InstanceContext, copies: u32) -> Self {
        Self {
            context,
            copies,
            inputs: Vec::new(),
            outputs: Vec::new(),
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
            stood_for: Vec::new(),
            deferred: 0,
        }
    }

    pub(crate) fn copies(&self) -> u32 {
        self.copies
    }

    /// Whether events have roots.
    pub(crate) fn tracked(&self) -> bool {
        self.context.tracked
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.context.counters
    }

    /// These are the roots of the events that come next; of none where nobody counts.
    pub(crate) fn take_in(&mut self, roots: &[Root]) {
        self.inputs.clear();
        self.inputs.extend_from_slice(roots);
    }

    /// Opens the account of the next event; so many outputs are there.
    #[inline]
    pub(crate) fn begin(&mut self, outputs: usize) {
        self.current.first_output = outputs;
    }

    /// Opens the account of events that emit one output each, and none if they fail.
    pub(crate) fn begin_one_to_one(&mut self) {
        self.current.first_output = NOTHING_TO_TAKE_BACK;
    }

    /// The event at hand does more than emit; so many timers are there. Returns its ordinal.
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

    /// An output of the event at hand goes to so many readers of a side output; the root it gets, where
    /// events are tracked.
    pub(crate) fn emit_aside(&mut self, copies: u32) -> Option<Root> {
        self.context.tracked.then(|| {
            self.current.side_deliveries += i64::from(copies);
            self.root()
        })
    }

    /// Takes over the answer for the event at hand.
    pub(crate) fn defer(&mut self) -> &Arc<Deferred> {
        let (root, context) = (self.root(), &self.context);
        self.current.deferred.get_or_insert_with(|| {
            let (answers, counters) = (Arc::clone(&context.answers), Arc::clone(&context.counters));
            let holder = Arc::clone(&context.holder);
            Deferred::new(root, answers, counters, context.instance.clone(), holder)
        })
    }

    /// The output at this place stands for these events.
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

    /// Tracked events that were closed before the one at hand, and are not settled.
    fn closed(&self) -> usize {
        match self.counting {
            Counting::Noted => self.ends.len(),
            // Those that are settled have their roots.
            Counting::OneEach => self.current.first_output.saturating_sub(self.outputs.len()),
        }
    }

    /// The root of the event at hand.
    fn root(&self) -> Root {
        self.inputs.get(self.closed()).copied().unwrap_or(Root::NONE)
    }

    /// Closes the account of an event that went well.
    #[inline]
    pub(crate) fn end(&mut self) {
        if self.current.doing == Doing::More {
            self.end_side_effects();
        }
    }

    /// Notes where the outputs of a tracked event end whose account is closed: nothing to note as long as
    /// each has one.
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

    /// From here on it is noted where the outputs end; those up to this one are one of each event.
    fn note_ends_up_to(&mut self, end: usize) {
        if self.counting == Counting::OneEach {
            self.counting = Counting::Noted;
            self.ends.extend(self.outputs.len() + 1..=end);
        }
    }

    /// Keeps the account of the next event open, which is alone and fails in the end.
    pub(crate) fn keep_open(&mut self) {
        self.current.closing = Closing::Later;
    }

    /// Goes back to where that event was at hand, with its first output there.
    pub(crate) fn reopen(&mut self, first_output: usize) {
        self.current.closing = Closing::WithTheCall;
        self.current.first_output = first_output;
    }

    /// How many events were deferred since this was last asked.
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

    /// Settles the accounts of tracked events that were closed: gives each of so many outputs its root, and
    /// tells `change` by how much the deliveries outstanding under each root have changed.
    pub(crate) fn settle(&mut self, outputs: usize, mut change: impl FnMut(Root, i64)) {
        let one_each = self.counting == Counting::OneEach;
        if one_each && self.copies == 1 && self.effects.is_empty() {
            let closed = outputs - self.outputs.len();
            self.outputs.extend_from_slice(&self.inputs[..closed]);
        } else {
            self.note_ends_up_to(outputs);
            self.settle_each(&mut change);
        }
        self.counting = Counting::OneEach;
        self.ends.clear();
    }

    fn settle_each(&mut self, change: &mut impl FnMut(Root, i64)) {
        let mut effects = self.effects.drain(..).peekable();
        for (event, (root, end)) in self.inputs.iter().zip(&self.ends).enumerate() {
            let made = end - self.outputs.len();
            let more = effects.next_if(|more| more.event == event);
            let (anchored, sides) =
                more.map_or((0, 0), |more| (more.anchored, more.side_deliveries));
            self.outputs.resize(*end, *root);
            change(*root, (made - anchored) as i64 * i64::from(self.copies) + sides - 1);
        }
        drop(effects);
        self.settle_anchors();
    }

    fn settle_anchors(&mut self) {
        self.anchors.drain(..).for_each(|(at, root)| self.outputs[at] = root);
    }

    /// Closes the account of a call without an event, such as a timer: what it emitted has no root but
    /// where it said so.
    pub(crate) fn settle_rootless(&mut self, outputs: usize) {
        self.current.doing = Doing::Emitting;
        self.stood_for.drain(..).for_each(|deferred| deferred.done());
        if self.context.tracked {
            self.outputs.resize(outputs, Root::NONE);
            self.settle_anchors();
        }
    }

    /// The event at hand failed. Outputs of it that stood for other events fail those.
    pub(crate) fn take_back(&mut self, cause: &Cause) -> TakenBack {
        let first_output = self.current.first_output;
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
