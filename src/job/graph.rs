//! [`Graph`]: the components of a job and the edges between them, as they were written down. Edges
//! lead from a component to one that was added later, so a cycle cannot be written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::api::bad_record::OF_SOURCES;
use crate::api::on_error::OnError;
use crate::api::side_output::DeclaredOutput;
use crate::api::sink::SinkKind;
use crate::channel::outbox::Overflow;
use crate::channel::queue::QUEUE_FRAMES;
use crate::checkpoint::StateCodec;
use crate::executor::blueprint::{SOURCE, SPLIT_SOURCE, Surroundings, TRANSACTIONAL_SINK};
use crate::executor::stored_form::StoredForm;
use crate::job::make::{AnyLetters, MakeEdge, OperatorMaker, SourceMaker};

pub(crate) struct Graph {
    pub(crate) name: String,
    pub(crate) nodes: Vec<NodeSpec>,
    pub(crate) edges: Vec<EdgeSpec>,
    /// Components that read streams of another job.
    pub(crate) foreign: Vec<String>,
    /// Values outside the job that have to know when it runs.
    pub(crate) surroundings: Vec<Arc<dyn Surroundings>>,
    /// Options with a value that is refused, in the order in which they were set.
    pub(crate) unfit: Vec<UnfitOption>,
    verbs: BTreeMap<&'static str, usize>,
}

/// An option that the job is refused for, and why.
#[derive(Clone, Debug)]
pub(crate) struct UnfitOption {
    pub(crate) option: &'static str,
    pub(crate) reason: String,
}

pub(crate) struct NodeSpec {
    pub(crate) name: String,
    /// The verb that its name is made of, if it has state and its user has given it no name.
    pub(crate) verb: Option<&'static str>,
    pub(crate) kind: NodeKind,
    pub(crate) parallelism: Option<usize>,
    pub(crate) own_thread: bool,
    /// Its output may have no reader.
    pub(crate) ignored: bool,
    pub(crate) scope: StateScope,
    /// The codec of its state, if one was chosen for this component.
    pub(crate) codec: Option<StateCodec>,
    /// What follows an error of `apply` or `write`.
    pub(crate) on_error: OnError,
    /// A factory of sinks for dead letters of its event type.
    pub(crate) letters: Option<AnyLetters>,
    /// Whether it asks events for their times: from there on the stream has event time.
    pub(crate) timing: Timing,
    /// The numbers of the edges that lead to it, and of those that lead away from it.
    pub(crate) inputs: Vec<usize>,
    pub(crate) outputs: Vec<usize>,
}

pub(crate) enum NodeKind {
    Source(SourceMaker),
    Operator(OperatorMaker),
    Sink(SinkKind, OperatorMaker),
}

/// Which events the state of one instance of an operator covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateScope {
    /// It has none.
    NoState,
    /// All events, so there is one instance.
    AllEvents,
    /// Those that it happens to get.
    PerInstance,
    /// Those of its keys.
    Keys,
}

/// Where the times of the events that a component emits come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timing {
    /// Out of the events that it is given, if those have times.
    PassedOn,
    /// It asks the events for them.
    Made {
        /// Events that are replayed may be older than the watermark.
        replays_may_be_late: bool,
    },
}

pub(crate) struct EdgeSpec {
    pub(crate) from: usize,
    pub(crate) side_output: Option<&'static str>,
    pub(crate) to: usize,
    pub(crate) options: EdgeOptions,
    pub(crate) maker: Arc<dyn MakeEdge>,
}

/// How a stream is distributed over the instances of its reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// Forward where both sides have as many instances, else shuffle.
    #[default]
    Auto,
    Shuffle,
    Key,
    Broadcast,
    Global,
    Forward,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct EdgeOptions {
    pub(crate) grouping: Grouping,
    pub(crate) delay: Duration,
    pub(crate) overflow: Overflow,
    /// Batches that a queue holds, if the user has said so.
    pub(crate) frames: Option<usize>,
}

impl EdgeOptions {
    /// Batches that a queue holds.
    pub(crate) fn frames(&self) -> usize {
        self.frames.unwrap_or(QUEUE_FRAMES)
    }

    /// Whether the events in flight are also bounded by the time that the receiver takes for them. Not if the
    /// user has set how many batches may wait, and not if the edge drops: there the queue is for bursts.
    pub(crate) fn is_bounded_by_time(&self) -> bool {
        self.frames.is_none() && self.overflow == Overflow::Block
    }
}

impl Default for EdgeOptions {
    fn default() -> Self {
        Self {
            grouping: Grouping::Auto,
            delay: Duration::ZERO,
            overflow: Overflow::Block,
            frames: None,
        }
    }
}

