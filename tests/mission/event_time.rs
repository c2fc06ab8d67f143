//! Watermarks that are made out of the times of events, and times that go along with events (state T1 to T7, T13, T14,
//! T16, T17, X5).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use streamwork::testkit::Collected;
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, DeadLetter, DeclaredOutput, Event, EventTime,
    ExactlyOnce, Guarantee, HeldEvents, Instance, Job, JobHandle, Next, OnError, Operator, Output,
    Refused, RunError, SideOutput, SourceOutput, StatefulSource, Stream, Token, WatermarkStrategy,
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

/// Passes events on with the times that they have, in milliseconds.
struct Times<T>(std::marker::PhantomData<fn(T)>);

impl<T: Event> Operator for Times<T> {
    type In = T;
    type Out = (T, Option<i64>);
    fn apply(&mut self, event: T, out: &mut Collector<Self::Out>) -> Result<(), BoxError> {
        let time = out.time().map(EventTime::unix_ms);
        out.emit((event, time));
        Ok(())
    }
}

/// The events of a stream with the times that they have.
fn times<T: Event>(stream: &Stream<T>, name: &str, seen: &Collected<(T, Option<i64>)>) {
    let stream = stream.operator(name, || Times(std::marker::PhantomData));
    stream.sink(format!("{name} seen"), seen.factory());
}

const ASIDE: SideOutput<i64> = SideOutput::new("aside");

/// Emits each number once or more, some on a side output, and fails for those that end in 7, after it has emitted.
struct Busy;

impl Operator for Busy {
    type In = i64;
    type Out = i64;
    const SIDE_OUTPUTS: &'static [DeclaredOutput] = &[ASIDE.declared()];
    fn apply(&mut self, n: i64, out: &mut Collector<i64>) -> Result<(), BoxError> {
        (0..n % 3).for_each(|_| out.emit(n));
        out.emit_at(EventTime::from_unix_ms(n - 10_000), n + 10_000);
        if n % 4 == 0 {
            out.emit_to(ASIDE, n);
        }
        if n % 10 == 7 { Err("on purpose".into()) } else { Ok(()) }
    }
}

type Way = fn(Stream<i64>) -> Stream<i64>;

/// How a stream gets to the next component.
const WAYS: [(&str, Way); 5] = [
    ("fused", |stream| stream),
    ("in another thread", |stream| stream.map(|n| n).own_thread()),
    ("by key", |stream| stream.partition_by(|n| n % 5).map(|n| n).parallelism(3).global()),
    ("in turn", |stream| stream.shuffle().filter(|_| true).parallelism(2).global()),
    ("to all", |stream| stream.broadcast().filter(|_| true).parallelism(2).global()),
];

/// State T13.
#[test]
fn what_is_emitted_for_an_event_has_its_time_whatever_it_passes_under_every_guarantee() {
    const EVENTS: i64 = 3_000;
    for name in ALL {
        for (how, way) in WAYS {
            let directory = tempfile::tempdir().unwrap();
            let (seen, aside, letters) = (Collected::new(), Collected::new(), Collected::new());
            let job = Job::new("times");
            let timed = job
                .from_iter("numbers", || 0..EVENTS)
                .event_time(|n| EventTime::from_unix_ms(*n), |w| w);
            let verbs = way(timed)
                .map(|n| n.to_string())
                .filter(|text| !text.ends_with('9'))
                .try_map(|text| Ok(text.parse::<i64>()?))
                .flat_map(|n| [n].into_iter().filter(|n| n % 11 != 0))
                .map(|n| n)
                .filter(|n| n % 13 != 0)
                .inspect(|_| ());
            let busy = verbs.operator("busy", || Busy).on_error(OnError::DeadLetter);
            times(&busy, "main", &seen);
            // A second reader of the same stream.
            times(&busy, "again", &seen);
            times(&busy.side_output(ASIDE), "side", &aside);
            let dead = busy.dead_letters::<i64>().map(|letter: DeadLetter<i64>| letter.event);
            times(&dead, "dead", &letters);
            job.run(guarantee(name, directory.path())).unwrap();
            let copies = if how == "to all" { 2 } else { 1 };
            let came = |n: &i64| n % 10 != 9 && n % 11 != 0 && n % 13 != 0;
            let well = |n: &i64| came(n) && n % 10 != 7;
            let mut expected: Vec<(i64, Option<i64>)> = Vec::new();
            for n in (0..EVENTS).filter(well) {
                (0..n % 3).for_each(|_| expected.push((n, Some(n))));
                expected.push((n + 10_000, Some(n - 10_000)));
            }
            let sorted = |mut events: Vec<(i64, Option<i64>)>| {
                events.sort_unstable();
                events
            };
            let times_of = |events: Vec<(i64, Option<i64>)>, copies| {
                sorted(events.into_iter().flat_map(|e| vec![e; copies]).collect())
            };
            assert!(sorted(seen.events()) == times_of(expected, 2 * copies), "{name}, {how}");
            let own = |which: &dyn Fn(&i64) -> bool| {
                let events = (0..EVENTS).filter(which).map(|n| (n, Some(n)));
                times_of(events.collect(), copies)
            };
            assert!(sorted(aside.events()) == own(&|n| well(n) && n % 4 == 0), "{name}, {how}");
            assert!(sorted(letters.events()) == own(&|n| came(n) && n % 10 == 7), "{name}, {how}");
        }
    }
}

