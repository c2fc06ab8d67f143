//! [`Graph`]: the components of a job and the edges between them, as they were written down. Edges
//! lead from a component to one that was added later, so a cycle cannot be written.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::api::sink::SinkKind;
use crate::channel::outbox::Overflow;
use crate::channel::queue::QUEUE_FRAMES;
use crate::executor::blueprint::Surroundings;
use crate::job::make::{MakeEdge, OperatorMaker, SourceMaker};

pub(crate) struct Graph {
    pub(crate) name: String,
    pub(crate) nodes: Vec<NodeSpec>,
    pub(crate) edges: Vec<EdgeSpec>,
    /// Components that were to read streams of another job.
    pub(crate) foreign: Vec<String>,
    /// What has to know when the job runs.
    pub(crate) surroundings: Vec<Arc<dyn Surroundings>>,
    verbs: BTreeMap<&'static str, usize>,
}

pub(crate) struct NodeSpec {
    pub(crate) name: String,
    pub(crate) kind: NodeKind,
    pub(crate) parallelism: Option<usize>,
    pub(crate) own_thread: bool,
    /// Its output may lead nowhere.
    pub(crate) ignored: bool,
    /// A factory of places for dead letters of its event type.
    pub(crate) letters: Option<Arc<dyn Any + Send + Sync>>,
}

pub(crate) enum NodeKind {
    Source(SourceMaker),
    Operator(OperatorMaker),
    Sink(SinkKind, OperatorMaker),
}

pub(crate) struct EdgeSpec {
    pub(crate) from: usize,
    pub(crate) channel: Option<&'static str>,
    pub(crate) to: usize,
    pub(crate) options: EdgeOptions,
    pub(crate) maker: Arc<dyn MakeEdge>,
}

/// How a stream is dealt out to the instances of its reader.
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
    pub(crate) frames: usize,
}

impl Default for EdgeOptions {
    fn default() -> Self {
        Self {
            grouping: Grouping::Auto,
            delay: Duration::ZERO,
            overflow: Overflow::Block,
            frames: QUEUE_FRAMES,
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
            verbs: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, name: String, kind: NodeKind) -> usize {
        self.nodes.push(NodeSpec {
            name,
            kind,
            parallelism: None,
            own_thread: false,
            ignored: false,
            letters: None,
        });
        self.nodes.len() - 1
    }

    /// A name for a component that was given none: `map`, `map 2`, …
    pub(crate) fn verb_name(&mut self, verb: &'static str) -> String {
        let count = self.verbs.entry(verb).or_default();
        *count += 1;
        if *count == 1 { verb.to_owned() } else { format!("{verb} {count}") }
    }

    pub(crate) fn edges_from(&self, node: usize) -> impl Iterator<Item = (usize, &EdgeSpec)> {
        self.edges.iter().enumerate().filter(move |(_, edge)| edge.from == node)
    }

    pub(crate) fn edges_to(&self, node: usize) -> impl Iterator<Item = (usize, &EdgeSpec)> {
        self.edges.iter().enumerate().filter(move |(_, edge)| edge.to == node)
    }
}

impl NodeKind {
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
