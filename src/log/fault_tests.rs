//! The disk fails at every single change that a run makes to it, one run for each.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::storage::Disk;
use crate::testkit::{DiskFailures, DiskFault, DiskOperations, SimulatedDisk};

const LOG: &str = "/logs/log";

/// Lets this many changes to the disk succeed, and then none.
fn fail_after(disk: &SimulatedDisk, changes: u64) {
    let operations = DiskOperations::Changes;
    disk.fail(DiskFailures { after: changes, operations, ..DiskFailures::default() });
}

fn open(disk: &SimulatedDisk, options: LogOptions) -> Result<EventLog<u64>, LogError> {
    EventLog::create_or_open_on(Arc::new(disk.clone()), LOG, options)
}

/// A disk with a new log on it, and its writer.
fn new_log(options: LogOptions) -> (SimulatedDisk, EventLog<u64>) {
    let disk = SimulatedDisk::new();
    let log = open(&disk, options).expect("a new log");
    (disk, log)
}

fn reader<E>(disk: &SimulatedDisk) -> LogReader<E> {
    LogReader::open_on(Arc::new(disk.clone()), LOG).expect("readers open")
}

const BATCHES: u64 = 4;
const BATCH_RECORDS: u64 = 5;

/// Small segments and buffers, so a short run does everything: create, write out, sync, index, roll.
fn options() -> LogOptions {
    LogOptions {
        partitions: Some(2),
        segment_bytes: 300,
        buffer_bytes: 100,
        ..LogOptions::default()
    }
}

/// Appends batches of numbers to both partitions and returns how many records the last successful sync covered.
fn run(disk: &SimulatedDisk) -> (u64, Result<(), LogError>) {
    let mut synced = 0;
    let mut go = || {
        let mut log = open(disk, options())?;
        let before = log.end(0)?.get();
        for number in before..before + BATCHES * BATCH_RECORDS {
            for partition in 0..2 {
                append_or_be_poisoned(disk, &mut log, partition, number)?;
            }
            if (number + 1) % BATCH_RECORDS == 0 {
                log.sync()?;
                synced = number + 1;
            }
        }
        log.close()
    };
    let result = go();
    (synced, result)
}

fn append_or_be_poisoned(
    disk: &SimulatedDisk,
    log: &mut EventLog<u64>,
    partition: u32,
    number: u64,
) -> Result<(), LogError> {
    let Err(error) = log.append(partition, 0, &number) else {
        return Ok(());
    };
    let failures = disk.failures();
    assert!(matches!(log.append(partition, 0, &number), Err(LogError::Poisoned { .. })));
    assert!(matches!(log.sync(), Err(LogError::Poisoned { .. })));
    assert!(matches!(log.flush(), Err(LogError::Poisoned { .. })));
    assert!(matches!(log.apply_retention(), Err(LogError::Poisoned { .. })));
    assert_eq!(disk.failures(), failures, "a poisoned writer touched the disk");
    Err(error)
}

fn read_all(disk: &SimulatedDisk, partition: u32) -> Vec<u64> {
    let mut reader = reader::<u64>(disk);
    let mut records = Vec::new();
    let end = reader
        .read(partition, Offset::ZERO, usize::MAX, &mut records)
        .expect("all records are good");
    assert_eq!(end, reader.end(partition).expect("the end is known"));
    records.into_iter().map(|record| record.event).collect()
}

/// What is there after a run that failed: all that was synced, in order, and a log that goes on.
fn assert_recovers(disk: &SimulatedDisk, synced: u64, what: &str) {
    let log = open(disk, options()).expect("the log opens on a healthy disk");
    for partition in 0..2 {
        let end = log.end(partition).expect("the partition exists").get();
        assert!(end >= synced, "{what}: {synced} records were synced, {end} are left");
        assert_eq!(read_all(disk, partition), (0..end).collect::<Vec<_>>(), "{what}");
    }
    drop(log);
    // A failed fsync of one partition may leave it behind the other; the rest of the run needs them level.
    let level = [0, 1].map(|partition| read_all(disk, partition).len());
    if level[0] == level[1] {
        let (_, again) = run(disk);
        again.expect("the log goes on on a healthy disk");
    }
}

/// Calls `check` for a disk that fails from every operation on, with how many a run synced before.
fn at_every_operation(
    operations: DiskOperations,
    fault: DiskFault,
    check: impl Fn(&SimulatedDisk, u64, &str),
) {
    for after in 0.. {
        let disk = SimulatedDisk::new();
        disk.fail(DiskFailures { after, operations, fault, ..DiskFailures::default() });
        let (synced, result) = run(&disk);
        if result.is_ok() {
            assert!(after > 100, "only {after} places where the disk can fail");
            return;
        }
        check(&disk, synced, &format!("{fault:?} after {after} of {operations:?}"));
    }
}

