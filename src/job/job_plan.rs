//! [`JobPlan`]: the plan of a job under a guarantee, for people to read.

use std::collections::BTreeMap;
use std::fmt;

use crate::checkpoint::{CodecId, StateCodec};
use crate::delivery::terms::{Guarantee, OutputGuarantee};
use crate::error::Refused;
use crate::executor::blueprint::StateShape;
use crate::job::graph::{Graph, NodeKind};
use crate::job::plan::layout;

/// The plan of a job; made by [`Job::plan`](crate::Job::plan).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobPlan {
    /// The guarantee's name.
    pub guarantee: &'static str,
    /// Groups of threads, one group per component that is not fused to another.
    pub threads: Vec<ThreadGroup>,
    /// Queues between instances.
    pub queues: usize,
    /// Every component whose state is saved in checkpoints.
    pub states: Vec<PlannedState>,
    /// Every sink, and the guarantee for its output.
    pub outputs: Vec<(String, OutputGuarantee)>,
}

/// Threads that run the same components.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ThreadGroup {
    /// The components that are fused, in the order in which they were added.
    pub components: Vec<String>,
    /// How many threads: the instances of each.
    pub instances: usize,
}

/// A component whose state is saved in checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedState {
    /// Its name.
    pub component: String,
    /// The codec of its state.
    pub codec: CodecId,
    /// The structure of its type, which the next start compares; none if the type needs self-describing data.
    pub shape: Option<String>,
    /// The version in which it is stored; see [`Stored`](crate::Stored).
    pub version: u32,
    /// Whether the component has a name of its own. If not, its name says its place among the verbs of the job, and
    /// the state belongs to another component when a verb is added before it: a start is refused then. Give it a name
    /// with [`named`](crate::Stream::named) (state P5).
    pub is_named: bool,
}

impl fmt::Display for PlannedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let component = &self.component;
        match (self.codec == StateCodec::SELF_DESCRIBING, &self.shape) {
            (false, _) => write!(f, "state of \"{component}\": positional"),
            (true, Some(_)) => write!(f, "state of \"{component}\": self-describing, as chosen"),
            (true, None) => write!(
                f,
                "state of \"{component}\": self-describing, since its type does not say what it is made of"
            ),
        }?;
        if self.version != 1 {
            write!(f, ", version {}", self.version)?;
        }
        if !self.is_named {
            f.write_str(", under a name that only says its place (`named` gives it its own)")?;
        }
        Ok(())
    }
}

impl JobPlan {
    pub(crate) fn of(graph: &Graph, guarantee: &Guarantee) -> Result<Self, Refused> {
        let layout = layout(graph, guarantee)?;
        let mut groups = BTreeMap::new();
        for node in &layout.nodes {
            let group = groups.entry(node.head);
            let empty = ThreadGroup { components: Vec::new(), instances: node.parallelism };
            group.or_insert(empty).components.push(node.name.to_string());
        }
        let states = layout.nodes.iter().zip(&graph.nodes).filter_map(|(node, spec)| {
            let shape = match &node.state {
                StateShape::Stateless => return None,
                StateShape::Unknown => None,
                StateShape::Known(shape) => Some(shape.clone()),
            };
            Some(PlannedState {
                component: node.name.to_string(),
                codec: node.codec,
                shape,
                version: spec.kind.form().version,
                is_named: spec.verb.is_none(),
            })
        });
        let sinks = graph.nodes.iter().filter_map(|node| match node.kind {
            NodeKind::Sink(kind, _) => Some((node.name.clone(), guarantee.terms.output(kind))),
            NodeKind::Source(_) | NodeKind::Operator(_) => None,
        });
        Ok(Self {
            guarantee: guarantee.name(),
            threads: groups.into_values().collect(),
            queues: layout.queues(|_| 1),
            states: states.collect(),
            outputs: sinks.collect(),
        })
    }
}

impl fmt::Display for JobPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.guarantee)?;
        for group in &self.threads {
            writeln!(f, "  {} x [{}]", group.instances, group.components.join(" - "))?;
        }
        writeln!(f, "  {} queues", self.queues)?;
        for state in &self.states {
            writeln!(f, "  {state}")?;
        }
        for (sink, output) in &self.outputs {
            writeln!(f, "  output of \"{sink}\": {output}")?;
        }
        Ok(())
    }
}
