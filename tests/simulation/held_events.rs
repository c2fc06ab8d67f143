//! Events that are held in tokens over checkpoints, stops and crashes: in every history each number is in the emitted
//! batches as often as the guarantee says (fault F7, F8).
//!
//! ```text
//!   numbers (2) ──▶ batches (2): three at a time, or what there is when a timer fires ──▶ shown   transactional
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use streamwork::testkit::{Ended, Fault, Faults, Published, explore};
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, ExactlyOnce, Guarantee, HeldEvents, Instance,
    Job, Operator, Output, StatefulOperator, Token,
};

use crate::oracle::{Event, Numbers};
use crate::tier;

const EVENTS: u64 = 61;

/// Numbers that are emitted together, and how many batches there were with this one.
type Batch = (Vec<u64>, u64);

/// The part that both kinds of operators share: an event counts when its batch is emitted, not before.
#[derive(Default)]
struct Holds {
    held: Vec<(u64, Token)>,
    batches: u64,
}

impl Holds {
    fn take(&mut self, event: Event, out: &mut Collector<Batch>) {
        self.held.push((event.number, out.defer()));
        // Some are done by themselves, in the middle of others.
        if event.number % 11 == 5 {
            let (number, token) = self.held.pop().expect("the one that has just come");
            self.batches += 1;
            out.emit_anchored((vec![number], self.batches), [token]);
        } else if self.held.len() == 3 {
            self.emit(out);
        } else if event.number % 7 == 2 {
            out.set_timer(Duration::from_micros(300), 0);
        }
    }

    fn emit(&mut self, out: &mut Output<Batch>) {
        if self.held.is_empty() {
            return;
        }
        let (numbers, tokens): (Vec<_>, Vec<_>) = self.held.drain(..).unzip();
        self.batches += 1;
        out.emit_anchored((numbers, self.batches), tokens);
    }
}

#[derive(Default)]
struct Batcher(Holds);

impl Operator for Batcher {
    type In = Event;
    type Out = Batch;
    const HELD_EVENTS: HeldEvents<Event> = HeldEvents::stored();

    fn apply(&mut self, event: Event, out: &mut Collector<Batch>) -> Result<(), BoxError> {
        self.0.take(event, out);
        Ok(())
    }

    fn on_timer(&mut self, _: u64, out: &mut Output<Batch>) -> Result<(), BoxError> {
        self.0.emit(out);
        Ok(())
    }

    fn finish(&mut self, out: &mut Output<Batch>) -> Result<(), BoxError> {
        self.0.emit(out);
        Ok(())
    }
}

/// The same, with the number of batches as its state.
#[derive(Default)]
struct CountingBatcher(Holds);

impl StatefulOperator for CountingBatcher {
    type In = Event;
    type Out = Batch;
    type State = u64;
    const HELD_EVENTS: HeldEvents<Event> = HeldEvents::stored();

    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.0.batches = state.unwrap_or(0);
        Ok(())
    }

    fn apply(&mut self, event: Event, out: &mut Collector<Batch>) -> Result<(), BoxError> {
        self.0.take(event, out);
        Ok(())
    }

    fn on_timer(&mut self, _: u64, out: &mut Output<Batch>) -> Result<(), BoxError> {
        self.0.emit(out);
        Ok(())
    }

    fn finish(&mut self, out: &mut Output<Batch>) -> Result<(), BoxError> {
        self.0.emit(out);
        Ok(())
    }

    fn state(&self) -> u64 {
        self.0.batches
    }
}

fn job(shown: &Published<Batch>, seed: u64) -> Job {
    let job = Job::new("held events");
    let numbers = job.stateful_source("numbers", || Numbers::to(EVENTS)).parallelism(2);
    let dealt = if seed.is_multiple_of(2) { numbers.shuffle() } else { numbers.forward() };
    let batches = match (seed / 2).is_multiple_of(2) {
        true => dealt.operator("batches", Batcher::default),
        false => dealt.stateful("batches", CountingBatcher::default).per_instance(),
    };
    batches.parallelism(2).transactional_sink("shown", shown.factory());
    job
}

type Counts = BTreeMap<u64, u64>;

