//! From a graph to a blueprint: refuses what can be refused, decides parallelism and which operators are
//! fused, and plans the queues of one execution.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::api::dead_letter::DEAD_LETTERS;
use crate::api::instance::Instance;
use crate::api::on_error::OnError;
use crate::api::side_output::DeclaredOutput;
use crate::channel::key::KEY_GROUPS;
use crate::channel::outbox::Overflow;
use crate::channel::queue::Bound;
use crate::channel::queue::QUEUE_FRAMES;
use crate::checkpoint::CodecId;
use crate::checkpoint::coordinator::Cut;
use crate::delivery::options::LONGEST_WAIT;
use crate::delivery::terms::{Guarantee, HeldIn};
use crate::error::{Failure, Refused};
use crate::executor::blueprint::{
    Blueprint, BuildInstance, ComponentPlan, Execution, StateShape, ThreadPlan,
};
use crate::executor::instance::Step;
use crate::executor::threads::threads_max;
use crate::id::{InstanceName, Root};
use crate::job::graph::{
    EdgeOptions, EdgeSpec, Graph, Grouping, NodeKind, NodeSpec, StateScope, Timing, UnfitOption,
};
use crate::job::make::{
    AnyEnd, AnyLetters, AnyPush, BuildContext, MakeEdge, OperatorMaker, Outputs, RoutingPlan,
    SourceMaker,
};
use crate::metrics::Edge;

/// Checks the graph under this guarantee and plans it.
///
/// # Errors
/// What is wrong, naming the component.
pub(crate) fn plan(graph: &Graph, guarantee: &Guarantee) -> Result<Blueprint, Refused> {
    let layout = Arc::new(layout(graph, guarantee)?);
    let components = graph.nodes.iter().zip(&layout.nodes).map(|(spec, node)| ComponentPlan {
        name: node.name.to_string(),
        instances: node.parallelism,
        kind: spec.kind.words(),
        state: node.state.clone(),
        codec: node.codec,
        form: spec.kind.form().clone(),
        held: node.held.clone(),
        verb: spec.verb,
    });
    Ok(Blueprint {
        job: graph.name.clone(),
        components: components.collect(),
        edges: layout.edges.iter().map(|edge| layout.accounted(edge)).collect(),
        threads: layout.threads.iter().map(|thread| layout.thread_plan(thread)).collect(),
        wire: Arc::new(move |execution| wire(&layout, execution)),
        surroundings: graph.surroundings.clone(),
    })
}

/// Checks the graph under this guarantee and decides everything.
///
/// # Errors
/// What is wrong, naming the component.
pub(crate) fn layout(graph: &Graph, guarantee: &Guarantee) -> Result<Layout, Refused> {
    check_graph(graph)?;
    let layout = Layout::of(graph, guarantee)?;
    check_guarantee(graph, guarantee)?;
    // Last, since the number of queues follows from the layout.
    check_queues(&layout)?;
    Ok(layout)
}

fn check_graph(graph: &Graph) -> Result<(), Refused> {
    // Names first: all other errors name a component.
    let mut names = BTreeSet::new();
    for node in &graph.nodes {
        let component = node.name.clone();
        if component.is_empty() {
            return Err(Refused::EmptyName { kind: node.kind.word() });
        }
        if !names.insert(&node.name) {
            return Err(Refused::DuplicateName { component });
        }
        if node.parallelism == Some(0) {
            return Err(Refused::ZeroParallelism { component });
        }
        if node.letters.is_some() && !matches!(node.kind, NodeKind::Source(_)) {
            return Err(Refused::DeadLettersNotOfSource { component });
        }
    }
    if let Some(component) = graph.foreign.first().cloned() {
        return Err(Refused::ForeignStream { component });
    }
    if let Some(UnfitOption { option, reason }) = graph.unfit.first().cloned() {
        return Err(Refused::Option { option, reason });
    }
    if !graph.nodes.iter().any(|node| matches!(node.kind, NodeKind::Source(_))) {
        return Err(Refused::NoSource { job: graph.name.clone() });
    }
    check_versions(graph)?;
    check_side_outputs(graph)?;
    check_dead_letters(graph)?;
    for node in &graph.nodes {
        let ends = matches!(node.kind, NodeKind::Sink(..)) || node.ignored;
        if !ends && node.outputs.is_empty() {
            return Err(Refused::Unconnected { component: node.name.clone() });
        }
    }
    Ok(())
}

