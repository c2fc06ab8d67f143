//! [A1]–[A7]: components, their life cycle, groupings, threads, the handle, refusals, counters.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use streamwork::testkit::Collected;
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, DeclaredOutput, EventTime, ExactlyOnce, Instance,
    Job, JobError, Next, Operator, Outcome, Output, Overflow, Refused, SideOutput, Sink, Source,
    SourceOutput, StatefulOperator, StatefulSource, Transaction, TransactionalSink,
};

use crate::support::{ALL, Sum, Where, counts, guarantee, under_all_at_once, wait_until};

/// Counts up to a limit, from its restored position.
#[derive(Clone)]
struct Numbers {
    next: u64,
    end: u64,
}

impl StatefulSource for Numbers {
    type Out = u64;
    type State = u64;
    fn setup(&mut self, instance: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        let (index, step) = (instance.index() as u64, instance.parallelism() as u64);
        self.next = state.unwrap_or(index);
        assert_eq!(self.next % step, index);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        while self.next < self.end && out.room() > 0 {
            out.emit(self.next);
            self.next += 2;
        }
        Ok(if self.next < self.end { Next::Now } else { Next::End })
    }
    fn state(&self) -> u64 {
        self.next
    }
}

#[test]
fn four_component_traits_and_a_sink_make_a_job_under_every_guarantee() {
    struct Ticks(u32);
    impl Source for Ticks {
        type Out = u64;
        fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
            self.0 += 1;
            out.emit(1_000_000);
            Ok(if self.0 == 3 { Next::End } else { Next::After(Duration::from_micros(10)) })
        }
    }
    struct Halve;
    impl Operator for Halve {
        type In = u64;
        type Out = u64;
        fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
            out.emit(event / 2);
            Ok(())
        }
    }
    for name in ALL {
        let directory = tempfile::tempdir().unwrap();
        let seen = Collected::new();
        let job = Job::new("sum");
        let numbers =
            job.stateful_source("numbers", || Numbers { next: 0, end: 100 }).parallelism(2);
        let rewindable_only = name.contains("checkpoint") || name == "exactly-once";
        let all = if rewindable_only {
            numbers
        } else {
            numbers.merge(&job.source("ticks", || Ticks(0)))
        };
        all.operator("halve", || Halve)
            .parallelism(2)
            .global()
            .stateful("sum", Sum::default)
            .sink("seen", seen.factory());
        job.run(guarantee(name, directory.path())).unwrap();
        let halves: u64 = (0..100).map(|n| n / 2).sum();
        let ticks = if rewindable_only { 0 } else { 1_500_000 };
        assert_eq!(seen.events(), [halves + ticks], "{name}");
    }
}

#[test]
fn setup_runs_on_the_instances_own_thread_with_its_number_before_any_event() {
    type Log = Arc<Mutex<Vec<(String, usize, String)>>>;
    struct Watch(Log, usize);
    impl Operator for Watch {
        type In = u64;
        type Out = u64;
        fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
            self.1 = instance.index();
            self.note("setup");
            assert_eq!(instance.component(), "watch");
            assert_eq!(instance.parallelism(), 3);
            Ok(())
        }
        fn apply(&mut self, _: u64, _: &mut Collector<u64>) -> Result<(), BoxError> {
            self.note("apply");
            Ok(())
        }
        fn finish(&mut self, _: &mut Output<u64>) -> Result<(), BoxError> {
            self.note("finish");
            Ok(())
        }
    }
    impl Drop for Watch {
        fn drop(&mut self) {
            self.note("drop");
        }
    }
    impl Watch {
        fn note(&self, what: &str) {
            let thread = std::thread::current().name().unwrap_or("").to_owned();
            self.0.lock().push((what.to_owned(), self.1, thread));
        }
    }
    let log = Log::default();
    let seen = Arc::clone(&log);
    let job = Job::new("life");
    job.from_iter("numbers", || 0..30)
        .shuffle()
        .operator("watch", move || Watch(Arc::clone(&seen), 99))
        .parallelism(3)
        .ignore();
    job.run(AtMostOnce::new()).unwrap();
    let log = log.lock();
    for instance in 0..3 {
        let of: Vec<_> = log.iter().filter(|(_, index, _)| *index == instance).collect();
        assert!(of.iter().all(|(_, _, thread)| *thread == format!("watch[{instance}]")));
        let mut calls: Vec<_> = of.iter().map(|(what, ..)| what.as_str()).collect();
        calls.dedup();
        assert_eq!(calls, ["setup", "apply", "finish", "drop"]);
    }
}

