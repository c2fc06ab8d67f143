//! Dead letters and bad records as events: in every history each number is in one of three outputs, as often as the
//! guarantee says.
//!
//! ```text
//!   numbers ─┬─▶ check (2) ─┬─▶ write ───▶ shown
//!    (2)     │              └─▶ letters ─▶ failed     transactional, all three
//!            └─▶ bad records ────────────▶ bad
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use streamwork::testkit::{Ended, Fault, Faults, Published, explore};
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, DeclaredOutput, ExactlyOnce, Guarantee, Instance,
    Job, Next, OnError, RawRecord, SideOutput, SourceOutput, StatefulOperator, StatefulSource,
};

use crate::tier;

const EVENTS: u64 = 60;

fn is_bad(n: u64) -> bool {
    n % 7 == 3
}

fn is_poison(n: u64) -> bool {
    n % 5 == 2
}

struct Numbers {
    next: u64,
    step: u64,
}

impl StatefulSource for Numbers {
    type Out = u64;
    type State = u64;

    fn setup(&mut self, instance: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.next = state.unwrap_or(instance.index() as u64);
        self.step = instance.parallelism() as u64;
        Ok(())
    }

    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        for _ in 0..3 {
            if self.next >= EVENTS {
                return Ok(Next::End);
            }
            let n = self.next;
            if is_bad(n) {
                let bytes = n.to_le_bytes().to_vec();
                let record = RawRecord { split: "numbers".into(), offset: n, bytes };
                out.reject_record(record, None, "no number");
            } else {
                out.emit(n);
            }
            self.next += self.step;
        }
        Ok(Next::Now)
    }

    fn state(&self) -> u64 {
        self.next
    }
}

const COPIES: SideOutput<u64> = SideOutput::new("copies");

/// Passes events on and counts them. At poison it does the same and then fails.
#[derive(Default)]
struct Check(u64);

impl StatefulOperator for Check {
    type In = u64;
    type Out = u64;
    type State = u64;
    const SIDE_OUTPUTS: &'static [DeclaredOutput] = &[COPIES.declared()];

    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.0 = state.unwrap_or(0);
        Ok(())
    }

    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        out.emit(n);
        out.emit_to(COPIES, n);
        if is_poison(n) {
            return Err("poison".into());
        }
        self.0 += 1;
        Ok(())
    }

    fn state(&self) -> u64 {
        self.0
    }
}

/// The output as an outside reader saw it.
#[derive(Default)]
struct Outputs {
    shown: Published<u64>,
    copies: Published<u64>,
    failed: Published<u64>,
    bad: Published<u64>,
}

fn job(outputs: &Outputs, apart: bool) -> Job {
    let job = Job::new("dead letters");
    let numbers = job.stateful_source("numbers", || Numbers { next: 0, step: 1 }).parallelism(2);
    let bad = numbers.bad_records().map(|bad| {
        let bytes = bad.record.bytes.try_into().expect("eight bytes");
        u64::from_le_bytes(bytes)
    });
    bad.transactional_sink("bad", outputs.bad.factory());
    let dealt = if apart { numbers.shuffle() } else { numbers.forward() };
    let checked = dealt.stateful("check", Check::default).per_instance().parallelism(2);
    let checked = checked.on_error(OnError::DeadLetter);
    checked.transactional_sink("shown", outputs.shown.factory());
    checked.side_output(COPIES).transactional_sink("copies", outputs.copies.factory());
    let failed = checked.dead_letters::<u64>().map(|letter| letter.event);
    failed.transactional_sink("failed", outputs.failed.factory());
    job
}

type Counts = BTreeMap<u64, u64>;

fn counts(events: impl IntoIterator<Item = u64>) -> Counts {
    let mut counts = Counts::new();
    events.into_iter().for_each(|event| *counts.entry(event).or_default() += 1);
    counts
}

