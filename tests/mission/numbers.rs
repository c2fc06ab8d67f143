//! [A6]: every numeric option at 0, 1, its default and its greatest value: it runs and does what it says, or it
//! is refused by name. Fault F29: some hung, panicked or took memory without bound.
//!
//! The values of an option are tried in a separate process, with a limit on its memory and a deadline: a hang, an
//! abort or a full memory is then a failure that names the option and the value.

use std::fmt::Debug;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use streamwork::log::{EventLog, Fsync, LogError, LogOptions, LogReader, Offset, Retention};
use streamwork::metrics::Histogram;
use streamwork::testkit::{
    Collected, Ended, Fault, Faults as Injected, OperatorHarness, Simulation, check_source,
};
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, EventLogSource, EventTime, ExactlyOnce,
    Guarantee, Instance, Job, JobError, JobReport, LinesSource, Next, Output, Refused, Restarts,
    Source, SourceOutput, StatefulOperator, StatefulSource, Stream,
};

use crate::process;
use crate::support::{Faults, wait_until};

/// The option that a process is to try, and where it may write.
const OPTION_VARIABLE: &str = "STREAMWORK_TRIED_OPTION";
const DIRECTORY_VARIABLE: &str = "STREAMWORK_TRIED_DIRECTORY";

/// Every option of the public interface that is a number or a duration, and the function that tries its values.
const OPTIONS: &[(&str, fn())] = &[
    ("every", every),
    ("minimum_pause", minimum_pause),
    ("checkpoint_timeout", checkpoint_timeout),
    ("failed_checkpoints_max", failed_checkpoints_max),
    ("keep", keep),
    ("stop_within", stop_within),
    ("stalled_after", stalled_after),
    ("answer_within", answer_within),
    ("restarts.limit", restarts_limit),
    ("restarts.window", restarts_window),
    ("restarts.backoff", restarts_backoff),
    ("restarts.backoff_max", restarts_backoff_max),
    ("replay_events_max", replay_events_max),
    ("replay_bytes_max", replay_bytes_max),
    ("event_bytes", event_bytes),
    ("attempts_max", attempts_max),
    ("backoff", backoff),
    ("timeout", timeout),
    ("delay", delay),
    ("queue_batches", queue_batches),
    ("parallelism", parallelism),
    ("channel", channel),
    ("poll_every", poll_every),
    ("discover_every", discover_every),
    ("per_second_max", per_second_max),
    ("from_time", from_time),
    ("log partitions", log_partitions),
    ("log segment_bytes", log_segment_bytes),
    ("log buffer_bytes", log_buffer_bytes),
    ("log fsync", log_fsync),
    ("log max_record_bytes", log_max_record_bytes),
    ("log retention", log_retention),
    ("log read", log_read),
    ("handle deadlines", handle_deadlines),
    ("next after", next_after),
    ("latency", latency),
    ("simulation", simulation),
    ("check_source instances", check_source_instances),
    ("operator harness", operator_harness),
];

/// Far longer than a process takes for all values of an option.
const DEADLINE: Duration = Duration::from_secs(60);

