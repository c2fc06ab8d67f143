//! Seeking a time, with times in order and out of order.

use super::*;

#[test]
fn seeking_a_time_finds_the_first_record_as_young_also_when_times_are_out_of_order() {
    let dir = tempdir().expect("a temporary directory");
    let mut log = open(dir.path(), LogOptions { segment_bytes: 300_000, ..one_partition() });
    // Rises on the whole, but every record is up to 400 ms off its place. Segments have several index entries.
    let times: Vec<i64> = (0..1200).map(|n: i64| n * 10 + (n * 7919) % 800 - 400).collect();
    let long = "x".repeat(1000);
    for time in &times {
        log.append(0, *time, &long).expect("appended");
    }
    log.sync().expect("synced");
    assert!(segments(dir.path()).len() >= 4);
    let check = |dir: &Path, step: usize| {
        let mut reader = LogReader::<String>::open(dir).expect("readers open");
        let wanted = (-500..13_000).step_by(step).chain([i64::MIN, i64::MAX]);
        for time in wanted {
            let first = times.iter().position(|found| *found >= time).unwrap_or(times.len());
            assert_eq!(
                reader.seek_to_time(0, time).expect("found"),
                Offset::new(first as u64),
                "time {time}"
            );
        }
    };
    check(dir.path(), 13);
    log.close().expect("closed");
    files(dir.path(), "index").iter().for_each(|path| fs::remove_file(path).expect("removed"));
    check(dir.path(), 499);
    drop(open(dir.path(), LogOptions::default()));
    check(dir.path(), 101);
}

#[test]
fn seeking_a_time_does_not_read_segments_that_are_all_older() {
    let dir = closed_log(100, 200);
    let all = segments(dir.path());
    for old in &all[..all.len() / 2] {
        flip(old, SEGMENT_HEADER_BYTES + 3, 1);
    }
    let mut reader = LogReader::<String>::open(dir.path()).expect("readers open");
    assert_eq!(reader.seek_to_time(0, 90).expect("found"), Offset::new(90));
    assert!(reader.seek_to_time(0, 0).is_err(), "the flipped byte is there");
}
