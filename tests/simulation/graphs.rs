//! Random graphs of up to 30 components under random guarantees and faults, compared with an interpreter
//! that computes a multiset for every stream.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use streamwork::checkpoint::StateCodec;
use streamwork::testkit::{Ended, Fault, Faults, Published, explore};
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, ExactlyOnce, Guarantee, HeldEvents, Instance,
    Job, Next, OnError, Operator, Output, SourceOutput, StatefulOperator, StatefulSource, Stream,
    Token,
};

use crate::split_numbers::{Outside, SplitNumbers};
use crate::tier;

/// Numbers that look random (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0, 1) % bound
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

fn mix(value: u64, salt: u64) -> u64 {
    let mut z = value ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grouping {
    Auto,
    Shuffle,
    Key,
    Broadcast,
    Global,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Emits this many numbers.
    Source(u64),
    /// The same, in this many splits, of which the last one appears while the job runs.
    Splits(u64, u64),
    Map,
    Filter,
    Twice,
    /// Passes events on, counts them per key, and emits the counts at the end.
    Count,
}

#[derive(Clone, Debug)]
struct Component {
    kind: Kind,
    salt: u64,
    inputs: Vec<usize>,
    grouping: Grouping,
    parallelism: u64,
    own_thread: bool,
    /// Whether a sink reads it; always if nothing else does.
    shown: bool,
}

impl Component {
    fn has_state(&self) -> bool {
        matches!(self.kind, Kind::Source(_) | Kind::Splits(..) | Kind::Count)
    }
}

type Multiset = BTreeMap<u64, u64>;

const KEYS: u64 = 7;
const EVENTS_MAX: u64 = 400;

fn key(value: &u64) -> u64 {
    value % KEYS
}

fn kept(value: u64, salt: u64) -> bool {
    !mix(value, salt).is_multiple_of(3)
}

fn said(salt: u64, key: u64, count: u64) -> u64 {
    mix(mix(key, salt), count)
}

/// A graph, and all events of each of its streams.
#[derive(Debug)]
struct Graph {
    components: Vec<Component>,
    streams: Vec<Multiset>,
    /// Whether counters emit their counts at the end; only if the counts must be exact.
    counts_are_said: bool,
}

impl Graph {
    fn draw(seed: u64, components_max: u64, counts_are_said: bool) -> Self {
        let mut random = Random(seed);
        let mut graph = Self { components: Vec::new(), streams: Vec::new(), counts_are_said };
        let sources = 1 + random.below(4);
        let others = random.below(components_max - sources) + 1;
        for number in 0..sources + others {
            let component = match number < sources {
                true => Component {
                    kind: Self::draw_source(&mut random),
                    salt: mix(number, 77),
                    inputs: Vec::new(),
                    grouping: Grouping::Auto,
                    parallelism: 1 + random.below(3),
                    own_thread: false,
                    shown: false,
                },
                false => graph.draw_operator(&mut random),
            };
            let stream = graph.interpret(&component);
            graph.components.push(component);
            graph.streams.push(stream);
        }
        for number in 0..graph.components.len() {
            let read = graph.components.iter().any(|other| other.inputs.contains(&number));
            graph.components[number].shown = !read || random.once_in(6);
        }
        graph
    }

    fn draw_source(random: &mut Random) -> Kind {
        let events = if random.once_in(5) { 0 } else { random.below(25) };
        match random.once_in(3) {
            true => Kind::Splits(events, 1 + random.below(4)),
            false => Kind::Source(events),
        }
    }

    fn draw_operator(&self, random: &mut Random) -> Component {
        let known = self.components.len() as u64;
        // Mostly what came last, so that graphs are deep.
        let pick = |random: &mut Random| match random.once_in(2) {
            true => known - 1,
            false => random.below(known),
        };
        let mut inputs = vec![pick(random) as usize];
        let second = pick(random) as usize;
        if random.once_in(3) && second != inputs[0] {
            inputs.push(second);
        }
        let parallelism = 1 + random.below(3);
        let arriving: u64 = inputs.iter().flat_map(|input| self.streams[*input].values()).sum();
        let room = EVENTS_MAX / arriving.max(1);
        let mut grouping = match random.below(6) {
            0 => Grouping::Shuffle,
            1 => Grouping::Key,
            2 if room >= parallelism => Grouping::Broadcast,
            3 => Grouping::Global,
            _ => Grouping::Auto,
        };
        let kind = match random.below(5) {
            0 => Kind::Filter,
            1 if room >= 2 * parallelism => Kind::Twice,
            2 | 3 => Kind::Count,
            _ => Kind::Map,
        };
        if kind == Kind::Count && grouping != Grouping::Global {
            grouping = Grouping::Key;
        }
        let parallelism = if grouping == Grouping::Global { 1 } else { parallelism };
        let own_thread = random.once_in(3);
        Component { kind, salt: known, inputs, grouping, parallelism, own_thread, shown: false }
    }

    /// What a component emits in the end.
    fn interpret(&self, component: &Component) -> Multiset {
        let mut arriving = Multiset::new();
        for (value, times) in component.inputs.iter().flat_map(|input| &self.streams[*input]) {
            let copies =
                if component.grouping == Grouping::Broadcast { component.parallelism } else { 1 };
            *arriving.entry(*value).or_default() += times * copies;
        }
        let mut emitted = Multiset::new();
        let mut emit = |value, times| *emitted.entry(value).or_default() += times;
        let mut counts = Multiset::new();
        match component.kind {
            Kind::Source(events) | Kind::Splits(events, _) => {
                (0..events).for_each(|number| emit(mix(number, component.salt), 1));
            }
            Kind::Map => arriving.iter().for_each(|(v, n)| emit(mix(*v, component.salt), *n)),
            Kind::Filter => {
                let kept = arriving.iter().filter(|(value, _)| kept(**value, component.salt));
                kept.for_each(|(value, times)| emit(*value, *times));
            }
            Kind::Twice => {
                for (value, times) in &arriving {
                    emit(mix(*value, 1), *times);
                    emit(mix(*value, 2), *times);
                }
            }
            Kind::Count => {
                for (value, times) in &arriving {
                    emit(*value, *times);
                    *counts.entry(key(value)).or_default() += times;
                }
            }
        }
        for (key, count) in counts.into_iter().filter(|_| self.counts_are_said) {
            emit(said(component.salt, key, count), 1);
        }
        emitted
    }

    /// The same as a job, and what its sinks will show.
    fn build(&self) -> (Job, Vec<(usize, Published<u64>)>) {
        let job = Job::new("random");
        let mut streams: Vec<Stream<u64>> = Vec::new();
        let mut shown = Vec::new();
        for (number, component) in self.components.iter().enumerate() {
            let stream = self.build_one(&job, &streams, component, number);
            if component.shown {
                let sink = Published::new();
                stream.transactional_sink(format!("sink-{number}"), sink.factory());
                shown.push((number, sink));
            }
            streams.push(stream);
        }
        (job, shown)
    }

    fn build_one(
        &self,
        job: &Job,
        streams: &[Stream<u64>],
        component: &Component,
        number: usize,
    ) -> Stream<u64> {
        let (salt, name) = (component.salt, format!("c{number}"));
        let built = if let Kind::Source(events) = component.kind {
            job.stateful_source(name, move || Numbers { salt, events, next: 0, step: 1, polls: 0 })
        } else if let Kind::Splits(events, splits) = component.kind {
            let outside = Outside::with(events, splits);
            job.split_source(name, move || SplitNumbers::of(&outside, move |n| mix(n, salt)))
        } else {
            let (first, rest) = component.inputs.split_first().expect("an operator reads");
            let read = rest.iter().fold(streams[*first].clone(), |all, n| all.merge(&streams[*n]));
            // The smallest queue there is, so that somebody always waits for room.
            let read = read.queue_batches(1);
            let read = match component.grouping {
                Grouping::Auto => read,
                Grouping::Shuffle => read.shuffle(),
                Grouping::Key => read.partition_by(key),
                Grouping::Broadcast => read.broadcast(),
                Grouping::Global => read.global(),
            };
            let says = self.counts_are_said;
            match component.kind {
                Kind::Map if mix(salt, 9).is_multiple_of(3) => mapped_or_failed(&read, salt, name),
                Kind::Map if mix(salt, 9) % 3 == 1 => {
                    read.operator(name, move || MapLater { salt, held: Vec::new() })
                }
                Kind::Map => read.map(move |value| mix(value, salt)).named(name),
                Kind::Filter => read.filter(move |value| kept(*value, salt)).named(name),
                Kind::Twice => read.flat_map(|value| [mix(value, 1), mix(value, 2)]).named(name),
                Kind::Count if is_keyed(component) => counted_by_engine(&read, salt, name, says),
                Kind::Count | Kind::Source(_) | Kind::Splits(..) => {
                    let count = move || Count { salt, says, counts: Multiset::new() };
                    match component.grouping {
                        Grouping::Key => read.key_by(key).stateful(name, count),
                        _ => read.stateful(name, count).per_instance(),
                    }
                }
            }
        };
        let built = built.parallelism(component.parallelism as usize);
        let built = match component.has_state() && mix(salt, 5).is_multiple_of(3) {
            true => built.state_codec(StateCodec::SelfDescribing),
            false => built,
        };
        if component.own_thread { built.own_thread() } else { built }
    }
}

/// Whether a counter leaves its counts to the engine.
fn is_keyed(component: &Component) -> bool {
    component.grouping == Grouping::Key && mix(component.salt, 11).is_multiple_of(2)
}

/// The same as [`Count`], by a scan that passes events on and a table whose values are emitted at the end.
fn counted_by_engine(read: &Stream<u64>, salt: u64, name: String, says: bool) -> Stream<u64> {
    let keyed = read.key_by(key);
    let passed = keyed.scan(|seen: &mut u64, value| {
        *seen += 1;
        Some(value)
    });
    let passed = passed.named(&name);
    if !says {
        return passed;
    }
    let counts = keyed.count().at_end().named(format!("{name}-table"));
    let said = counts.map(move |(key, count)| said(salt, key, count));
    passed.merge(&said.named(format!("{name}-said")))
}

/// A map that fails for some values, whose dead letters are mapped: together the same as a map.
fn mapped_or_failed(read: &Stream<u64>, salt: u64, name: String) -> Stream<u64> {
    let map = move |value| match kept(value, salt + 1) {
        true => Ok(mix(value, salt)),
        false => Err("it fails".into()),
    };
    let of_letters = format!("{name}-letters");
    let mapped = read.try_map(map).named(name).on_error(OnError::DeadLetter);
    let letters = mapped.dead_letters::<u64>();
    mapped.merge(&letters.map(move |letter| mix(letter.event, salt)).named(of_letters))
}

/// A map that holds two events, so that each is emitted when two more have come.
struct MapLater {
    salt: u64,
    held: Vec<(u64, Token)>,
}

impl MapLater {
    fn emit_first(&mut self, out: &mut Output<u64>) {
        let (value, token) = self.held.remove(0);
        out.emit_anchored(mix(value, self.salt), [token]);
    }
}

impl Operator for MapLater {
    type In = u64;
    type Out = u64;
    const HELD_EVENTS: HeldEvents<u64> = HeldEvents::stored();

    fn apply(&mut self, value: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        self.held.push((value, out.defer()));
        if self.held.len() > 2 {
            self.emit_first(out);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Output<u64>) -> Result<(), BoxError> {
        while !self.held.is_empty() {
            self.emit_first(out);
        }
        Ok(())
    }
}

struct Numbers {
    salt: u64,
    events: u64,
    next: u64,
    step: u64,
    polls: u64,
}

impl StatefulSource for Numbers {
    type Out = u64;
    type State = u64;

    fn setup(&mut self, instance: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.next = state.unwrap_or(instance.index() as u64);
        self.step = instance.parallelism() as u64;
        Ok(())
    }

    /// Some events at a time, none at times.
    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        self.polls += 1;
        for _ in 0..mix(self.polls, self.salt) % 4 {
            if self.next < self.events {
                out.emit(mix(self.next, self.salt));
                self.next += self.step;
            }
        }
        match mix(self.polls, self.salt + 1) % 3 {
            _ if self.next >= self.events => Ok(Next::End),
            0 => Ok(Next::After(Duration::from_micros(50))),
            _ => Ok(Next::Now),
        }
    }

    fn state(&self) -> u64 {
        self.next
    }
}

struct Count {
    salt: u64,
    says: bool,
    counts: Multiset,
}

impl StatefulOperator for Count {
    type In = u64;
    type Out = u64;
    type State = Multiset;

    fn setup(&mut self, _: &Instance, state: Option<Multiset>) -> Result<(), BoxError> {
        self.counts = state.unwrap_or_default();
        Ok(())
    }

    fn apply(&mut self, value: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        *self.counts.entry(key(&value)).or_default() += 1;
        out.emit(value);
        Ok(())
    }

    fn finish(&mut self, out: &mut Output<u64>) -> Result<(), BoxError> {
        // What was emitted is dropped: the state that is saved after this must not emit it again.
        for (key, count) in std::mem::take(&mut self.counts).into_iter().filter(|_| self.says) {
            out.emit(said(self.salt, key, count));
        }
        Ok(())
    }

    fn state(&self) -> Multiset {
        self.counts.clone()
    }
}

fn multiset(events: Vec<u64>) -> Multiset {
    let mut set = Multiset::new();
    events.into_iter().for_each(|event| *set.entry(event).or_default() += 1);
    set
}

/// Whether each value of `some` is in `all`, at least as often.
fn is_part(some: &Multiset, all: &Multiset) -> bool {
    some.iter().all(|(value, times)| all.get(value).is_some_and(|there| there >= times))
}

fn often() -> Duration {
    Duration::from_micros(300)
}

#[test]
fn random_graphs_show_what_an_interpreter_says_under_every_guarantee_and_fault() {
    let test = "random_graphs_show_what_an_interpreter_says_under_every_guarantee_and_fault";
    let (began, first) = (Instant::now(), tier::seed(test));
    let graphs = tier::times(500, 100_000);
    explore(first..first + graphs, |simulation| {
        let seed = simulation.seed();
        let exact = seed.is_multiple_of(2);
        let graph = Graph::draw(seed, 30, exact);
        let (job, shown) = graph.build();
        // Most save what has changed.
        let above = if seed.is_multiple_of(8) { u64::MAX } else { 0 };
        let by_checkpoints = || AtLeastOnce::checkpoints_in("/checkpoints").every(often());
        let acknowledged = || AtLeastOnce::new().store_in("/checkpoints").every(often());
        let at_most_once = || AtMostOnce::new().store_in("/checkpoints").every(often());
        let exactly_once = || ExactlyOnce::checkpoints_in("/checkpoints").every(often());
        let guarantee: Guarantee = match seed % 6 {
            1 => by_checkpoints().incremental_above(above).into(),
            3 => acknowledged().incremental_above(above).into(),
            5 => at_most_once().incremental_above(above).into(),
            _ => exactly_once().incremental_above(above).into(),
        };
        let name = guarantee.name();
        // Thirty components with up to ninety instances may take their time.
        let history = simulation.steps_max(20_000_000).run(&job, guarantee);
        assert!(matches!(history.ended, Ended::Finished(_)), "{name}, {history}");
        for (number, sink) in shown {
            let (seen, expected) = (multiset(sink.events()), &graph.streams[number]);
            let holds = match name {
                "exactly-once" => seen == *expected,
                "at-most-once" => is_part(&seen, expected),
                _ => is_part(expected, &seen),
            };
            assert!(
                holds,
                "{name}, sink-{number} shows {seen:?} and should {expected:?}; {history}\n{graph:?}"
            );
        }
    });
    tier::report(14, test, graphs, "graphs", first, began.elapsed());
}

#[test]
fn sources_that_end_in_any_order_or_are_empty_have_their_last_event_committed() {
    let test = "sources_that_end_in_any_order_or_are_empty_have_their_last_event_committed";
    let (began, first) = (Instant::now(), tier::seed(test));
    let graphs = tier::times(500, 50_000);
    explore(first..first + graphs, |simulation| {
        let graph = Graph::draw(simulation.seed(), 8, true);
        let (job, shown) = graph.build();
        let faults = Faults::only([Fault::Checkpoint, Fault::Stall, Fault::Stop]);
        let guarantee = ExactlyOnce::checkpoints_in("/checkpoints").every(often());
        let history = simulation.faults(faults).run(&job, guarantee);
        assert!(matches!(history.ended, Ended::Finished(_)), "{history}");
        for (number, sink) in shown {
            assert_eq!(multiset(sink.events()), graph.streams[number], "{history}\n{graph:?}");
        }
    });
    tier::report(13, test, graphs, "graphs", first, began.elapsed());
}