/// fault F29: each value runs or is refused by name; nothing hangs, panics, aborts or fills the memory.
#[test]
fn every_numeric_option_runs_or_is_refused_by_name_at_0_at_1_and_at_its_greatest() {
    // What is tried here is not the disk: in memory, where there is such a place, it takes seconds instead of minutes.
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut wrong = Vec::new();
    for (option, _) in OPTIONS {
        let path = directory.path().to_str().expect("a plain name");
        let variables = [(OPTION_VARIABLE, *option), (DIRECTORY_VARIABLE, path)];
        let test = "numbers::tries_the_option_that_it_is_told";
        if let Err(how) = process::run(test, &variables, DEADLINE) {
            wrong.push(format!("{option}: {how}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn tries_the_option_that_it_is_told() {
    let Ok(option) = std::env::var(OPTION_VARIABLE) else { return };
    let (_, tries) = OPTIONS.iter().find(|(name, _)| *name == option).expect("an option");
    tries();
}

/// Prints the value that is tried next, in case the process ends without another word.
fn value(value: impl Debug) {
    println!("value {value:?}");
    std::io::stdout().flush().unwrap();
}

/// A new directory of this process.
fn directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let parent = PathBuf::from(std::env::var(DIRECTORY_VARIABLE).expect("a directory"));
    let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let directory = parent.join(name);
    std::fs::create_dir(&directory).unwrap();
    directory
}

const EVENTS: u64 = 2_000;

/// Two threads between the numbers and a sink, and an event that fails a given number of times.
fn run_with_failures(
    guarantee: impl Into<Guarantee>,
    failures: u32,
) -> Result<(JobReport, Vec<u64>), streamwork::RunError> {
    let (seen, faults) = (Collected::new(), Faults::times(failures, [7_u64]));
    let job = Job::new("tried");
    job.from_iter("numbers", || 0..EVENTS)
        .shuffle()
        .try_map(move |n| if faults.strike(&n) { Err("it fails".into()) } else { Ok(n) })
        .parallelism(2)
        .sink("seen", seen.factory());
    let report = job.run(guarantee)?;
    let mut events = seen.events();
    events.sort_unstable();
    events.dedup();
    Ok((report, events))
}

fn all() -> Vec<u64> {
    (0..EVENTS).collect()
}

#[track_caller]
fn runs(guarantee: impl Into<Guarantee>) {
    let (_, events) = run_with_failures(guarantee, 0).expect("it runs");
    assert_eq!(events, all());
}

/// The job ends well although an event fails once.
#[track_caller]
fn runs_over_a_failure(guarantee: impl Into<Guarantee>) {
    let (_, events) = run_with_failures(guarantee, 1).expect("it runs");
    assert_eq!(events, all());
}

#[track_caller]
fn refused(name: &str, guarantee: impl Into<Guarantee>) {
    let error = run_with_failures(guarantee, 0).expect_err("it is refused");
    let streamwork::RunError::Refused(Refused::Option { option, .. }) = &error else {
        panic!("{name}: {error}")
    };
    assert_eq!(*option, name, "{error}");
}

/// Under every guarantee, since each has these options.
macro_rules! shared {
    ($option:ident, refused: $bad:expr, runs: $good:expr) => {
        for tried in $bad {
            value(tried);
            let name = stringify!($option);
            refused(name, AtMostOnce::new().$option(tried));
            refused(name, AtLeastOnce::new().$option(tried));
            refused(name, AtLeastOnce::checkpoints_in(directory()).$option(tried));
            refused(name, ExactlyOnce::checkpoints_in(directory()).$option(tried));
        }
        for tried in $good {
            value(tried);
            runs(AtMostOnce::new().store_in(directory()).$option(tried));
            runs(AtLeastOnce::new().store_in(directory()).$option(tried));
            runs(AtLeastOnce::checkpoints_in(directory()).$option(tried));
            runs(ExactlyOnce::checkpoints_in(directory()).$option(tried));
        }
    };
}

const NOTHING: Duration = Duration::ZERO;
const LEAST: Duration = Duration::from_nanos(1);

fn every() {
    shared!(every, refused: [NOTHING], runs: [LEAST, Duration::from_secs(1), Duration::MAX]);
}

fn minimum_pause() {
    shared!(minimum_pause, refused: [NOTHING; 0], runs: [NOTHING, LEAST, Duration::MAX]);
}

fn checkpoint_timeout() {
    let longer = [Duration::from_secs(60), Duration::MAX];
    shared!(checkpoint_timeout, refused: [NOTHING, LEAST], runs: longer);
}

fn failed_checkpoints_max() {
    shared!(failed_checkpoints_max, refused: [0], runs: [1, 5, u32::MAX]);
}

fn keep() {
    shared!(keep, refused: [0, 1], runs: [2, usize::MAX]);
}

fn stop_within() {
    shared!(stop_within, refused: [NOTHING, LEAST], runs: [Duration::from_secs(30), Duration::MAX]);
}

fn answer_within() {
    let longer = [Duration::from_secs(10), Duration::MAX];
    shared!(answer_within, refused: [NOTHING, LEAST], runs: longer);
}

fn stalled_after() {
    let longer = [Duration::from_secs(10), Duration::MAX];
    shared!(stalled_after, refused: [NOTHING, LEAST], runs: longer);
}

fn restarts_limit() {
    value(0);
    let never = Restarts { limit: 0, ..Restarts::default() };
    let ended = run_with_failures(ExactlyOnce::checkpoints_in(directory()).restarts(never), 1);
    assert!(matches!(ended, Err(streamwork::RunError::Failed(JobError::Failed { .. }))));
    for limit in [1, 5, u32::MAX] {
        value(limit);
        let restarts = Restarts { limit, ..Restarts::default() };
        runs_over_a_failure(ExactlyOnce::checkpoints_in(directory()).restarts(restarts));
    }
}

fn restarts_window() {
    value(NOTHING);
    let none = Restarts { window: NOTHING, ..Restarts::default() };
    refused("restarts.window", AtMostOnce::new().restarts(none));
    refused("restarts.window", AtLeastOnce::new().restarts(none));
    refused("restarts.window", ExactlyOnce::checkpoints_in(directory()).restarts(none));
    // Where nothing is counted, a window means nothing.
    runs(AtLeastOnce::new().restarts(Restarts { window: NOTHING, ..Restarts::never() }));
    runs(AtLeastOnce::new().restarts(Restarts { window: NOTHING, ..Restarts::unlimited() }));
    for window in [LEAST, Duration::from_secs(10), Duration::MAX] {
        value(window);
        let restarts = Restarts { window, ..Restarts::default() };
        runs_over_a_failure(ExactlyOnce::checkpoints_in(directory()).restarts(restarts));
    }
}

fn restarts_backoff() {
    value(Duration::MAX);
    let endless =
        Restarts { backoff: Duration::MAX, backoff_max: Duration::MAX, ..Restarts::default() };
    refused("restarts.backoff", AtMostOnce::new().restarts(endless));
    refused("restarts.backoff", AtLeastOnce::new().restarts(endless));
    refused("restarts.backoff", ExactlyOnce::checkpoints_in(directory()).restarts(endless));
    let short = Duration::from_millis(5);
    for backoff in [NOTHING, LEAST, Duration::from_millis(10), Duration::MAX] {
        value(backoff);
        let restarts = Restarts { backoff, backoff_max: short, ..Restarts::default() };
        runs_over_a_failure(ExactlyOnce::checkpoints_in(directory()).restarts(restarts));
    }
}

fn restarts_backoff_max() {
    for backoff_max in [NOTHING, LEAST, Duration::from_secs(1), Duration::MAX] {
        value(backoff_max);
        let restarts = Restarts { backoff_max, ..Restarts::default() };
        runs_over_a_failure(ExactlyOnce::checkpoints_in(directory()).restarts(restarts));
    }
}

fn replay_events_max() {
    value(0);
    refused("replay_events_max", AtLeastOnce::new().replay_events_max(0));
    for events in [1, 65_536, usize::MAX] {
        value(events);
        runs_over_a_failure(AtLeastOnce::new().replay_events_max(events));
    }
}

fn replay_bytes_max() {
    value(0);
    refused("replay_bytes_max", AtLeastOnce::new().replay_bytes_max(0));
    for bytes in [1, 64 << 20, usize::MAX] {
        value(bytes);
        runs_over_a_failure(AtLeastOnce::new().replay_bytes_max(bytes));
    }
}

fn event_bytes() {
    /// Events that have a weigher.
    struct Weighed(u64, usize);
    impl Source for Weighed {
        type Out = (u64, usize);
        fn get_events(&mut self, out: &mut SourceOutput<(u64, usize)>) -> Result<Next, BoxError> {
            while self.0 < EVENTS && out.room() > 0 {
                out.emit((self.0, self.1));
                self.0 += 1;
            }
            Ok(if self.0 == EVENTS { Next::End } else { Next::Now })
        }
        fn event_bytes((_, weight): &(u64, usize)) -> usize {
            *weight
        }
    }
    for weight in [0, 1, 8, usize::MAX / 2, usize::MAX] {
        for bytes_max in [1, 64 << 20, usize::MAX] {
            value((weight, bytes_max));
            let (seen, faults) = (Collected::new(), Faults::once([3_u64]));
            let job = Job::new("weighed");
            job.source("weighed", move || Weighed(0, weight))
                .parallelism(2)
                .shuffle()
                .try_map(move |(n, _)| if faults.strike(&n) { Err("once".into()) } else { Ok(n) })
                .sink("seen", seen.factory());
            job.run(AtLeastOnce::new().replay_bytes_max(bytes_max)).unwrap();
            let mut events = seen.events();
            events.sort_unstable();
            events.dedup();
            assert_eq!(events, all());
        }
    }
}

fn attempts_max() {
    value(0);
    refused("attempts_max", AtLeastOnce::new().attempts_max(0));
    for (attempts, letters) in [(1, 1), (2, 0), (10, 0), (u32::MAX, 0)] {
        value(attempts);
        let ended = run_with_failures(AtLeastOnce::new().attempts_max(attempts), 1);
        let (report, events) = ended.expect("it runs");
        assert_eq!(report.metrics.sum("numbers", |m| m.dead_lettered), letters);
        assert_eq!(events.len() as u64, EVENTS - letters);
    }
}

fn backoff() {
    value(Duration::MAX);
    refused("backoff", AtLeastOnce::new().backoff(Duration::MAX, Duration::MAX));
    let soon = Duration::from_millis(1);
    for (first, longest) in [
        (NOTHING, NOTHING),
        (NOTHING, Duration::MAX),
        (LEAST, LEAST),
        (LEAST, Duration::MAX),
        (soon, Duration::from_secs(1)),
        (Duration::MAX, NOTHING),
        (Duration::MAX, soon),
    ] {
        value((first, longest));
        runs_over_a_failure(AtLeastOnce::new().backoff(first, longest));
    }
}

fn timeout() {
    for time in [NOTHING, LEAST] {
        value(time);
        refused("timeout", AtLeastOnce::new().timeout(time));
    }
    for time in [Duration::from_secs(60), Duration::MAX] {
        value(time);
        runs_over_a_failure(AtLeastOnce::new().timeout(time));
    }
}

/// A job around an edge with an option.
fn run_edge(edge: impl Fn(&Stream<u64>) -> Stream<u64>) -> Result<Vec<u64>, Refused> {
    let seen = Collected::new();
    let job = Job::new("edge");
    edge(&job.from_iter("numbers", || 0..EVENTS)).map(|n| n).sink("seen", seen.factory());
    job.start(AtLeastOnce::new())?.wait().expect("it ends");
    let mut events = seen.events();
    events.sort_unstable();
    Ok(events)
}

fn delay() {
    value(Duration::MAX);
    let refused = run_edge(|numbers| numbers.delay(Duration::MAX)).unwrap_err();
    assert!(matches!(refused, Refused::Option { option: "delay", .. }), "{refused}");
    for by in [NOTHING, LEAST, Duration::from_millis(1)] {
        value(by);
        assert_eq!(run_edge(|numbers| numbers.delay(by)).unwrap(), all());
    }
}

fn queue_batches() {
    for batches in [0, 65_537, usize::MAX] {
        value(batches);
        let refused = run_edge(|numbers| numbers.shuffle().queue_batches(batches)).unwrap_err();
        assert!(matches!(refused, Refused::Option { option: "queue_batches", .. }), "{refused}");
    }
    for batches in [1, 8, 65_536] {
        value(batches);
        assert_eq!(run_edge(|n| n.shuffle().queue_batches(batches)).unwrap(), all());
    }
    value("65536 batches in each of a million queues");
    let job = Job::new("many");
    let many = job.from_iter("numbers", || 0..1_u64).shuffle().map(|n| n).parallelism(1_000);
    let square = many.shuffle().queue_batches(65_536);
    square.map(|n| n).parallelism(900).for_each(|_| ());
    let refused = job.start(AtMostOnce::new()).unwrap_err();
    assert!(matches!(refused, Refused::Option { option: "queue_batches", .. }), "{refused}");
}

fn parallelism() {
    type Grouped = fn(&Stream<u64>) -> Stream<u64>;
    let groupings: [Grouped; 6] = [
        Stream::clone,
        |numbers| numbers.shuffle(),
        |numbers| numbers.partition_by(|n| *n),
        |numbers| numbers.global(),
        |numbers| numbers.broadcast(),
        |numbers| numbers.merge(numbers),
    ];
    for instances in [0, 1, 4, usize::MAX / 2, usize::MAX] {
        for grouped in groupings {
            value(instances);
            let job = Job::new("operators");
            let numbers = job.from_iter("numbers", || 0..100_u64);
            let wide = grouped(&numbers).map(|n| n).named("wide").parallelism(instances);
            // The instances of two components are more than a number can say.
            wide.forward().map(|n| n).own_thread().ignore();
            expect_instances(instances, "wide", &job);

            let job = Job::new("sinks");
            let numbers = job.from_iter("numbers", || 0..100_u64);
            grouped(&numbers).for_each(|_| ()).named("wide").parallelism(instances);
            expect_instances(instances, "wide", &job);
        }
        value((instances, "of a source"));
        let job = Job::new("sources");
        job.from_iter("wide", || 0..100_u64).parallelism(instances).for_each(|_| ());
        // A source from an iterator has one instance only, but a job is refused for its size before.
        if instances != 4 {
            expect_instances(instances, "wide", &job);
        }
    }
}

fn expect_instances(instances: usize, name: &str, job: &Job) {
    match (instances, job.start(AtMostOnce::new())) {
        (1 | 4, started) => {
            let report = started.expect("it starts").wait().expect("it ends");
            let wide = report.metrics.instances.iter().filter(|m| &*m.instance.component == name);
            assert_eq!(wide.count(), instances);
        }
        (0, started) => {
            let refused = started.unwrap_err();
            let named =
                matches!(&refused, Refused::ZeroParallelism { component } if component == name);
            assert!(named, "{refused}");
        }
        (_, started) => {
            let refused = started.unwrap_err();
            let too_many = matches!(
                refused,
                Refused::TooManyInstances { .. } | Refused::TooManyForKeys { .. }
            );
            assert!(too_many, "{refused}");
        }
    }
}

fn channel() {
    /// Sends a thousand events through a channel of this capacity.
    fn through<T: streamwork::Event + Debug>(event: T, capacity: usize) -> Result<u64, Refused> {
        let job = Job::new("channel");
        let (sender, events) = job.channel::<T>("events", capacity);
        events.for_each(|_| ());
        let handle = job.start(AtMostOnce::new())?;
        (0..1_000).for_each(|_| sender.send(event.clone()).expect("the job takes it"));
        drop((sender, job));
        let report = handle.wait().expect("it ends");
        Ok(report.metrics.sum("for_each", |m| m.delivered))
    }
    for capacity in [0, usize::MAX / 2, usize::MAX] {
        value(capacity);
        for refused in
            [through(7_u64, capacity), through((), capacity), through([0_u8; 99], capacity)]
        {
            let refused = refused.unwrap_err();
            assert!(matches!(refused, Refused::Option { option: "channel", .. }), "{refused}");
        }
    }
    for capacity in [1, 100, 1 << 20] {
        value(capacity);
        assert_eq!(through(7_u64, capacity).unwrap(), 1_000);
        assert_eq!(through((), capacity).unwrap(), 1_000);
    }
}

/// An event log with these numbers, each at its own time.
fn log_of(numbers: std::ops::Range<u64>) -> PathBuf {
    let directory = directory();
    let mut log = EventLog::create_or_open(&directory, LogOptions::default()).unwrap();
    for n in numbers {
        log.append(0, n as i64, &n).unwrap();
    }
    log.close().unwrap();
    directory
}

/// Reads a log of one record with a source that has an option.
fn read_one(
    option: impl Fn(EventLogSource<u64>) -> EventLogSource<u64>,
) -> Result<Vec<u64>, Refused> {
    let seen = Collected::new();
    let job = Job::new("log");
    let source = EventLogSource::<u64>::open(log_of(0..1)).unwrap();
    job.event_log("log", option(source)).sink("seen", seen.factory());
    let handle = job.start(AtMostOnce::new())?;
    wait_until("the record is read", || !seen.is_empty());
    handle.stop_within(Duration::from_secs(10)).expect("it stops");
    Ok(seen.events())
}

fn poll_every() {
    for interval in [NOTHING, Duration::MAX] {
        value(interval);
        let refused = read_one(|source| source.poll_every(interval)).unwrap_err();
        assert!(matches!(refused, Refused::Option { option: "poll_every", .. }), "{refused}");
    }
    for interval in [LEAST, Duration::from_millis(20), Duration::from_secs(3600)] {
        value(interval);
        assert_eq!(read_one(|source| source.poll_every(interval)).unwrap(), [0]);
    }
}

fn discover_every() {
    let directory = directory();
    std::fs::write(directory.join("lines"), "one\n").unwrap();
    let follow = |interval| {
        let (job, seen) = (Job::new("tried"), Collected::new());
        let source = LinesSource::in_directory(&directory).discover_every(interval);
        job.lines("lines", source).sink("seen", seen.factory());
        let handle = job.start(AtMostOnce::new())?;
        wait_until("the line is read", || seen.len() == 1);
        handle.stop_within(Duration::from_secs(10)).expect("it stops");
        Ok::<_, Refused>(())
    };
    for interval in [NOTHING, Duration::MAX] {
        value(interval);
        let refused = follow(interval).unwrap_err();
        assert!(matches!(refused, Refused::Option { option: "discover_every", .. }), "{refused}");
    }
    for interval in [LEAST, Duration::from_millis(20), Duration::from_secs(3600)] {
        value(interval);
        follow(interval).unwrap();
    }
}

fn per_second_max() {
    let none = [0.0, -0.0, -1.0, f64::MIN, f64::NEG_INFINITY, f64::NAN, f64::MIN_POSITIVE];
    for events in none {
        value(events);
        let refused = read_one(|source| source.per_second_max(events)).unwrap_err();
        assert!(matches!(refused, Refused::Option { option: "per_second_max", .. }), "{refused}");
    }
    for events in [1.0, 1e6, f64::MAX, f64::INFINITY] {
        value(events);
        assert_eq!(read_one(|source| source.per_second_max(events)).unwrap(), [0]);
    }
}

fn from_time() {
    let log = log_of(0..3);
    for (unix_ms, expected) in
        [(i64::MIN, vec![0, 1, 2]), (0, vec![0, 1, 2]), (1, vec![1, 2]), (i64::MAX, vec![])]
    {
        value(unix_ms);
        let seen = Collected::new();
        let job = Job::new("log");
        let source = EventLogSource::<u64>::open(&log).unwrap().from_time(unix_ms).until_end();
        job.event_log("log", source).sink("seen", seen.factory());
        job.run(AtMostOnce::new()).unwrap();
        assert_eq!(seen.events(), expected);
    }
}

/// Writes a hundred records under these options, in two sittings, and reads them.
fn written(options: &LogOptions) -> Result<Vec<u64>, LogError> {
    let directory = directory();
    for sitting in 0..2 {
        let mut log = EventLog::create_or_open(&directory, options.clone())?;
        let last = log.partitions() - 1;
        for n in 0..50_u64 {
            log.append(last, 0, &(50 * sitting + n))?;
        }
        log.apply_retention()?;
        log.close()?;
    }
    let mut reader = LogReader::open(&directory)?;
    let last = reader.partitions() - 1;
    let (mut records, mut next) = (Vec::new(), reader.earliest(last)?);
    while next < reader.end(last)? {
        next = reader.read(last, next, 1_000, &mut records)?;
    }
    Ok(records.into_iter().map(|record| record.event).collect())
}

#[track_caller]
fn log_takes(options: &LogOptions) {
    assert_eq!(written(options).unwrap(), (0..100).collect::<Vec<_>>());
}

#[track_caller]
fn log_refuses(word: &str, options: &LogOptions) {
    let Err(LogError::InvalidOptions { reason }) = written(options) else { panic!("not refused") };
    assert!(reason.contains(word), "{reason}");
}

fn log_partitions() {
    for partitions in [0, 4_097, u32::MAX] {
        value(partitions);
        log_refuses(
            "partition",
            &LogOptions { partitions: Some(partitions), ..LogOptions::default() },
        );
    }
    for partitions in [None, Some(1), Some(4)] {
        value(partitions);
        log_takes(&LogOptions { partitions, ..LogOptions::default() });
    }
    value(4_096);
    let most = LogOptions { partitions: Some(4_096), fsync: Fsync::Never, ..LogOptions::default() };
    let mut log = EventLog::create_or_open(directory(), most).unwrap();
    assert_eq!(log.append(4_095, 0, &7).unwrap(), Offset::ZERO);
}

fn log_segment_bytes() {
    value(0);
    log_refuses("segment_bytes", &LogOptions { segment_bytes: 0, ..LogOptions::default() });
    for segment_bytes in [1, 64 << 20, u64::MAX] {
        value(segment_bytes);
        log_takes(&LogOptions { segment_bytes, ..LogOptions::default() });
    }
}

fn log_buffer_bytes() {
    for buffer_bytes in [0, (256 << 20) + 1, usize::MAX] {
        value(buffer_bytes);
        log_refuses("buffer_bytes", &LogOptions { buffer_bytes, ..LogOptions::default() });
    }
    for buffer_bytes in [1, 1 << 20, 256 << 20] {
        value(buffer_bytes);
        log_takes(&LogOptions { buffer_bytes, ..LogOptions::default() });
    }
}

fn log_fsync() {
    value(0);
    log_refuses("EveryBytes", &LogOptions { fsync: Fsync::EveryBytes(0), ..LogOptions::default() });
    for bytes in [1, u64::MAX] {
        value(bytes);
        log_takes(&LogOptions { fsync: Fsync::EveryBytes(bytes), ..LogOptions::default() });
    }
}

fn log_max_record_bytes() {
    for max_record_bytes in [0, (256 << 20) + 1, usize::MAX] {
        value(max_record_bytes);
        log_refuses("max_record_bytes", &LogOptions { max_record_bytes, ..LogOptions::default() });
    }
    value(1);
    let options = LogOptions { max_record_bytes: 1, ..LogOptions::default() };
    let error = written(&options).unwrap_err();
    assert!(matches!(error, LogError::RecordTooLarge { max_bytes: 1, .. }), "{error}");
    for max_record_bytes in [16 << 20, 256 << 20] {
        value(max_record_bytes);
        log_takes(&LogOptions { max_record_bytes, ..LogOptions::default() });
    }
}

fn log_retention() {
    // The segment that is written is never removed, and what is left is the end of what was written.
    let left = |retention| {
        let segments = LogOptions { segment_bytes: 1, retention, ..LogOptions::default() };
        let left = written(&segments).unwrap();
        assert_eq!(left, (100 - left.len() as u64..100).collect::<Vec<_>>());
        left.len()
    };
    for (max_age, least) in [(NOTHING, 1), (LEAST, 1), (Duration::MAX, 100)] {
        value(max_age);
        assert!(left(Retention { max_age: Some(max_age), ..Retention::default() }) >= least);
    }
    for (bytes, expected) in [(0, 1), (1, 1), (u64::MAX, 100)] {
        value(bytes);
        let retention = Retention { max_partition_bytes: Some(bytes), ..Retention::default() };
        assert!((expected..=expected + 1).contains(&left(retention)));
    }
}

fn log_read() {
    let mut reader = LogReader::<u64>::open(log_of(0..10)).unwrap();
    for (max, expected) in [(0, 0), (1, 1), (usize::MAX, 10)] {
        value(max);
        let mut records = Vec::new();
        let next = reader.read(0, Offset::ZERO, max, &mut records).unwrap();
        assert_eq!((records.len(), next), (expected, Offset::new(expected as u64)));
        reader.read(0, Offset::new(u64::MAX), max, &mut records).unwrap();
        assert_eq!(records.len(), expected, "nothing is behind the end");
    }
    value(u32::MAX);
    let error = reader.end(u32::MAX).unwrap_err();
    assert!(matches!(error, LogError::NoSuchPartition { .. }), "{error}");
}

fn handle_deadlines() {
    for deadline in [NOTHING, LEAST, Duration::from_secs(10), Duration::MAX] {
        for drain in [false, true] {
            value((deadline, drain));
            let job = Job::new("endless");
            job.from_iter("numbers", || 0_u64..).for_each(|_| ());
            let handle = job.start(AtMostOnce::new()).unwrap();
            let ended = if drain { handle.drain(deadline) } else { handle.stop_within(deadline) };
            match ended {
                Ok(_) => {}
                Err(JobError::StopTimedOut { deadline: passed, .. }) => {
                    assert!(passed == deadline && deadline <= LEAST, "{passed:?}");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

fn next_after() {
    /// Ten events, with this pause before each; woken where that is long.
    struct Paused(Duration, u64, Option<streamwork::Waker>);
    impl Source for Paused {
        type Out = u64;
        fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
            self.2 = Some(instance.waker());
            Ok(())
        }
        fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
            out.emit(self.1);
            self.1 += 1;
            if self.0 > Duration::from_secs(1) {
                self.2.iter().for_each(streamwork::Waker::wake);
            }
            Ok(if self.1 == 10 { Next::End } else { Next::After(self.0) })
        }
    }
    for pause in [NOTHING, LEAST, Duration::MAX] {
        value(pause);
        let seen = Collected::new();
        let job = Job::new("paused");
        job.source("paused", move || Paused(pause, 0, None)).sink("seen", seen.factory());
        job.run(AtLeastOnce::new()).unwrap();
        assert_eq!(seen.events(), (0..10).collect::<Vec<_>>());
    }
}

fn latency() {
    value((Duration::MAX, u64::MAX));
    let histogram = Histogram::default();
    histogram.record(NOTHING, 0);
    assert_eq!(histogram.summary().count, 0);
    histogram.record(LEAST, 1);
    histogram.record(Duration::MAX, u64::MAX - 1);
    let summary = histogram.summary();
    assert_eq!((summary.count, summary.max), (u64::MAX, Duration::from_nanos(u64::MAX)));
    assert_eq!(summary.p50, summary.max);
}

/// The message of a panic.
fn panic_of(run: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(run)).expect_err("it panics");
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap()
}

fn simulation() {
    let history = |simulation: Simulation| {
        let seen = Collected::new();
        let job = Job::new("simulated");
        job.from_iter("numbers", || 0..20_u64).sink("seen", seen.factory());
        let history = simulation.run(&job, AtLeastOnce::new().store_in("/positions"));
        assert!(matches!(history.ended, Ended::Finished(_)), "{history}");
        assert!((0..20).all(|n| seen.events().contains(&n)), "{history}");
        history
    };
    for seed in [0, 1, u64::MAX] {
        value(seed);
        assert_eq!(history(Simulation::new(seed)).seed, seed);
    }
    for at_most in [0, 1, 8, u32::MAX] {
        value(at_most);
        let faults = Injected::only([Fault::Error, Fault::Kill]).at_most(at_most);
        let injected = history(Simulation::new(5).faults(faults)).injected.len();
        assert!(injected <= at_most as usize, "{injected} faults");
    }
    value("0 steps");
    let said = panic_of(|| drop(Simulation::new(1).steps_max(0)));
    assert!(said.contains("steps_max"), "{said}");
    value("1 step");
    let said = panic_of(|| drop(history(Simulation::new(1).steps_max(1))));
    assert!(said.contains("the job hangs"), "{said}");
    for steps in [1_000_000, u64::MAX] {
        value(steps);
        history(Simulation::new(1).steps_max(steps));
    }
}

fn check_source_instances() {
    struct One(bool);
    impl StatefulSource for One {
        type Out = u64;
        type State = bool;
        fn setup(&mut self, _: &Instance, state: Option<bool>) -> Result<(), BoxError> {
            self.0 = state.unwrap_or(false);
            Ok(())
        }
        fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
            if !std::mem::replace(&mut self.0, true) {
                out.emit(7);
            }
            Ok(Next::End)
        }
        fn state(&self) -> bool {
            self.0
        }
    }
    for instances in [0, 4_097, usize::MAX] {
        value(instances);
        let said = panic_of(|| drop(check_source(|| One(false), instances)));
        assert!(said.contains("instances"), "{said}");
    }
    for instances in [1, 4_096] {
        value(instances);
        assert_eq!(check_source(|| One(false), instances).unwrap(), vec![[7]; instances]);
    }
}

fn operator_harness() {
    struct Late;
    impl StatefulOperator for Late {
        type In = u64;
        type Out = u64;
        type State = ();
        fn setup(&mut self, _: &Instance, _: Option<()>) -> Result<(), BoxError> {
            Ok(())
        }
        fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
            out.set_timer(Duration::from_secs(event), event);
            Ok(())
        }
        fn on_timer(&mut self, tag: u64, out: &mut Output<u64>) -> Result<(), BoxError> {
            out.emit(tag);
            Ok(())
        }
        fn on_watermark(&mut self, _: EventTime, out: &mut Output<u64>) -> Result<(), BoxError> {
            out.emit(99);
            Ok(())
        }
        fn state(&self) {}
    }
    let harness = || OperatorHarness::stateful(|| Late).event(0).event(5);
    for (pause, expected) in [(NOTHING, vec![0]), (LEAST, vec![0]), (Duration::MAX, vec![0, 5])] {
        value(pause);
        assert_eq!(harness().pause(pause).check().unwrap(), expected);
    }
    for unix_ms in [i64::MIN, 0, 1, i64::MAX] {
        value(unix_ms);
        assert_eq!(harness().watermark(EventTime::from_unix_ms(unix_ms)).check().unwrap(), [99]);
    }
}