/// Refuses versions of a state that make no sense (state P1).
fn check_versions(graph: &Graph) -> Result<(), Refused> {
    for node in &graph.nodes {
        if let Some(misuse) = &node.kind.form().misuse {
            let reason = format!("of the state of \"{}\", {misuse}", node.name);
            return Err(Refused::Option { option: "stored", reason });
        }
    }
    Ok(())
}

/// A barrier is delayed like events; refuses delays with which no checkpoint could be complete in time.
fn check_delays(graph: &Graph, guarantee: &Guarantee) -> Result<(), Refused> {
    let timeout = guarantee.options.schedule.timeout;
    if !matches!(guarantee.terms.cut, Cut::Barriers { .. }) {
        return Ok(());
    }
    // One pass is enough, since edges lead to components that were added later.
    let mut delayed = vec![Duration::ZERO; graph.nodes.len()];
    for number in 0..graph.nodes.len() {
        for edge in graph.edges_to(number) {
            let sum = delayed[edge.from].saturating_add(edge.options.delay);
            delayed[number] = delayed[number].max(sum);
        }
        if delayed[number] >= timeout {
            let (component, delay) = (&graph.nodes[number].name, delayed[number]);
            return Err(Refused::Option {
                option: "delay",
                reason: format!(
                    "a barrier takes {delay:?} to \"{component}\", and a checkpoint is given up after {timeout:?} (`checkpoint_timeout`)"
                ),
            });
        }
    }
    Ok(())
}

/// A side output that is read must be declared, with the type that its reader expects.
fn check_side_outputs(graph: &Graph) -> Result<(), Refused> {
    for edge in &graph.edges {
        let Some(name) = edge.side_output else { continue };
        let from = &graph.nodes[edge.from];
        let (component, side_output) = (from.name.clone(), name.to_owned());
        let Some(declared) = declared_output(from, name) else {
            return Err(match name == DEAD_LETTERS {
                true => Refused::NoDeadLetters { component },
                false => Refused::SideOutputNotDeclared { component, side_output },
            });
        };
        let ((emitted, declared), (read, read_as)) =
            (declared.event_type(), edge.maker.event_type());
        if emitted != read {
            return Err(Refused::SideOutputOfOtherType {
                component,
                side_output,
                declared,
                read_as,
            });
        }
    }
    Ok(())
}

/// The side output of a component by this name: one that it declares, or the one for dead letters if it makes
/// them.
fn declared_output<'a>(of: &'a NodeSpec, name: &str) -> Option<&'a DeclaredOutput> {
    let dead_letters = of.kind.dead_letters().filter(|_| of.on_error == OnError::DeadLetter);
    dead_letters.into_iter().chain(of.kind.side_outputs()).find(|declared| declared.name == name)
}

/// Refuses dead letters that nothing reads: they would be lost.
fn check_dead_letters(graph: &Graph) -> Result<(), Refused> {
    for node in graph.nodes.iter().filter(|node| node.on_error == OnError::DeadLetter) {
        let mut outputs = node.outputs.iter().map(|edge| &graph.edges[*edge]);
        if !outputs.any(|edge| edge.side_output == Some(DEAD_LETTERS)) {
            return Err(Refused::DeadLettersUnread { component: node.name.clone() });
        }
    }
    Ok(())
}

fn check_guarantee(graph: &Graph, guarantee: &Guarantee) -> Result<(), Refused> {
    guarantee.check()?;
    let (demands, name) = (guarantee.terms.demands, guarantee.name());
    if demands.store && guarantee.options.store.is_none() {
        return Err(Refused::StoreMissing { guarantee: name });
    }
    for node in &graph.nodes {
        let NodeKind::Source(maker) = &node.kind else { continue };
        if demands.rewindable_sources && !maker.rewindable {
            let component = node.name.clone();
            return Err(Refused::NotRewindable { component, guarantee: name });
        }
    }
    check_delays(graph, guarantee)?;
    for edge in &graph.edges {
        if edge.options.overflow != Overflow::Block && demands.lossless_edges {
            let component = graph.nodes[edge.to].name.clone();
            return Err(Refused::LossyEdge { component, guarantee: name });
        }
        check_edge(&edge.options, &graph.nodes[edge.to].name)?;
    }
    Ok(())
}

