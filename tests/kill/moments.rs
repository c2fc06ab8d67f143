//! kill -9 at random moments, start and recovery included, and graceful stops at random moments.
//!
//! A child reports its progress. Moments are drawn within its start and within its flow, so that both are hit
//! however fast a build starts.
//!
//! Kills per guarantee: `STREAMWORK_KILLS`; the moments come from `STREAMWORK_SEED`.

use std::time::{Duration, Instant};

use crate::child::{self, Phase, Process};
use crate::oracle::Seen;
use crate::tier;

/// How a child is made to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Killed,
    Stopped,
}

/// Ends children at random moments, then lets one come to the end of its events.
fn torment(test: &str, row: u8, semantics: &str, how: How, rounds: u64) -> Seen {
    let directory = tempfile::tempdir().expect("a directory");
    let (began, seed) = (Instant::now(), tier::seed(test));
    // More than all children that are ended early can come to.
    let events = 2_500 * (rounds + 1);
    let (mut random, mut starting, mut flowing) = (Random(seed), 0, 0);
    // How long a start takes differs between builds and machines; the last child that came through one says.
    let mut start_takes = Duration::from_millis(5);
    for round in 0..rounds {
        let mut child = child::spawn(semantics, directory.path(), events);
        let process = child.id();
        let moment = random.moment(seed.wrapping_add(round), start_takes);
        if let Some(phase) = moment.after {
            child::await_phase(&mut child, directory.path(), phase, semantics);
        }
        std::thread::sleep(moment.pause);
        // A child that is asked to stop may make progress before it knows; the moment of the request counts.
        let asked = child::phase(directory.path(), process);
        if end(child, how, semantics) {
            let met = match how {
                How::Killed => child::phase(directory.path(), process),
                How::Stopped => asked,
            };
            match met {
                Phase::Loading => {}
                Phase::Starting => starting += 1,
                Phase::Flowing => flowing += 1,
            }
        }
        start_takes = child::start_took(directory.path(), process).unwrap_or(start_takes);
    }
    println!("{test}: {how:?} {rounds} times: {starting} while starting, {flowing} while flowing");
    assert!(flowing > rounds / 2, "{semantics}: only {flowing} of {rounds} met flowing events");
    assert!(
        rounds < 50 || starting > rounds / 20,
        "{semantics}: only {starting} of {rounds} met a start or recovery"
    );
    let last = child::spawn(semantics, directory.path(), events);
    child::expect_end(last, Duration::from_secs(60 + events / 5_000), semantics);
    let seen = Seen::read(&directory.path().join("out"), events);
    seen.assert_kept(semantics, &format!("{how:?} {rounds} times"));
    tier::report(row, test, rounds, "processes ended", seed, began.elapsed());
    seen
}

/// Ends a child, and returns whether it was still at work.
fn end(mut child: Process, how: How, semantics: &str) -> bool {
    let running = child.try_wait().expect("the child can be asked").is_none();
    match how {
        How::Killed => {
            child.kill().expect("the child can be killed");
            let status = child.wait().expect("the child can be waited for");
            assert!(running || status.success(), "{semantics}: a child failed: {status}");
        }
        How::Stopped => {
            drop(child.stdin.take());
            child::expect_end(child, Duration::from_secs(60), semantics);
        }
    }
    running
}

/// A linear congruential generator: enough for moments, and the same on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % bound
    }

    /// When a child is ended: one in four while it starts or recovers, which takes about this long, one in
    /// eight at any time from its first moment on, the others while events flow.
    fn moment(&mut self, turn: u64, start_takes: Duration) -> Moment {
        let start_us = u64::try_from(start_takes.as_micros()).unwrap_or(u64::MAX).max(1);
        // In turn, not by chance: so few rounds meet what they are to meet, on a busy machine too.
        let (after, below_us) = match turn % 8 {
            1 | 6 => (Some(Phase::Starting), start_us),
            4 => (None, 50_000),
            _ => (Some(Phase::Flowing), 40_000),
        };
        Moment { after, pause: Duration::from_micros(self.below(below_us)) }
    }
}

/// So long after a child has come so far.
#[derive(Clone, Copy, Debug)]
struct Moment {
    after: Option<Phase>,
    pause: Duration,
}

fn kills() -> u64 {
    tier::number("STREAMWORK_KILLS").unwrap_or_else(|| tier::times(100, 5_000))
}

#[test]
fn exactly_once_shows_every_event_once_and_counts_it_once() {
    let test = "exactly_once_shows_every_event_once_and_counts_it_once";
    torment(test, 1, "exactly-once", How::Killed, kills());
}

#[test]
fn at_least_once_with_an_acknowledger_loses_nothing_in_output_or_state() {
    let test = "at_least_once_with_an_acknowledger_loses_nothing_in_output_or_state";
    let seen = torment(test, 3, "at-least-once", How::Killed, kills());
    assert!(seen.repeated() > 0, "a test that cannot fail: no kill made anything repeat");
}

#[test]
fn at_least_once_by_checkpoints_loses_nothing_in_output_or_state() {
    let test = "at_least_once_by_checkpoints_loses_nothing_in_output_or_state";
    // What repeats is what ran ahead of a barrier on one of two inputs, so it need not happen.
    torment(test, 3, "at-least-once-checkpoint", How::Killed, kills());
}

#[test]
fn at_most_once_repeats_nothing_in_output_or_state() {
    let test = "at_most_once_repeats_nothing_in_output_or_state";
    let seen = torment(test, 3, "at-most-once", How::Killed, kills());
    assert!(seen.lost() > 0, "a test that cannot fail: no kill made anything get lost");
}

#[test]
fn splits_go_on_where_they_were_when_the_next_process_has_another_parallelism() {
    let test = "splits_go_on_where_they_were_when_the_next_process_has_another_parallelism";
    let rounds = kills().div_ceil(4);
    for (row, semantics) in [(1, "exactly-once"), (3, "at-least-once"), (3, "at-most-once")] {
        torment(test, row, &format!("{semantics}{}", child::OF_SPLITS), How::Killed, rounds);
    }
}

#[test]
fn a_graceful_stop_at_any_moment_loses_nothing_and_repeats_nothing_under_any_guarantee() {
    let test =
        "a_graceful_stop_at_any_moment_loses_nothing_and_repeats_nothing_under_any_guarantee";
    for semantics in child::ALL {
        let rounds = kills().div_ceil(4);
        let seen = torment(test, 3, semantics, How::Stopped, rounds);
        assert_eq!((seen.lost(), seen.repeated()), (0, 0), "{semantics}");
    }
}

#[test]
fn held_events_go_on_in_the_next_process_as_the_guarantee_promises() {
    let test = "held_events_go_on_in_the_next_process_as_the_guarantee_promises";
    for semantics in child::ALL {
        let row = if semantics == "exactly-once" { 1 } else { 3 };
        let name = format!("{semantics}{}", child::THAT_HOLDS);
        torment(test, row, &name, How::Killed, kills().div_ceil(8));
        let seen = torment(test, row, &name, How::Stopped, kills().div_ceil(8));
        assert_eq!(seen.lost(), 0, "{name}");
        // With the acknowledger, what the source emitted after an event that is held comes again with it.
        assert!(semantics == "at-least-once" || seen.repeated() == 0, "{name}");
    }
}