#[test]
fn a_stream_without_event_time_has_no_times_and_a_time_that_is_set_is_not_kept() {
    for name in ALL {
        let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
        let job = Job::new("none");
        let busy = job.from_iter("numbers", || [3_i64, 4]).operator("busy", || Busy);
        times(&busy, "times", &seen);
        times(&busy.side_output(ASIDE), "side", &seen);
        job.run(guarantee(name, directory.path())).unwrap();
        let mut seen = seen.events();
        seen.sort_unstable();
        assert_eq!(seen, [4, 4, 10_003, 10_004].map(|n| (n, None)), "{name}");
    }
}

#[test]
fn times_that_the_stream_had_are_replaced() {
    for name in ALL {
        let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
        let job = Job::new("anew");
        let first = |n: &i64| EventTime::from_unix_ms(*n);
        let anew = |n: &i64| EventTime::from_unix_ms(-*n);
        let timed = job.from_iter("numbers", || 0..9_i64).event_time(first, |w| w);
        times(&timed.event_time(anew, |w| w), "times", &seen);
        job.run(guarantee(name, directory.path())).unwrap();
        assert_eq!(seen.events(), (0..9).map(|n| (n, Some(-n))).collect::<Vec<_>>(), "{name}");
    }
}

/// Emits when a timer fires, with the watermark, and at the end: 1, 2 and 3, and each with a time of its own, in
/// hundreds.
struct ByItself;

impl Operator for ByItself {
    type In = i64;
    type Out = i64;
    const SIDE_OUTPUTS: &'static [DeclaredOutput] = &[ASIDE.declared()];
    fn apply(&mut self, n: i64, out: &mut Collector<i64>) -> Result<(), BoxError> {
        if n == 5 {
            out.set_timer(Duration::from_millis(1), 0);
        }
        Ok(())
    }
    fn on_timer(&mut self, _: u64, out: &mut Output<i64>) -> Result<(), BoxError> {
        out.emit(1);
        out.emit_at(EventTime::from_unix_ms(-1), 100);
        Ok(())
    }
    fn on_watermark(&mut self, _: EventTime, out: &mut Output<i64>) -> Result<(), BoxError> {
        out.emit(2);
        out.emit_at(EventTime::from_unix_ms(-2), 200);
        out.emit_to(ASIDE, 2);
        Ok(())
    }
    fn finish(&mut self, out: &mut Output<i64>) -> Result<(), BoxError> {
        out.emit_at(EventTime::from_unix_ms(-3), 300);
        out.emit_all([3, 3]);
        Ok(())
    }
}

