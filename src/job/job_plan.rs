//! [`JobPlan`]: what a job comes to under a guarantee, for people to read.

use std::collections::BTreeMap;
use std::fmt;

use crate::delivery::terms::{Guarantee, OutputGuarantee};
use crate::error::Refused;
use crate::job::graph::{Graph, NodeKind};
use crate::job::plan::layout;

/// What running a job would come to; made by [`Job::plan`](crate::Job::plan).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobPlan {
    /// The guarantee's name.
    pub guarantee: &'static str,
    /// Groups of threads, one group per component that is not fused to another.
    pub threads: Vec<ThreadGroup>,
    /// Queues between instances.
    pub queues: usize,
    /// Every sink, and what holds for its output.
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

impl JobPlan {
    pub(crate) fn of(graph: &Graph, guarantee: &Guarantee) -> Result<Self, Refused> {
        let layout = layout(graph, guarantee)?;
        let mut groups = BTreeMap::new();
        for node in &layout.nodes {
            let group = groups.entry(node.head);
            let empty = ThreadGroup { components: Vec::new(), instances: node.parallelism };
            group.or_insert(empty).components.push(node.name.to_string());
        }
        let sinks = graph.nodes.iter().filter_map(|node| match node.kind {
            NodeKind::Sink(kind, _) => Some((node.name.clone(), guarantee.terms.output(kind))),
            NodeKind::Source(_) | NodeKind::Operator(_) => None,
        });
        Ok(Self {
            guarantee: guarantee.name(),
            threads: groups.into_values().collect(),
            queues: layout.queues(|_| 1),
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
        for (sink, output) in &self.outputs {
            writeln!(f, "  output of \"{sink}\": {output}")?;
        }
        Ok(())
    }
}