fn dealt(grouping: &str, events: u64) -> HashMap<usize, Vec<u64>> {
    let seen = Collected::new();
    let job = Job::new("grouping");
    let numbers = job.from_iter("numbers", move || 0..events);
    let grouped = match grouping {
        "shuffle" => numbers.shuffle(),
        "key" => numbers.partition_by(|n| n % 10),
        "broadcast" => numbers.broadcast(),
        _ => numbers.global(),
    };
    grouped.operator("where", Where::default).parallelism(3).global().sink("seen", seen.factory());
    job.run(AtMostOnce::new()).unwrap();
    seen.events().into_iter().fold(HashMap::new(), |mut by, (instance, event)| {
        by.entry(instance).or_insert_with(Vec::new).push(event);
        by
    })
}

#[test]
fn each_grouping_deals_events_out_as_it_says() {
    let shuffled = dealt("shuffle", 300);
    assert!((0..3).all(|i| shuffled[&i].len() == 100), "{shuffled:?}");

    let keyed = dealt("key", 300);
    assert_eq!(keyed.values().map(Vec::len).sum::<usize>(), 300);
    let mut owner = HashMap::new();
    for (instance, events) in &keyed {
        for event in events {
            assert_eq!(owner.entry(event % 10).or_insert(instance), &instance);
        }
    }
    assert!(keyed.len() > 1, "ten keys should reach several of three instances");
    assert_eq!(keyed, dealt("key", 300), "the same key goes to the same instance in every run");

    let all = dealt("broadcast", 50);
    assert!((0..3).all(|i| all[&i] == (0..50).collect::<Vec<_>>()));

    let global = dealt("global", 50);
    assert_eq!(global.keys().collect::<Vec<_>>(), [&0]);
}

#[test]
fn a_stream_may_be_read_by_several_and_several_may_be_merged_into_one() {
    for name in ALL {
        let directory = tempfile::tempdir().unwrap();
        let seen = Collected::new();
        let job = Job::new("fan");
        let numbers = job.from_iter("numbers", || 0..1_000_u64);
        let doubled = numbers.map(|n| n * 2).own_thread();
        let tripled = numbers.map(|n| n * 3);
        doubled.merge(&tripled).merge(&numbers).sink("seen", seen.factory());
        job.run(guarantee(name, directory.path())).unwrap();
        let expected = (0..1_000).flat_map(|n| [n, n * 2, n * 3]);
        assert_eq!(counts(seen.events()), counts(expected), "{name}");
    }
}

const ODD: SideOutput<String> = SideOutput::new("odd");

#[test]
fn an_operator_has_several_outputs_each_with_its_type() {
    struct Split;
    impl Operator for Split {
        type In = u64;
        type Out = u64;
        const SIDE_OUTPUTS: &'static [DeclaredOutput] = &[ODD.declared()];
        fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
            if event.is_multiple_of(2) {
                out.emit(event);
            } else {
                out.emit_to(ODD, event.to_string());
            }
            Ok(())
        }
    }
    for name in ALL {
        let directory = tempfile::tempdir().unwrap();
        let (even, odd) = (Collected::new(), Collected::new());
        let job = Job::new("split");
        let split = job.from_iter("numbers", || 0..100).operator("split", || Split);
        split.sink("even", even.factory());
        split
            .side_output(ODD)
            .key_by(|text| text.clone())
            .sink("odd", odd.factory())
            .parallelism(2);
        job.run(guarantee(name, directory.path())).unwrap();
        assert_eq!(even.events(), (0..100).step_by(2).collect::<Vec<u64>>(), "{name}");
        let odd: BTreeSet<u64> = odd.events().iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(odd, (1..100).step_by(2).collect(), "{name}");
    }
}

