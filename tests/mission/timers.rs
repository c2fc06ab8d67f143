//! Each timer fires once unless it is cancelled, even if components fail or the job starts over (state O4, O8).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use streamwork::testkit::Collected;
use streamwork::{
    AtMostOnce, BoxError, Collector, Instance, Job, Next, Output, SourceOutput, StatefulOperator,
    StatefulSource,
};

use crate::support::{ALL, guarantee, wait_until};

/// What the operator is told to do.
#[derive(Clone, Copy, Debug)]
enum Order {
    Set(u64),
    Cancel(u64),
    /// Cancels and sets in one call, and returns an error.
    CancelSetAndFail(u64, u64),
    /// Cancels, and sets again in the same call.
    Again(u64),
    Panic,
}

use Order::{Again, Cancel, CancelSetAndFail, Panic, Set};

/// All orders are given in one batch, so that all of their timers are due at the same moment.
struct Orders {
    orders: &'static [Order],
    given: usize,
    until: usize,
}

impl StatefulSource for Orders {
    type Out = Order;
    type State = usize;
    fn setup(&mut self, _: &Instance, state: Option<usize>) -> Result<(), BoxError> {
        self.given = state.unwrap_or(0);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<Order>) -> Result<Next, BoxError> {
        out.emit_all(self.orders[self.given..self.until].iter().copied());
        self.given = self.until;
        Ok(Next::WhenWoken)
    }
    fn state(&self) -> usize {
        self.given
    }
}

/// Emits the tags of the timers that fire.
struct Alarms {
    delay: Duration,
    setups: Arc<AtomicUsize>,
    setup_fails_at: usize,
}

impl StatefulOperator for Alarms {
    type In = Order;
    type Out = u64;
    type State = ();
    fn setup(&mut self, _: &Instance, _: Option<()>) -> Result<(), BoxError> {
        match self.setups.fetch_add(1, Ordering::SeqCst) == self.setup_fails_at {
            true => Err("not yet".into()),
            false => Ok(()),
        }
    }
    fn apply(&mut self, order: Order, out: &mut Collector<u64>) -> Result<(), BoxError> {
        match order {
            Set(tag) => out.set_timer(self.delay, tag),
            Cancel(tag) => out.cancel_timers(tag),
            CancelSetAndFail(cancelled, set) => {
                out.cancel_timers(cancelled);
                out.set_timer(self.delay, set);
                return Err("told to".into());
            }
            Again(tag) => {
                out.cancel_timers(tag);
                out.set_timer(self.delay, tag);
            }
            Panic => panic!("told to"),
        }
        Ok(())
    }
    fn on_timer(&mut self, tag: u64, out: &mut Output<u64>) -> Result<(), BoxError> {
        out.emit(tag);
        Ok(())
    }
    fn state(&self) {}
}

/// A job that gives this many of the orders, and the timers that fire in it.
fn alarms(orders: &'static [Order], until: usize, delay_ms: u64) -> (Job, Collected<u64>) {
    failing_alarms(orders, until, delay_ms, usize::MAX)
}

fn failing_alarms(
    orders: &'static [Order],
    until: usize,
    delay_ms: u64,
    setup_fails_at: usize,
) -> (Job, Collected<u64>) {
    let (fired, delay) = (Collected::new(), Duration::from_millis(delay_ms));
    let setups = Arc::new(AtomicUsize::new(0));
    let job = Job::new("alarms");
    job.stateful_source("orders", move || Orders { orders, given: 0, until })
        .stateful("alarms", move || Alarms { delay, setups: Arc::clone(&setups), setup_fails_at })
        .sink("fired", fired.factory());
    (job, fired)
}

/// Two of tag 1 and two of tag 2; of tag 1 none is left, of tag 3 only the last.
const ORDERS: &[Order] =
    &[Set(1), Set(2), Set(1), Set(2), Set(3), Set(3), Cancel(1), Cancel(9), Again(3), Set(4)];

#[test]
fn cancelled_timers_do_not_fire_and_all_others_fire_once_under_every_guarantee() {
    for name in ALL {
        let directory = tempfile::tempdir().unwrap();
        let (job, fired) = alarms(ORDERS, ORDERS.len(), 1);
        let handle = job.start(guarantee(name, directory.path())).unwrap();
        wait_until(name, || fired.events().last() == Some(&4));
        handle.stop_within(Duration::from_secs(10)).unwrap();
        assert_eq!(fired.events(), [2, 2, 3, 4], "{name}");
    }
}

/// The orders after a restart, following the five orders before it.
const LATER: &[Order] =
    &[Set(1), Set(2), Set(1), Set(2), Set(3), Again(2), Cancel(1), Cancel(3), Set(5)];

fn cancel_after_a_restart(name: &str) {
    let directory = tempfile::tempdir().unwrap();
    let delay_ms = 1_500;
    let (job, fired) = alarms(LATER, 5, delay_ms);
    let handle = job.start(guarantee(name, directory.path())).unwrap();
    wait_until("all are set", || handle.metrics().sum("alarms", |m| m.delivered) == 5);
    handle.stop_within(Duration::from_secs(10)).unwrap();
    assert!(fired.is_empty(), "{name}");
    // Those of before would be due before the last one.
    let (job, fired) = alarms(LATER, LATER.len(), delay_ms);
    let handle = job.start(guarantee(name, directory.path())).unwrap();
    wait_until(name, || fired.events().last() == Some(&5));
    handle.stop_within(Duration::from_secs(10)).unwrap();
    assert_eq!(fired.events(), [2, 5], "{name}");
}

#[test]
fn a_timer_that_was_set_before_a_restart_is_cancelled_after_it_under_every_guarantee() {
    // Side by side, since each has to wait.
    std::thread::scope(|scope| {
        for name in ALL.into_iter().filter(|name| !["at-most-once", "at-least-once"].contains(name))
        {
            scope.spawn(move || cancel_after_a_restart(name));
        }
    });
}

#[test]
fn what_a_failed_event_asked_of_timers_has_not_happened() {
    let (job, fired) = alarms(&[Set(1), CancelSetAndFail(1, 7), Set(2)], 3, 1);
    let handle = job.start(AtMostOnce::new()).unwrap();
    wait_until("the others fire", || fired.events().last() == Some(&2));
    handle.stop_within(Duration::from_secs(10)).unwrap();
    assert_eq!(fired.events(), [1, 2]);
}

#[test]
fn timers_of_the_events_before_a_panic_are_as_they_were_left_although_the_next_setup_fails() {
    let (job, fired) = failing_alarms(&[Set(1), Set(2), Cancel(1), Panic, Set(3)], 5, 1, 1);
    let handle = job.start(AtMostOnce::new()).unwrap();
    wait_until("the last fires", || fired.events().last() == Some(&3));
    handle.stop_within(Duration::from_secs(10)).unwrap();
    assert_eq!(fired.events(), [2, 3]);
}
