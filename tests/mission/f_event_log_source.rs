//! [F1]: the event log as a source. Several jobs read one log, each at different offsets.

use std::path::Path;
use std::time::Duration;

use streamwork::log::{EventLog, LogOptions};
use streamwork::testkit::Collected;
use streamwork::{AtMostOnce, EventLogSource, ExactlyOnce, Job};

fn append(directory: &Path, numbers: std::ops::Range<u64>) {
    let mut log = EventLog::create_or_open(directory, LogOptions::default()).expect("a log");
    for number in numbers {
        let partition = (number % 4) as u32;
        log.append(partition, number as i64, &number).expect("an append");
    }
    log.close().expect("a durable log");
}

fn source(directory: &Path) -> EventLogSource<u64> {
    EventLogSource::open(directory).expect("the log is there")
}

fn sorted(mut events: Vec<u64>) -> Vec<u64> {
    events.sort_unstable();
    events
}

#[test]
fn the_instances_share_the_partitions_and_every_record_is_read_once() {
    for instances in [1, 2, 3, 7] {
        let directory = tempfile::tempdir().expect("a directory");
        append(directory.path(), 0..5000);
        let (job, seen) = (Job::new("shared"), Collected::new());
        let stream = job.event_log("log", source(directory.path()).until_end());
        stream.parallelism(instances).sink("seen", seen.factory());
        job.run(AtMostOnce::new()).expect("a run");
        assert_eq!(sorted(seen.events()), (0..5000).collect::<Vec<_>>(), "{instances}");
    }
}

#[test]
fn a_later_run_goes_on_behind_the_last_record_of_the_one_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, store) = (directory.path().join("log"), directory.path().join("store"));
    for numbers in [0..100, 100..100, 100..250] {
        append(&log, numbers.clone());
        let (job, seen) = (Job::new("again"), Collected::new());
        job.event_log("log", source(&log).until_end()).sink("seen", seen.factory());
        job.run(ExactlyOnce::checkpoints_in(&store)).expect("a run");
        assert_eq!(sorted(seen.events()), numbers.collect::<Vec<_>>());
    }
}

#[test]
fn a_start_time_skips_what_is_older() {
    let directory = tempfile::tempdir().expect("a directory");
    append(directory.path(), 0..100);
    let (job, seen) = (Job::new("younger"), Collected::new());
    let younger = source(directory.path()).from_time(60).until_end();
    job.event_log("log", younger).sink("seen", seen.factory());
    job.run(AtMostOnce::new()).expect("a run");
    assert_eq!(sorted(seen.events()), (60..100).collect::<Vec<_>>());
}

#[test]
fn a_source_that_follows_sees_what_is_appended_later() {
    let directory = tempfile::tempdir().expect("a directory");
    append(directory.path(), 0..10);
    let job = Job::new("following");
    let (tell, told) = std::sync::mpsc::channel();
    let following = source(directory.path()).poll_every(Duration::from_millis(1));
    job.event_log("log", following).try_for_each(move |number| Ok(tell.send(number)?));
    let handle = job.start(AtMostOnce::new()).expect("a start");
    let patience = Duration::from_secs(30);
    let mut seen: Vec<u64> = (0..10).filter_map(|_| told.recv_timeout(patience).ok()).collect();
    append(directory.path(), 10..20);
    seen.extend((0..10).filter_map(|_| told.recv_timeout(patience).ok()));
    assert_eq!(sorted(seen), (0..20).collect::<Vec<_>>());
    handle.stop_within(patience).expect("a stop");
}

/// fault F37: an option whose only test would pass without it.
#[test]
fn a_source_that_follows_looks_no_more_often_than_it_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    append(directory.path(), 0..1);
    let job = Job::new("following");
    let (tell, told) = std::sync::mpsc::channel();
    let following = source(directory.path()).poll_every(Duration::from_secs(3600));
    job.event_log("log", following).try_for_each(move |number| Ok(tell.send(number)?));
    let handle = job.start(AtMostOnce::new()).expect("a start");
    // What it has found at its first look comes out behind that look.
    assert_eq!(told.recv_timeout(Duration::from_secs(30)), Ok(0));
    append(directory.path(), 1..2);
    let meanwhile = told.recv_timeout(Duration::from_millis(200));
    assert!(meanwhile.is_err(), "it looked again within an hour: {meanwhile:?}");
    handle.stop_within(Duration::from_secs(30)).expect("a stop");
}

#[test]
fn a_rate_holds_the_source_back() {
    let directory = tempfile::tempdir().expect("a directory");
    append(directory.path(), 0..100);
    let job = Job::new("slow");
    let slow = source(directory.path()).per_second_max(1000.0).until_end();
    job.event_log("log", slow).for_each(|_| ());
    let report = job.run(AtMostOnce::new()).expect("a run");
    assert!(report.elapsed >= Duration::from_millis(95), "{:?}", report.elapsed);
}