#[test]
fn back_pressure_reaches_the_source_and_keeps_queues_bounded() {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let hold = Arc::clone(&gate);
    let job = Job::new("slow");
    job.from_iter("numbers", || 0_u64..)
        .map(|n| n)
        .own_thread()
        .for_each(move |_| drop(hold.lock()))
        .own_thread();
    let handle = job.start(AtMostOnce::new()).unwrap();
    let emitted = || handle.metrics().sum("numbers", |m| m.emitted);
    let mut last = 0;
    wait_until("the source stops emitting", || {
        std::thread::sleep(Duration::from_millis(50));
        std::mem::replace(&mut last, emitted()) == last && last > 0
    });
    // Two queues of 8 batches of 1,024, and a few in hands.
    assert!(last < 40_000, "{last} events are out while the sink stands still");
    drop(closed);
    wait_until("the flow goes on", || emitted() > last);
    handle.stop_within(Duration::from_secs(10)).unwrap();
}

#[test]
fn stop_drain_wait_metrics_and_a_checkpoint_on_demand_work_on_a_running_job() {
    let directory = tempfile::tempdir().unwrap();
    let job = Job::new("handle");
    job.from_iter("numbers", || 0_u64..).for_each(|_| ());
    let hourly = ExactlyOnce::checkpoints_in(directory.path()).every(Duration::from_secs(3600));
    let handle = job.start(hourly).unwrap();
    wait_until("events flow", || handle.metrics().sum("for_each", |m| m.delivered) > 10_000);
    let first = handle.checkpoint_now().unwrap();
    let second = handle.checkpoint_now().unwrap();
    assert!(second > first);
    assert!(!handle.is_finished());
    let report = handle.stop_within(Duration::from_secs(10)).unwrap();
    assert_eq!(report.outcome, Outcome::Stopped);
    assert_eq!(report.metrics.checkpoints, 3, "two on demand and the last one");

    let handle = job.start(AtMostOnce::new()).unwrap();
    assert!(handle.checkpoint_now().is_err(), "nothing is stored");
    let report = handle.drain(Duration::from_secs(10)).unwrap();
    assert_eq!(report.outcome, Outcome::Drained);
}

#[test]
fn a_drain_lets_operators_emit_what_they_hold_and_a_stop_with_a_store_keeps_it() {
    for (drain, expected) in [(true, 1), (false, 0)] {
        let directory = tempfile::tempdir().unwrap();
        let seen = Collected::new();
        let job = Job::new("hold");
        job.from_iter("numbers", || 1_u64..)
            .global()
            .stateful("sum", Sum::default)
            .sink("seen", seen.factory());
        let handle = job.start(guarantee("exactly-once", directory.path())).unwrap();
        wait_until("events flow", || handle.metrics().sum("sum", |m| m.delivered) > 0);
        let deadline = Duration::from_secs(10);
        if drain { handle.drain(deadline) } else { handle.stop_within(deadline) }.unwrap();
        assert_eq!(seen.len(), expected, "drain: {drain}");
    }
}

