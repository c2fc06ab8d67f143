//! One writer and its readers: who may open the log, and when and in which order readers see records.

use super::*;

#[test]
fn a_second_writer_is_refused_until_the_first_is_gone() {
    let dir = tempdir().expect("a temporary directory");
    let first = open(dir.path(), one_partition());
    assert!(
        matches!(refused(dir.path()), LogError::Locked { dir: locked } if locked == dir.path())
    );
    drop(first);
    drop(open(dir.path(), one_partition()));
}

#[test]
fn readers_see_records_only_once_they_are_durable() {
    let dir = tempdir().expect("a temporary directory");
    let mut log = open(dir.path(), LogOptions { buffer_bytes: 64, ..one_partition() });
    let mut reader = LogReader::<String>::open(dir.path()).expect("readers open");
    append(&mut log, 0..10);
    log.flush().expect("written");
    assert_eq!(reader.end(0).expect("known"), Offset::ZERO);
    assert_eq!(
        reader.read(0, Offset::ZERO, 9, &mut Vec::new()).expect("nothing there"),
        Offset::ZERO
    );
    log.sync().expect("synced");
    assert_eq!(reader.end(0).expect("known"), Offset::new(10));
}

#[test]
fn each_fsync_policy_shows_records_when_it_says() {
    let visible_after = |fsync, appended, flushed: bool| {
        let dir = tempdir().expect("a temporary directory");
        let mut log = open(dir.path(), LogOptions { fsync, ..one_partition() });
        append(&mut log, 0..appended);
        if flushed {
            log.flush().expect("written");
        }
        LogReader::<String>::open(dir.path()).expect("readers open").end(0).expect("known").get()
    };
    let ten_records_bytes = places(10)[10] - SEGMENT_HEADER_BYTES;
    assert_eq!(visible_after(Fsync::Never, 7, false), 0);
    assert_eq!(visible_after(Fsync::Never, 7, true), 7);
    assert_eq!(visible_after(Fsync::GroupCommit, 7, true), 0);
    assert_eq!(visible_after(Fsync::Always, 7, false), 7);
    assert_eq!(visible_after(Fsync::EveryBytes(ten_records_bytes), 9, true), 0);
    assert_eq!(visible_after(Fsync::EveryBytes(ten_records_bytes), 12, false), 10);
}

#[test]
fn under_never_a_reader_waits_for_what_was_shown_and_then_went_with_the_power() {
    let dir = tempdir().expect("a temporary directory");
    let mut log = open(dir.path(), LogOptions { fsync: Fsync::Never, ..one_partition() });
    append(&mut log, 0..10);
    log.flush().expect("written");
    let crashed = copy_of(dir.path());
    cut(&last_segment(crashed.path()), places(10)[8] + 5);
    assert_eq!(read_all(crashed.path()), expected(0..8));
    let mut log = open(crashed.path(), LogOptions::default());
    assert_eq!(log.repairs()[0].bytes_cut, 5);
    append(&mut log, 8..9);
    log.close().expect("closed");
    assert_eq!(read_all(crashed.path()), expected(0..9));
}

#[test]
fn a_reader_on_another_thread_follows_the_writer_across_segments_in_order() {
    const RECORDS: u64 = 20_000;
    let dir = tempdir().expect("a temporary directory");
    let mut log = open(
        dir.path(),
        LogOptions { segment_bytes: 10_000, buffer_bytes: 500, ..one_partition() },
    );
    std::thread::scope(|scope| {
        let followers: Vec<_> =
            (0..2).map(|_| scope.spawn(|| follow(dir.path(), RECORDS))).collect();
        for number in 0..RECORDS {
            append(&mut log, number..number + 1);
            if number % 97 == 0 {
                log.sync().expect("synced");
            }
        }
        log.sync().expect("synced");
        for follower in followers {
            assert_eq!(follower.join().expect("the follower ends"), RECORDS);
        }
    });
    assert!(segments(dir.path()).len() > 50);
}

fn follow(dir: &Path, records: u64) -> u64 {
    let mut reader = LogReader::<String>::open(dir).expect("readers open");
    let (mut next, mut batch) = (Offset::ZERO, Vec::new());
    wait_for("the last record", || {
        batch.clear();
        let from = next.get();
        next = reader.read(0, next, 100, &mut batch).expect("every record can be read");
        assert_eq!(batch, expected(from..next.get()));
        (next.get() == records).then_some(records)
    })
}

#[test]
fn a_reader_whom_retention_overtakes_is_told_and_never_gets_a_wrong_record() {
    const RECORDS: u64 = 4_000;
    let dir = tempdir().expect("a temporary directory");
    let retention = Retention { max_partition_bytes: Some(1500), ..Retention::default() };
    let options = LogOptions { segment_bytes: 500, retention, ..one_partition() };
    let mut log = open(dir.path(), options);
    std::thread::scope(|scope| {
        let follower = scope.spawn(|| {
            let mut reader = LogReader::<String>::open(dir.path()).expect("readers open");
            let (mut next, mut batch, mut overtaken) = (Offset::ZERO, Vec::new(), 0);
            wait_for("the last record", || {
                batch.clear();
                let from = next;
                match reader.read(0, from, 5, &mut batch) {
                    Ok(end) => next = end,
                    Err(LogError::OffsetGone { requested, earliest, .. }) => {
                        assert!(requested == from && earliest > from);
                        (next, overtaken) = (earliest, overtaken + 1);
                        return None;
                    }
                    Err(other) => panic!("{other:?}"),
                }
                assert_eq!(batch, expected(from.get()..next.get()));
                (next.get() == RECORDS).then_some(overtaken)
            })
        });
        append(&mut log, 0..RECORDS);
        log.sync().expect("synced");
        follower.join().expect("the follower ends");
    });
}
