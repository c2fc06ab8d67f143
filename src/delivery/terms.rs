//! [`Terms`]: the seam. What a guarantee promises, put as choices that the executor can act on
//! without knowing the promise.

use std::fmt;
use std::sync::Arc;

use crate::api::sink::SinkKind;
use crate::api::token::{Answers, Fate};
use crate::api::waker::Waker;
use crate::channel::ledger::Reports;
use crate::checkpoint::coordinator::Cut;
use crate::clock::Clock;
use crate::delivery::at_least_once::acknowledger::Acknowledger;
use crate::delivery::at_least_once::replay_buffer::ReplayOptions;
use crate::delivery::options::RunOptions;
use crate::error::Failure;
use crate::id::Root;

/// What happens to an event when something fails: made by
/// [`AtMostOnce`](crate::AtMostOnce), [`AtLeastOnce`](crate::AtLeastOnce) or
/// [`ExactlyOnce`](crate::ExactlyOnce), and given to [`Job::run`](crate::Job::run).
///
/// ```
/// use streamwork::{AtLeastOnce, AtMostOnce, ExactlyOnce, Guarantee};
///
/// fn chosen(by: &str) -> Guarantee {
///     match by {
///         "fast" => AtMostOnce::new().into(),
///         "safe" => AtLeastOnce::new().into(),
///         _ => ExactlyOnce::checkpoints_in("checkpoints").into(),
///     }
/// }
/// assert_eq!(chosen("safe").name(), "at-least-once");
/// ```
#[derive(Clone, Debug)]
pub struct Guarantee {
    pub(crate) terms: Terms,
    pub(crate) options: RunOptions,
}

impl Guarantee {
    /// Its name: `at-most-once`, `at-least-once`, `at-least-once-checkpoint` or `exactly-once`.
    pub fn name(&self) -> &'static str {
        self.terms.name
    }
}

/// What an outside reader may see of an event at a sink, whatever fails when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputGuarantee {
    /// Once or not at all.
    AtMostOnce,
    /// Once or several times; never not at all.
    AtLeastOnce,
    /// Once.
    ExactlyOnce,
}

impl fmt::Display for OutputGuarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AtMostOnce => "at most once",
            Self::AtLeastOnce => "at least once",
            Self::ExactlyOnce => "exactly once",
        })
    }
}

/// The choices.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) name: &'static str,
    pub(crate) demands: Demands,
    pub(crate) cut: Cut,
    pub(crate) on_failure: Verdict,
    pub(crate) commits: Commits,
    pub(crate) sources: SourceTerms,
    pub(crate) on_drop: Option<DropHook>,
}

/// What a job must have, or be refused.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demands {
    pub(crate) store: bool,
    pub(crate) rewindable_sources: bool,
    pub(crate) lossless_edges: bool,
}

/// What follows a failed event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is dropped and counted.
    Drop,
    /// Its root fails.
    Fail,
    /// The job goes back to its last checkpoint.
    GoBack,
}

/// When transactional sinks commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commits {
    EachBatch,
    WithCheckpoint,
}

/// What a source does with what it emits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SourceTerms {
    /// Nothing.
    Plain,
    /// Its position is made durable first, if there is a store.
    WriteAhead,
    /// It is kept until acknowledged.
    Kept(ReplayOptions),
}

/// An event that was given up, as a hook learns of it.
#[derive(Clone, Debug)]
pub struct Dropped {
    /// Who failed on it, and how.
    pub failure: Failure,
}

/// Called for every dropped event.
#[derive(Clone)]
pub(crate) struct DropHook(pub(crate) Arc<dyn Fn(&Dropped) + Send + Sync>);

impl fmt::Debug for DropHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DropHook")
    }
}

/// Tells the supervisor of a failure that its instance cannot get over.
pub(crate) type Alarm = Arc<dyn Fn(Failure) + Send + Sync>;

/// The account of one execution's events; made anew with each.
#[derive(Clone)]
pub(crate) enum Account {
    /// Nobody counts. A failed token is dropped or, if an alarm is given, ends the execution.
    Nobody { alarm: Option<Alarm>, on_drop: Option<DropHook> },
    /// The acknowledger does.
    Acknowledger { acknowledger: Arc<Acknowledger>, options: ReplayOptions },
}

impl Terms {
    /// What holds for the output of a sink. Only aligned checkpoints make every rerun alike, which
    /// is what an idempotent sink needs and a transactional one builds on.
    pub(crate) fn output(&self, sink: SinkKind) -> OutputGuarantee {
        match (self.on_failure, self.cut, sink) {
            (Verdict::Drop, ..) => OutputGuarantee::AtMostOnce,
            (
                Verdict::GoBack,
                Cut::Barriers { hold: true },
                SinkKind::Idempotent | SinkKind::Transactional,
            ) => OutputGuarantee::ExactlyOnce,
            (Verdict::Fail | Verdict::GoBack, ..) => OutputGuarantee::AtLeastOnce,
        }
    }

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
            SourceTerms::Kept(options) => Account::Acknowledger {
                acknowledger: Acknowledger::new(sources, instances, clock),
                options,
            },
            SourceTerms::Plain | SourceTerms::WriteAhead => Account::Nobody {
                alarm: (self.on_failure == Verdict::GoBack).then_some(alarm),
                on_drop: self.on_drop.clone(),
            },
        }
    }
}

impl Account {
    pub(crate) fn tracked(&self) -> bool {
        matches!(self, Self::Acknowledger { .. })
    }

    /// Where the instance of this number sends reports.
    pub(crate) fn reports(&self) -> Option<Arc<dyn Reports>> {
        match self {
            Self::Nobody { .. } => None,
            Self::Acknowledger { acknowledger, .. } => Some(Arc::clone(acknowledger) as _),
        }
    }

    /// Where the tokens of the instance of this number are answered.
    pub(crate) fn answers(&self, instance: usize) -> Arc<dyn Answers> {
        match self {
            Self::Nobody { alarm, on_drop } => {
                Arc::new(Untracked { alarm: alarm.clone(), on_drop: on_drop.clone() })
            }
            Self::Acknowledger { acknowledger, .. } => Arc::new(acknowledger.desk(instance)),
        }
    }

    /// The execution is over: answers that still come (from tokens dropped with their components)
    /// mean nothing.
    pub(crate) fn close(&self) {
        if let Self::Acknowledger { acknowledger, .. } = self {
            acknowledger.close();
        }
    }
}

/// Answers where nobody counts.
struct Untracked {
    alarm: Option<Alarm>,
    on_drop: Option<DropHook>,
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
        if let Some(DropHook(hook)) = &self.on_drop {
            hook(&Dropped { failure });
        }
        Fate::Dropped
    }

    fn group(&self, _: Vec<Root>, _: u32) -> Root {
        Root::NONE
    }
}
