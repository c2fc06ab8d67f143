//! State by key that lives for a time (state O12, B9).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use streamwork::testkit::{Collected, KeyedHarness, StateLeft};
use streamwork::{
    At, BoxError, Emit, EventTime, ExactlyOnce, Job, KeyedOperator, Refused, RunError, TimeToLive,
};

use crate::keyed_state::numbers;
use crate::support::{ALL, guarantee, wait_until};

const LIVES: Duration = Duration::from_secs(10);

/// Counts the events of a key, and looks at the count when the event is even.
struct Count<const SINCE: u8>;

impl<const SINCE: u8> KeyedOperator for Count<SINCE> {
    type Key = u64;
    type In = (u64, u64);
    type Out = Option<u64>;
    type State = u64;
    type Timer = ();
    fn time_to_live() -> Option<TimeToLive> {
        Some(match SINCE {
            0 => TimeToLive::since_created(LIVES),
            1 => TimeToLive::since_write(LIVES),
            2 => TimeToLive::since_read(LIVES),
            _ => TimeToLive::since_write(LIVES).in_event_time(),
        })
    }
    fn apply(
        &mut self,
        (_, event): (u64, u64),
        at: &mut At<'_, Self>,
        out: &mut Emit<'_, Option<u64>>,
    ) -> Result<(), BoxError> {
        if !event.is_multiple_of(2) {
            *at.state() += 1;
        }
        let count = at.peek().copied();
        out.emit(count);
        Ok(())
    }
}

fn harness<const SINCE: u8>() -> KeyedHarness<Count<SINCE>> {
    let harness = KeyedHarness::new(|(key, _): &(u64, u64)| *key, || Count::<SINCE>);
    match SINCE {
        3 => harness.event_time(|(_, event)| EventTime::from_unix_ms(*event as i64)),
        _ => harness,
    }
}

/// What is counted of key 7 if it is written (w) or read (r) after each of these seconds.
fn seen<const SINCE: u8>(steps: &[(u64, char)]) -> Vec<Option<u64>> {
    let mut harness = harness::<SINCE>();
    let step = |&(seconds, how): &(u64, char)| {
        harness.pause(Duration::from_secs(seconds)).unwrap();
        harness.event((7, u64::from(how == 'w'))).unwrap()[0]
    };
    steps.iter().map(step).collect()
}

#[test]
fn a_state_lives_since_it_was_made_written_or_read() {
    let steps = [(0, 'w'), (6, 'w'), (6, 'r'), (6, 'r'), (6, 'w')];
    // Made at 0, and at 24.
    assert_eq!(seen::<0>(&steps), [Some(1), Some(2), None, None, Some(1)]);
    // Written at 6.
    assert_eq!(seen::<1>(&steps), [Some(1), Some(2), Some(2), None, Some(1)]);
    assert_eq!(seen::<2>(&steps), [Some(1), Some(2), Some(2), Some(2), Some(3)]);
    // To the millisecond.
    let mut harness = harness::<1>();
    harness.event((7, 1)).unwrap();
    harness.pause(LIVES - Duration::from_millis(1)).unwrap();
    assert_eq!(harness.event((7, 0)).unwrap(), [Some(1)]);
    harness.pause(Duration::from_millis(1)).unwrap();
    assert_eq!(harness.event((7, 0)).unwrap(), [None]);
}

#[test]
fn nothing_is_left_of_a_state_whose_time_has_been_over_for_as_long_again() {
    let mut harness = harness::<1>();
    for key in 0..1_000 {
        harness.event((key, 1)).unwrap();
    }
    assert_eq!(harness.left().unwrap().entries, 1_000);
    for _ in 0..200 {
        harness.pause(LIVES / 100).unwrap();
    }
    assert_eq!(harness.left().unwrap(), StateLeft::NOTHING);
}

#[test]
fn in_event_time_a_state_is_over_by_the_watermark() {
    let mut harness = harness::<3>();
    let time = |seconds: u64| EventTime::from_unix_ms(1_000 * seconds as i64);
    assert_eq!(harness.event((7, 1_001)).unwrap(), [Some(1)]);
    // Late, and makes it no older.
    assert_eq!(harness.event((7, 501)).unwrap(), [Some(2)]);
    harness.pause(3 * LIVES).unwrap();
    harness.watermark(time(11)).unwrap();
    assert_eq!(harness.event((7, 2)).unwrap(), [Some(2)], "the time of the newest counts");
    harness.watermark(time(12)).unwrap();
    assert_eq!(harness.event((7, 4)).unwrap(), [None]);
}

/// Sets a timer for a key that is over by then.
struct Late;