/// Runs many histories; `holds` looks at how often each number was seen: in any output, beside the main one, and
/// as one that failed.
fn torment(
    test: &str,
    faults: &Faults,
    guarantee: impl Fn() -> Guarantee,
    holds: impl Fn(&str, &Counts, &Counts, &Counts),
) {
    let (began, first) = (Instant::now(), tier::seed(test));
    let histories = tier::times(400, 100_000);
    explore(first..first + histories, |simulation| {
        let (outputs, apart) = (Outputs::default(), simulation.seed().is_multiple_of(2));
        let job = job(&outputs, apart);
        let history = simulation.faults(faults.clone()).run(&job, guarantee());
        assert!(matches!(history.ended, Ended::Finished(_)), "{history}");
        let [shown, copies, failed, bad] =
            [&outputs.shown, &outputs.copies, &outputs.failed, &outputs.bad].map(Published::events);
        assert!(shown.iter().all(|n| !is_poison(*n) && !is_bad(*n)), "{history}: {shown:?}");
        assert!(copies.iter().all(|n| !is_poison(*n) && !is_bad(*n)), "{history}: {copies:?}");
        assert!(bad.iter().all(|n| is_bad(*n)), "{history}: {bad:?}");
        let failed_or_bad = failed.iter().chain(&bad).copied();
        let all = counts(failed_or_bad.clone().chain(shown));
        let beside = counts(failed_or_bad.chain(copies));
        holds(&history.to_string(), &all, &beside, &counts(failed));
    });
    tier::report(4, test, histories, "histories", first, began.elapsed());
}

fn often() -> Duration {
    Duration::from_micros(500)
}

fn nothing_is_lost(history: &str, all: &Counts, beside: &Counts, failed: &Counts) {
    for n in 0..EVENTS {
        assert!(all.contains_key(&n) && beside.contains_key(&n), "{n} is lost: {history}");
        let is_in_place = failed.contains_key(&n) || !is_poison(n) || is_bad(n);
        assert!(is_in_place, "{n} has not failed: {history}");
    }
}

#[test]
fn exactly_once_each_number_is_shown_or_failed_or_bad_once_in_every_history() {
    let test = "exactly_once_each_number_is_shown_or_failed_or_bad_once_in_every_history";
    let guarantee = || ExactlyOnce::checkpoints_in("/checkpoints").every(often()).into();
    torment(test, &Faults::all(), guarantee, |history, all, beside, failed| {
        nothing_is_lost(history, all, beside, failed);
        assert_eq!(*all, counts(0..EVENTS), "{history}");
        assert_eq!(*beside, counts(0..EVENTS), "{history}");
    });
}

#[test]
fn at_least_once_each_number_is_shown_or_failed_or_bad_in_every_history() {
    let test = "at_least_once_each_number_is_shown_or_failed_or_bad_in_every_history";
    let by_checkpoints = || AtLeastOnce::checkpoints_in("/checkpoints").every(often()).into();
    torment(test, &Faults::all(), by_checkpoints, nothing_is_lost);
    let acknowledged = || AtLeastOnce::new().store_in("/positions").every(often()).into();
    torment(test, &Faults::all(), acknowledged, nothing_is_lost);
}

#[test]
fn at_most_once_no_number_is_shown_failed_or_bad_twice_in_any_history() {
    let test = "at_most_once_no_number_is_shown_failed_or_bad_twice_in_any_history";
    let guarantee = || AtMostOnce::new().store_in("/positions").every(often()).into();
    torment(test, &Faults::all(), guarantee, |history, all, beside, _| {
        assert!(all.values().chain(beside.values()).all(|times| *times == 1), "{history}: {all:?}");
    });
    let faults = Faults::only([Fault::Stop, Fault::Checkpoint, Fault::Stall]);
    torment(test, &faults, guarantee, |history, all, beside, failed| {
        nothing_is_lost(history, all, beside, failed);
    });
}
