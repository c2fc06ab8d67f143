//! Watermarks that are made out of the times of events (state T1 to T7, T14).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use streamwork::testkit::Collected;
use streamwork::{
    AtMostOnce, BoxError, Collector, EventTime, Instance, Job, JobHandle, Next, Operator, Output,
    SourceOutput, StatefulSource, Stream, WatermarkStrategy,
};

use crate::support::{ALL, guarantee, wait_until};

/// An event's partition and time.
type Timed = (u64, i64);

/// Emits these, one a call, as far as it is allowed.
struct Emits {
    events: &'static [Timed],
    emitted: usize,
    until: Arc<AtomicUsize>,
}

impl StatefulSource for Emits {
    type Out = Timed;
    type State = usize;
    fn setup(&mut self, _: &Instance, state: Option<usize>) -> Result<(), BoxError> {
        self.emitted = state.unwrap_or(0);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<Timed>) -> Result<Next, BoxError> {
        if self.emitted == self.events.len() {
            return Ok(Next::End);
        }
        if self.emitted >= self.until.load(Ordering::SeqCst) {
            return Ok(Next::After(Duration::from_millis(1)));
        }
        out.emit(self.events[self.emitted]);
        // What the source says itself ends where event time is said anew.
        out.advance_watermark(EventTime::from_unix_ms(1_000_000));
        self.emitted += 1;
        Ok(Next::Now)
    }
    fn state(&self) -> usize {
        self.emitted
    }
}

fn emits(
    job: &Job,
    name: &str,
    events: &'static [Timed],
    until: &Arc<AtomicUsize>,
) -> Stream<Timed> {
    let until = Arc::clone(until);
    job.stateful_source(name, move || Emits { events, emitted: 0, until: Arc::clone(&until) })
}

fn all() -> Arc<AtomicUsize> {
    Arc::new(AtomicUsize::new(usize::MAX))
}

fn time(event: &Timed) -> EventTime {
    EventTime::from_unix_ms(event.1)
}

/// Emits the events that it is given, and the watermarks that it hears of as those of partition 99.
struct Hears;

const HEARD: u64 = 99;

impl Operator for Hears {
    type In = Timed;
    type Out = Timed;
    fn apply(&mut self, event: Timed, out: &mut Collector<Timed>) -> Result<(), BoxError> {
        out.emit(event);
        Ok(())
    }
    fn on_watermark(&mut self, at: EventTime, out: &mut Output<Timed>) -> Result<(), BoxError> {
        out.emit((HEARD, at.unix_ms()));
        Ok(())
    }
}

fn watermarks(seen: &Collected<Timed>) -> Vec<i64> {
    seen.events().into_iter().filter(|(of, _)| *of == HEARD).map(|(_, at)| at).collect()
}

type Shape = fn(Stream<Timed>) -> Stream<Timed>;
const SHAPES: [(&str, Shape); 2] =
    [("fused", |timed| timed), ("on threads of their own", |timed| timed.own_thread())];

#[test]
fn watermarks_follow_the_events_that_they_are_made_of_under_every_guarantee() {
    const EVENTS: &[Timed] = &[(0, 10), (0, 7), (0, 30), (0, 25), (0, 41)];
    for name in ALL {
        for (how, shape) in SHAPES {
            let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
            let job = Job::new("times");
            let timed = emits(&job, "emits", EVENTS, &all())
                .event_time(time, |w| w.bounded(Duration::from_millis(5)).replays_may_be_late());
            shape(timed).operator("hears", || Hears).sink("seen", seen.factory());
            let report = job.run(guarantee(name, directory.path())).unwrap();
            let heard = watermarks(&seen);
            assert!(heard.is_sorted(), "{name}, {how}: {heard:?}");
            assert_eq!(heard.last(), Some(&36), "{name}, {how}: those of the source end");
            for (at, (of, to)) in seen.events().into_iter().enumerate() {
                // Nothing is said before the event that it follows from.
                let before = &seen.events()[..at];
                let made = before.contains(&(0, to + 5));
                assert!(of != HEARD || made, "{name}, {how}: {to} after {before:?}");
            }
            assert_eq!(report.metrics.sum("event_time", |m| m.delivered), 5, "{name}, {how}");
        }
    }
}

