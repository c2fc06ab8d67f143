//! The unsynced end of a log after a crash: it is cut and reported, and never a synced record with it.

use super::*;

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_reported_and_no_earlier_record_is_lost() {
    let places = places(10);
    let crashed = crashed_log(9, 10);
    for with_mark in [true, false] {
        for bytes in places[9]..=places[10] {
            let dir = copy_of(crashed.path());
            cut(&last_segment(dir.path()), bytes);
            if !with_mark {
                fs::remove_file(mark(dir.path())).expect("removed");
            }
            let mut log = open(dir.path(), LogOptions::default());
            let whole = [places[9], places[10]].contains(&bytes);
            let left = if bytes == places[10] { 10 } else { 9 };
            let reports: Vec<_> = log
                .repairs()
                .iter()
                .map(|r| (r.partition, r.position, r.bytes_cut, r.next))
                .collect();
            let report = (0, places[9], bytes - places[9], Offset::new(9));
            assert_eq!(
                reports,
                if whole { vec![] } else { vec![report] },
                "cut at {bytes}, mark: {with_mark}"
            );
            assert_eq!(
                read_all(dir.path()),
                expected(0..left),
                "cut at {bytes}, mark: {with_mark}"
            );
            assert_eq!(length(&last_segment(dir.path())), places[left as usize]);
            append(&mut log, left..12);
            log.close().expect("closed");
            assert_eq!(read_all(dir.path()), expected(0..12));
            assert_eq!(
                open(dir.path(), LogOptions::default()).repairs(),
                [],
                "it is repaired only once"
            );
        }
    }
}

#[test]
fn any_part_of_what_was_not_synced_may_be_missing_after_a_power_loss() {
    let places = places(12);
    let crashed = crashed_log(4, 12);
    for hole in places[4]..places[12] {
        let dir = copy_of(crashed.path());
        let segment = last_segment(dir.path());
        let mut bytes = fs::read(&segment).expect("read");
        bytes[hole as usize..].iter_mut().take(20).for_each(|byte| *byte = 0);
        fs::write(&segment, bytes).expect("written");
        let log = open(dir.path(), LogOptions::default());
        let records = read_all(dir.path());
        assert!(records.len() >= 4, "a synced record is lost with the hole at {hole}");
        assert_eq!(records, expected(0..records.len() as u64), "hole at {hole}");
        let RepairReport { whole_records_cut, position, bytes_cut, .. } = &log.repairs()[0];
        assert_eq!(position + bytes_cut, places[12]);
        let behind_the_hole = places[..12].iter().filter(|place| **place >= hole + 20).count();
        assert_eq!(*whole_records_cut, behind_the_hole as u64, "hole at {hole}");
    }
}

#[test]
fn files_that_an_unfinished_step_has_left_are_removed() {
    let dir = closed_log(30, 200);
    let partition = dir.path().join("partition-00000");
    let index_of_last = last_segment(dir.path()).with_extension("index");
    let left = [
        partition.join("00000000000000000030.log.tmp"),
        partition.join("00000000000000000999.index"),
        index_of_last,
    ];
    left.iter().for_each(|path| fs::write(path, "unfinished").expect("written"));
    assert_eq!(read_all(dir.path()), expected(0..30), "readers do not mind");
    drop(open(dir.path(), LogOptions::default()));
    assert!(left.iter().all(|path| !path.exists()));
    assert_eq!(read_all(dir.path()), expected(0..30));
}

#[test]
fn a_kill_loses_nothing_that_a_reader_has_seen_and_frees_the_lock() {
    let dir = tempdir().expect("a temporary directory");
    open(dir.path(), one_partition()).close().expect("closed");
    let mut left = 0;
    for _ in 1..=5 {
        let exe = std::env::current_exe().expect("the test's own program");
        let mut child = std::process::Command::new(exe)
            .args(["--exact", "crash::writer_that_will_be_killed", "--nocapture"])
            .env("LOG_TO_WRITE", dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("spawned");
        let mut reader = LogReader::<String>::open(dir.path()).expect("readers open");
        let seen = wait_for("records of the other process", || {
            let end = reader.end(0).expect("the end is known");
            // More than the process before has left: this one is at work.
            (end >= Offset::new(left + 500)).then_some(end)
        });
        assert!(
            matches!(refused(dir.path()), LogError::Locked { .. }),
            "the other process holds the lock"
        );
        child.kill().expect("killed");
        child.wait().expect("gone");
        let log = open(dir.path(), LogOptions::default());
        let end = log.end(0).expect("partition 0");
        assert!(end >= seen, "{seen} records were seen, {end} are left");
        left = end.get();
        assert_eq!(read_all(dir.path()), expected(0..end.get()));
    }
}

/// Not a separate test: the process that the test above kills.
#[test]
fn writer_that_will_be_killed() {
    let Some(dir) = std::env::var_os("LOG_TO_WRITE") else {
        return;
    };
    let mut log = open(
        Path::new(&dir),
        LogOptions { segment_bytes: 8 << 10, buffer_bytes: 600, ..one_partition() },
    );
    let orphaned = Instant::now() + Duration::from_secs(60);
    for number in log.end(0).expect("partition 0").get().. {
        append(&mut log, number..number + 1);
        if number % 50 == 0 {
            log.sync().expect("synced");
            assert!(
                Instant::now() < orphaned,
                "the test that started this process should have killed it"
            );
        }
    }
}
