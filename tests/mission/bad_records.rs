//! A record that cannot become an event fails by itself: the source continues (fault F6).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use streamwork::log::{EventLog, LogOptions};
use streamwork::testkit::Collected;
use streamwork::{
    AtMostOnce, BadRecord, BoxError, DeadLetter, EventLogSource, Instance, Job, LinesSource,
    Metrics, Next, OnBadRecord, RawRecord, Refused, RunError, SourceOutput, StatefulSource, Stream,
};

use crate::support::{ALL, Faults, guarantee};

/// Numbers from 0 to 99; those that are no multiples of ten are either rejected or skipped.
struct Readings {
    next: u64,
    skips: bool,
}

impl StatefulSource for Readings {
    type Out = u64;
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.next = state.unwrap_or(0);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        for n in self.next..100 {
            let error = || format!("record {n} is torn");
            match n % 10 {
                9 if self.skips => out.skip(error()),
                9 => out.reject(n, error()),
                _ => out.emit(n),
            }
        }
        self.next = 100;
        Ok(Next::End)
    }
    fn state(&self) -> u64 {
        self.next
    }
}

fn readings(job: &Job, skips: bool) -> Stream<u64> {
    job.stateful_source("readings", move || Readings { next: 0, skips })
}

#[test]
fn a_bad_record_is_dropped_or_a_dead_letter_and_the_source_goes_on() {
    for name in ALL.into_iter().filter(|name| name.starts_with("at-")) {
        let rolls_back = name.contains("checkpoint");
        let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
        let letters: Collected<DeadLetter<u64>> = Collected::new();
        let job = Job::new("readings");
        let stream = readings(&job, false);
        stream.dead_letter_sink(letters.factory());
        stream.sink("seen", seen.factory());
        let result = job.run(guarantee(name, directory.path()));
        if rolls_back {
            let error = result.expect_err("no later attempt reads anything else").to_string();
            assert!(error.contains("readings[0]") && error.contains("record 9 is torn"), "{error}");
            continue;
        }
        let metrics = result.unwrap().metrics;
        assert_eq!(seen.events().len(), 90, "{name}");
        assert_eq!(metrics.sum("readings", |m| m.emitted), 100, "{name}");
        assert_eq!(metrics.sum("seen", |m| m.delivered), 90, "{name}");
        let (dropped, dead) =
            (metrics.total(|m| m.dropped), metrics.sum("readings", |m| m.dead_lettered));
        if name.starts_with("at-most-once") {
            assert_eq!((dropped, dead), (10, 0), "{name}");
            continue;
        }
        assert_eq!((dropped, dead), (0, 10), "{name}");
        let letters = letters.events();
        let events: Vec<u64> = letters.iter().map(|letter| letter.event).collect();
        assert_eq!(events, [9, 19, 29, 39, 49, 59, 69, 79, 89, 99], "{name}");
        assert!(letters.iter().all(|letter| letter.attempts == 1), "trying again changes nothing");
        let text = letters[1].failure.to_string();
        assert!(text.contains("record 19 is torn"), "{text}");
    }
}

#[test]
fn a_record_that_is_skipped_is_dropped_and_counted_under_every_guarantee() {
    for name in ALL {
        let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
        let job = Job::new("readings");
        readings(&job, true).sink("seen", seen.factory());
        let metrics = job.run(guarantee(name, directory.path())).unwrap().metrics;
        assert_eq!(seen.events().len(), 90, "{name}");
        assert_eq!(metrics.sum("readings", |m| m.dropped), 10, "{name}");
        assert_eq!(metrics.sum("readings", |m| m.emitted), 100, "{name}");
        metrics.accounts.iter().for_each(|account| account.check().unwrap());
    }
}

#[test]
fn the_hook_is_told_of_every_bad_record_and_what_is_wrong_with_it() {
    let (told, text) = (Arc::<AtomicU64>::default(), Arc::<Mutex<String>>::default());
    let (hook, last) = (Arc::clone(&told), Arc::clone(&text));
    let job = Job::new("readings");
    readings(&job, false).for_each(|_| ());
    job.run(AtMostOnce::new().on_drop(move |dropped| {
        hook.fetch_add(1, Ordering::Relaxed);
        *last.lock() = dropped.failure.to_string();
    }))
    .unwrap();
    assert_eq!(told.load(Ordering::Relaxed), 10);
    assert_eq!(*text.lock(), "readings[0] failed in get_events: record 99 is torn");
}