impl KeyedOperator for Late {
    type Key = u64;
    type In = u64;
    type Out = Option<u64>;
    type State = u64;
    type Timer = ();
    fn time_to_live() -> Option<TimeToLive> {
        Some(TimeToLive::since_write(LIVES))
    }
    fn apply(
        &mut self,
        n: u64,
        at: &mut At<'_, Self>,
        _: &mut Emit<'_, Option<u64>>,
    ) -> Result<(), BoxError> {
        *at.state() = n;
        at.set_timer_after(3 * LIVES, ());
        Ok(())
    }
    fn on_timer(
        &mut self,
        (): (),
        at: &mut At<'_, Self>,
        out: &mut Emit<'_, Option<u64>>,
    ) -> Result<(), BoxError> {
        let state = at.peek().copied();
        out.emit(state);
        Ok(())
    }
}

#[test]
fn timers_outlive_the_state_of_their_key() {
    let mut harness = KeyedHarness::new(|n: &u64| *n, || Late);
    harness.event(7).unwrap();
    let mut emitted = Vec::new();
    for _ in 0..29 {
        emitted.append(&mut harness.pause(LIVES / 10).unwrap());
    }
    assert_eq!((emitted.len(), harness.left().unwrap().timers), (0, 1));
    for _ in 0..3 {
        emitted.append(&mut harness.pause(LIVES / 10).unwrap());
    }
    assert_eq!(emitted, [None]);
    assert_eq!(harness.left().unwrap(), StateLeft::NOTHING);
}

#[test]
fn a_table_forgets_what_is_over_under_every_guarantee() {
    for name in ALL {
        let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
        let job = Job::new("visits");
        // Key 0 comes again in time, the others once.
        let visits = job.from_iter("visits", || {
            // Times of 2023.
            let time = |n| 1_700_000_000_000 + 10 * n;
            (0..3_000_u64).map(move |n| (if n.is_multiple_of(2) { 0 } else { n }, time(n)))
        });
        visits
            .event_time(|(_, ms)| EventTime::from_unix_ms(*ms as i64), |watermarks| watermarks)
            .key_by(|(key, _)| *key)
            .count()
            .time_to_live(TimeToLive::since_write(Duration::from_millis(900)).in_event_time())
            .at_end()
            .parallelism(2)
            .sink("seen", seen.factory());
        job.run(guarantee(name, directory.path())).unwrap();
        let rows: BTreeMap<u64, u64> = seen.events().into_iter().collect();
        assert_eq!(rows.get(&0), Some(&1_500), "{name}");
        assert!(
            rows.keys().all(|key| *key == 0 || *key >= 2_900),
            "{name}: {:?}",
            rows.keys().nth(1)
        );
    }
}

#[test]
fn a_time_to_live_in_event_time_is_refused_on_a_stream_without() {
    let job = Job::new("visits");
    let ttl = TimeToLive::since_write(LIVES).in_event_time();
    let counts = job.from_iter("visits", || 0..9_u64).key_by(|n| *n).count().time_to_live(ttl);
    counts.updates().named("counts").ignore();
    let refused = job.run(guarantee("exactly-once", tempfile::tempdir().unwrap().path()));
    let Err(RunError::Refused(Refused::NoEventTime { component })) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(component, "counts");
}

#[test]
fn after_a_restart_a_state_lives_for_what_was_left() {
    let directory = tempfile::tempdir().unwrap();
    let lives = Duration::from_millis(2_000);
    let start = |limit: usize| {
        let (job, seen) = (Job::new("visits"), Collected::new());
        let limit = Arc::new(AtomicUsize::new(limit));
        let numbers = numbers(&job, &limit, 1_000);
        let counts = numbers.key_by(|n| n % 100).count();
        let counts = counts.time_to_live(TimeToLive::since_write(lives)).updates();
        counts.named("counts").parallelism(2).sink("seen", seen.factory());
        let guarantee = ExactlyOnce::checkpoints_in(directory.path()).incremental_above(0);
        (job.start(guarantee).unwrap(), limit, seen)
    };
    let (handle, _, seen) = start(100);
    wait_until("all are counted", || seen.len() == 100);
    let written = Instant::now();
    for _ in 0..10 {
        handle.checkpoint_now().unwrap();
        std::thread::sleep(lives / 20);
    }
    handle.stop();
    handle.wait().unwrap();
    let left = lives.saturating_sub(written.elapsed());
    // However long the job is down.
    std::thread::sleep(lives);
    let (handle, limit, seen) = start(150);
    let began = Instant::now();
    wait_until("half of them are counted again", || seen.len() == 50);
    let in_time = began.elapsed() < left.saturating_sub(Duration::from_millis(300));
    if in_time {
        assert!(seen.events().iter().all(|(_, count)| *count == 2), "they lived on");
    }
    std::thread::sleep((left + Duration::from_millis(300)).saturating_sub(began.elapsed()));
    limit.store(200, Ordering::SeqCst);
    wait_until("the others are counted", || seen.len() == 100);
    assert!(seen.events()[50..].iter().all(|(_, count)| *count == 1), "they were over");
    handle.stop();
    handle.wait().unwrap();
}