#[test]
fn whichever_operation_of_the_disk_fails_nothing_synced_is_lost_and_the_log_opens_again() {
    for operations in [DiskOperations::All, DiskOperations::Changes] {
        for fault in [DiskFault::Refuse, DiskFault::Deny] {
            at_every_operation(operations, fault, |disk, synced, what| {
                disk.heal();
                assert_recovers(disk, synced, what);
            });
        }
    }
}

#[test]
fn a_process_killed_at_any_operation_loses_nothing_synced() {
    at_every_operation(DiskOperations::All, DiskFault::Crash, |disk, synced, what| {
        disk.lose_process();
        assert_recovers(disk, synced, what);
    });
}

/// A segment that a killed process had renamed and not yet made durable by its name was written on by the next one.
#[test]
fn what_is_synced_by_the_writer_after_one_that_was_killed_survives_a_power_failure() {
    for seed in 0..5 {
        at_every_operation(DiskOperations::All, DiskFault::Crash, |disk, _, what| {
            disk.lose_process();
            let mut log = open(disk, options()).expect("the log opens");
            for partition in 0..2 {
                log.append(partition, 0, &log.end(partition).expect("known").get()).expect("room");
            }
            log.sync().expect("synced");
            let ends = [0, 1].map(|partition| log.end(partition).expect("known").get());
            disk.lose_power(seed);
            drop(log);
            let log = open(disk, options()).unwrap_or_else(|error| panic!("{what}: {error}"));
            for (partition, end) in (0..).zip(ends) {
                assert_eq!(log.end(partition).expect("known").get(), end, "{what}, seed {seed}");
                assert_eq!(read_all(disk, partition), (0..end).collect::<Vec<_>>(), "{what}");
            }
        });
    }
}

#[test]
fn an_end_mark_that_was_made_again_is_there_after_a_power_failure() {
    for seed in 0..20 {
        let (disk, mut log) = new_log(options());
        log.append(0, 0, &7).expect("appended");
        log.close().expect("closed");
        let partition = Path::new(LOG).join("partition-00000");
        disk.remove_file(&partition.join("end")).expect("it is there");
        disk.sync_dir(&partition).expect("synced");
        let log = open(&disk, options()).expect("it makes a mark");
        disk.lose_power(seed);
        drop(log);
        assert_eq!(read_all(&disk, 0), [7], "seed {seed}");
    }
}

#[test]
fn a_power_failure_at_any_operation_loses_nothing_synced_and_leaves_nothing_torn() {
    for seed in 0..20 {
        at_every_operation(DiskOperations::All, DiskFault::Crash, |disk, synced, what| {
            disk.lose_power(seed);
            assert_recovers(disk, synced, &format!("{what}, seed {seed}"));
        });
    }
}

#[test]
fn the_error_that_poisoned_the_writer_is_named_in_every_later_one() {
    let (disk, mut log) = new_log(options());
    log.append(0, 0, &1).expect("appended");
    fail_after(&disk, 1);
    let first = log.sync().expect_err("the fsync fails");
    disk.heal();
    assert!(matches!(&first, LogError::Io { action: "sync", .. }), "{first:?}");
    let later = log.sync().expect_err("it is not tried again");
    assert!(later.to_string().contains("00000000000000000000.log: no storage space"), "{later}");
    assert!(later.to_string().contains("gave up after: cannot sync"), "{later}");
}

/// fault F32: a directory that a process had made before it died was taken for durable.
#[test]
fn the_names_of_all_directories_above_a_log_are_made_durable_whoever_made_them() {
    let disk = SimulatedDisk::new();
    for made in ["/a", "/a/b", "/a/b/c"] {
        disk.create_dir(Path::new(made)).expect("a process made them, and died");
    }
    for (changes, above) in [(1, "/a/b"), (2, "/a"), (3, "/")] {
        fail_after(&disk, changes);
        let opened =
            EventLog::<u64>::create_or_open_on(Arc::new(disk.clone()), "/a/b/c", options());
        let failed = opened.expect_err("it cannot sync");
        let LogError::Io { action: "sync directory", path, .. } = &failed else {
            panic!("{failed}");
        };
        assert_eq!(path, Path::new(above));
    }
}

#[test]
fn a_failed_fsync_shows_readers_nothing() {
    let (disk, mut log) = new_log(options());
    log.append(0, 0, &1).expect("appended");
    fail_after(&disk, 1);
    log.sync().expect_err("the fsync fails");
    disk.heal();
    drop(log);
    assert!(read_all(&disk, 0).is_empty());
    drop(open(&disk, options()).expect("it opens again"));
    assert_eq!(read_all(&disk, 0), [1], "what was found is made durable, then shown");
}

