//! [`Account`]: how the events of one execution are tracked. Who counts them, where answers go, and what a
//! source has to ask before it emits.

use std::sync::Arc;

use crate::api::dead_letter::DeadLetter;
use crate::api::token::{Answers, Fate};
use crate::api::waker::Waker;
use crate::channel::frame::{BATCH, Batch};
use crate::channel::ledger::Reports;
use crate::clock::{Clock, Timestamp};
use crate::delivery::at_least_once::acknowledger::Acknowledger;
use crate::delivery::at_least_once::replay_buffer::ReplayOptions;
use crate::delivery::at_least_once::tracked_source::TrackedSource;
use crate::delivery::source_side::{Admission, OpenTokens, Position, SourceSide};
use crate::delivery::terms::{DropHook, Dropped, SourceTerms, Terms, Verdict};
use crate::error::Failure;
use crate::id::Root;
use crate::sync::{AtomicBool, Ordering};

/// Tells the supervisor of a failure that the instance cannot handle.
pub(crate) type Alarm = Arc<dyn Fn(Failure) + Send + Sync>;

/// How the events of one execution are tracked. Each execution has a new account.
#[derive(Clone)]
pub(crate) enum Account {
    /// Events are not counted. A token that fails drops its event or, if there is an alarm, ends the execution.
    Untracked { alarm: Option<Alarm>, on_drop: Option<DropHook>, closed: Arc<AtomicBool> },
    /// The acknowledger counts events.
    Acknowledger { acknowledger: Arc<Acknowledger>, options: ReplayOptions },
}

impl Terms {
    /// Opens the account of an execution. `sources` are the wakers of the source instances, in the
    /// order of their trackers; `instances` is how many instances may make group roots.
    pub(crate) fn open_account(
        &self,
        sources: Vec<Waker>,
        instances: usize,
        clock: Arc<dyn Clock>,
        alarm: Alarm,
    ) -> Account {
        match self.sources {
            SourceTerms::Tracked(options) => Account::Acknowledger {
                acknowledger: Acknowledger::new(sources, instances, clock),
                options,
            },
            SourceTerms::Plain | SourceTerms::WriteAhead => Account::Untracked {
                alarm: (self.on_failure == Verdict::RollBack).then_some(alarm),
                on_drop: self.on_drop.clone(),
                closed: Arc::default(),
            },
        }
    }
}

impl Account {
    pub(crate) fn tracked(&self) -> bool {
        matches!(self, Self::Acknowledger { .. })
    }

    /// Where instances send their reports; `None` if events are not counted.
    pub(crate) fn reports(&self) -> Option<Arc<dyn Reports>> {
        match self {
            Self::Untracked { .. } => None,
            Self::Acknowledger { acknowledger, .. } => Some(Arc::clone(acknowledger) as _),
        }
    }

    /// Where the tokens of the instance of this number are answered.
    pub(crate) fn answers(&self, instance: usize) -> Arc<dyn Answers> {
        match self {
            Self::Untracked { alarm, on_drop, closed } => Arc::new(Untracked {
                alarm: alarm.clone(),
                on_drop: on_drop.clone(),
                closed: Arc::clone(closed),
            }),
            Self::Acknowledger { acknowledger, .. } => Arc::new(acknowledger.answers_of(instance)),
        }
    }

    /// The execution is over: answers that still come, from tokens dropped with their components, are
    /// ignored.
    pub(crate) fn close(&self) {
        match self {
            Self::Acknowledger { acknowledger, .. } => acknowledger.close(),
            Self::Untracked { closed, .. } => closed.store(true, Ordering::SeqCst),
        }
    }
}

/// Takes answers where events are not counted.
struct Untracked {
    alarm: Option<Alarm>,
    on_drop: Option<DropHook>,
    closed: Arc<AtomicBool>,
}

impl Answers for Untracked {
    fn change(&self, _: Root, _: i64) {}
    fn hold(&self, _: Root) {}
    fn unhold(&self, _: Root) {}

    fn fail(&self, _: Root, failure: Failure) -> Fate {
        if let Some(alarm) = &self.alarm {
            alarm(failure);
            return Fate::ComesAgain;
        }
        if let Some(DropHook(hook)) = self.on_drop.as_ref().filter(|_| self.are_wanted()) {
            hook(&Dropped { failure });
        }
        Fate::Dropped
    }

    fn are_wanted(&self) -> bool {
        !self.closed.load(Ordering::SeqCst)
    }

    fn group(&self, _: Vec<Root>, _: u32) -> Root {
        Root::NONE
    }
}

/// The source side for these terms. `tracker` is the source instance's number; `bytes_of` gives the bytes
/// that events own.
pub(crate) fn source_side<T: Clone + 'static>(
    terms: &Terms,
    account: &Account,
    tracker: usize,
    bytes_of: fn(&[T]) -> usize,
    start: Option<Arc<[u8]>>,
) -> Box<dyn SourceSide<T>> {
    match account {
        Account::Acknowledger { acknowledger, options } => Box::new(TrackedSource::new(
            Arc::clone(acknowledger),
            tracker,
            *options,
            bytes_of,
            start,
        )),
        Account::Untracked { .. } => Box::new(UntrackedSource {
            admission: match terms.sources {
                SourceTerms::WriteAhead => Admission::PersistFirst,
                SourceTerms::Plain | SourceTerms::Tracked(_) => Admission::Emit,
            },
        }),
    }
}

/// Keeps no event after it is emitted.
struct UntrackedSource {
    admission: Admission,
}

impl<T> SourceSide<T> for UntrackedSource {
    fn room(&self) -> usize {
        match self.admission {
            Admission::Emit => BATCH,
            // One durable write covers all events of a call.
            Admission::PersistFirst => 16 * BATCH,
        }
    }

    fn admit(&mut self, _: &mut Batch<T>, _: u32, _: Timestamp) -> Admission {
        self.admission
    }

    fn settle(&mut self, _: Timestamp, _: &mut Vec<DeadLetter<T>>) -> bool {
        false
    }

    fn replays(&mut self, _: u32, _: Timestamp, _: usize, _: &mut Batch<T>) {}

    fn wants_mark(&self, _: Timestamp) -> bool {
        false
    }

    fn mark(&mut self, _: Arc<[u8]>, _: Timestamp) {}

    fn position(&mut self) -> Position {
        Position::Current
    }

    fn deadline(&self) -> Option<Timestamp> {
        None
    }

    fn at_rest(&self, _: OpenTokens, _: Option<Timestamp>) -> bool {
        true
    }

    fn give_up_after(&mut self, _: Timestamp, _: &mut Vec<DeadLetter<T>>) {}

    fn await_answer(&mut self) -> bool {
        true
    }

    fn kept(&self) -> usize {
        0
    }
}