#[test]
fn a_panic_in_any_callback_ends_typed_or_goes_on_and_never_hangs() {
    under_all_at_once(|name| {
        for place in ["factory", "setup", "get_events", "apply", "write", "flush", "key"] {
            let directory = tempfile::tempdir().unwrap();
            let job = Job::new("panic");
            let boom = move |here: &str| assert!(here != place, "boom in {here}");
            struct Bad<B>(B);
            impl<B: Fn(&str) + 'static> StatefulSource for Bad<B> {
                type Out = u64;
                type State = u64;
                fn setup(&mut self, _: &Instance, _: Option<u64>) -> Result<(), BoxError> {
                    (self.0)("setup");
                    Ok(())
                }
                fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
                    (self.0)("get_events");
                    out.emit(1);
                    Ok(Next::End)
                }
                fn state(&self) -> u64 {
                    0
                }
            }
            impl<B: Fn(&str) + 'static> Sink for Bad<B> {
                type In = u64;
                fn write(&mut self, _: u64) -> Result<(), BoxError> {
                    (self.0)("write");
                    Ok(())
                }
                fn flush(&mut self) -> Result<(), BoxError> {
                    (self.0)("flush");
                    Ok(())
                }
            }
            job.stateful_source("source", move || {
                boom("factory");
                Bad(boom)
            })
            .inspect(move |_| boom("apply"))
            .key_by(move |n| {
                boom("key");
                *n
            })
            .sink("sink", move || Bad(boom));
            let started = Instant::now();
            let result = job.start(guarantee(name, directory.path())).unwrap().wait();
            let took = started.elapsed();
            assert!(took < Duration::from_secs(5), "{name}, {place}: took {took:?}");
            match result {
                Err(JobError::Failed { failure, .. }) => {
                    assert!(failure.to_string().contains("boom"), "{name}, {place}: {failure}");
                    assert!(failure.to_string().contains("[0]"), "{name}, {place}: {failure}");
                }
                Err(other) => panic!("{name}, {place}: {other}"),
                Ok(report) => {
                    let goes_on = !name.contains("exactly") && !name.contains("checkpoint");
                    assert!(goes_on, "{name}, {place}: went on");
                    let failed = report.metrics.total(|m| m.failed);
                    assert!(failed > 0, "{name}, {place}: nobody noticed");
                }
            }
        }
    });
}

#[test]
fn a_panic_in_a_rarer_callback_names_its_component_or_is_got_over_and_never_hangs() {
    type Boom = Arc<dyn Fn(&str) + Send + Sync>;
    struct Rare(Boom);
    impl StatefulOperator for Rare {
        type In = u64;
        type Out = u64;
        type State = ();
        fn setup(&mut self, _: &Instance, _: Option<()>) -> Result<(), BoxError> {
            Ok(())
        }
        fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
            out.set_timer(Duration::ZERO, event);
            out.emit(event);
            Ok(())
        }
        fn on_timer(&mut self, _: u64, _: &mut Output<u64>) -> Result<(), BoxError> {
            (self.0)("on_timer");
            Ok(())
        }
        fn finish(&mut self, _: &mut Output<u64>) -> Result<(), BoxError> {
            (self.0)("finish");
            Ok(())
        }
        fn state(&self) {
            (self.0)("state");
        }
    }
    impl Drop for Rare {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                (self.0)("drop");
            }
        }
    }
    struct Commits(Boom);
    impl TransactionalSink for Commits {
        type In = u64;
        type Handle = u64;
        fn write(&mut self, _: u64) -> Result<(), BoxError> {
            Ok(())
        }
        fn prepare(
            &mut self,
            Transaction { checkpoint, .. }: Transaction,
        ) -> Result<Option<u64>, BoxError> {
            (self.0)("prepare");
            Ok(Some(checkpoint.0))
        }
        fn commit(&mut self, _: u64) -> Result<(), BoxError> {
            (self.0)("commit");
            Ok(())
        }
        fn abort_unfinished(&mut self) -> Result<(), BoxError> {
            (self.0)("abort_unfinished");
            Ok(())
        }
    }
    under_all_at_once(|name| {
        for place in
            ["on_timer", "finish", "state", "drop", "prepare", "commit", "abort_unfinished"]
        {
            let directory = tempfile::tempdir().unwrap();
            let happened = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&happened);
            let boom: Boom = Arc::new(move |here: &str| {
                if here == place {
                    count.fetch_add(1, Ordering::SeqCst);
                    panic!("boom in {here}");
                }
            });
            let sink = Arc::clone(&boom);
            let job = Job::new("rare");
            job.from_iter("numbers", || 0..100_u64)
                .stateful("rare", move || Rare(Arc::clone(&boom)))
                .transactional_sink("commits", move || Commits(Arc::clone(&sink)));
            let started = Instant::now();
            let result = job.start(guarantee(name, directory.path())).unwrap().wait();
            assert!(started.elapsed() < Duration::from_secs(5), "{name}, {place}");
            match result {
                Err(JobError::Failed { failure, .. }) => {
                    let text = failure.to_string();
                    assert!(text.contains(&format!("boom in {place}")), "{name}, {place}: {text}");
                    assert!(text.contains("rare[0]") || text.contains("commits[0]"), "{text}");
                }
                Err(other) => panic!("{name}, {place}: {other}"),
                Ok(_) => {
                    let must_end = place == "abort_unfinished"
                        || (name == "exactly-once" && place != "drop" && place != "on_timer");
                    assert!(!must_end, "{name}, {place}: went on");
                }
            }
        }
    });
}

