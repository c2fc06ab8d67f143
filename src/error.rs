//! The two errors a user meets: [`Refused`], before anything has started, and [`JobError`], what
//! ended a run. Both name the component; a run's error names the instance and the cause too.
//!
//! A message is one line that says what failed and why: it ends with the messages of its causes. Programs
//! reach the causes through `source()`.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::StoreError;
use crate::id::InstanceName;

/// Any error: every callback of a user may return one.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// Why a job was not started. No event was emitted, and nothing was written except the store's
/// directory. All variants except [`Spawn`](Refused::Spawn) come before the first thread.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Two components have one name; names are identities, in errors and in checkpoints.
    #[error("two components are named \"{component}\": give each a name of its own")]
    DuplicateName {
        /// The name that was given twice.
        component: String,
    },
    /// A component's name is empty.
    #[error("a {kind} has an empty name")]
    EmptyName {
        /// Source, operator or sink.
        kind: &'static str,
    },
    /// A component was given a parallelism of 0.
    #[error("component \"{component}\" has parallelism 0: at least one instance is needed")]
    ZeroParallelism {
        /// The component.
        component: String,
    },
    /// More instances than there are key groups: some could never get an event.
    #[error(
        "component \"{component}\" gets events by key on {parallelism} instances, but there are {groups} key groups"
    )]
    TooManyForKeys {
        /// The component.
        component: String,
        /// The instances asked for.
        parallelism: usize,
        /// The key groups there are.
        groups: usize,
    },
    /// `forward` connects instance i with instance i; both sides must have the same number of instances.
    #[error(
        "\"{from}\" forwards to \"{to}\" but has {from_instances} instances where the other has {to_instances}"
    )]
    UnevenForward {
        /// The sending component.
        from: String,
        /// How many instances it has.
        from_instances: usize,
        /// The receiving component.
        to: String,
        /// How many instances it has.
        to_instances: usize,
    },
    /// The job has no source.
    #[error("job \"{job}\" has no source")]
    NoSource {
        /// The job.
        job: String,
    },
    /// A stream that nothing reads.
    #[error(
        "nothing reads the stream of \"{component}\": add an operator or a sink, or end it with `.ignore()`"
    )]
    Unconnected {
        /// The component whose output has no reader.
        component: String,
    },
    /// Two streams of different jobs were joined.
    #[error("\"{component}\" merges streams of different jobs")]
    ForeignStream {
        /// The component that was to read them.
        component: String,
    },
    /// This guarantee needs a place for checkpoints.
    #[error("{guarantee} needs a checkpoint store: name a directory")]
    StoreMissing {
        /// The guarantee.
        guarantee: &'static str,
    },
    /// A source that cannot be rewound, under a guarantee that rolls back.
    #[error(
        "source \"{component}\" cannot be rewound, which {guarantee} needs: implement `StatefulSource`, or choose another guarantee"
    )]
    NotRewindable {
        /// The source.
        component: String,
        /// The guarantee.
        guarantee: &'static str,
    },
    /// An edge that may drop events, under a guarantee that may not.
    #[error("the edge into \"{component}\" may drop events, which {guarantee} must not")]
    LossyEdge {
        /// The receiving component.
        component: String,
        /// The guarantee.
        guarantee: &'static str,
    },
    /// A stream reads a side output that the component has not declared.
    #[error(
        "\"{component}\" has no side output \"{side_output}\": an operator lists those it has in `SIDE_OUTPUTS`, sources have one for bad records, and sinks have none"
    )]
    SideOutputNotDeclared {
        /// The component.
        component: String,
        /// The side output that was to be read.
        side_output: String,
    },
    /// A side output is read as another event type.
    #[error(
        "side output \"{side_output}\" of \"{component}\" is one of {declared}, and is read as one of {read_as}"
    )]
    SideOutputOfOtherType {
        /// The component whose side output it is.
        component: String,
        /// The side output.
        side_output: String,
        /// The type that the component declares.
        declared: &'static str,
        /// The type that a reader expects.
        read_as: &'static str,
    },
    /// An operator with state has several instances, and events of one key reach any of them.
    #[error(
        "\"{component}\" has state and {instances} instances, each of which would count for itself: set a key with `key_by` right before it, or say `per_instance()` if that is meant"
    )]
    StateWithoutKey {
        /// The operator.
        component: String,
        /// How many instances it was to have.
        instances: usize,
    },
    /// A stream reads the dead letters of a component that makes none.
    #[error(
        "\"{component}\" makes no dead letters to be read: an operator or sink does that with `on_error(OnError::DeadLetter)`"
    )]
    NoDeadLetters {
        /// The component.
        component: String,
    },
    /// A component makes dead letters and nothing reads them: they would be lost.
    #[error(
        "nothing reads the dead letters of \"{component}\": connect its `dead_letters()` to an operator or a sink"
    )]
    DeadLettersUnread {
        /// The component.
        component: String,
    },
    /// A sink for dead letters was given to something that is not a source.
    #[error("a sink for dead letters takes events of a source, and \"{component}\" is none")]
    DeadLettersNotOfSource {
        /// The component.
        component: String,
    },
    /// A component needs the times of its events, and its stream has no event time.
    #[error(
        "\"{component}\" needs the times of its events, and they have none: call `event_time` before it"
    )]
    NoEventTime {
        /// The component.
        component: String,
    },
    /// A stream with event time was merged with one without.
    #[error(
        "\"{component}\" merges \"{timed}\", which has event time, and \"{untimed}\", which has none: call `event_time` on both, or on the merged stream only"
    )]
    MixedEventTime {
        /// The component that was to read them.
        component: String,
        /// A component whose events have times.
        timed: String,
        /// A component whose events have none.
        untimed: String,
    },
    /// Times are made in another thread than that of the source, under a guarantee that replays single events.
    #[error(
        "\"{component}\" makes watermarks in the thread of \"{head}\", but under {guarantee} it has to be in that of its source: call `event_time` right behind the source, with as many instances, or say `replays_may_be_late()`"
    )]
    EventTimeApart {
        /// The component that `event_time` added.
        component: String,
        /// The component at the head of its thread.
        head: String,
        /// The guarantee.
        guarantee: &'static str,
    },
    /// More threads than the machine can carry.
    #[error("the job needs {instances} threads and this machine can carry about {limit}")]
    TooManyInstances {
        /// Threads the job would start.
        instances: usize,
        /// The maximum on this machine.
        limit: usize,
    },
    /// Every instance of one component would be connected with every instance of another, and that takes
    /// more queues than a machine should hold.
    #[error(
        "the job needs {queues} queues between instances and {limit} are allowed: use fewer instances, or `forward`"
    )]
    TooManyQueues {
        /// Queues the job would have.
        queues: usize,
        /// The maximum.
        limit: usize,
    },
    /// An option has a value that means nothing.
    #[error("option {option}: {reason}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// The store holds checkpoints that this job cannot be restored from.
    #[error("cannot start from checkpoint {checkpoint}: {reason}")]
    Incompatible {
        /// The checkpoint.
        checkpoint: u64,
        /// What does not fit, and what to do.
        reason: String,
    },
    /// The store could not be opened or read, or is in use by another process.
    #[error("the checkpoint store cannot be used: {0}")]
    Store(#[from] StoreError),
    /// The operating system refused a thread.
    #[error("thread \"{name}\" could not be started: {source}")]
    Spawn {
        /// The thread's name.
        name: String,
        /// The error of the system.
        source: std::io::Error,
    },
}

