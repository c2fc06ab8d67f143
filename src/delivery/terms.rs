//! [`Terms`]: the interface between guarantees and executor. It expresses a guarantee as choices that the
//! executor can act on without knowing the guarantee.

use std::fmt;
use std::sync::Arc;

use crate::api::sink::SinkKind;
use crate::checkpoint::coordinator::Cut;
use crate::delivery::at_least_once::replay_buffer::ReplayOptions;
use crate::delivery::options::RunOptions;
use crate::error::{Failure, Refused};

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

    /// Refuses values of its options that mean nothing.
    pub(crate) fn check(&self) -> Result<(), Refused> {
        self.options.check()?;
        match &self.terms.sources {
            SourceTerms::Tracked(replay) => replay.check(),
            SourceTerms::Plain | SourceTerms::WriteAhead => Ok(()),
        }
    }
}

/// How often a reader of a sink's output may see an event, whatever fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputGuarantee {
    /// Once or not at all.
    AtMostOnce,
    /// Once or several times.
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

/// What a job must have; otherwise it is refused.
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
    /// The job rolls back to its last checkpoint.
    RollBack,
}

/// When transactional sinks commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commits {
    EachBatch,
    WithCheckpoint,
}

/// What a source does with the events that it emits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SourceTerms {
    /// Nothing.
    Plain,
    /// Its position is made durable first, if there is a store.
    WriteAhead,
    /// They are kept until they are acknowledged.
    Tracked(ReplayOptions),
}

/// What brings an event again that an operator holds when its job stops or its process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldIn {
    /// Its source: it is not acknowledged.
    Source,
    /// The checkpoint, whichever is the last.
    EveryCheckpoint,
    /// The checkpoint of a stop. After any other end it would come a second time if it was answered since.
    LastCheckpoint,
    /// Nothing does.
    Nothing,
}

/// An event that was dropped, as the hook receives it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dropped {
    /// The failure: component, instance, callback and cause.
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

impl Terms {
    /// Whether every event that is replayed after a restart is not older than the watermark at the cut, or is
    /// already in the state that was saved with it. Not so if single events are replayed: an event that is
    /// not done yet would be late.
    pub(crate) fn saves_watermarks(&self) -> bool {
        !matches!(self.sources, SourceTerms::Tracked(_))
    }

    /// What brings held events again, with a store or without.
    pub(crate) fn held_in(&self, stored: bool) -> HeldIn {
        match (self.sources, self.cut) {
            (SourceTerms::Tracked(_), _) => HeldIn::Source,
            _ if !stored => HeldIn::Nothing,
            (_, Cut::Barriers { .. }) => HeldIn::EveryCheckpoint,
            (_, Cut::Positions | Cut::Operators) => HeldIn::LastCheckpoint,
        }
    }

    /// The guarantee for the output of a sink. Only with aligned checkpoints does a replay produce the same
    /// output, which idempotent and transactional sinks need.
    pub(crate) fn output(&self, sink: SinkKind) -> OutputGuarantee {
        match (self.on_failure, self.cut, sink) {
            (Verdict::Drop, ..) => OutputGuarantee::AtMostOnce,
            (
                Verdict::RollBack,
                Cut::Barriers { hold: true },
                SinkKind::Idempotent | SinkKind::Transactional,
            ) => OutputGuarantee::ExactlyOnce,
            (Verdict::Fail | Verdict::RollBack, ..) => OutputGuarantee::AtLeastOnce,
        }
    }
}
