//! The disk fails at every single change that a run makes to it, one run for each.

use super::disk::fault;
use super::*;

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
fn run(dir: &std::path::Path) -> (u64, Result<(), LogError>) {
    let mut synced = 0;
    let mut go = || {
        let mut log = EventLog::<u64>::create_or_open(dir, options())?;
        let before = log.end(0)?.get();
        for number in before..before + BATCHES * BATCH_RECORDS {
            for partition in 0..2 {
                append_or_be_poisoned(&mut log, partition, number)?;
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
    log: &mut EventLog<u64>,
    partition: u32,
    number: u64,
) -> Result<(), LogError> {
    let Err(error) = log.append(partition, 0, &number) else {
        return Ok(());
    };
    let struck = fault::struck();
    assert!(matches!(log.append(partition, 0, &number), Err(LogError::Poisoned { .. })));
    assert!(matches!(log.sync(), Err(LogError::Poisoned { .. })));
    assert!(matches!(log.flush(), Err(LogError::Poisoned { .. })));
    assert!(matches!(log.apply_retention(), Err(LogError::Poisoned { .. })));
    assert_eq!(fault::struck(), struck, "a poisoned writer touched the disk");
    Err(error)
}

fn read_all(dir: &std::path::Path, partition: u32) -> Vec<u64> {
    let mut reader = LogReader::<u64>::open(dir).expect("the log opens");
    let mut records = Vec::new();
    let end = reader
        .read(partition, Offset::ZERO, usize::MAX, &mut records)
        .expect("all records are good");
    assert_eq!(end, reader.end(partition).expect("the end is known"));
    records.into_iter().map(|record| record.event).collect()
}

#[test]
fn whichever_change_to_the_disk_fails_nothing_synced_is_lost_and_the_log_opens_again() {
    let mut failures = 0;
    for changes in 0.. {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fault::after(Some(changes));
        let (synced, result) = run(dir.path());
        fault::after(None);
        if result.is_ok() {
            break;
        }
        failures += 1;

        let log = EventLog::<u64>::create_or_open(dir.path(), options());
        let ends = log
            .as_ref()
            .map(|log| [log.end(0), log.end(1)])
            .expect("the log opens on a healthy disk");
        for (partition, end) in (0..).zip(ends) {
            let end = end.expect("the partition exists").get();
            assert!(
                end >= synced,
                "after {changes} changes: {synced} records were synced, {end} are left"
            );
            drop(LogReader::<u64>::open(dir.path()).expect("readers open"));
            assert_eq!(
                read_all(dir.path(), partition),
                (0..end).collect::<Vec<_>>(),
                "after {changes} changes"
            );
        }
        drop(log);
        // A failed fsync of one partition may leave it behind the other; the rest of the run needs them level.
        let level = [0, 1].map(|partition| read_all(dir.path(), partition).len());
        if level[0] == level[1] {
            let (_, again) = run(dir.path());
            again.expect("the log goes on on a healthy disk");
        }
    }
    assert!(failures > 100, "only {failures} places where the disk can fail");
}

#[test]
fn the_error_that_poisoned_the_writer_is_named_in_every_later_one() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut log = EventLog::<u64>::create_or_open(dir.path(), options()).expect("a new log");
    log.append(0, 0, &1).expect("appended");
    fault::after(Some(1));
    let first = log.sync().expect_err("the fsync fails");
    fault::after(None);
    assert!(matches!(&first, LogError::Io { action: "sync", .. }), "{first:?}");
    let later = log.sync().expect_err("it is not tried again");
    assert!(later.to_string().ends_with("00000000000000000000.log: simulated"), "{later}");
    assert!(later.to_string().contains("gave up after: cannot sync"), "{later}");
}

/// fault F32: a directory that a process had made before it died was taken for durable.
#[test]
fn the_names_of_all_directories_above_a_log_are_made_durable_whoever_made_them() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = dir.path().join("a/b/c");
    std::fs::create_dir_all(&log).expect("a process made them, and died");
    for (changes, above) in ["a/b", "a", ""].into_iter().enumerate() {
        fault::after(Some(changes));
        let failed = EventLog::<u64>::create_or_open(&log, options()).expect_err("it cannot sync");
        fault::after(None);
        let LogError::Io { action: "sync directory", path, .. } = &failed else {
            panic!("{failed}");
        };
        assert_eq!(path.join(""), dir.path().join(above).join(""));
    }
}

#[test]
fn a_failed_fsync_shows_readers_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut log = EventLog::<u64>::create_or_open(dir.path(), options()).expect("a new log");
    log.append(0, 0, &1).expect("appended");
    fault::after(Some(1));
    log.sync().expect_err("the fsync fails");
    fault::after(None);
    drop(log);
    assert!(read_all(dir.path(), 0).is_empty());
    drop(EventLog::<u64>::create_or_open(dir.path(), options()).expect("it opens again"));
    assert_eq!(read_all(dir.path(), 0), [1], "what was found is made durable, then shown");
}