/// Refuses values of the options of an edge that mean nothing.
fn check_edge(options: &EdgeOptions, to: &str) -> Result<(), Refused> {
    let refuse = |option, reason| Err(Refused::Option { option, reason });
    if options.frames() == 0 {
        return refuse("queue_batches", format!("the queue into \"{to}\" holds nothing"));
    }
    if options.frames() > QUEUE_BATCHES_MAX {
        let asked = options.frames();
        let reason = format!(
            "the queue into \"{to}\" would hold {asked} batches, at most {QUEUE_BATCHES_MAX} are allowed"
        );
        return refuse("queue_batches", reason);
    }
    if options.delay > LONGEST_WAIT {
        let delay = options.delay;
        let reason = format!("events for \"{to}\" would wait {delay:?}, at most a year is allowed");
        return refuse("delay", reason);
    }
    Ok(())
}

/// Refuses more threads than the machine can run, before anything is allocated per thread.
fn check_threads(nodes: &[PlannedNode]) -> Result<(), Refused> {
    let heads = nodes.iter().enumerate().filter(|(number, node)| node.head == *number);
    let threads = heads.map(|(_, node)| node.parallelism).fold(0, usize::saturating_add);
    // The supervisor and the checkpoint writer have threads too.
    let instances = threads.saturating_add(2);
    // Some threads are left to the rest of the process. And an instance may need three trackers: for the
    // first attempts of its events, for replays, and for groups.
    let limit = threads_max().saturating_sub(400).min(Root::TRACKERS / 3);
    if instances > limit {
        return Err(Refused::TooManyInstances { instances, limit });
    }
    Ok(())
}

fn check_queues(layout: &Layout) -> Result<(), Refused> {
    let (queues, limit) = (layout.queues(|_| 1), QUEUES_MAX);
    if queues > limit {
        return Err(Refused::TooManyQueues { queues, limit });
    }
    let batches = layout.queues(|edge| edge.options.frames());
    if batches > QUEUED_BATCHES_MAX {
        let reason = format!(
            "the {queues} queues of the job would hold {batches} batches, at most {QUEUED_BATCHES_MAX} are allowed"
        );
        return Err(Refused::Option { option: "queue_batches", reason });
    }
    Ok(())
}

/// The maximum number of components in a row that a thread runs; a longer chain continues in another thread.
/// They are built, called for each batch and dropped one inside the other, so each takes a piece of the
/// thread's stack: 2.4 KB of its 2 MiB for small events in a debug build. That leaves room for events of some
/// kilobytes and for the user's calls.
const FUSED_MAX: usize = 64;

/// The maximum number of queues of a job; that many empty queues take about a gigabyte.
const QUEUES_MAX: usize = 1_000_000;

/// The maximum number of batches in one queue. A queue allocates memory for all of them when it is made.
const QUEUE_BATCHES_MAX: usize = 65_536;

/// The maximum number of batches in all queues of a job: what the maximum number of queues of default length
/// holds.
const QUEUED_BATCHES_MAX: usize = QUEUES_MAX * QUEUE_FRAMES;

/// The graph with all decisions of the plan.
pub(crate) struct Layout {
    pub(super) nodes: Vec<PlannedNode>,
    pub(super) edges: Vec<PlannedEdge>,
    /// Component and instance at the head of each thread. Sources come first, so that the number of a
    /// source's thread is also the number of its tracker.
    threads: Vec<(usize, usize)>,
}

pub(super) struct PlannedNode {
    pub(super) name: Arc<str>,
    kind: Maker,
    pub(super) parallelism: usize,
    /// The component at the head of its threads.
    pub(super) head: usize,
    on_error: OnError,
    letters: Option<AnyLetters>,
    /// Whether its outputs carry times.
    timed: bool,
    /// The numbers of the edges that lead away from it.
    outputs: Vec<usize>,
    pub(super) state: StateShape,
    /// The codec of its state.
    pub(super) codec: CodecId,
    /// What the events look like that it holds in checkpoints.
    held: StateShape,
}

