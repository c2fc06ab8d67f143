//! What retention deletes, and what it keeps.

use super::*;

#[test]
fn retention_by_bytes_removes_the_oldest_segments_and_says_which_offset_is_earliest() {
    let dir = closed_log(100, 200);
    let total: u64 = segments(dir.path()).iter().map(|path| length(path)).sum();
    let retention = Retention { max_partition_bytes: Some(total / 2), ..Retention::default() };
    let mut log = open(dir.path(), LogOptions { retention, ..LogOptions::default() });
    let removed = log.apply_retention().expect("removed");
    let left: u64 = segments(dir.path()).iter().map(|path| length(path)).sum();
    assert_eq!(removed.bytes, total - left);
    assert!(left <= total / 2 && left > total / 2 - 300);
    assert_eq!(files(dir.path(), "index").len(), segments(dir.path()).len() - 1);

    let mut reader = LogReader::<String>::open(dir.path()).expect("readers open");
    let earliest = reader.earliest(0).expect("known");
    assert_eq!(earliest.get(), removed.records);
    assert_eq!(read_all(dir.path()), expected(earliest.get()..100));
    let gone = reader.read(0, Offset::new(3), 1, &mut Vec::new()).expect_err("it is gone");
    assert_eq!(
        gone.to_string(),
        format!("offset 3 of partition 0 is gone, the earliest is {earliest}")
    );
    assert_eq!(reader.seek_to_time(0, 0).expect("found"), earliest);
    assert_eq!(log.apply_retention().expect("nothing more"), Removed::default());
}

#[test]
fn retention_by_age_goes_by_the_file_and_never_takes_the_segment_being_written() {
    let dir = closed_log(100, 200);
    let all = segments(dir.path());
    let hours_ago = |hours: u64| SystemTime::now() - Duration::from_secs(hours * 3600);
    let age = |path: &Path, hours| {
        let file = File::options().write(true).open(path).expect("opened");
        file.set_modified(hours_ago(hours)).expect("aged");
    };
    all[..2].iter().for_each(|path| age(path, 50));
    let retention =
        Retention { max_age: Some(Duration::from_secs(24 * 3600)), ..Retention::default() };
    let mut log = open(dir.path(), LogOptions { retention, ..LogOptions::default() });
    assert_eq!(log.apply_retention().expect("removed").segments, 2);
    assert_eq!(segments(dir.path()), all[2..]);

    all[2..].iter().for_each(|path| age(path, 50));
    log.apply_retention().expect("removed");
    assert_eq!(segments(dir.path()), all[all.len() - 1..]);
    append(&mut log, 100..101);
}

#[test]
fn retention_is_applied_whenever_a_segment_is_full() {
    let dir = tempdir().expect("a temporary directory");
    let retention = Retention { max_partition_bytes: Some(1000), ..Retention::default() };
    let mut log = open(dir.path(), LogOptions { segment_bytes: 200, retention, ..one_partition() });
    append(&mut log, 0..500);
    assert!(segments(dir.path()).len() <= 5);
    log.close().expect("closed");
    let records = read_all(dir.path());
    assert_eq!(records, expected(500 - records.len() as u64..500));
}

#[test]
fn a_log_that_retention_has_emptied_of_old_segments_opens_again_at_the_same_offset() {
    let dir = closed_log(100, 200);
    let retention = Retention { max_partition_bytes: Some(0), ..Retention::default() };
    let mut log = open(dir.path(), LogOptions { retention, ..LogOptions::default() });
    log.apply_retention().expect("removed");
    log.close().expect("closed");
    let mut log = open(dir.path(), LogOptions::default());
    assert_eq!(log.repairs(), []);
    append(&mut log, 100..103);
}
