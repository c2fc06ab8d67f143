//! One job under every guarantee, with every fault, in any order.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use streamwork::metrics::CheckpointKind;
use streamwork::testkit::{Ended, Fault, Faults, History, Simulation, explore};
use streamwork::{AtLeastOnce, AtMostOnce, ExactlyOnce, Guarantee, Restarts};

use crate::oracle::{Outputs, Shape, Verdict, job, verdict};
use crate::tier;

const EVENTS: u64 = 60;

/// Sums over many histories, so that a test that cannot fail is noticed.
#[derive(Debug, Default)]
struct Sums {
    histories: Cell<u64>,
    finished: Cell<u64>,
    lives: Cell<u64>,
    injected: Cell<u64>,
    steps: Cell<u64>,
    shown: RefCell<Verdict>,
    seen: RefCell<Verdict>,
}

fn add(cell: &Cell<u64>, number: u64) {
    cell.set(cell.get() + number);
}

/// Runs many histories; `holds` checks each.
fn torment(
    row: u8,
    test: &str,
    faults: &Faults,
    guarantee: impl Fn() -> Guarantee,
    holds: impl Fn(&History, &Verdict, &Verdict),
) -> Sums {
    let (began, sums) = (Instant::now(), Sums::default());
    let first = tier::seed(test);
    let histories = tier::times(1000, 250_000);
    explore(first..first + histories, |simulation: Simulation| {
        let outputs = Outputs::default();
        let shape = Shape::ALL[(simulation.seed() % 3) as usize];
        let job = job(shape, EVENTS, &outputs);
        let history = simulation.faults(faults.clone()).run(&job, guarantee());
        let shown = verdict(shape, EVENTS, &outputs.shown.events());
        let seen = verdict(shape, EVENTS, &outputs.seen.events());
        add(&sums.histories, 1);
        add(&sums.finished, u64::from(matches!(history.ended, Ended::Finished(_))));
        add(&sums.lives, history.lives.into());
        add(&sums.injected, history.injected.len() as u64);
        add(&sums.steps, history.steps);
        for (sum, one) in [(&sums.shown, &shown), (&sums.seen, &seen)] {
            let mut sum = sum.borrow_mut();
            sum.lost += one.lost;
            sum.repeated += one.repeated;
            sum.state_error += one.state_error.abs();
        }
        holds(&history, &shown, &seen);
    });
    let took = began.elapsed();
    println!(
        "{test}: {sums:?}, {:.0} histories/s",
        sums.histories.get() as f64 / took.as_secs_f64()
    );
    // Each was run twice.
    tier::report(row, test, histories, "histories", first, took);
    sums
}

pub(crate) fn often() -> Duration {
    Duration::from_micros(500)
}

/// The promise of at-least-once, with the acknowledger and with checkpoints.
fn assert_nothing_is_lost(history: &History, shown: &Verdict, seen: &Verdict) {
    assert!(matches!(history.ended, Ended::Finished(_)), "{history}");
    assert_eq!((shown.lost, seen.lost), (0, 0), "{history}");
    assert_eq!((shown.altered, shown.invented), (0, 0), "{history}");
    assert!(shown.state_error >= 0, "{history}: {shown:?}");
}

#[test]
fn exactly_once_shows_and_counts_everything_once_in_every_history() {
    let test = "exactly_once_shows_and_counts_everything_once_in_every_history";
    let guarantee = || ExactlyOnce::checkpoints_in("/checkpoints").every(often()).into();
    let sums = torment(4, test, &Faults::all(), guarantee, |history, shown, seen| {
        assert!(matches!(history.ended, Ended::Finished(_)), "{history}");
        assert_eq!(*shown, Verdict::default(), "{history}");
        assert_eq!((seen.lost, seen.altered, seen.invented), (0, 0, 0), "{history}");
    });
    let repeated = sums.seen.borrow().repeated;
    assert!(repeated > 0, "a test that cannot fail: the plain sink never saw anything twice");
}

#[test]
fn at_least_once_by_checkpoints_loses_nothing_in_any_history() {
    let test = "at_least_once_by_checkpoints_loses_nothing_in_any_history";
    let guarantee = || AtLeastOnce::checkpoints_in("/checkpoints").every(often()).into();
    let sums = torment(4, test, &Faults::all(), guarantee, assert_nothing_is_lost);
    assert!(sums.seen.borrow().repeated > 0, "a test that cannot fail: nothing was repeated");
}

#[test]
fn at_least_once_with_an_acknowledger_loses_nothing_in_any_history() {
    let test = "at_least_once_with_an_acknowledger_loses_nothing_in_any_history";
    let guarantee = || AtLeastOnce::new().store_in("/positions").every(often()).into();
    let sums = torment(4, test, &Faults::all(), guarantee, assert_nothing_is_lost);
    assert!(sums.seen.borrow().repeated > 0, "a test that cannot fail: nothing was repeated");
}

#[test]
fn at_least_once_without_a_store_loses_nothing_while_the_process_lives() {
    let test = "at_least_once_without_a_store_loses_nothing_while_the_process_lives";
    let faults = Faults::all().without(Fault::Kill).without(Fault::PowerFailure);
    let guarantee = || AtLeastOnce::new().restarts(Restarts::unlimited()).into();
    let sums = torment(7, test, &faults, guarantee, |history, shown, seen| {
        if let Ended::Failed(_) = history.ended {
            return;
        }
        assert!(matches!(history.ended, Ended::Finished(_)), "{history}");
        assert_eq!((shown.lost, seen.lost), (0, 0), "{history}");
        assert!(shown.state_error >= 0, "{history}: {shown:?}");
    });
    assert!(sums.finished.get() * 10 > sums.histories.get() * 9, "too many gave up: {sums:?}");
}