#[test]
fn a_disk_that_fails_during_the_repair_leaves_a_log_that_the_next_repair_mends() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let one = LogOptions { segment_bytes: 300, partitions: Some(1), ..LogOptions::default() };
    let mut log = EventLog::<u64>::create_or_open(dir.path(), one).expect("a new log");
    for number in 0..20 {
        log.append(0, 0, &number).expect("appended");
    }
    log.close().expect("closed");
    let segments = super::segment::PartitionDir::of(dir.path(), 0);
    let last = *segments.segments().expect("listed").last().expect("a segment");

    for changes in 0.. {
        // Half a record behind the end, and an index to be made again.
        let mut torn =
            std::fs::OpenOptions::new().append(true).open(segments.segment(last)).expect("opened");
        std::io::Write::write_all(&mut torn, &[7; 11]).expect("torn");
        std::fs::remove_file(segments.index(Offset::ZERO)).expect("there is an index");
        fault::after(Some(changes));
        let result = EventLog::<u64>::create_or_open(dir.path(), LogOptions::default());
        let end = result.as_ref().map(|log| log.end(0).expect("partition 0"));
        assert!(end.is_err() || end.is_ok_and(|end| end == Offset::new(20)));
        fault::after(None);
        let mended = result.is_ok();
        drop(result);
        drop(
            EventLog::<u64>::create_or_open(dir.path(), LogOptions::default())
                .expect("it opens again"),
        );
        assert_eq!(read_all(dir.path(), 0), (0..20).collect::<Vec<_>>(), "after {changes} changes");
        if mended {
            assert!(changes > 5, "the repair makes more than {changes} changes");
            break;
        }
    }
}

/// A log of one partition that was given so many records of 1 MiB, each written at once, and synced by nobody but the log itself,
/// if at all. One segment is full with as many as make it do so.
fn of_large_records(dir: &std::path::Path, records: usize) -> EventLog<String> {
    let segment_bytes = super::early::EARLY_SYNC_BYTES;
    let one = LogOptions { partitions: Some(1), segment_bytes, ..LogOptions::default() };
    let mut log = EventLog::create_or_open(dir, one).expect("a new log");
    fault::after(Some(EARLY_SYNC_MIB));
    for _ in 0..records {
        log.append(0, 0, &"x".repeat(1 << 20)).expect("written");
    }
    log
}

/// How many such records make the log start a sync of its own accord.
const EARLY_SYNC_MIB: usize = (super::early::EARLY_SYNC_BYTES >> 20) as usize;

#[test]
fn an_early_sync_that_fails_ends_the_writer_although_the_disk_is_healthy_when_it_syncs() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut log = of_large_records(dir.path(), EARLY_SYNC_MIB);
    assert_eq!(fault::struck(), 1, "all was written, and the early sync has failed");
    fault::after(None);
    let error = log.sync().expect_err("what the early sync met is not lost");
    assert!(matches!(&error, LogError::Io { action: "sync", .. }), "{error:?}");
    assert!(matches!(log.append(0, 0, &String::new()), Err(LogError::Poisoned { .. })));
    assert!(matches!(log.close(), Err(LogError::Poisoned { .. })));
    let mut reader = LogReader::<String>::open(dir.path()).expect("readers open");
    assert_eq!(reader.end(0).expect("the end"), Offset::ZERO, "nothing was shown");
}

#[test]
fn a_failed_early_sync_ends_the_writer_before_a_full_segment_is_followed_by_another() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut log = of_large_records(dir.path(), EARLY_SYNC_MIB);
    fault::after(None);
    let error = log.append(0, 0, &String::new()).expect_err("the segment is full");
    assert!(matches!(&error, LogError::Io { action: "sync", .. }), "{error:?}");
    let segments = super::segment::PartitionDir::of(dir.path(), 0).segments().expect("listed");
    assert_eq!(segments, [Offset::ZERO]);
}

#[test]
fn what_was_brought_to_disk_early_is_shown_by_the_sync_and_not_before() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut log = of_large_records(dir.path(), EARLY_SYNC_MIB - 1);
    fault::after(Some(2));
    log.append(0, 0, &"x".repeat(1 << 20)).expect("written");
    fault::after(None);
    let mut reader = LogReader::<String>::open(dir.path()).expect("readers open");
    assert_eq!(reader.end(0).expect("the end"), Offset::ZERO);
    log.sync().expect("synced");
    assert_eq!(reader.end(0).expect("the end"), Offset::new(EARLY_SYNC_MIB as u64));
}

#[test]
fn a_log_that_never_synchronizes_does_not_do_so_early() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let never = LogOptions { partitions: Some(1), fsync: Fsync::Never, ..LogOptions::default() };
    let mut log = EventLog::<String>::create_or_open(dir.path(), never).expect("a new log");
    // Each record is written and shown, and that is all.
    fault::after(Some(4 * EARLY_SYNC_MIB));
    for _ in 0..2 * EARLY_SYNC_MIB {
        log.append(0, 0, &"x".repeat(1 << 20)).expect("written and shown");
    }
    assert_eq!(fault::struck(), 0);
    fault::after(None);
}