enum Maker {
    Source(SourceMaker),
    Operator(OperatorMaker),
}

pub(super) struct PlannedEdge {
    pub(super) from: usize,
    side_output: Option<&'static str>,
    pub(super) to: usize,
    pub(super) fused: bool,
    pub(super) grouping: Grouping,
    options: EdgeOptions,
    maker: Arc<dyn MakeEdge>,
}

impl Layout {
    fn of(graph: &Graph, guarantee: &Guarantee) -> Result<Self, Refused> {
        let parallelism = parallelism(graph);
        check_scopes(graph, &parallelism)?;
        let timed = timed(graph)?;
        let mut edges = Vec::new();
        // How many components are before each one in its thread. Edges are in the order of the components
        // that they lead to, so the depth of a component is known before an edge leads away from it.
        let mut depth = vec![0; graph.nodes.len()];
        for edge in &graph.edges {
            let (from, to) = (parallelism[edge.from], parallelism[edge.to]);
            let grouping = match edge.options.grouping {
                Grouping::Auto if from == to => Grouping::Forward,
                Grouping::Auto => Grouping::Shuffle,
                grouping => grouping,
            };
            let name = |node: usize| graph.nodes[node].name.clone();
            if grouping == Grouping::Forward && from != to {
                return Err(Refused::UnevenForward {
                    from: name(edge.from),
                    from_instances: from,
                    to: name(edge.to),
                    to_instances: to,
                });
            }
            if grouping == Grouping::Key && to > KEY_GROUPS {
                let component = name(edge.to);
                return Err(Refused::TooManyForKeys {
                    component,
                    parallelism: to,
                    groups: KEY_GROUPS,
                });
            }
            // Without a queue there is one call per batch instead. A queue is needed where instances do not
            // correspond, where several inputs meet, where the user wants a thread, where events wait or are
            // dropped, and where the stack of the thread would become too deep.
            let fused = grouping == Grouping::Forward
                && graph.nodes[edge.to].inputs.len() == 1
                && !graph.nodes[edge.to].own_thread
                && edge.options.delay.is_zero()
                && edge.options.overflow == Overflow::Block
                && depth[edge.from] + 1 < FUSED_MAX;
            if fused {
                depth[edge.to] = depth[edge.from] + 1;
            }
            edges.push(PlannedEdge {
                from: edge.from,
                side_output: edge.side_output,
                to: edge.to,
                fused,
                grouping,
                options: edge.options,
                maker: Arc::clone(&edge.maker),
            });
        }
        let mut nodes: Vec<PlannedNode> = Vec::new();
        for (number, node) in graph.nodes.iter().enumerate() {
            let state = state_shape(node, guarantee);
            let held = held_shape(node, guarantee);
            let codec = settle_codec(node, &state, &held, guarantee)?;
            let fused_to = node.inputs.iter().map(|edge| &edges[*edge]).find(|edge| edge.fused);
            nodes.push(PlannedNode {
                name: node.name.as_str().into(),
                kind: match &node.kind {
                    NodeKind::Source(maker) => Maker::Source(maker.clone()),
                    NodeKind::Operator(maker) | NodeKind::Sink(_, maker) => {
                        Maker::Operator(maker.clone())
                    }
                },
                parallelism: parallelism[number],
                head: fused_to.map_or(number, |edge| nodes[edge.from].head),
                on_error: node.on_error,
                letters: node.letters.clone(),
                timed: timed[number],
                outputs: node.outputs.clone(),
                state,
                codec,
                held,
            });
        }
        check_event_times(graph, &nodes, guarantee)?;
        check_threads(&nodes)?;
        let heads = |sources: bool| {
            let nodes = nodes.iter().enumerate();
            nodes
                .filter(move |(number, node)| {
                    node.head == *number && matches!(node.kind, Maker::Source(_)) == sources
                })
                .flat_map(|(number, node)| (0..node.parallelism).map(move |i| (number, i)))
        };
        let threads = heads(true).chain(heads(false)).collect();
        Ok(Self { nodes, edges, threads })
    }

