//! Events of a mebibyte each before a slow sink: the events in flight are bounded in bytes, by default, under every
//! guarantee and from every source of the crate (fault F22).

use std::path::Path;
use std::time::{Duration, Instant};

use streamwork::log::{EventLog, LogOptions};
use streamwork::{
    AtLeastOnce, AtMostOnce, Event, EventLogSource, ExactlyOnce, Guarantee, Job, LinesSource,
    Stream, TransactionalFiles,
};

use crate::process::{Footprint, alone, alone_within};
use crate::tier;

const MEBIBYTE: usize = 1 << 20;

/// The memory that the whole process may use.
const LIMIT_KIB: u64 = 256 << 10;

/// The number of events in a file or log: more than a slow sink takes while memory is watched.
const EVENTS: u64 = 300;

fn guarantees(directory: &Path) -> [(&'static str, Guarantee); 4] {
    let below = |name| directory.join(name);
    [
        ("at-most-once", AtMostOnce::new().store_in(below("most")).into()),
        ("at-least-once", AtLeastOnce::new().into()),
        ("at-least-once by checkpoints", AtLeastOnce::checkpoints_in(below("least")).into()),
        ("exactly-once", ExactlyOnce::checkpoints_in(below("exactly")).into()),
    ]
}

/// A text of nearly a mebibyte.
fn text() -> String {
    "x".repeat(MEBIBYTE - 10)
}

fn write_lines(path: &Path) {
    let mut line = text();
    line.push('\n');
    std::fs::write(path, line.repeat(EVENTS as usize)).expect("the file is written");
}

fn write_log(path: &Path) {
    let options = LogOptions::default();
    let mut log = EventLog::<String>::create_or_open(path, options).expect("the log opens");
    let text = text();
    for _ in 0..EVENTS {
        log.append(0, 0, &text).expect("there is room");
    }
    log.sync().expect("it is written");
}

/// Sends these events through two threads to a sink that takes some milliseconds for each, and watches the memory.
fn watch<T: Event>(what: &str, job: &Job, events: &Stream<T>, guarantee: Guarantee) {
    events
        .map(|event| event)
        .own_thread()
        .for_each(|_| std::thread::sleep(Duration::from_millis(3)))
        .own_thread();
    let handle = job.start(guarantee).expect("the job starts");
    let until = Instant::now() + Duration::from_millis(tier::times(600, 60_000));
    let mut peak = 0;
    while Instant::now() < until && !handle.is_finished() {
        peak = peak.max(Footprint::now().resident_kib);
        std::thread::sleep(Duration::from_millis(2));
    }
    let delivered = handle.metrics().sum("for_each", |m| m.delivered);
    handle.stop_within(Duration::from_secs(10)).expect("it stops");
    println!("{what}: {} MiB at most, {delivered} events", peak >> 10);
    assert!(peak < LIMIT_KIB, "{what}: {peak} KiB");
    assert!(delivered > 20, "{what}: only {delivered} events");
}

#[test]
fn events_of_a_mebibyte_from_an_iterator_take_up_little_memory() {
    alone("heavy::events_of_a_mebibyte_from_an_iterator_take_up_little_memory", || {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, guarantee) in guarantees(directory.path()) {
            let job = Job::new("heavy");
            let events = job.from_iter("events", || (0_u64..).map(|n| vec![n as u8; MEBIBYTE]));
            watch(name, &job, &events, guarantee);
        }
    });
}

#[test]
fn events_of_a_mebibyte_from_a_channel_take_up_little_memory() {
    alone("heavy::events_of_a_mebibyte_from_a_channel_take_up_little_memory", || {
        for guarantee in [Guarantee::from(AtMostOnce::new()), AtLeastOnce::new().into()] {
            let job = Job::new("heavy");
            let (sender, events) = job.channel::<Vec<u8>>("events", 10);
            let sending =
                std::thread::spawn(move || while sender.send(vec![1; MEBIBYTE]).is_ok() {});
            watch(guarantee.name(), &job, &events, guarantee.clone());
            sending.join().expect("it was told that the job is over");
        }
    });
}

