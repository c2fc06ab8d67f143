//! One job, every guarantee, every fault, in any order.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use streamwork::testkit::{Ended, Fault, Faults, History, Simulation, explore};
use streamwork::{AtLeastOnce, AtMostOnce, ExactlyOnce, Guarantee, Restarts};

use crate::oracle::{Outputs, Verdict, job, verdict};
use crate::tier;

const EVENTS: u64 = 60;

/// What is summed up over many histories, so that a test that could not fail is noticed.
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

/// Runs many histories; `holds` looks at each.
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
        let history = simulation.faults(faults.clone()).run(&job(EVENTS, &outputs), guarantee());
        let shown = verdict(EVENTS, &outputs.shown.events());
        let seen = verdict(EVENTS, &outputs.seen.events());
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
    tier::report(row, test, sums.histories.get(), "histories", first, took);
    sums
}

fn often() -> Duration {
    Duration::from_micros(500)
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
