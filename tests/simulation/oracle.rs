//! The job under test, and the verdict on its output.
//!
//! ```text
//!   numbers (2 instances) ── by key ──▶ count (stateful, 2) ──┬──▶ shown (transactional)
//!                                                             └──▶ seen (plain)
//! ```

use std::collections::BTreeMap;

use streamwork::testkit::{Collected, Published};
use streamwork::{
    BoxError, Collector, Instance, Job, Next, SourceOutput, StatefulOperator, StatefulSource,
    TransactionalSink,
};

/// Every event: a number that no other has, and a checksum over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Event {
    pub(crate) number: u64,
    pub(crate) checksum: u64,
}

impl Event {
    pub(crate) fn new(number: u64) -> Self {
        Self { number, checksum: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5555 }
    }

    pub(crate) fn key(&self) -> u64 {
        self.number % KEYS
    }
}

pub(crate) const KEYS: u64 = 5;
pub(crate) const SOURCES: u64 = 2;
pub(crate) const SPLITS: u64 = 4;

/// Emits the numbers of its instance, some at a time.
#[derive(Debug)]
pub(crate) struct Numbers {
    end: u64,
    next: u64,
    step: u64,
}

impl Numbers {
    pub(crate) fn to(end: u64) -> Self {
        Self { end, next: 0, step: 1 }
    }
}

impl StatefulSource for Numbers {
    type Out = Event;
    type State = u64;

    fn setup(&mut self, instance: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.next = state.unwrap_or(instance.index() as u64);
        self.step = instance.parallelism() as u64;
        Ok(())
    }

    fn get_events(&mut self, out: &mut SourceOutput<Event>) -> Result<Next, BoxError> {
        for _ in 0..3 {
            if self.next >= self.end {
                return Ok(Next::End);
            }
            out.emit(Event::new(self.next));
            self.next += self.step;
        }
        Ok(Next::Now)
    }

    fn state(&self) -> u64 {
        self.next
    }
}

/// Counts the events of each key, and emits the count with each event.
#[derive(Debug, Default)]
pub(crate) struct Count {
    counts: BTreeMap<u64, u64>,
}

/// An event and the count of its key with it.
pub(crate) type Counted = (Event, u64);

impl StatefulOperator for Count {
    type In = Event;
    type Out = Counted;
    type State = BTreeMap<u64, u64>;

    fn setup(&mut self, _: &Instance, state: Option<Self::State>) -> Result<(), BoxError> {
        self.counts = state.unwrap_or_default();
        Ok(())
    }

    fn apply(&mut self, event: Event, out: &mut Collector<Counted>) -> Result<(), BoxError> {
        let count = self.counts.entry(event.key()).or_default();
        *count += 1;
        out.emit((event, *count));
        Ok(())
    }

    fn state(&self) -> Self::State {
        self.counts.clone()
    }
}

/// The output as an outside reader saw it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outputs {
    pub(crate) shown: Published<Counted>,
    pub(crate) seen: Collected<Counted>,
}

/// The job, into these outputs.
pub(crate) fn job(shape: Shape, events: u64, outputs: &Outputs) -> Job {
    job_into(shape, events, &outputs.seen, outputs.shown.factory())
}

/// The job, into a plain sink and a transactional one.
pub(crate) fn job_into<S: TransactionalSink<In = Counted>>(
    shape: Shape,
    events: u64,
    seen: &Collected<Counted>,
    shown: impl Fn() -> S + Send + Sync + 'static,
) -> Job {
    let job = Job::new("tormented");
    let numbers = job.stateful_source("numbers", move || Numbers::to(events));
    let counted = match shape {
        Shape::Keyed | Shape::Splits => numbers
            .parallelism(SOURCES as usize)
            .key_by(Event::key)
            .stateful("count", Count::default)
            .parallelism(2),
        Shape::Fused => numbers.stateful("count", Count::default),
        Shape::Apart => {
            let passed = numbers.parallelism(3).shuffle().map(|event| event).parallelism(2);
            let passed_on = passed.global().map(|event| (event, 0)).named("pass");
            passed_on.sink("seen", seen.factory());
            let counted = passed.global().stateful("count", Count::default);
            counted.transactional_sink("shown", shown);
            return job;
        }
    };
    counted.transactional_sink("shown", shown);
    counted.sink("seen", seen.factory());
    job
}

/// How the instances are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As drawn above.
    Keyed,
    /// All on one thread.
    Fused,
    /// Keyed, and the source has splits.
    Splits,
    /// Sources, a stateless operator, and the counter and the plain sink on separate threads.
    Apart,
}

impl Shape {
    pub(crate) const ALL: [Self; 3] = [Self::Keyed, Self::Fused, Self::Apart];

    /// How many sources of events there are that are in order each.
    fn lanes(self) -> u64 {
        if self == Self::Splits { SPLITS } else { SOURCES }
    }
}

/// The outcome of the events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    /// Of one key and one source, seen for the first time after a later one; where the job keeps
    /// them in order.
    pub(crate) reordered: u64,
    pub(crate) altered: u64,
    pub(crate) invented: u64,
    /// How far the sum of the highest counts is from the number of events.
    pub(crate) state_error: i64,
}

pub(crate) fn verdict(shape: Shape, events: u64, output: &[Counted]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut times: BTreeMap<u64, u64> = BTreeMap::new();
    let mut newest: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for (event, count) in output {
        if event.checksum != Event::new(event.number).checksum {
            verdict.altered += 1;
        } else if event.number >= events {
            verdict.invented += 1;
        }
        let times = times.entry(event.number).or_default();
        *times += 1;
        let newest = newest.entry((event.key(), event.number % shape.lanes())).or_default();
        let out_of_order = *times == 1 && *newest > event.number && shape != Shape::Apart;
        verdict.reordered += u64::from(out_of_order);
        *newest = event.number.max(*newest);
        let highest = counts.entry(event.key()).or_default();
        *highest = (*highest).max(*count);
    }
    verdict.lost = (0..events).filter(|number| !times.contains_key(number)).count() as u64;
    verdict.repeated = times.values().map(|times| times - 1).sum();
    verdict.state_error = counts.values().sum::<u64>() as i64 - events as i64;
    verdict
}
