//! The harness for operators with state by key: what it feeds, what it finds, and what it counts (state O).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use streamwork::testkit::{KeyedHarness, StateLeft};
use streamwork::{At, BoxError, Emit, EventTime, KeyedOperator};

/// What an operator is told to do for a key.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// Counts.
    Count,
    /// Emits the key and 0 when this time is over.
    At(i64),
    /// Emits the key and 1 after so many seconds.
    After(u64),
    Forget,
    Fail,
}

use Order::{After, Count, Fail, Forget};

#[derive(Default)]
struct Obeys {
    /// What a field has does not come back with the operator.
    in_a_field: u64,
    keeps_a_field: bool,
}

type Said = (u64, u64);

impl KeyedOperator for Obeys {
    type Key = u64;
    type In = (u64, Order);
    type Out = Said;
    type State = u64;
    type Timer = u64;

    fn apply(
        &mut self,
        (key, order): (u64, Order),
        at: &mut At<'_, Self>,
        out: &mut Emit<'_, Said>,
    ) -> Result<(), BoxError> {
        assert_eq!(at.time(), None, "there is no event time");
        match order {
            Count => {
                *at.state() += 1;
                self.in_a_field += 1;
                let counted = if self.keeps_a_field { self.in_a_field } else { *at.state() };
                out.emit((key, counted));
            }
            Order::At(ms) => at.set_timer(EventTime::from_unix_ms(ms), 0),
            After(seconds) => at.set_timer_after(Duration::from_secs(seconds), 1),
            Forget => at.forget(),
            Fail => return Err("told to".into()),
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: u64,
        at: &mut At<'_, Self>,
        out: &mut Emit<'_, Said>,
    ) -> Result<(), BoxError> {
        out.emit((*at.key(), timer));
        Ok(())
    }
}

fn obeys() -> KeyedHarness<Obeys> {
    KeyedHarness::new(|(key, _)| *key, Obeys::default)
}

#[test]
fn state_and_timers_by_key_survive_that_the_operator_is_put_back_after_every_event() {
    let mut harness = obeys();
    let events = [(1, Count), (2, Count), (1, Count), (1, Order::At(20)), (2, Order::At(10))];
    assert_eq!(harness.events(events).unwrap(), [(1, 1), (2, 1), (1, 2)]);
    assert_eq!(harness.watermark(EventTime::from_unix_ms(10)).unwrap(), []);
    assert_eq!(harness.watermark(EventTime::from_unix_ms(21)).unwrap(), [(2, 0), (1, 0)]);
    assert_eq!(harness.event((1, Count)).unwrap(), [(1, 3)]);
    // Due already: it fires after the event.
    assert_eq!(harness.event((1, Order::At(3))).unwrap(), [(1, 0)]);
    assert_eq!(harness.event((2, Order::At(99))).unwrap(), []);
    assert_eq!(harness.finish().unwrap(), [(2, 0)]);
}

#[test]
fn timers_in_processing_time_wait_for_the_rest_of_their_time() {
    let mut harness = obeys();
    let seconds = Duration::from_secs;
    assert_eq!(harness.events([(1, After(10)), (2, After(4))]).unwrap(), []);
    assert_eq!(harness.pause(seconds(3)).unwrap(), []);
    assert_eq!(harness.pause(seconds(3)).unwrap(), [(2, 1)]);
    assert_eq!(harness.event((3, After(1))).unwrap(), []);
    assert_eq!(harness.pause(seconds(4)).unwrap(), [(3, 1), (1, 1)]);
    assert_eq!(harness.left().unwrap(), StateLeft::NOTHING);
}

#[test]
fn what_is_left_of_state_is_counted_in_entries_timers_and_bytes() {
    let mut harness = obeys();
    assert_eq!(harness.left().unwrap(), StateLeft::NOTHING);
    harness.event((1, Count)).unwrap();
    let one = harness.left().unwrap();
    assert_eq!((one.entries, one.timers), (1, 0));
    // A timer makes no state, but an entry.
    harness.events([(2, Order::At(5)), (2, After(5)), (1, Order::At(5))]).unwrap();
    let two = harness.left().unwrap();
    assert_eq!((two.entries, two.timers), (2, 3));
    assert!(one.bytes > 0 && two.bytes > 2 * one.bytes, "{one:?} {two:?}");
    harness.events([(1, Forget), (2, Forget)]).unwrap();
    assert_eq!(harness.left().unwrap(), StateLeft::NOTHING);
    harness.events([(3, Count), (4, After(5)), (5, Order::At(5))]).unwrap();
    harness.finish().unwrap();
    let left = harness.left().unwrap();
    assert_eq!((left.entries, left.timers), (2, 1), "a timer in processing time is not due");
}

#[test]
#[should_panic(expected = "put back from its state after every step")]
fn an_operator_that_keeps_something_in_a_field_is_found() {
    let keeps = || Obeys { keeps_a_field: true, ..Obeys::default() };
    let mut harness = KeyedHarness::new(|(key, _): &(u64, Order)| *key, keeps);
    drop(harness.events([(1, Count), (1, Count)]));
}

/// A state of which a part is not stored.
#[derive(Default, Serialize, Deserialize)]
struct Half {
    stored: u64,
    #[serde(skip)]
    not_stored: u64,
}

/// Emits the number of events, and the time of the last.
struct Halves;

impl KeyedOperator for Halves {
    type Key = u8;
    type In = u64;
    type Out = (u64, Option<EventTime>);
    type State = Half;
    type Timer = ();
    const NEEDS_EVENT_TIME: bool = true;

    fn apply(
        &mut self,
        n: u64,
        at: &mut At<'_, Self>,
        out: &mut Emit<'_, Self::Out>,
    ) -> Result<(), BoxError> {
        let time = at.time();
        let half = at.state();
        half.stored += 1;
        half.not_stored += u64::from(n == 0);
        out.emit((half.stored + half.not_stored, time));
        Ok(())
    }
}

fn halves() -> KeyedHarness<Halves> {
    KeyedHarness::new(|_| 7, || Halves)
}

#[test]
#[should_panic(expected = "put back from its state after every step")]
fn a_state_that_its_bytes_do_not_give_back_is_found() {
    let mut halves = halves().event_time(|_| EventTime::MIN);
    drop(halves.events([0, 1]));
}

#[test]
fn events_have_the_times_that_they_are_given_and_an_operator_that_needs_them_is_refused_without() {
    let time = |n: i64| EventTime::from_unix_ms(n);
    let mut timed = halves().event_time(move |n| time(*n as i64));
    assert_eq!(timed.events([3, 4]).unwrap(), [(1, Some(time(3))), (2, Some(time(4)))]);
    let refused = halves().event(1).expect_err("there is no event time").to_string();
    assert!(refused.contains("event time"), "{refused}");
}

#[test]
fn an_error_of_a_callback_is_returned() {
    let failed = obeys().event((1, Fail)).expect_err("it was told to fail").to_string();
    assert!(failed.contains("apply"), "{failed}");
}
