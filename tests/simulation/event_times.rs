//! Times go along with events in any history: random chains of components, whatever they do with an event and however
//! it gets from one to the next, and at each place the event has the time that it was given first (state T13).
//!
//! ```text
//!   numbers ──▶ event_time ──▶ random component ──▶ … ──▶ shown
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use streamwork::testkit::{Ended, Published, explore};
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, DeclaredOutput, EventTime, ExactlyOnce,
    Guarantee, HeldEvents, Instance, Job, Next, OnError, Operator, Output, SideOutput,
    SourceOutput, StatefulOperator, StatefulSource, Stream, Token,
};

use crate::histories::often;
use crate::tier;

const EVENTS: u64 = 40;

/// The time that an event is given.
fn time_of(n: &u64) -> EventTime {
    EventTime::from_unix_ms(*n as i64 * 10 + 3)
}

struct Numbers(u64);

impl StatefulSource for Numbers {
    type Out = u64;
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.0 = state.unwrap_or(0);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        for _ in 0..out.room().min(5) {
            if self.0 == EVENTS {
                return Ok(Next::End);
            }
            out.emit(self.0);
            self.0 += 1;
        }
        Ok(Next::Now)
    }
    fn state(&self) -> u64 {
        self.0
    }
}

/// Counts the events that had their time, and keeps what was wrong about the others.
#[derive(Clone, Default)]
struct Checked {
    well: Arc<AtomicU64>,
    wrong: Arc<Mutex<Vec<String>>>,
}

impl Checked {
    fn check(&self, place: &str, n: u64, time: Option<EventTime>) {
        if time == Some(time_of(&n)) {
            self.well.fetch_add(1, Ordering::SeqCst);
        } else {
            self.wrong.lock().push(format!("{place}: {n} at {time:?}"));
        }
    }
}

/// Checks the times, and passes every event on.
struct Passes(Checked);

impl Operator for Passes {
    type In = u64;
    type Out = u64;
    const NEEDS_EVENT_TIME: bool = true;
    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        self.0.check("passes", n, out.time());
        out.emit(n);
        Ok(())
    }
}

const ASIDE: SideOutput<u64> = SideOutput::new("aside");

/// Emits events on both of its outputs, some with a wrong time before it fails for them.
struct Aside(Checked);

impl Operator for Aside {
    type In = u64;
    type Out = u64;
    const SIDE_OUTPUTS: &'static [DeclaredOutput] = &[ASIDE.declared()];
    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        self.0.check("aside", n, out.time());
        match n % 3 {
            0 => out.emit(n),
            1 => out.emit_to(ASIDE, n),
            _ => {
                out.emit_at(EventTime::from_unix_ms(1), n);
                out.emit_to(ASIDE, n);
                return Err("it fails".into());
            }
        }
        Ok(())
    }
}

/// Holds two events, and emits each with its time when two more have come.
struct Holds {
    checked: Checked,
    held: Vec<(u64, Token)>,
}

impl Holds {
    fn emit_first(&mut self, out: &mut Output<u64>) {
        let (n, token) = self.held.remove(0);
        out.emit_anchored(n, [token]);
    }
}

impl Operator for Holds {
    type In = u64;
    type Out = u64;
    const HELD_EVENTS: HeldEvents<u64> = HeldEvents::stored();
    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        // Also those that a checkpoint has stored.
        self.checked.check("holds", n, out.time());
        self.held.push((n, out.defer()));
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

/// Gives each event the time that it had at first.
struct Stamps;

impl Operator for Stamps {
    type In = u64;
    type Out = u64;
    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        out.emit_at(time_of(&n), n);
        Ok(())
    }
}

/// Keeps events as its state, and emits them with their times when a timer fires.
struct Later {
    checked: Checked,
    kept: Vec<u64>,
}

impl Later {
    fn emit(&mut self, out: &mut Output<u64>) {
        self.kept.drain(..).for_each(|n| out.emit_at(time_of(&n), n));
    }
}

impl StatefulOperator for Later {
    type In = u64;
    type Out = u64;
    type State = Vec<u64>;
    fn setup(&mut self, _: &Instance, state: Option<Vec<u64>>) -> Result<(), BoxError> {
        self.kept = state.unwrap_or_default();
        Ok(())
    }
    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        self.checked.check("later", n, out.time());
        if n.is_multiple_of(2) {
            out.emit(n);
        } else {
            self.kept.push(n);
            out.set_timer(Duration::from_micros(200), 0);
        }
        Ok(())
    }
    fn on_timer(&mut self, _: u64, out: &mut Output<u64>) -> Result<(), BoxError> {
        self.emit(out);
        Ok(())
    }
    fn finish(&mut self, out: &mut Output<u64>) -> Result<(), BoxError> {
        self.emit(out);
        Ok(())
    }
    fn state(&self) -> Vec<u64> {
        self.kept.clone()
    }
}