/// Why a run ended without reaching its end.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// A component failed, and by its guarantee and restart policy the job could not go on.
    #[error("{failure} (after {restarts} restarts)")]
    Failed {
        /// The failure: component, instance, callback and cause.
        #[source]
        failure: Failure,
        /// How often the job had been restarted.
        restarts: u64,
    },
    /// Stop or drain did not finish by its deadline.
    #[error("not stopped within {deadline:?}: still at work: {}{}", list(stuck), holding(held))]
    StopTimedOut {
        /// The deadline that passed.
        deadline: Duration,
        /// Instances that had not ended; their threads are left behind.
        stuck: Vec<InstanceName>,
        /// Instances with events in tokens that are not answered, and how many.
        held: Vec<(InstanceName, u64)>,
    },
    /// After a failure the other instances did not end in time.
    #[error("after a failure ({failure}) these did not end within {deadline:?}: {}", list(stuck))]
    Stuck {
        /// What had failed.
        #[source]
        failure: Failure,
        /// The time they were given.
        deadline: Duration,
        /// Instances that had not ended; their threads are left behind.
        stuck: Vec<InstanceName>,
    },
    /// Checkpoints failed one after another.
    #[error("{failures} checkpoints failed in a row, the last one so: {reason}")]
    Checkpoints {
        /// How many.
        failures: u32,
        /// Why the last one failed.
        reason: String,
    },
    /// The store failed while the job was restarting.
    #[error("the checkpoint store failed: {0}")]
    Store(#[source] Arc<StoreError>),
    /// A restart was refused, for instance because no thread could be started.
    #[error("the job could not start over: {0}")]
    Restart(#[source] Arc<Refused>),
    /// The supervisor itself died; a defect of this crate.
    #[error("the supervisor of the job died: {reason}")]
    Supervisor {
        /// The message of its panic.
        reason: String,
    },
}

/// A failure of one component instance: the instance, the callback, and the cause.
///
/// Its message ends with that of the cause; `source()` returns the next cause.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// Component and instance.
    pub instance: InstanceName,
    /// The callback: `setup`, `apply`, `get_events`, `state`, …
    pub callback: &'static str,
    /// The error that it returned, or the message of its panic.
    pub cause: Cause,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instance, callback, cause } = self;
        write!(f, "{instance} failed in {callback}: {cause}")
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