impl Graph {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            nodes: Vec::new(),
            edges: Vec::new(),
            foreign: Vec::new(),
            surroundings: Vec::new(),
            unfit: Vec::new(),
            verbs: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, name: String, kind: NodeKind) -> usize {
        self.nodes.push(NodeSpec {
            name,
            verb: None,
            kind,
            parallelism: None,
            own_thread: false,
            ignored: false,
            scope: StateScope::NoState,
            codec: None,
            on_error: OnError::default(),
            letters: None,
            timing: Timing::PassedOn,
            inputs: Vec::new(),
            outputs: Vec::new(),
        });
        self.nodes.len() - 1
    }

    /// A name for a component without one: `map`, `map 2`, …
    pub(crate) fn verb_name(&mut self, verb: &'static str) -> String {
        let count = self.verbs.entry(verb).or_default();
        *count += 1;
        if *count == 1 { verb.to_owned() } else { format!("{verb} {count}") }
    }

    /// Notes an option that the job is to be refused for when it is planned.
    pub(crate) fn refuse(&mut self, option: &'static str, reason: String) {
        self.unfit.push(UnfitOption { option, reason });
    }

    /// Notes a key that was set on one output of a component, whose side output was then read.
    pub(crate) fn refuse_key(&mut self, node: usize, side_output: &str) {
        let component = &self.nodes[node].name;
        let reason = format!(
            "the side output \"{side_output}\" of \"{component}\" is read behind a key of other events: set the key behind the side output"
        );
        self.refuse("partition_by", reason);
    }

    /// Gives every instance of an operator with state a separate state.
    pub(crate) fn per_instance(&mut self, node: usize) {
        let NodeSpec { name, scope, .. } = &mut self.nodes[node];
        match scope {
            StateScope::AllEvents | StateScope::PerInstance => *scope = StateScope::PerInstance,
            StateScope::NoState | StateScope::Keys => {
                let reason = format!(
                    "\"{name}\" is no operator with state on a stream without a key, so there is nothing that each instance could count for itself"
                );
                self.refuse("per_instance", reason);
            }
        }
    }

    pub(crate) fn connect(&mut self, edge: EdgeSpec) {
        let number = self.edges.len();
        self.nodes[edge.from].outputs.push(number);
        self.nodes[edge.to].inputs.push(number);
        self.edges.push(edge);
    }

    /// Chooses what follows an error of this component.
    pub(crate) fn on_error(&mut self, node: usize, choice: OnError) {
        let NodeSpec { name, kind, on_error, .. } = &mut self.nodes[node];
        *on_error = choice;
        if let NodeKind::Source(_) = kind {
            let reason = format!(
                "\"{name}\" is a source, which is given no events: read its `bad_records()`, or set this on a component behind it"
            );
            self.refuse("on_error", reason);
        }
    }

    pub(crate) fn edges_to(&self, node: usize) -> impl Iterator<Item = &EdgeSpec> {
        self.nodes[node].inputs.iter().map(|number| &self.edges[*number])
    }
}

impl NodeKind {
    /// Its outputs beside the main one.
    pub(crate) fn side_outputs(&self) -> &'static [DeclaredOutput] {
        match self {
            Self::Source(_) => OF_SOURCES,
            Self::Operator(maker) => maker.side_outputs,
            Self::Sink(..) => &[],
        }
    }

    /// The side output of an operator or sink for its dead letters, if its kind can have one.
    pub(crate) fn dead_letters(&self) -> Option<&DeclaredOutput> {
        match self {
            Self::Source(_) => None,
            Self::Operator(maker) | Self::Sink(_, maker) => Some(&maker.dead_letters),
        }
    }

    /// How its state is stored.
    pub(crate) fn form(&self) -> &StoredForm {
        match self {
            Self::Source(maker) => &maker.form,
            Self::Operator(maker) | Self::Sink(_, maker) => &maker.form,
        }
    }

    /// Its name in a checkpoint.
    pub(crate) fn words(&self) -> &'static str {
        match self {
            Self::Source(maker) if maker.has_splits => SPLIT_SOURCE,
            Self::Source(_) => SOURCE,
            Self::Operator(_) => "operator",
            Self::Sink(SinkKind::Plain, _) => "plain sink",
            Self::Sink(SinkKind::Idempotent, _) => "idempotent sink",
            Self::Sink(SinkKind::Transactional, _) => TRANSACTIONAL_SINK,
        }
    }

    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Source(_) => "source",
            Self::Operator(_) => "operator",
            Self::Sink(..) => "sink",
        }
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let edges = self
            .edges
            .iter()
            .map(|edge| format!("{} -> {}", self.nodes[edge.from].name, self.nodes[edge.to].name));
        f.debug_struct("Graph")
            .field("name", &self.name)
            .field("nodes", &self.nodes.iter().map(|node| &node.name).collect::<Vec<_>>())
            .field("edges", &edges.collect::<Vec<_>>())
            .finish()
    }
}