/// A digit of the seed.
fn digit(seed: u64, place: u64, base: u64) -> u64 {
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_right((7 * place % 64) as u32) % base
}

fn component(stream: &Stream<u64>, checked: &Checked, which: u64, place: u64) -> Stream<u64> {
    let (checked, name) = (checked.clone(), format!("c{place}"));
    match which {
        0 => stream.map(|n| n).named(name),
        1 => stream.map(|n| n.to_string()).named(name).flat_map(|text| text.parse::<u64>()),
        2 => stream.flat_map(|n| [n, n]).named(name),
        3 => stream.filter(|n| n % 5 != 1).named(name),
        4 => {
            let aside = stream.operator(name, move || Aside(checked.clone()));
            let aside = aside.on_error(OnError::DeadLetter);
            let letters = aside.dead_letters::<u64>().map(|letter| letter.event);
            aside.merge(&aside.side_output(ASIDE)).merge(&letters)
        }
        5 => {
            let held = move || Holds { checked: checked.clone(), held: Vec::new() };
            // What stands for another event has the time of the event at which it is emitted.
            let held = stream.operator(name, held).operator(format!("stamps {place}"), || Stamps);
            held.inspect(|_| ())
        }
        6 => {
            let later = move || Later { checked: checked.clone(), kept: Vec::new() };
            stream.stateful(name, later).per_instance()
        }
        _ => stream.operator(name, move || Passes(checked.clone())),
    }
}

fn job(checked: &Checked, seed: u64) -> (Job, Published<u64>) {
    let (job, shown) = (Job::new("times"), Published::new());
    let mut stream = job.stateful_source("numbers", || Numbers(0)).event_time(time_of, |w| w);
    for place in 0..2 + digit(seed, 0, 4) {
        let read = match digit(seed, 1 + 2 * place, 6) {
            0 => stream.partition_by(|n| n % 7),
            1 => stream.shuffle(),
            2 => stream.global(),
            3 => stream.broadcast(),
            _ => stream,
        };
        let built =
            component(&read.queue_batches(1), checked, digit(seed, 2 + 2 * place, 8), place);
        stream = match digit(seed, place, 3) {
            0 => built.parallelism(2),
            1 => built.own_thread(),
            _ => built,
        };
    }
    let checked = checked.clone();
    let last = stream.operator("last", move || Passes(checked.clone()));
    last.transactional_sink("shown", shown.factory());
    (job, shown)
}

fn guarantee(seed: u64) -> Guarantee {
    match seed % 5 {
        0 => AtLeastOnce::checkpoints_in("/store").every(often()).into(),
        1 => AtMostOnce::new().store_in("/store").every(often()).into(),
        2 => AtLeastOnce::new().store_in("/store").every(often()).into(),
        _ => ExactlyOnce::checkpoints_in("/store").every(often()).into(),
    }
}

/// State T13.
#[test]
fn events_keep_their_times_through_random_chains_of_components_in_any_history() {
    let test = "events_keep_their_times_through_random_chains_of_components_in_any_history";
    let (began, first) = (Instant::now(), tier::seed(test));
    let (histories, well) = (tier::times(400, 100_000), Arc::new(AtomicU64::new(0)));
    explore(first..first + histories, |simulation| {
        let seed = simulation.seed();
        let (checked, guarantee) = (Checked::default(), guarantee(seed));
        let name = guarantee.name();
        let (job, shown) = job(&checked, seed);
        let history = simulation.steps_max(20_000_000).run(&job, guarantee);
        assert!(matches!(history.ended, Ended::Finished(_)), "{name}, {history}");
        let wrong = checked.wrong.lock();
        assert!(wrong.is_empty(), "{name}, {wrong:?}: {history}\n{job:?}");
        well.fetch_add(checked.well.load(Ordering::SeqCst), Ordering::SeqCst);
        drop(shown);
    });
    assert!(well.load(Ordering::SeqCst) > histories * EVENTS, "a test that cannot fail");
    tier::report(14, test, histories, "histories", first, began.elapsed());
}