/// An error that another attempt cannot cure: a missing file, a state of another type, a record that cannot
/// be decoded. There is no retry: the instance is not rebuilt, the job is not restarted, and an event that
/// fails with it becomes a dead letter at once.
///
/// ```
/// use streamwork::{BoxError, Collector, Guarantee, Instance, Job, JobError, Operator, Permanent, RunError};
///
/// struct NeedsModel;
/// impl Operator for NeedsModel {
///     type In = u32;
///     type Out = u32;
///     fn setup(&mut self, _: &Instance) -> Result<(), BoxError> {
///         std::fs::read("model.bin").map_err(|error| Permanent::new(format!("model.bin: {error}")))?;
///         Ok(())
///     }
///     fn apply(&mut self, n: u32, out: &mut Collector<u32>) -> Result<(), BoxError> {
///         out.emit(n);
///         Ok(())
///     }
/// }
///
/// let job = Job::new("model");
/// job.from_iter("numbers", || 0..9).operator("model", || NeedsModel).for_each(|_| ());
/// let ended = job.run(Guarantee::default());
/// let Err(RunError::Failed(JobError::Failed { restarts, .. })) = ended else { panic!() };
/// assert_eq!(restarts, 0);
/// # Ok::<(), BoxError>(())
/// ```
#[derive(Debug)]
pub struct Permanent(BoxError);

impl Permanent {
    /// Marks this error as permanent.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for Permanent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Permanent {
    /// The error itself, so that it can be looked for in the chain.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// How a callback failed. The message is that of the error it returned, with those of its causes; `source()` is that
/// error's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// It returned an error.
    Error(Arc<BoxError>),
    /// It panicked with this message.
    Panic(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => f.write_str(&with_causes(&***error)),
            Self::Panic(message) => write!(f, "panicked: {message}"),
        }
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Error(error) => error.source(),
            Self::Panic(_) => None,
        }
    }
}

impl Cause {
    pub(crate) fn error(error: impl Into<BoxError>) -> Self {
        Self::Error(Arc::new(error.into()))
    }

    /// Whether another attempt cannot cure it.
    pub(crate) fn is_permanent(&self) -> bool {
        let Self::Error(error) = self else { return false };
        let mut cause: Option<&(dyn Error + 'static)> = Some(&***error);
        while let Some(error) = cause {
            if error.is::<Permanent>() {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// Reads the message out of the payload that `catch_unwind` caught.
    pub(crate) fn panic(payload: Box<dyn std::any::Any + Send>) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a value that is no text".to_owned());
        // Dropping a payload may itself panic; it is not worth a process.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || drop(payload)));
        Self::Panic(message)
    }
}

/// An error and its causes in one line. Many errors contain the message of their cause; it is not repeated.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let of_cause = error.to_string();
        if !text.contains(&of_cause) {
            text.push_str(": ");
            text.push_str(&of_cause);
        }
        cause = error.source();
    }
    text
}

fn list(names: &[InstanceName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Who holds how many events, as the rest of a sentence.
fn holding(held: &[(InstanceName, u64)]) -> String {
    let each = held.iter().map(|(name, events)| {
        let events = if *events == 1 { "1 event".to_owned() } else { format!("{events} events") };
        format!("; {name} holds {events} in tokens that are not answered")
    });
    each.collect()
}