#[test]
fn lines_of_a_mebibyte_take_up_little_memory() {
    alone("heavy::lines_of_a_mebibyte_take_up_little_memory", || {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lines.txt");
        write_lines(&path);
        for (name, guarantee) in guarantees(directory.path()) {
            let job = Job::new("heavy");
            let lines = LinesSource::new(&path).line_bytes_max(2 * MEBIBYTE);
            watch(name, &job, &job.lines("lines", lines), guarantee);
        }
    });
}

#[test]
fn records_of_a_mebibyte_take_up_little_memory() {
    alone("heavy::records_of_a_mebibyte_take_up_little_memory", || {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        write_log(&path);
        for (name, guarantee) in guarantees(directory.path()) {
            let job = Job::new("heavy");
            let records = EventLogSource::<String>::open(&path).expect("the log is there");
            watch(name, &job, &job.event_log("records", records), guarantee);
        }
    });
}

/// Kilobytes of addresses that a process may use.
const ADDRESSES_KB: u64 = 2 << 20;

/// Mebibytes that go through each pair of a source and a sink.
fn mebibytes() -> u64 {
    tier::times(300, 10 << 10)
}

/// Runs a job to its end, and returns how long it took.
fn run(what: &str, job: &Job, guarantee: Guarantee, events: u64, sink: &str) {
    let report = job.run(guarantee).expect(what);
    assert_eq!(report.metrics.sum(sink, |m| m.delivered), events, "{what}");
    println!("{what}: {events} MiB in {:?}", report.elapsed);
}

/// The input again and again, by as many sources as are needed.
fn merged<T: Event>(read: impl Fn(String) -> Stream<T>) -> Stream<T> {
    let sources = mebibytes().div_ceil(EVENTS);
    let first = read("source 0".to_owned());
    (1..sources).fold(first, |all, number| all.merge(&read(format!("source {number}"))))
}

#[test]
fn ten_gibibytes_pass_through_every_source_and_sink_within_two_gibibytes_of_addresses() {
    let path =
        "heavy::ten_gibibytes_pass_through_every_source_and_sink_within_two_gibibytes_of_addresses";
    alone_within(ADDRESSES_KB, path, || {
        let directory = tempfile::tempdir().expect("a directory");
        let below = |name: &str| directory.path().join(name);
        let all = mebibytes();

        let job = Job::new("iterator");
        let events = job.from_iter("events", move || (0..all).map(|n| vec![n as u8; MEBIBYTE]));
        events.map(|event| event).own_thread().for_each(|_| ()).own_thread();
        run("iterator", &job, AtLeastOnce::new().into(), all, "for_each");

        let job = Job::new("channel");
        let (sender, events) = job.channel::<Vec<u8>>("events", 10);
        events.map(|event| event).own_thread().for_each(|_| ()).own_thread();
        let sending = std::thread::spawn(move || {
            (0..all).for_each(|_| sender.send(vec![1; MEBIBYTE]).expect("the job takes it"));
        });
        run("channel", &job, AtLeastOnce::new().into(), all, "for_each");
        sending.join().expect("it has sent all");

        let of_sources = all.div_ceil(EVENTS) * EVENTS;
        write_lines(&below("lines.txt"));
        let job = Job::new("lines");
        let lines = merged(|name| {
            let lines = LinesSource::new(below("lines.txt")).line_bytes_max(2 * MEBIBYTE);
            job.lines(name, lines)
        });
        lines.map(|line| line).own_thread().for_each(|_| ()).own_thread();
        run("lines", &job, ExactlyOnce::checkpoints_in(below("a")).into(), of_sources, "for_each");

        write_log(&below("log"));
        let job = Job::new("log");
        let records = merged(|name| {
            let source = EventLogSource::<String>::open(below("log")).expect("the log is there");
            job.event_log(name, source.until_end())
        });
        let encode = |text: &String, file: &mut Vec<u8>| file.extend_from_slice(text.as_bytes());
        let files = TransactionalFiles::factory(below("files"), encode);
        records.map(|text| text).own_thread().transactional_sink("files", files);
        run("log", &job, ExactlyOnce::checkpoints_in(below("b")).into(), of_sources, "files");
    });
}