    /// The edge, for the account of its events.
    fn accounted(&self, edge: &PlannedEdge) -> Edge {
        let copies = match edge.grouping {
            Grouping::Broadcast => self.nodes[edge.to].parallelism as u64,
            _ => 1,
        };
        Edge { from: edge.from, side_output: edge.side_output, to: edge.to, copies }
    }

    /// The number of queues between instances, each multiplied by `each` of its edge.
    pub(super) fn queues(&self, each: impl Fn(&PlannedEdge) -> usize) -> usize {
        let queued = self.edges.iter().filter(|edge| !edge.fused);
        let queues = queued.map(|edge| {
            let (from, to) = (self.nodes[edge.from].parallelism, self.nodes[edge.to].parallelism);
            let queues =
                if edge.grouping == Grouping::Forward { from } else { from.saturating_mul(to) };
            queues.saturating_mul(each(edge))
        });
        queues.fold(0, usize::saturating_add)
    }

    fn thread_plan(&self, (node, instance): &(usize, usize)) -> ThreadPlan {
        ThreadPlan {
            name: self.instance_name(*node, *instance),
            is_source: matches!(self.nodes[*node].kind, Maker::Source(_)),
        }
    }

    fn instance_name(&self, node: usize, instance: usize) -> InstanceName {
        InstanceName::new(Arc::clone(&self.nodes[node].name), instance)
    }
}

/// The number of instances of each component: as set; else that of its forwarded input; else that of its
/// largest input if no input has a grouping; else one.
fn parallelism(graph: &Graph) -> Vec<usize> {
    let mut settled: Vec<usize> = Vec::new();
    for (number, node) in graph.nodes.iter().enumerate() {
        let largest = |grouping: Grouping| {
            let of_this = graph.edges_to(number).filter(|edge| edge.options.grouping == grouping);
            of_this.map(|edge| settled[edge.from]).max()
        };
        let grouped = |edge: &EdgeSpec| edge.options.grouping != Grouping::Auto;
        let spreads =
            |_: &usize| node.scope != StateScope::AllEvents && !graph.edges_to(number).any(grouped);
        let inherited =
            largest(Grouping::Forward).or_else(|| largest(Grouping::Auto).filter(spreads));
        settled.push(node.parallelism.unwrap_or(inherited.unwrap_or(1)));
    }
    settled
}

/// The structure of the state that a component has in checkpoints, if there are any.
fn state_shape(node: &NodeSpec, guarantee: &Guarantee) -> StateShape {
    match &node.kind {
        // Without a store nothing compares it, and `Deserialize` of the user need not be called.
        _ if guarantee.options.store.is_none() => StateShape::Stateless,
        NodeKind::Source(maker) => (maker.state)(),
        NodeKind::Operator(maker) | NodeKind::Sink(_, maker) => {
            (maker.state)(guarantee.terms.commits)
        }
    }
}

/// What the events that a component holds look like, where checkpoints may have them.
fn held_shape(node: &NodeSpec, guarantee: &Guarantee) -> StateShape {
    let stored = guarantee.options.store.is_some();
    match (&node.kind, guarantee.terms.held_in(stored)) {
        (_, HeldIn::Source | HeldIn::Nothing) | (NodeKind::Source(_), _) => StateShape::Stateless,
        (NodeKind::Operator(maker) | NodeKind::Sink(_, maker), _) => (maker.held)(),
    }
}

/// The codec of a component's state: its own choice, else that of the guarantee.
fn settle_codec(
    node: &NodeSpec,
    state: &StateShape,
    held: &StateShape,
    guarantee: &Guarantee,
) -> Result<CodecId, Refused> {
    let choice = node.codec.unwrap_or(guarantee.options.state_codec);
    choice.settle(state.is_known() && held.is_known()).ok_or_else(|| Refused::Option {
        option: "state_codec",
        reason: format!(
            "the type of the state of \"{}\" does not say what it is made of, which a positional codec needs: choose `StateCodec::SelfDescribing`",
            node.name
        ),
    })
}