/// Lines of which the second is not UTF-8 and the fourth is longer than a read buffer.
fn lines_with_bad_ones(directory: &std::path::Path) -> LinesSource {
    let path = directory.join("lines");
    let mut text = b"one\ntwo \xff\xfe\nthree\n".to_vec();
    text.extend(std::iter::repeat_n(b'x', 700_000));
    text.extend(b"\nfive\n\xc3");
    std::fs::write(&path, text).unwrap();
    LinesSource::new(path).line_bytes_max(1_000)
}

#[test]
fn bad_lines_are_dropped_or_dead_letters_that_say_where_they_lie_and_the_good_ones_are_emitted() {
    for name in ALL {
        for policy in [OnBadRecord::Fail, OnBadRecord::Skip] {
            let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
            let letters: Collected<DeadLetter<String>> = Collected::new();
            let job = Job::new("lines");
            let source = lines_with_bad_ones(directory.path()).on_bad_record(policy);
            let lines = job.lines("lines", source);
            lines.dead_letter_sink(letters.factory());
            lines.sink("seen", seen.factory());
            let result = job.run(guarantee(name, &directory.path().join("store")));
            let rolls_back = name.contains("checkpoint") || name == "exactly-once";
            if rolls_back && policy == OnBadRecord::Fail {
                let error = result.expect_err("no later attempt reads anything else").to_string();
                let what = "byte 4: the line is not UTF-8";
                assert!(error.contains("lines[0]") && error.contains(what), "{name}: {error}");
                assert!(error.contains(r"two \xff\xfe"), "its bytes: {error}");
                continue;
            }
            let metrics = result.unwrap().metrics;
            assert_eq!(seen.events(), ["one", "three", "five"], "{name}, {policy:?}");
            assert_eq!(metrics.sum("lines", |m| m.emitted), 6, "{name}, {policy:?}");
            let (dropped, dead) =
                (metrics.total(|m| m.dropped), metrics.sum("lines", |m| m.dead_lettered));
            if name.starts_with("at-most-once") || policy == OnBadRecord::Skip {
                assert_eq!((dropped, dead), (3, 0), "{name}, {policy:?}");
                continue;
            }
            assert_eq!((dropped, dead), (0, 3), "{name}, {policy:?}");
            let letters = letters.events();
            assert_eq!(letters[0].event, "two \u{fffd}\u{fffd}");
            let said: Vec<String> =
                letters.iter().map(|letter| letter.failure.to_string()).collect();
            assert!(said[0].contains(r"byte 4: the line is not UTF-8"), "{}", said[0]);
            assert!(said[1].contains("byte 17: the line is longer than 1000 bytes"), "{}", said[1]);
            assert!(said[2].contains("byte 700023"), "{}", said[2]);
        }
    }
}

#[test]
fn a_job_goes_on_behind_a_bad_line_at_the_next_start() {
    for name in ["at-most-once stored", "at-least-once stored", "exactly-once"] {
        let directory = tempfile::tempdir().unwrap();
        let source = lines_with_bad_ones(directory.path()).on_bad_record(OnBadRecord::Skip);
        for expected in [&["one", "three", "five"][..], &[]] {
            let seen = Collected::new();
            let job = Job::new("lines");
            job.lines("lines", source.clone()).sink("seen", seen.factory());
            job.run(guarantee(name, &directory.path().join("store"))).unwrap();
            assert_eq!(seen.events(), expected, "{name}");
        }
    }
}