#[test]
fn at_most_once_repeats_nothing_in_any_history() {
    let test = "at_most_once_repeats_nothing_in_any_history";
    let guarantee = || AtMostOnce::new().store_in("/positions").every(often()).into();
    let counted = Cell::new(0);
    let sums = torment(4, test, &Faults::all(), guarantee, |history, shown, seen| {
        let Ended::Finished(metrics) = &history.ended else { panic!("{history}") };
        assert_eq!((shown.repeated, seen.repeated), (0, 0), "{history}");
        assert_eq!((shown.altered, shown.invented), (0, 0), "{history}");
        if history.lives == 1 {
            // What a process loses and does not die of it has counted.
            let behind = metrics.accounts.iter().map(|account| &account.component);
            let dropped = behind.filter(|component| *component != "shown");
            let dropped: u64 = dropped.map(|component| metrics.sum(component, |m| m.dropped)).sum();
            assert!(seen.lost <= dropped, "{} lost, {dropped} counted: {history}", seen.lost);
            assert_eq!(metrics.total(|m| m.taken_back), 0, "{history}");
            add(&counted, seen.lost);
        }
    });
    assert!(sums.seen.borrow().lost > 0, "a test that cannot fail: nothing was lost");
    assert!(counted.get() > 0, "a test that cannot fail: nothing was lost while a process lived");
}

#[test]
fn a_stop_loses_nothing_under_at_most_once_in_any_order_of_steps() {
    let test = "a_stop_loses_nothing_under_at_most_once_in_any_order_of_steps";
    let faults = Faults::only([Fault::Stop, Fault::Checkpoint, Fault::Stall]);
    let guarantee = || AtMostOnce::new().store_in("/positions").every(often()).into();
    let sums = torment(3, test, &faults, guarantee, |history, shown, seen| {
        assert!(matches!(history.ended, Ended::Finished(_)), "{history}");
        assert_eq!(*shown, Verdict::default(), "{history}");
        assert_eq!((seen.lost, seen.repeated, seen.altered), (0, 0, 0), "{history}");
    });
    assert!(sums.lives.get() > sums.histories.get(), "a test that cannot fail: nobody stopped");
}

#[test]
fn the_same_seed_is_the_same_run_byte_for_byte() {
    let run = |seed| {
        let outputs = Outputs::default();
        let job = job(Shape::Keyed, EVENTS, &outputs);
        let guarantee = ExactlyOnce::checkpoints_in("/checkpoints").every(often());
        let history = Simulation::new(seed).run(&job, guarantee);
        (history.to_string(), history.fingerprint, history.disk_fingerprint, outputs.seen.events())
    };
    let first = tier::seed("the_same_seed_is_the_same_run_byte_for_byte");
    let mut fingerprints = std::collections::BTreeSet::new();
    for seed in first..first + 100 {
        let (once, again) = (run(seed), run(seed));
        assert_eq!(once, again);
        fingerprints.insert(once.1);
    }
    assert_eq!(fingerprints.len(), 100, "different seeds are different runs");
}

#[test]
fn what_checkpoints_took_is_counted_in_a_simulation_and_the_same_in_each_run_of_a_seed() {
    let run = |seed| {
        let job = job(Shape::Keyed, EVENTS, &Outputs::default());
        let guarantee =
            ExactlyOnce::checkpoints_in("/checkpoints").every(Duration::from_micros(20));
        let history = Simulation::new(seed).faults(Faults::none()).run(&job, guarantee);
        let Ended::Finished(metrics) = history.ended else { panic!("{history}") };
        metrics
    };
    let (mut waited, first) = (0, tier::seed("what_checkpoints_took"));
    for seed in first..first + 50 {
        let metrics = run(seed);
        let recent = &metrics.recent_checkpoints;
        assert_eq!(*recent, run(seed).recent_checkpoints, "seed {seed}");
        assert_eq!(recent.len() as u64, metrics.checkpoints.min(100), "seed {seed}");
        assert_eq!(recent.last().map(|stats| stats.kind), Some(CheckpointKind::Last));
        for (stats, next) in recent.iter().zip(recent.iter().skip(1)) {
            assert!(stats.begun + stats.total <= next.begun, "seed {seed}: {stats}, {next}");
        }
        for stats in recent {
            // A step is a moment: what is done in one takes no time on the counted clock.
            let in_steps = stats.taking + stats.encoding + stats.writing + stats.committing;
            assert_eq!(in_steps, Duration::ZERO, "seed {seed}: {stats}");
            assert!(stats.waiting <= stats.total, "seed {seed}: {stats}");
            waited += u32::from(stats.waiting > Duration::ZERO);
        }
    }
    assert!(waited > 50, "a test that cannot fail: {waited} checkpoints waited for a barrier");
}

#[test]
#[should_panic(expected = "two runs of the same seed differ")]
fn a_job_that_decides_by_chance_is_found_out() {
    let calls = std::sync::atomic::AtomicU64::new(0);
    explore([1], |simulation| {
        let events = 10 + calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let outputs = Outputs::default();
        let job = job(Shape::Fused, events, &outputs);
        simulation.faults(Faults::none()).run(&job, AtMostOnce::new());
    });
}

#[test]
#[should_panic(expected = "the job hangs")]
fn a_job_that_never_ends_is_reported_as_hanging() {
    let job = streamwork::Job::new("endless");
    job.from_iter("numbers", || 0_u64..).for_each(|_| ());
    Simulation::new(1).steps_max(2_000).run(&job, AtMostOnce::new());
}