/// State T13.
#[test]
fn what_a_timer_a_watermark_and_the_end_emit_has_the_time_of_the_watermark_unless_it_is_set() {
    const EVENTS: &[Timed] = &[(0, 5), (0, 7)];
    for name in ALL {
        let (directory, until) = (tempfile::tempdir().unwrap(), Arc::new(AtomicUsize::new(1)));
        let (seen, aside) = (Collected::new(), Collected::new());
        let job = Job::new("by itself");
        let timed = emits(&job, "emits", EVENTS, &until)
            .event_time(time, |w| w.bounded(Duration::from_millis(2)).replays_may_be_late());
        let by_itself = timed.map(|event| event.1).operator("by itself", || ByItself);
        times(&by_itself, "main", &seen);
        times(&by_itself.side_output(ASIDE), "side", &aside);
        let handle = job.start(guarantee(name, directory.path())).unwrap();
        wait_until("the timer has fired", || seen.len() >= 4);
        until.store(usize::MAX, Ordering::SeqCst);
        handle.wait().unwrap();
        let mut of_timer = vec![(1, Some(3)), (100, Some(-1))];
        let mut expected = vec![(2, Some(3)), (200, Some(-2)), (2, Some(5)), (200, Some(-2))];
        expected.append(&mut of_timer);
        expected.extend([(3, Some(5)), (3, Some(5)), (300, Some(-3))]);
        expected.sort_unstable();
        let mut found = seen.events();
        // The acknowledger drains and ends: `finish` may be called for each.
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
        assert_eq!(aside.events(), [(2, Some(3)), (2, Some(5))], "{name}");
    }
}

/// State T13.
#[test]
fn without_a_watermark_what_no_event_causes_has_the_least_time() {
    let seen = Collected::new();
    let job = Job::new("silent");
    let timed =
        job.from_iter("none", || 0..0_i64).event_time(|n| EventTime::from_unix_ms(*n), |w| w);
    times(&timed.operator("by itself", || ByItself), "times", &seen);
    job.run(AtMostOnce::new()).unwrap();
    let least = Some(i64::MIN);
    assert_eq!(seen.events(), [(300, Some(-3)), (3, least), (3, least)]);
}

/// State T13.
#[test]
fn what_a_watermark_causes_goes_out_before_it() {
    const EVENTS: &[Timed] = &[(0, 5), (0, 7), (0, 20)];
    const CAUSED: u64 = 98;
    for (how, shape) in SHAPES {
        let seen = Collected::new();
        let job = Job::new("before");
        let timed = emits(&job, "emits", EVENTS, &all()).event_time(time, |w| w);
        let first = timed.operator("first", || Hears);
        let first = first.map(|(of, at)| if of == HEARD { (CAUSED, at) } else { (of, at) });
        shape(first).operator("second", || Hears).sink("seen", seen.factory());
        job.run(AtMostOnce::new()).unwrap();
        let expected = EVENTS.iter().flat_map(|(of, at)| [(*of, *at), (CAUSED, *at), (HEARD, *at)]);
        assert_eq!(seen.events(), expected.collect::<Vec<_>>(), "{how}");
    }
}