#[test]
fn a_record_of_a_log_that_is_of_another_type_is_dropped_where_that_is_allowed_and_named_where_not()
{
    for name in ALL {
        for policy in [OnBadRecord::Fail, OnBadRecord::Skip] {
            let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
            let path = directory.path().join("log");
            let options = LogOptions { partitions: Some(1), ..LogOptions::default() };
            let mut log = EventLog::create_or_open(&path, options).unwrap();
            for n in 0..100_u64 {
                // An empty list has the bytes of the number 0, a longer one those of no number.
                let bytes: Vec<u8> = if n % 10 == 9 { vec![7] } else { Vec::new() };
                log.append(0, 0, &bytes).unwrap();
            }
            log.close().unwrap();
            let job = Job::new("log");
            let source =
                EventLogSource::<u64>::open(&path).unwrap().until_end().on_bad_record(policy);
            job.event_log("log", source).sink("seen", seen.factory());
            let result = job.run(guarantee(name, &directory.path().join("store")));
            if policy == OnBadRecord::Fail && !name.starts_with("at-most-once") {
                let error = result.expect_err("nothing can stand for it").to_string();
                assert!(error.contains("log[0]"), "{name}: {error}");
                assert!(error.contains("record 9 of partition 0 cannot be decoded"), "{error}");
                continue;
            }
            let metrics = result.unwrap().metrics;
            assert_eq!(seen.events().len(), 90, "{name}, {policy:?}");
            assert_eq!(metrics.sum("log", |m| m.dropped), 10, "{name}, {policy:?}");
        }
    }
}

/// Bad records of a source as events, and how the job that read them ended.
fn read_bad_records<T: streamwork::Event>(
    job: &Job,
    stream: &Stream<T>,
    name: &str,
    store: &std::path::Path,
) -> (Vec<T>, Vec<BadRecord>, Metrics) {
    let (seen, bad) = (Collected::new(), Collected::new());
    stream.sink("seen", seen.factory());
    stream.bad_records().sink("bad", bad.factory());
    let metrics = job.run(guarantee(name, store)).unwrap().metrics;
    metrics.accounts.iter().for_each(|account| account.check().unwrap());
    let lost = metrics.total(|m| m.dropped + m.replayed + m.taken_back);
    assert_eq!((lost, metrics.restarts), (0, 0), "{name}");
    (seen.events(), bad.events(), metrics)
}

#[test]
fn bad_lines_are_events_with_their_bytes_and_position_where_the_job_reads_them() {
    for name in ALL {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("store");
        let run = || {
            let job = Job::new("lines");
            let lines = job.lines("lines", lines_with_bad_ones(directory.path()));
            read_bad_records(&job, &lines, name, &store)
        };
        let (seen, bad, metrics) = run();
        assert_eq!(seen, ["one", "three", "five"], "{name}");
        let path = directory.path().join("lines").display().to_string();
        let expected =
            [(4, b"two \xff\xfe".to_vec()), (17, vec![b'x'; 1_000]), (700_023, vec![0xc3])];
        assert_eq!(bad.len(), 3, "{name}");
        for (bad, (offset, bytes)) in bad.iter().zip(expected) {
            let record = RawRecord { split: path.clone(), offset, bytes };
            assert_eq!(bad.record, record, "{name}");
            let said = bad.failure.to_string();
            assert!(said.starts_with("lines[0] failed in get_events"), "{said}");
            assert!(said.contains(&format!("byte {offset}")), "{said}");
        }
        assert_eq!(metrics.sum("lines", |m| m.emitted), 6, "{name}");
        assert_eq!(metrics.sum("lines", |m| m.dead_lettered), 3, "{name}");
        // The next run continues after them.
        if name.ends_with("stored") || name == "exactly-once" {
            let (seen, bad, _) = run();
            assert_eq!((seen.len(), bad.len()), (0, 0), "{name}");
        }
    }
}