#[test]
fn a_disk_that_fails_during_the_repair_leaves_a_log_that_the_next_repair_mends() {
    let one = LogOptions { segment_bytes: 300, partitions: Some(1), ..LogOptions::default() };
    let (disk, mut log) = new_log(one.clone());
    for number in 0..20 {
        log.append(0, 0, &number).expect("appended");
    }
    log.close().expect("closed");
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let segments = super::segment::PartitionDir::of(&shared, Path::new(LOG), 0);
    let last = *segments.segments().expect("listed").last().expect("a segment");

    for changes in 0.. {
        // Half a record behind the end, and an index to be made again.
        let torn = disk.open_for_writing(&segments.segment(last)).expect("opened");
        torn.append(&[7; 11]).expect("torn");
        disk.remove_file(&segments.index(Offset::ZERO)).expect("there is an index");
        fail_after(&disk, changes);
        let result = open(&disk, one.clone());
        let end = result.as_ref().map(|log| log.end(0).expect("partition 0"));
        assert!(end.is_err() || end.is_ok_and(|end| end == Offset::new(20)));
        disk.heal();
        let mended = result.is_ok();
        drop(result);
        drop(open(&disk, one.clone()).expect("it opens again"));
        assert_eq!(read_all(&disk, 0), (0..20).collect::<Vec<_>>(), "after {changes} changes");
        if mended {
            assert!(changes > 5, "the repair makes more than {changes} changes");
            break;
        }
    }
}

/// A log of one partition that was given this many records of 1 MiB, each written at once, and synced by
/// nobody but the log itself, if at all. One segment is full with as many as make it do so.
fn of_large_records(records: u64) -> (SimulatedDisk, EventLog<String>) {
    let disk = SimulatedDisk::new();
    let segment_bytes = super::early::EARLY_SYNC_BYTES;
    let one = LogOptions { partitions: Some(1), segment_bytes, ..LogOptions::default() };
    let log = EventLog::create_or_open_on(Arc::new(disk.clone()), LOG, one);
    let mut log = log.expect("a new log");
    fail_after(&disk, EARLY_SYNC_MIB);
    for _ in 0..records {
        log.append(0, 0, &"x".repeat(1 << 20)).expect("written");
    }
    (disk, log)
}

/// How many such records make the log start a sync of its own accord.
const EARLY_SYNC_MIB: u64 = super::early::EARLY_SYNC_BYTES >> 20;

#[test]
fn an_early_sync_that_fails_ends_the_writer_although_the_disk_is_healthy_when_it_syncs() {
    let (disk, mut log) = of_large_records(EARLY_SYNC_MIB);
    assert_eq!(disk.failures(), 1, "all was written, and the early sync has failed");
    disk.heal();
    let error = log.sync().expect_err("what the early sync met is not lost");
    assert!(matches!(&error, LogError::Io { action: "sync", .. }), "{error:?}");
    assert!(matches!(log.append(0, 0, &String::new()), Err(LogError::Poisoned { .. })));
    assert!(matches!(log.close(), Err(LogError::Poisoned { .. })));
    let mut reader = reader::<String>(&disk);
    assert_eq!(reader.end(0).expect("the end"), Offset::ZERO, "nothing was shown");
}

#[test]
fn a_failed_early_sync_ends_the_writer_before_a_full_segment_is_followed_by_another() {
    let (disk, mut log) = of_large_records(EARLY_SYNC_MIB);
    disk.heal();
    let error = log.append(0, 0, &String::new()).expect_err("the segment is full");
    assert!(matches!(&error, LogError::Io { action: "sync", .. }), "{error:?}");
    let names = disk.names(&Path::new(LOG).join("partition-00000")).expect("listed");
    let segments: Vec<_> =
        names.iter().filter(|name| name.to_string_lossy().ends_with(".log")).collect();
    assert_eq!(segments, ["00000000000000000000.log"]);
}

#[test]
fn what_was_brought_to_disk_early_is_shown_by_the_sync_and_not_before() {
    let (disk, mut log) = of_large_records(EARLY_SYNC_MIB - 1);
    fail_after(&disk, 2);
    log.append(0, 0, &"x".repeat(1 << 20)).expect("written");
    disk.heal();
    let mut reader = reader::<String>(&disk);
    assert_eq!(reader.end(0).expect("the end"), Offset::ZERO);
    log.sync().expect("synced");
    assert_eq!(reader.end(0).expect("the end"), Offset::new(EARLY_SYNC_MIB));
}

#[test]
fn a_log_that_never_synchronizes_does_not_do_so_early() {
    let disk = SimulatedDisk::new();
    let never = LogOptions { partitions: Some(1), fsync: Fsync::Never, ..LogOptions::default() };
    let log = EventLog::<String>::create_or_open_on(Arc::new(disk.clone()), LOG, never);
    let mut log = log.expect("a new log");
    // Each record is written and shown, and that is all.
    fail_after(&disk, 4 * EARLY_SYNC_MIB);
    for _ in 0..2 * EARLY_SYNC_MIB {
        log.append(0, 0, &"x".repeat(1 << 20)).expect("written and shown");
    }
    assert_eq!(disk.failures(), 0);
    disk.heal();
}