/// Which components emit events with times: those that ask the events for them, and those behind them (state T17, X5).
fn timed(graph: &Graph) -> Result<Vec<bool>, Refused> {
    let mut timed: Vec<bool> = Vec::new();
    for (number, node) in graph.nodes.iter().enumerate() {
        let input = |with: bool| graph.edges_to(number).find(|edge| timed[edge.from] == with);
        if let (Some(timed), Some(untimed)) = (input(true), input(false)) {
            return Err(Refused::MixedEventTime {
                component: node.name.clone(),
                timed: graph.nodes[timed.from].name.clone(),
                untimed: graph.nodes[untimed.from].name.clone(),
            });
        }
        let given = input(true).is_some();
        let needed = match &node.kind {
            NodeKind::Operator(maker) => maker.needs_event_time,
            NodeKind::Source(_) | NodeKind::Sink(..) => false,
        };
        if needed && !given {
            return Err(Refused::NoEventTime { component: node.name.clone() });
        }
        timed.push(given || node.timing != Timing::PassedOn);
    }
    Ok(timed)
}

/// Where single events are replayed, the watermark waits for them. For that, the times have to be known in the thread
/// of the source (state T16).
fn check_event_times(
    graph: &Graph,
    nodes: &[PlannedNode],
    guarantee: &Guarantee,
) -> Result<(), Refused> {
    if guarantee.terms.saves_watermarks() {
        return Ok(());
    }
    let waits = Timing::Made { replays_may_be_late: false };
    for (spec, node) in graph.nodes.iter().zip(nodes).filter(|(spec, _)| spec.timing == waits) {
        let head = &nodes[node.head];
        if !matches!(head.kind, Maker::Source(_)) {
            let (component, head) = (spec.name.clone(), head.name.to_string());
            let guarantee = guarantee.name();
            return Err(Refused::EventTimeApart { component, head, guarantee });
        }
    }
    Ok(())
}

/// State that covers all events can only be in one instance.
fn check_scopes(graph: &Graph, parallelism: &[usize]) -> Result<(), Refused> {
    for (node, instances) in graph.nodes.iter().zip(parallelism) {
        if node.scope == StateScope::AllEvents && *instances > 1 {
            let component = node.name.clone();
            return Err(Refused::StateWithoutKey { component, instances: *instances });
        }
    }
    Ok(())
}

/// The sending ends of a thread: per edge, one for each receiver.
type Senders = BTreeMap<usize, Vec<(AnyEnd, usize)>>;

/// Makes the queues of one execution, and for each thread a function that builds its instance there.
///
/// All queues exist before any instance does, since the two ends of a queue belong to two threads. Instances
/// are built on their own threads, since the user's components need not be `Send`.
fn wire(layout: &Arc<Layout>, execution: &Execution) -> Vec<BuildInstance> {
    let numbers: BTreeMap<(usize, usize), usize> =
        layout.threads.iter().enumerate().map(|(number, head)| (*head, number)).collect();
    let mut senders: Vec<Senders> = layout.threads.iter().map(|_| Senders::new()).collect();
    let mut receivers: Vec<Vec<(AnyEnd, std::time::Duration)>> =
        layout.threads.iter().map(|_| Vec::new()).collect();
    for (number, edge) in layout.edges.iter().enumerate().filter(|(_, edge)| !edge.fused) {
        let forward = edge.grouping == Grouping::Forward;
        for from in 0..layout.nodes[edge.from].parallelism {
            let sender = numbers[&(layout.nodes[edge.from].head, from)];
            for to in 0..layout.nodes[edge.to].parallelism {
                if forward && from != to {
                    continue;
                }
                let receiver = numbers[&(edge.to, to)];
                let bound = Bound {
                    budget: Arc::clone(&execution.budgets[receiver]),
                    by_length_alone: !edge.options.is_bounded_by_time(),
                };
                let (send, receive) = edge.maker.queue(
                    edge.options.frames(),
                    execution.mailboxes[sender].waker.clone(),
                    execution.mailboxes[receiver].waker.clone(),
                    bound,
                );
                senders[sender].entry(number).or_default().push((send, to));
                receivers[receiver].push((receive, edge.options.delay));
            }
        }
    }
    let ends = senders.into_iter().zip(receivers).enumerate();
    let builds = ends.map(|(number, (senders, receivers))| {
        let (node, instance) = layout.threads[number];
        let (layout, execution) = (Arc::clone(layout), execution.clone());
        Box::new(move || {
            let mut building =
                Building { layout: &layout, execution: &execution, number, instance, senders };
            building.head(node, receivers)
        }) as BuildInstance
    });
    builds.collect()
}

