//! Row 17: the smallest and largest times. Nothing panics, and nothing fires early.

use std::time::{Duration, Instant};

use streamwork::log::{EventLog, LogOptions, LogReader, Offset};
use streamwork::testkit::Collected;
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, EventTime, ExactlyOnce, Guarantee, Instance, Job,
    JobHandle, Next, Operator, Outcome, Output, Restarts, Source, SourceOutput, StatefulOperator,
    StatefulSource,
};

const SOON: Duration = Duration::from_secs(10);

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn the_least_and_the_greatest_watermark_pass_in_order() {
    struct Marks(usize);
    const AT: [i64; 6] = [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX];
    impl Source for Marks {
        type Out = i64;
        fn get_events(&mut self, out: &mut SourceOutput<i64>) -> Result<Next, BoxError> {
            out.emit(AT[self.0]);
            out.advance_watermark(EventTime::from_unix_ms(AT[self.0]));
            self.0 += 1;
            Ok(if self.0 == AT.len() { Next::End } else { Next::Now })
        }
    }
    struct Told;
    impl Operator for Told {
        type In = i64;
        type Out = i64;
        fn apply(&mut self, _: i64, _: &mut Collector<i64>) -> Result<(), BoxError> {
            Ok(())
        }
        fn on_watermark(&mut self, at: EventTime, out: &mut Output<i64>) -> Result<(), BoxError> {
            out.emit(at.unix_ms());
            Ok(())
        }
    }
    for guarantee in [Guarantee::from(AtMostOnce::new()), AtLeastOnce::new().into()] {
        let seen = Collected::new();
        let job = Job::new("marks");
        job.source("marks", || Marks(0))
            .parallelism(2)
            .shuffle()
            .operator("told", || Told)
            .own_thread()
            .sink("seen", seen.factory());
        job.run(guarantee).expect("nobody panics");
        let told = seen.events();
        assert!(told.windows(2).all(|two| two[0] < two[1]), "{told:?}");
        assert_eq!(told.last(), Some(&i64::MAX));
    }
}

/// Sets a timer that is due at once and one that is never due.
struct Patient;

impl StatefulOperator for Patient {
    type In = u64;
    type Out = u64;
    type State = ();
    fn setup(&mut self, _: &Instance, _: Option<()>) -> Result<(), BoxError> {
        Ok(())
    }
    fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        out.set_timer(Duration::MAX, 1_000 + event);
        out.set_timer(Duration::from_nanos(u64::MAX), 2_000 + event);
        out.set_timer(Duration::from_secs(u64::MAX), 3_000 + event);
        out.set_timer(Duration::ZERO, event);
        Ok(())
    }
    fn on_timer(&mut self, tag: u64, out: &mut Output<u64>) -> Result<(), BoxError> {
        out.emit(tag);
        Ok(())
    }
    fn state(&self) {}
}

/// One number, then silence for ever.
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
        Ok(Next::After(Duration::MAX))
    }
    fn state(&self) -> bool {
        self.0
    }
}

#[test]
fn a_timer_that_is_never_due_fires_neither_early_nor_after_a_restart_and_holds_up_no_stop() {
    let directory = tempfile::tempdir().expect("a directory");
    let most = tempfile::tempdir().expect("a directory");
    let short = Duration::from_millis(5);
    type Choose<'a> = Box<dyn Fn() -> Guarantee + 'a>;
    let guarantees: [Choose; 3] = [
        Box::new(|| ExactlyOnce::checkpoints_in(directory.path()).every(short).into()),
        Box::new(|| AtMostOnce::new().store_in(most.path()).every(short).into()),
        Box::new(|| AtLeastOnce::new().into()),
    ];
    for guarantee in &guarantees {
        let seen = Collected::new();
        let start = || -> JobHandle {
            let job = Job::new("patient");
            job.stateful_source("one", || One(false))
                .stateful("patient", || Patient)
                .sink("seen", seen.factory());
            job.start(guarantee()).expect("it starts")
        };
        let first = start();
        wait_until("the timer that is due", || seen.events() == [7]);
        first.stop_within(SOON).expect("it stops");
        let second = start();
        std::thread::sleep(Duration::from_millis(30));
        second.drain(SOON).expect("it drains");
        assert!(seen.events().iter().all(|tag| *tag == 7), "{:?}", seen.events());
    }
}

#[test]
fn options_of_endless_length_are_as_good_as_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let endless = Restarts {
        window: Duration::MAX,
        backoff: Duration::ZERO,
        backoff_max: Duration::MAX,
        ..Restarts::default()
    };
    let exactly = ExactlyOnce::checkpoints_in(directory.path())
        .every(Duration::MAX)
        .minimum_pause(Duration::MAX)
        .checkpoint_timeout(Duration::MAX)
        .stop_within(Duration::MAX)
        .stalled_after(Duration::MAX)
        .restarts(endless);
    let least = AtLeastOnce::new()
        .timeout(Duration::MAX)
        .backoff(Duration::ZERO, Duration::MAX)
        .stop_within(Duration::MAX)
        .stalled_after(Duration::MAX)
        .restarts(endless);
    for guarantee in [Guarantee::from(exactly), least.into()] {
        let seen = Collected::new();
        let job = Job::new("endless");
        job.from_iter("numbers", || 0..1_000_u64).sink("seen", seen.factory());
        let report = job.start(guarantee).expect("it starts").drain(Duration::MAX);
        assert_eq!(report.expect("it drains").outcome, Outcome::Drained);
        assert_eq!(seen.events().len() as u64, seen.events().last().map_or(0, |last| last + 1));
    }
}

#[test]
fn records_with_the_least_and_the_greatest_time_are_kept_and_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let times = [i64::MIN, i64::MAX, 0, i64::MIN, -1, i64::MAX];
    for segment_bytes in [1, 1 << 20] {
        let dir = directory.path().join(segment_bytes.to_string());
        let options = LogOptions { partitions: Some(1), segment_bytes, ..LogOptions::default() };
        let mut log = EventLog::create_or_open(&dir, options.clone()).expect("it opens");
        for at in times {
            log.append(0, at, &at).expect("appended");
        }
        log.close().expect("closed");
        drop(EventLog::<i64>::create_or_open(&dir, options).expect("opens again"));
        let mut reader = LogReader::<i64>::open(&dir).expect("it opens");
        let mut records = Vec::new();
        reader.read(0, Offset::ZERO, 100, &mut records).expect("read");
        assert_eq!(records.iter().map(|one| one.timestamp_ms).collect::<Vec<_>>(), times);
        for (from, expected) in [(i64::MIN, 0), (i64::MIN + 1, 1), (0, 1), (i64::MAX, 1)] {
            assert_eq!(reader.seek_to_time(0, from).expect("found"), Offset::new(expected));
        }
    }
}