/// State T7.
#[test]
fn an_event_that_is_stamped_beyond_the_guard_flows_on_with_the_reserved_time() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let hour = 3_600_000;
    let run = |strategy: fn(WatermarkStrategy<i64>) -> WatermarkStrategy<i64>| {
        let seen = Collected::new();
        let job = Job::new("future");
        let timed = job
            .from_iter("stamps", move || [now - hour, now + hour, now])
            .event_time(|at| EventTime::from_unix_ms(*at), strategy);
        times(&timed.map(|at| at), "times", &seen);
        job.run(AtMostOnce::new()).unwrap();
        seen.events().into_iter().map(|(_, time)| time.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(run(|w| w), [now - hour, i64::MAX, now]);
    assert_eq!(run(WatermarkStrategy::future_unbounded), [now - hour, now + hour, now]);
    assert_eq!(EventTime::MAX.unix_ms(), i64::MAX);
}

/// Needs the times of its events.
struct Needs;

impl Operator for Needs {
    type In = Timed;
    type Out = Timed;
    const NEEDS_EVENT_TIME: bool = true;
    fn apply(&mut self, event: Timed, out: &mut Collector<Timed>) -> Result<(), BoxError> {
        let at = out.time().ok_or("no time")?;
        out.emit((event.0, at.unix_ms()));
        Ok(())
    }
}

const SOME: &[Timed] = &[(0, 5), (0, 7)];

/// State T17.
#[test]
fn what_needs_times_is_refused_by_name_where_there_are_none_under_every_guarantee() {
    for name in ALL {
        let directory = tempfile::tempdir().unwrap();
        let run = |timed: bool| {
            let job = Job::new("needs");
            let stream = emits(&job, "emits", SOME, &all());
            let stream = if timed { stream.event_time(time, |w| w) } else { stream };
            stream.map(|event| event).operator("the one", || Needs).for_each(|_| ());
            job.run(guarantee(name, directory.path()))
        };
        let refused = run(false).unwrap_err();
        assert!(matches!(&refused, RunError::Refused(Refused::NoEventTime { .. })), "{refused}");
        assert!(refused.to_string().contains("\"the one\" needs the times"), "{refused}");
        let report = run(true).unwrap();
        assert_eq!(report.metrics.sum("the one", |m| m.delivered), 2, "{name}");
    }
}

/// State X5.
#[test]
fn a_stream_with_event_time_cannot_be_merged_with_one_without() {
    let job = Job::new("mixed");
    let timed = emits(&job, "has", SOME, &all()).event_time(time, |w| w).map(|event| event);
    let without = emits(&job, "has none", SOME, &all());
    timed.merge(&without).map(|event| event).named("both").for_each(|_| ());
    let refused = job.run(AtMostOnce::new()).unwrap_err();
    assert!(matches!(&refused, RunError::Refused(Refused::MixedEventTime { .. })), "{refused}");
    let said = refused.to_string();
    assert!(
        said.contains("\"both\" merges \"map\", which") && said.contains("\"has none\", which"),
        "{said}"
    );

    let job = Job::new("both timed");
    let streams = ["a", "b"].map(|name| emits(&job, name, SOME, &all()).event_time(time, |w| w));
    let seen = Collected::new();
    streams[0].merge(&streams[1]).operator("needs", || Needs).sink("seen", seen.factory());
    job.run(AtMostOnce::new()).unwrap();
    let mut events = seen.events();
    events.sort_unstable();
    assert_eq!(events, [(0, 5), (0, 5), (0, 7), (0, 7)]);
}

/// State T16.
#[test]
fn with_the_acknowledger_times_are_made_in_the_thread_of_the_source_or_refused() {
    let run = |shape: Shape, strategy: fn(WatermarkStrategy<Timed>) -> WatermarkStrategy<Timed>| {
        let job = Job::new("apart");
        shape(shape(emits(&job, "emits", SOME, &all()).map(|e| e)).event_time(time, strategy))
            .for_each(|_| ());
        move |guarantee: Guarantee| job.run(guarantee)
    };
    let (fused, apart) = (SHAPES[0].1, SHAPES[1].1);
    let refused = run(apart, |w| w)(AtLeastOnce::new().into()).unwrap_err();
    assert!(matches!(&refused, RunError::Refused(Refused::EventTimeApart { .. })), "{refused}");
    assert!(refused.to_string().contains("\"event_time\" makes watermarks"), "{refused}");
    run(fused, |w| w)(AtLeastOnce::new().into()).unwrap();
    run(apart, WatermarkStrategy::replays_may_be_late)(AtLeastOnce::new().into()).unwrap();
    run(apart, |w| w)(AtMostOnce::new().into()).unwrap();
}

/// State T16.
#[test]
fn with_the_acknowledger_no_replay_is_late_unless_it_may_be() {
    const EVENTS: &[Timed] = &[(0, 10), (0, 20), (0, 30), (0, 40)];
    let run = |late: bool| {
        let (seen, until) = (Collected::new(), Arc::new(AtomicUsize::new(usize::MAX)));
        let job = Job::new("replays");
        let failures = AtomicUsize::new(0);
        let timed = emits(&job, "emits", EVENTS, &until)
            .event_time(time, move |w| if late { w.replays_may_be_late() } else { w });
        timed
            .map(|event| event)
            .own_thread()
            .try_map(move |event| {
                match event.1 == 20 && failures.fetch_add(1, Ordering::SeqCst) < 3 {
                    true => Err("not yet".into()),
                    false => Ok(event),
                }
            })
            .operator("hears", || Hears)
            .sink("seen", seen.factory());
        job.run(AtLeastOnce::new().backoff(Duration::from_millis(10), Duration::from_millis(20)))
            .unwrap();
        let seen = seen.events();
        assert_eq!(watermarks_in(&seen).last(), Some(&40), "in the end nothing holds it: {seen:?}");
        let replay = seen.iter().position(|event| *event == (0, 20)).unwrap();
        watermarks_in(&seen[..replay]).last().copied()
    };
    let before = run(false);
    assert!(
        before.is_none_or(|at| at <= 20),
        "the replay of 20 came after the watermark {before:?}"
    );
    assert_eq!(run(true), Some(40));
}

fn watermarks_in(seen: &[Timed]) -> Vec<i64> {
    seen.iter().filter(|(of, _)| *of == HEARD).map(|(_, at)| *at).collect()
}

/// The numbers and times of events that are held, with their tokens.
type HeldTimes = Arc<Mutex<Vec<(i64, Option<i64>, Token)>>>;

/// The guarantee of that name. `times_go` if the stored state of the component that makes times is to be left behind.
fn store(name: &str, directory: &std::path::Path, times_go: bool) -> Guarantee {
    match name {
        _ if !times_go => guarantee(name, directory),
        "at-most-once stored" => AtMostOnce::new().store_in(directory).start_anew("times").into(),
        "exactly-once" => ExactlyOnce::checkpoints_in(directory).start_anew("times").into(),
        _ => AtLeastOnce::checkpoints_in(directory).start_anew("times").into(),
    }
}

/// Holds what it gets, and notes the times.
struct Holds(HeldTimes);

impl Operator for Holds {
    type In = i64;
    type Out = i64;
    const HELD_EVENTS: HeldEvents<i64> = HeldEvents::stored();
    fn apply(&mut self, n: i64, out: &mut Collector<i64>) -> Result<(), BoxError> {
        let time = out.time().map(EventTime::unix_ms);
        let token = out.defer();
        self.0.lock().push((n, time, token));
        Ok(())
    }
}

#[test]
fn events_that_are_held_keep_their_times_over_a_stop() {
    for name in ["at-most-once stored", "at-least-once-checkpoint", "exactly-once"] {
        // Event time may also come or go between two runs.
        for (timed_then, timed_now) in [(true, true), (false, true), (true, false), (false, false)]
        {
            let directory = tempfile::tempdir().unwrap();
            let until = Arc::new(AtomicUsize::new(3));
            let held: HeldTimes = Arc::default();
            let start = |timed: bool| {
                let job = Job::new("held");
                let numbers = emits(&job, "emits", &[(0, 5), (0, 7), (0, 9), (0, 11)], &until);
                let numbers = match timed {
                    true => numbers.event_time(time, |w| w).named("times").map(|event| event.1),
                    false => numbers.map(|event| event.1),
                };
                let keeps = Arc::clone(&held);
                numbers.operator("holds", move || Holds(Arc::clone(&keeps))).ignore();
                job.start(store(name, directory.path(), timed_then && !timed))
            };
            let handle = start(timed_then).unwrap();
            wait_until("three are held", || held.lock().len() == 3);
            handle.stop_within(Duration::from_secs(10)).unwrap();
            held.lock().clear();
            until.store(4, Ordering::SeqCst);
            let handle = start(timed_now).unwrap();
            wait_until("they are given back", || held.lock().len() == 4);
            let known = |n: i64| match (timed_then, timed_now) {
                (true, true) => Some(n),
                (false, true) => Some(i64::MIN),
                _ => None,
            };
            let expected =
                [(5, known(5)), (7, known(7)), (9, known(9)), (11, timed_now.then_some(11))];
            let mut found: Vec<_> = held.lock().iter().map(|(n, time, _)| (*n, *time)).collect();
            // With at-most-once they are given back after the next checkpoint.
            found.sort_unstable();
            assert_eq!(found, expected, "{name}, {timed_then}, {timed_now}");
            std::mem::take(&mut *held.lock()).into_iter().for_each(|(.., token)| token.ack());
            handle.wait().unwrap();
        }
    }
}