/// An instance that is being built, on its own thread.
struct Building<'a> {
    layout: &'a Layout,
    execution: &'a Execution,
    number: usize,
    instance: usize,
    senders: Senders,
}

impl Building<'_> {
    fn head(
        &mut self,
        node: usize,
        receivers: Vec<(AnyEnd, std::time::Duration)>,
    ) -> Result<Box<dyn Step>, Failure> {
        match &self.layout.nodes[node].kind {
            Maker::Source(maker) => {
                let outputs = self.outputs(node)?;
                let letters = self.layout.nodes[node].letters.clone();
                (maker.instance)(&self.build(node), outputs, letters)
            }
            Maker::Operator(maker) => {
                let stage = self.stage(node, maker)?;
                Ok((maker.instance)(&self.build(node), stage, receivers))
            }
        }
    }

    fn stage(&mut self, node: usize, maker: &OperatorMaker) -> Result<AnyPush, Failure> {
        let outputs = self.outputs(node)?;
        (maker.stage)(&self.build(node), outputs)
    }

    fn outputs(&mut self, node: usize) -> Result<Outputs, Failure> {
        let layout = self.layout;
        let mut main = Vec::new();
        let mut side_outputs: BTreeMap<&'static str, (Arc<dyn MakeEdge>, Vec<AnyPush>)> =
            BTreeMap::new();
        for &number in &layout.nodes[node].outputs {
            let edge = &layout.edges[number];
            let reader = match &layout.nodes[edge.to].kind {
                Maker::Operator(maker) if edge.fused => self.stage(edge.to, maker)?,
                _ => self.outbox(number, edge),
            };
            match edge.side_output {
                None => main.push(reader),
                Some(name) => {
                    let entry = side_outputs.entry(name);
                    entry.or_insert_with(|| (Arc::clone(&edge.maker), Vec::new())).1.push(reader);
                }
            }
        }
        let instance = self.layout.instance_name(node, self.instance);
        let sides = side_outputs.into_iter().map(|(name, (maker, readers))| {
            let emitted = self.execution.registry.side_output(&instance, name);
            maker.side_port(name, readers, emitted)
        });
        Ok(Outputs { main, sides: sides.collect() })
    }

    fn outbox(&mut self, number: usize, edge: &PlannedEdge) -> AnyPush {
        let ends = self.senders.remove(&number).unwrap_or_default();
        let route = match edge.grouping {
            // With one receiver whole batches are sent. Not so by key: the key function is called even then,
            // since whether it panics for an event must not depend on the parallelism of the reader.
            Grouping::Shuffle | Grouping::Auto | Grouping::Broadcast if ends.len() == 1 => {
                RoutingPlan::One(0)
            }
            Grouping::Forward | Grouping::Global => RoutingPlan::One(0),
            // Each sender begins with another receiver, or the first one would get more of short streams.
            Grouping::Shuffle | Grouping::Auto => {
                RoutingPlan::RoundRobin { first: self.instance % ends.len() }
            }
            Grouping::Key => RoutingPlan::Key,
            Grouping::Broadcast => RoutingPlan::All,
        };
        let queues = ends.into_iter().map(|(end, to)| {
            (end, self.execution.counters(&self.layout.instance_name(edge.to, to)))
        });
        edge.maker.outbox(route, queues.collect(), edge.options.overflow, &self.build(edge.from))
    }

    fn build(&self, node: usize) -> BuildContext<'_> {
        BuildContext {
            execution: self.execution,
            instance: Instance {
                name: self.layout.instance_name(node, self.instance),
                parallelism: self.layout.nodes[node].parallelism,
                execution: self.execution.id,
                waker: self.execution.mailboxes[self.number].waker.clone(),
            },
            number: self.number,
            codec: self.layout.nodes[node].codec,
            on_error: self.layout.nodes[node].on_error,
            timed: self.layout.nodes[node].timed,
        }
    }
}