#[test]
fn partitions_hold_each_other_also_after_a_restart() {
    const EVENTS: &[Timed] = &[(1, 100), (2, 10), (1, 200), (2, 150), (1, 300)];
    let partitioned = |w: WatermarkStrategy<Timed>| w.per_partition(|event| event.0);
    for name in ["at-most-once stored", "at-least-once-checkpoint", "exactly-once"] {
        let directory = tempfile::tempdir().unwrap();
        let (until, seen) = (Arc::new(AtomicUsize::new(2)), Collected::new());
        let start = || -> JobHandle {
            let job = Job::new("partitions");
            emits(&job, "emits", EVENTS, &until)
                .event_time(time, partitioned)
                .operator("hears", || Hears)
                .sink("seen", seen.factory());
            job.start(guarantee(name, directory.path())).unwrap()
        };
        let handle = start();
        wait_until("both are seen", || {
            seen.events().iter().filter(|(of, _)| *of != HEARD).count() == 2
        });
        handle.stop_within(Duration::from_secs(10)).unwrap();
        let before = watermarks(&seen).len();
        until.store(3, Ordering::SeqCst);
        let handle = start();
        wait_until("the third", || seen.events().contains(&(1, 200)));
        std::thread::sleep(Duration::from_millis(20));
        let heard = &watermarks(&seen)[before..];
        assert!(heard.iter().all(|at| *at <= 100), "{name}: partition 2 is at 10: {heard:?}");
        until.store(usize::MAX, Ordering::SeqCst);
        handle.wait().unwrap();
        assert_eq!(watermarks(&seen).last(), Some(&150), "{name}");
    }
}

#[test]
fn a_stream_without_events_is_idle_after_a_while_and_holds_no_other() {
    for (how, shape) in SHAPES {
        const EVENTS: &[Timed] = &[(0, 10), (0, 20), (0, 30)];
        let (none, until) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(2)));
        let seen = Collected::new();
        let job = Job::new("idle");
        let timed = |name| {
            let until = if name == "silent" { &none } else { &until };
            let idle = |w: WatermarkStrategy<Timed>| w.idle_after(Duration::from_millis(30));
            let idle = |w| if name == "silent" { idle(w) } else { w };
            shape(emits(&job, name, EVENTS, until).event_time(time, idle))
        };
        let (silent, speaks) = (timed("silent"), timed("speaks"));
        silent.merge(&speaks).operator("hears", || Hears).sink("seen", seen.factory());
        let handle = job.start(AtMostOnce::new()).unwrap();
        wait_until("the silent one is left out", || watermarks(&seen).last() == Some(&20));
        drop(handle.stop_within(Duration::from_secs(10)).unwrap());
        assert!(!how.is_empty());
    }
}

#[test]
fn a_time_far_in_the_future_moves_no_watermark_and_is_counted() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let hour = 3_600_000;
    let run = |strategy: fn(WatermarkStrategy<i64>) -> WatermarkStrategy<i64>| {
        let seen = Collected::new();
        let job = Job::new("future");
        job.from_iter("times", move || [now - hour, now + hour, now])
            .event_time(|at| EventTime::from_unix_ms(*at), strategy)
            .map(|at| (0, at))
            .operator("hears", || Hears)
            .sink("seen", seen.factory());
        let report = job.run(AtMostOnce::new()).unwrap();
        let counted = report.metrics.sum("event_time", |m| m.future_stamped);
        (watermarks(&seen).last().copied(), counted, seen.len() - watermarks(&seen).len())
    };
    assert_eq!(run(|w| w), (Some(now), 1, 3), "the event itself flows on");
    assert_eq!(run(WatermarkStrategy::future_unbounded), (Some(now + hour), 0, 3));
    assert_eq!(run(|w| w.future_at_most(Duration::from_secs(7_200))), (Some(now + hour), 0, 3));
    // Marks are what the user says.
    let marked = run(|w| w.punctuated(|at, time| (*at % 2 == 0).then_some(time)));
    assert_eq!(marked.1, 0);
}

#[test]
fn a_time_that_panics_loses_the_event_at_hand_and_no_other() {
    const EVENTS: &[Timed] = &[(0, 1), (7, 2), (0, 3)];
    let seen = Collected::new();
    let job = Job::new("panics");
    let asked = |event: &Timed| {
        assert!(event.0 != 7, "on purpose");
        time(event)
    };
    emits(&job, "emits", EVENTS, &all())
        .event_time(asked, |w| w)
        .operator("hears", || Hears)
        .sink("seen", seen.factory());
    let report = job.run(AtMostOnce::new()).unwrap();
    let events: Vec<Timed> = seen.events().into_iter().filter(|(of, _)| *of != HEARD).collect();
    assert_eq!(events, [(0, 1), (0, 3)]);
    assert_eq!(watermarks(&seen).last(), Some(&3));
    assert_eq!(report.metrics.sum("event_time", |m| m.dropped), 1);
}