#[test]
fn a_handle_that_is_dropped_stops_its_job_without_losing_anything() {
    let seen = Collected::new();
    let stopped = Arc::new(AtomicUsize::new(0));
    let job = Job::new("dropped");
    struct Last(Arc<AtomicUsize>);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let last = Arc::clone(&stopped);
    job.from_iter("numbers", move || {
        let last = Last(Arc::clone(&last));
        (0_u64..).inspect(move |_| assert!(Arc::strong_count(&last.0) > 0))
    })
    .sink("seen", seen.factory());
    let handle = job.start(AtMostOnce::new()).unwrap();
    wait_until("events flow", || seen.len() > 1_000);
    drop(handle);
    wait_until("the source is gone", || stopped.load(Ordering::SeqCst) == 1);
    assert_eq!(seen.events(), (0..seen.len() as u64).collect::<Vec<_>>());
}

#[test]
fn idle_and_blocked_time_and_queue_depth_are_counted() {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let hold = Arc::clone(&gate);
    let job = Job::new("times");
    let (sender, quiet) = job.channel::<u64>("quiet", 1);
    quiet.for_each(|_| ());
    let numbers = job.from_iter("numbers", || 0_u64..).queue_batches(8);
    numbers.for_each(move |_| drop(hold.lock())).own_thread();
    let handle = job.start(AtMostOnce::new()).unwrap();
    wait_until("the queue is full", || handle.metrics().sum("numbers", |m| m.emitted) > 8_000);
    std::thread::sleep(Duration::from_millis(50));
    drop(closed);
    sender.send(1).unwrap();
    let time = |component: &str, of: fn(&streamwork::metrics::InstanceMetrics) -> Duration| {
        let all = handle.metrics().instances;
        all.iter().filter(|m| &*m.instance.component == component).map(of).sum::<Duration>()
    };
    wait_until("times are counted", || {
        time("numbers", |m| m.blocked) >= Duration::from_millis(40)
            && time("quiet", |m| m.idle) >= Duration::from_millis(40)
    });
    drop(sender);
    handle.stop_within(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_callback_that_does_not_return_cannot_keep_a_stop_beyond_its_deadline() {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let hold = Arc::clone(&gate);
    let job = Job::new("stuck");
    job.from_iter("numbers", || 0_u64..).global().for_each(move |_| drop(hold.lock())).own_thread();
    let handle = job.start(AtMostOnce::new()).unwrap();
    wait_until("events flow", || handle.metrics().sum("numbers", |m| m.emitted) > 0);
    let started = Instant::now();
    let error = handle.stop_within(Duration::from_millis(200)).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let JobError::StopTimedOut { stuck, .. } = &error else { panic!("{error}") };
    assert!(stuck.iter().any(|name| name.to_string() == "for_each[0]"), "{error}");
    drop(closed);
}

#[test]
fn a_thousand_instances_start_and_stop() {
    let job = Job::new("many");
    let (sender, numbers) = job.channel::<u64>("numbers", 1);
    numbers.shuffle().map(|n| n).parallelism(1_000).for_each(|_| ());
    let started = Instant::now();
    let handle = job.start(AtMostOnce::new()).unwrap();
    sender.send(1).unwrap();
    wait_until("the event is through", || handle.metrics().sum("for_each", |m| m.delivered) == 1);
    handle.stop_within(Duration::from_secs(10)).unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn a_callback_that_does_not_return_is_reported_as_stalled() {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let hold = Arc::clone(&gate);
    let job = Job::new("stalled");
    job.from_iter("numbers", || 0..10_u64).for_each(move |_| drop(hold.lock())).own_thread();
    let handle = job.start(AtMostOnce::new().stalled_after(Duration::from_millis(50))).unwrap();
    let stalled = || -> Vec<String> {
        let metrics = handle.metrics();
        metrics
            .instances
            .into_iter()
            .filter(|m| m.stalled)
            .map(|m| m.instance.to_string())
            .collect()
    };
    wait_until("the stall is noticed", || stalled() == ["for_each[0]"]);
    drop(closed);
    handle.wait().unwrap();
}

#[test]
fn what_can_be_refused_is_refused_before_a_thread_starts_and_names_the_component() {
    let refused = |build: &dyn Fn(&Job), guarantee: streamwork::Guarantee| {
        let started = Arc::new(AtomicUsize::new(0));
        let job = Job::new("refused");
        let count = Arc::clone(&started);
        job.from_iter("numbers", move || {
            count.fetch_add(1, Ordering::SeqCst);
            0..3_u64
        })
        .named("first")
        .for_each(|_| ());
        build(&job);
        let refused = job.start(guarantee).expect_err("it should be refused");
        assert_eq!(started.load(Ordering::SeqCst), 0, "a factory was called: {refused}");
        refused
    };
    let fast = || AtMostOnce::new().into();
    let numbers = |job: &Job| job.from_iter("second", || 0..3_u64);

    let error = refused(&|job| drop(numbers(job).named("first").for_each(|_| ())), fast());
    assert!(matches!(&error, Refused::DuplicateName { component } if component == "first"));
    let error = refused(&|job| drop(numbers(job).parallelism(0).for_each(|_| ())), fast());
    assert!(matches!(&error, Refused::ZeroParallelism { component } if component == "second"));
    let error = refused(&|job| drop(numbers(job).map(|n| n)), fast());
    assert!(matches!(&error, Refused::Unconnected { component } if component == "map"));
    let error = refused(&|job| drop(numbers(job).named("").for_each(|_| ())), fast());
    assert!(matches!(error, Refused::EmptyName { kind: "source" }));
    let error = refused(
        &|job| drop(numbers(job).forward().map(|n| n).parallelism(2).for_each(|_| ())),
        fast(),
    );
    assert!(matches!(error, Refused::UnevenForward { .. }));
    let error = refused(
        &|job| drop(numbers(job).shuffle().map(|n| n).parallelism(50_000).for_each(|_| ())),
        fast(),
    );
    assert!(matches!(error, Refused::TooManyInstances { .. }), "{error}");
    let error = refused(
        &|job| {
            drop(
                numbers(job).merge(&Job::new("other").from_iter("x", || 0..1_u64)).for_each(|_| ()),
            )
        },
        fast(),
    );
    assert!(matches!(error, Refused::ForeignStream { .. }), "{error}");
    let error = refused(
        &|job| drop(numbers(job).key_by(|n| *n).map(|n| n).parallelism(5_000).for_each(|_| ())),
        fast(),
    );
    assert!(matches!(error, Refused::TooManyForKeys { .. }), "{error}");

    let error = refused(&|job| drop(numbers(job).side_output(ODD).for_each(|_| ())), fast());
    assert!(matches!(error, Refused::SideOutputNotDeclared { .. }), "{error}");

    let square = |job: &Job| {
        let many = numbers(job).shuffle().map(|n| n).parallelism(2_000);
        drop(many.shuffle().map(|n| n).parallelism(2_000).for_each(|_| ()));
    };
    let error = refused(&square, fast());
    assert!(
        matches!(error, Refused::TooManyQueues { queues, .. } if queues > 4_000_000),
        "{error}"
    );

    let directory = tempfile::tempdir().unwrap();
    let exactly = || ExactlyOnce::checkpoints_in(directory.path());
    let error =
        refused(&|job| drop(job.channel::<u64>("clicks", 1).1.for_each(|_| ())), exactly().into());
    assert!(matches!(&error, Refused::NotRewindable { component, .. } if component == "clicks"));
    let error = refused(
        &|job| drop(numbers(job).overflow(Overflow::DropNewest).for_each(|_| ())),
        AtLeastOnce::new().into(),
    );
    assert!(matches!(error, Refused::LossyEdge { .. }), "{error}");
    let error = refused(&|_| (), exactly().keep(1).into());
    assert!(matches!(error, Refused::Option { option: "keep", .. }), "{error}");
    let error = refused(&|_| (), exactly().every(Duration::ZERO).into());
    assert!(matches!(error, Refused::Option { option: "every", .. }), "{error}");

    let file = directory.path().join("a file");
    std::fs::write(&file, "no directory").unwrap();
    let error = refused(&|_| (), ExactlyOnce::checkpoints_in(file).into());
    assert!(matches!(error, Refused::Store(_)), "{error}");
    let empty = Job::new("empty").start(fast()).unwrap_err();
    assert!(matches!(empty, Refused::NoSource { .. }));
}

#[test]
fn a_lookup_that_fails_once_is_processed_twice_and_delivered_once() {
    let faults = crate::support::Faults::once([7_u64]);
    let job = Job::new("counters");
    job.from_iter("numbers", || 7..8_u64)
        .try_map(move |n| if faults.strike(&n) { Err("lookup failed".into()) } else { Ok(n) })
        .named("lookup")
        .for_each(|_| ());
    let metrics = job.run(AtLeastOnce::new()).unwrap().metrics;
    assert_eq!(metrics.sum("lookup", |m| m.processed), 2);
    assert_eq!(metrics.sum("lookup", |m| m.delivered), 1);
    assert_eq!(metrics.sum("lookup", |m| m.failed), 1);
    assert_eq!(metrics.sum("numbers", |m| m.replayed), 1);
}

#[test]
fn counters_of_every_instance_add_up_and_latency_is_measured_at_the_sinks() {
    let job = Job::new("counted");
    job.from_iter("numbers", || 0..10_000_u64)
        .shuffle()
        .filter(|n| n % 2 == 0)
        .parallelism(2)
        .for_each(|_| ());
    let metrics = job.run(AtMostOnce::new()).unwrap().metrics;
    assert_eq!(metrics.sum("numbers", |m| m.emitted), 10_000);
    assert_eq!(metrics.sum("filter", |m| m.received), 10_000);
    assert_eq!(metrics.sum("filter", |m| m.processed), 10_000);
    assert_eq!(metrics.sum("filter", |m| m.delivered), 10_000);
    assert_eq!(metrics.sum("filter", |m| m.emitted), 5_000);
    assert_eq!(metrics.sum("for_each", |m| m.delivered), 5_000);
    let sinks = metrics.instances.iter().filter(|m| &*m.instance.component == "for_each");
    let latency: Vec<_> = sinks.map(|m| m.latency).collect();
    assert_eq!(latency.iter().map(|l| l.count).sum::<u64>(), 5_000);
    assert!(latency.iter().filter(|l| l.count > 0).all(|l| l.max > Duration::ZERO));
    let filter = metrics.instances.iter().find(|m| &*m.instance.component == "filter");
    assert!(filter.is_some_and(|m| m.busy > Duration::ZERO));
}

#[test]
fn timers_call_back_after_their_time_while_other_events_flow() {
    struct Deadline(Option<Instant>);
    impl Operator for Deadline {
        type In = u64;
        type Out = (u64, Duration);
        fn apply(
            &mut self,
            event: u64,
            out: &mut Collector<(u64, Duration)>,
        ) -> Result<(), BoxError> {
            self.0.get_or_insert_with(Instant::now);
            out.set_timer(Duration::from_millis(20 * (3 - event)), event);
            Ok(())
        }
        fn on_timer(
            &mut self,
            tag: u64,
            out: &mut Output<(u64, Duration)>,
        ) -> Result<(), BoxError> {
            out.emit((tag, self.0.map_or(Duration::ZERO, |at| at.elapsed())));
            Ok(())
        }
    }
    let seen = Collected::new();
    let job = Job::new("timers");
    let (sender, numbers) = job.channel("numbers", 10);
    numbers.operator("deadline", || Deadline(None)).sink("seen", seen.factory());
    let handle = job.start(AtMostOnce::new()).unwrap();
    (0..3).for_each(|n| sender.send(n).unwrap());
    wait_until("three timers", || seen.len() == 3);
    let fired = seen.events();
    assert_eq!(fired.iter().map(|(tag, _)| *tag).collect::<Vec<_>>(), [2, 1, 0]);
    for (tag, after) in fired {
        let due = Duration::from_millis(20 * (3 - tag));
        assert!(after >= due - Duration::from_millis(1), "{tag} fired after {after:?}");
    }
    drop((sender, job));
    handle.wait().unwrap();
}

#[test]
fn a_watermark_passes_when_every_input_has_reached_it() {
    struct Timed(i64);
    impl Source for Timed {
        type Out = i64;
        fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
            self.0 = 100 * (1 + instance.index() as i64);
            Ok(())
        }
        fn get_events(&mut self, out: &mut SourceOutput<i64>) -> Result<Next, BoxError> {
            out.emit(self.0);
            out.advance_watermark(EventTime::from_unix_ms(self.0));
            Ok(Next::WhenWoken)
        }
    }
    struct Marks;
    impl Operator for Marks {
        type In = i64;
        type Out = i64;
        fn apply(&mut self, _: i64, _: &mut Collector<i64>) -> Result<(), BoxError> {
            Ok(())
        }
        fn on_watermark(
            &mut self,
            watermark: EventTime,
            out: &mut Output<i64>,
        ) -> Result<(), BoxError> {
            out.emit(watermark.unix_ms());
            Ok(())
        }
    }
    let seen = Collected::new();
    let job = Job::new("watermarks");
    job.source("timed", || Timed(0))
        .parallelism(3)
        .global()
        .operator("marks", || Marks)
        .sink("seen", seen.factory());
    let handle = job.start(AtMostOnce::new()).unwrap();
    wait_until("all three are in", || handle.metrics().sum("marks", |m| m.delivered) == 3);
    wait_until("a watermark", || !seen.is_empty());
    assert_eq!(seen.events(), [100], "the least of all inputs");
    handle.drain(Duration::from_secs(10)).unwrap();
    // An input that is over no longer holds the others back.
    assert!(seen.events().is_sorted() && seen.events()[0] == 100, "{:?}", seen.events());
}

#[test]
fn a_delay_holds_every_event_back_without_holding_up_the_thread() {
    let seen = Collected::new();
    let job = Job::new("delay");
    let started = Instant::now();
    job.from_iter("numbers", || 0..5_000_u64)
        .delay(Duration::from_millis(20))
        .map(move |_| started.elapsed())
        .sink("seen", seen.factory());
    job.run(AtLeastOnce::new()).unwrap();
    assert_eq!(seen.len(), 5_000);
    assert!(seen.events().iter().all(|at| *at >= Duration::from_millis(20)));
    assert!(started.elapsed() < Duration::from_secs(2), "the delays ran one after another");
}