#[test]
fn records_of_a_log_that_are_of_another_type_are_events_where_the_job_reads_them() {
    for name in ALL {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let options = LogOptions { partitions: Some(2), ..LogOptions::default() };
        let mut log = EventLog::create_or_open(&path, options).unwrap();
        for n in 0..100_u64 {
            let bytes: Vec<u8> = if n % 10 == 9 { vec![7] } else { Vec::new() };
            log.append(1, 0, &bytes).unwrap();
        }
        log.close().unwrap();
        let job = Job::new("log");
        let source = EventLogSource::<u64>::open(&path).unwrap().until_end();
        let events = job.event_log("log", source);
        let (seen, bad, _) = read_bad_records(&job, &events, name, &directory.path().join("store"));
        assert_eq!(seen.len(), 90, "{name}");
        let offsets: Vec<u64> = bad.iter().map(|bad| bad.record.offset).collect();
        assert_eq!(offsets, [9, 19, 29, 39, 49, 59, 69, 79, 89, 99], "{name}");
        // The bytes of a list of one byte.
        for BadRecord { record, .. } in bad {
            assert_eq!(
                (&*record.split, &*record.bytes),
                ("1", &[1, 0, 0, 0, 0, 0, 0, 0, 7][..]),
                "{name}"
            );
        }
    }
}

#[test]
fn a_bad_record_that_fails_at_what_reads_it_comes_again_under_at_least_once() {
    let directory = tempfile::tempdir().unwrap();
    let (seen, bad) = (Collected::new(), Collected::new());
    let faults = Faults::once([4_u64, 700_023]);
    let once = faults.clone();
    let job = Job::new("lines");
    let lines = job.lines("lines", lines_with_bad_ones(directory.path()));
    lines.sink("seen", seen.factory());
    let records = lines.bad_records().try_map(move |bad| match once.strike(&bad.record.offset) {
        true => Err("not now".into()),
        false => Ok(bad.record.offset),
    });
    records.sink("bad", bad.factory());
    let metrics = job.run(guarantee("at-least-once", directory.path())).unwrap().metrics;
    assert!(faults.spent());
    let mut offsets = bad.events();
    offsets.sort_unstable();
    assert_eq!(offsets, [4, 17, 700_023]);
    assert_eq!(seen.events(), ["one", "three", "five"]);
    assert_eq!(metrics.sum("lines", |m| m.replayed), 2);
    metrics.accounts.iter().for_each(|account| account.check().unwrap());
}

#[test]
fn events_with_several_readers_and_bad_records_with_none_beside_them_are_all_acknowledged() {
    for readers in [0, 2] {
        let directory = tempfile::tempdir().unwrap();
        let bad = Collected::new();
        let job = Job::new("lines");
        let lines = job.lines("lines", lines_with_bad_ones(directory.path()));
        if readers == 0 {
            lines.ignore();
        }
        for _ in 0..readers {
            lines.for_each(drop);
        }
        lines.bad_records().broadcast().sink("bad", bad.factory()).parallelism(3);
        let metrics = job.run(guarantee("at-least-once", directory.path())).unwrap().metrics;
        assert_eq!(bad.len(), 9, "each of three instances has each");
        assert_eq!(metrics.sum("lines", |m| m.unacknowledged), 0);
        assert_eq!(metrics.sum("lines", |m| m.replayed), 0);
        metrics.accounts.iter().for_each(|account| account.check().unwrap());
    }
}

#[test]
fn a_record_without_bytes_fails_although_bad_records_are_read() {
    for name in ["at-most-once", "at-least-once", "exactly-once"] {
        let (directory, letters) = (tempfile::tempdir().unwrap(), Collected::new());
        let job = Job::new("readings");
        let stream = readings(&job, false);
        stream.dead_letter_sink(letters.factory());
        stream.for_each(drop);
        stream.bad_records().for_each(|bad| panic!("{}", bad.failure));
        let result = job.run(guarantee(name, directory.path()));
        assert_eq!(result.is_ok(), name != "exactly-once", "{name}");
        assert_eq!(letters.len(), if name == "at-least-once" { 10 } else { 0 }, "{name}");
    }
}

#[test]
fn bad_records_of_what_is_no_source_are_refused_by_name() {
    let job = Job::new("none");
    let mapped = job.from_iter("numbers", || 0..9_u64).map(|n| n);
    mapped.for_each(drop);
    mapped.bad_records().for_each(drop);
    let Err(RunError::Refused(refused)) = job.run(AtMostOnce::new()) else { panic!("it ran") };
    assert!(
        matches!(&refused, Refused::SideOutputNotDeclared { component, .. } if component == "map")
    );
}