/// Runs many histories; `holds` checks how often each number was in a batch. Returns how many events checkpoints restored.
fn torment(
    test: &str,
    faults: &Faults,
    guarantee: impl Fn() -> Guarantee,
    holds: impl Fn(&str, &Counts, &[Batch], bool),
) -> u64 {
    let (began, first) = (Instant::now(), tier::seed(test));
    let histories = tier::times(200, 100_000);
    let restored = std::cell::Cell::new(0);
    explore(first..first + histories, |simulation| {
        let (shown, seed) = (Published::<Batch>::default(), simulation.seed());
        let history = simulation.faults(faults.clone()).run(&job(&shown, seed), guarantee());
        let Ended::Finished(metrics) = &history.ended else { panic!("{history}") };
        for account in &metrics.accounts {
            account.check().unwrap_or_else(|error| panic!("{error}: {history}"));
        }
        restored.set(restored.get() + metrics.sum("batches", |m| m.restored));
        let batches = shown.events();
        let mut counts = Counts::new();
        for number in batches.iter().flat_map(|(numbers, _)| numbers) {
            *counts.entry(*number).or_default() += 1;
        }
        assert!(counts.keys().all(|number| *number < EVENTS), "{history}");
        holds(&history.to_string(), &counts, &batches, !(seed / 2).is_multiple_of(2));
    });
    tier::report(4, test, histories, "histories", first, began.elapsed());
    restored.get()
}

fn often() -> Duration {
    Duration::from_micros(200)
}

#[test]
fn exactly_once_every_held_event_is_in_one_batch_in_every_history() {
    let test = "exactly_once_every_held_event_is_in_one_batch_in_every_history";
    let guarantee = || ExactlyOnce::checkpoints_in("/checkpoints").every(often()).into();
    let restored = torment(test, &Faults::all(), guarantee, |history, counts, batches, counted| {
        assert_eq!(*counts, (0..EVENTS).map(|number| (number, 1)).collect(), "{history}");
        let highest = |instance: &[u64]| instance.iter().max().copied().unwrap_or(0);
        let counted_by: Vec<u64> = batches.iter().map(|(_, batch)| *batch).collect();
        if counted {
            // Each instance counted its batches from one on, without a gap.
            let mut times = Counts::new();
            counted_by.iter().for_each(|batch| *times.entry(*batch).or_default() += 1);
            assert!(times.values().all(|times| *times <= 2), "{history}: {times:?}");
            assert_eq!(times.len() as u64, highest(&counted_by), "{history}: {times:?}");
        }
    });
    assert!(restored > 0, "a test that cannot fail: {restored} events were given back");
}

#[test]
fn at_least_once_no_held_event_is_lost_in_any_history() {
    let test = "at_least_once_no_held_event_is_lost_in_any_history";
    let nothing_is_lost = |history: &str, counts: &Counts, _: &[Batch], _: bool| {
        assert!((0..EVENTS).all(|number| counts.contains_key(&number)), "{history}: {counts:?}");
    };
    let by_checkpoints = || AtLeastOnce::checkpoints_in("/checkpoints").every(often()).into();
    let restored = torment(test, &Faults::all(), by_checkpoints, nothing_is_lost);
    assert!(restored > 0, "a test that cannot fail: {restored} events were given back");
    let acknowledged = || AtLeastOnce::new().store_in("/positions").every(often()).into();
    assert_eq!(torment(test, &Faults::all(), acknowledged, nothing_is_lost), 0);
}

#[test]
fn at_most_once_no_held_event_is_in_two_batches_in_any_history() {
    let test = "at_most_once_no_held_event_is_in_two_batches_in_any_history";
    let guarantee = || AtMostOnce::new().store_in("/positions").every(often()).into();
    let restored = torment(test, &Faults::all(), guarantee, |history, counts, _, _| {
        assert!(counts.values().all(|times| *times == 1), "{history}: {counts:?}");
    });
    assert!(restored > 0, "a test that cannot fail: {restored} events were given back");
}

#[test]
fn a_stop_loses_no_held_event_under_any_guarantee_in_any_order_of_steps() {
    let test = "a_stop_loses_no_held_event_under_any_guarantee_in_any_order_of_steps";
    let faults = Faults::only([Fault::Stop]);
    let guarantees: [&dyn Fn() -> Guarantee; 3] = [
        &|| AtMostOnce::new().store_in("/positions").every(often()).into(),
        &|| AtLeastOnce::checkpoints_in("/checkpoints").every(often()).into(),
        &|| ExactlyOnce::checkpoints_in("/checkpoints").every(often()).into(),
    ];
    for guarantee in guarantees {
        torment(test, &faults, guarantee, |history, counts, _, _| {
            assert_eq!(*counts, (0..EVENTS).map(|number| (number, 1)).collect(), "{history}");
        });
    }
    // Whatever the source emitted after an event that is held comes again with it.
    let acknowledged = || AtLeastOnce::new().store_in("/positions").every(often()).into();
    torment(test, &faults, acknowledged, |history, counts, _, _| {
        assert!((0..EVENTS).all(|number| counts.contains_key(&number)), "{history}: {counts:?}");
    });
}
