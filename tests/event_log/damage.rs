//! Damage to durable records: an error with name and place, never a wrong record and never a silent cut.

use super::*;

/// What a reader gets when one byte of a file is changed.
enum Outcome {
    /// The file is not needed: everything.
    All,
    /// An older mark is used: the first records.
    Prefix,
    /// An error.
    Refused,
}

#[test]
fn whichever_byte_is_flipped_no_reader_gets_a_wrong_record_and_no_writer_cuts_a_durable_one() {
    let original = closed_log(12, 200);
    let all = expected(0..12);
    assert!(segments(original.path()).len() >= 3);
    let mut flips: Vec<(PathBuf, u64, Outcome)> = Vec::new();
    let mut every_byte_of = |path: PathBuf, outcome: fn() -> Outcome| {
        flips.extend((0..length(&path)).map(|byte| (path.clone(), byte, outcome())));
    };
    segments(original.path()).into_iter().for_each(|path| every_byte_of(path, || Outcome::Refused));
    files(original.path(), "index")
        .into_iter()
        .for_each(|path| every_byte_of(path, || Outcome::All));
    every_byte_of(original.path().join("meta"), || Outcome::Refused);
    // The two slots of the mark; what lies between means nothing.
    let slots = (0..48).chain(512..560);
    flips.extend(slots.map(|byte| (mark(original.path()), byte, Outcome::Prefix)));

    for (path, byte, outcome) in flips {
        let at = format!("{} byte {byte}", path.display());
        let dir = copy_of(original.path());
        let damaged = dir.path().join(path.strip_prefix(original.path()).expect("inside"));
        flip(&damaged, byte, 1 << (byte % 8));
        match (outcome, try_read_all(dir.path())) {
            (Outcome::All, Ok(records)) => assert_eq!(records, all, "{at}"),
            (Outcome::Prefix, Ok(records)) => assert_eq!(records, all[..records.len()], "{at}"),
            (Outcome::Refused, Err(_)) => {}
            (_, result) => panic!("{at}: {result:?}"),
        }
        let before = fs::read(&damaged).expect("read");
        if let Ok(log) = EventLog::<String>::create_or_open(dir.path(), LogOptions::default()) {
            assert_eq!(log.end(0).expect("partition 0"), Offset::new(12), "{at}");
            assert_eq!(log.repairs(), [], "{at}");
        }
        if damaged.extension().is_some_and(|extension| extension == "log") {
            assert_eq!(fs::read(&damaged).expect("read"), before, "{at}");
        } else if let Ok(records) = try_read_all(dir.path()) {
            assert_eq!(records, all, "opening for writing heals what is not needed: {at}");
        }
    }
}

#[test]
fn damage_before_the_end_is_refused_by_name_and_place_and_nothing_is_changed() {
    let places = places(10);
    let original = closed_log(10, 1 << 20);
    // Without its mark the last record cannot be told from a torn one; with it, every record was durable.
    for (with_mark, damaged) in [(true, 0..10), (false, 0..9)] {
        for record in damaged {
            let dir = copy_of(original.path());
            if !with_mark {
                fs::remove_file(mark(dir.path())).expect("removed");
            }
            let segment = last_segment(dir.path());
            flip(&segment, places[record] + 10, 1);
            let before = fs::read(&segment).expect("read");
            match refused(dir.path()) {
                LogError::Corrupt { path, position, .. } => {
                    assert_eq!((path, position), (segment.clone(), places[record]))
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(fs::read(&segment).expect("read"), before);
        }
    }
}

#[test]
fn a_reader_gets_all_records_before_the_damaged_one_and_then_the_error() {
    let dir = closed_log(10, 1 << 20);
    flip(&last_segment(dir.path()), places(10)[6] + 30, 1);
    let mut reader = LogReader::<String>::open(dir.path()).expect("readers open");
    let mut records = Vec::new();
    for _ in 0..2 {
        records.clear();
        assert_eq!(
            reader.read(0, Offset::ZERO, 100, &mut records).expect("six are good"),
            Offset::new(6)
        );
        assert_eq!(records, expected(0..6));
        let error =
            reader.read(0, Offset::new(6), 100, &mut records).expect_err("the seventh is not");
        assert!(
            error.to_string().ends_with(&format!(
                "byte {}: record 6 does not match its checksum",
                places(10)[6]
            ))
        );
        assert_eq!(records.len(), 6, "nothing is added with an error");
    }
}

#[test]
fn durable_records_that_are_missing_at_the_end_are_not_taken_for_a_torn_tail() {
    let places = places(10);
    for bytes in [SEGMENT_HEADER_BYTES, places[9], places[10] - 1] {
        let dir = closed_log(10, 1 << 20);
        cut(&last_segment(dir.path()), bytes);
        assert!(matches!(refused(dir.path()), LogError::Corrupt { .. }), "cut at {bytes}");
        assert!(
            matches!(try_read_all(dir.path()), Err(LogError::Corrupt { .. })),
            "cut at {bytes}"
        );
    }
    let dir = closed_log(20, 200);
    fs::remove_file(last_segment(dir.path())).expect("removed");
    assert!(matches!(refused(dir.path()), LogError::Corrupt { .. }));
    assert!(matches!(try_read_all(dir.path()), Err(LogError::Corrupt { .. })));
}

#[test]
fn a_full_segment_that_is_short_or_missing_is_refused() {
    for with_index in [true, false] {
        let dir = closed_log(30, 200);
        let full = &segments(dir.path())[1];
        cut(full, length(full) - 1);
        if !with_index {
            fs::remove_file(full.with_extension("index")).expect("removed");
        }
        assert!(matches!(refused(dir.path()), LogError::Corrupt { path, .. } if path == *full));
        assert!(
            matches!(try_read_all(dir.path()), Err(LogError::Corrupt { path, .. }) if path == *full)
        );
    }
    let dir = closed_log(30, 200);
    fs::remove_file(&segments(dir.path())[1]).expect("removed");
    assert!(matches!(refused(dir.path()), LogError::Corrupt { .. }));
    assert!(matches!(try_read_all(dir.path()), Err(LogError::Corrupt { .. })));
}

#[test]
fn a_segment_in_the_place_of_another_is_refused() {
    let dir = closed_log(30, 200);
    let all = segments(dir.path());
    fs::copy(&all[2], &all[1]).expect("copied");
    assert!(
        matches!(refused(dir.path()), LogError::Corrupt { path, position: 0, .. } if path == all[1])
    );
}

#[test]
fn a_whole_record_in_the_place_of_another_is_refused() {
    let dir = tempdir().expect("a temporary directory");
    let mut log = open(dir.path(), one_partition());
    for _ in 0..4 {
        log.append(0, 0, &event(0)).expect("appended");
    }
    log.close().expect("closed");
    let segment = last_segment(dir.path());
    let mut bytes = fs::read(&segment).expect("read");
    let [second, third] = [1, 2]
        .map(|record| places(1)[0] as usize + record * (places(1)[1] - places(1)[0]) as usize);
    bytes.copy_within(second..third, third);
    fs::write(&segment, bytes).expect("written");
    for error in [refused(dir.path()), try_read_all(dir.path()).expect_err("it is found")] {
        let expected = format!("byte {third}: record 1 stands where 2 should be");
        assert!(error.to_string().ends_with(&expected), "{error}");
    }
}

#[test]
fn a_lost_meta_file_is_not_taken_for_a_new_log() {
    let dir = closed_log(1, 200);
    fs::remove_file(dir.path().join("meta")).expect("removed");
    assert!(matches!(refused(dir.path()), LogError::Corrupt { .. }));
    assert!(matches!(LogReader::<String>::open(dir.path()), Err(LogError::NotALog { .. })));
}

#[test]
fn a_log_whose_creation_was_cut_short_is_created_again() {
    let dir = closed_log(0, 200);
    fs::remove_file(dir.path().join("meta")).expect("removed");
    let log = open(dir.path(), LogOptions { partitions: Some(3), ..LogOptions::default() });
    assert_eq!(log.partitions(), 3);
}

#[test]
fn damaged_or_missing_indexes_are_made_again() {
    let dir = closed_log(30, 200);
    let originals: BTreeMap<_, _> = files(dir.path(), "index")
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).expect("read")))
        .collect();
    for (number, path) in originals.keys().enumerate() {
        if number % 2 == 0 { fs::remove_file(path).expect("removed") } else { flip(path, 40, 1) }
    }
    assert_eq!(read_all(dir.path()), expected(0..30), "readers do without");
    drop(open(dir.path(), LogOptions::default()));
    for (path, bytes) in originals {
        assert_eq!(fs::read(&path).expect("made again"), bytes, "{}", path.display());
    }
}

#[test]
fn a_description_of_no_or_too_many_partitions_is_refused_by_name_although_its_checksum_is_right() {
    // Byte 12 is the lowest of the number, byte 13 the next: 0 and 1 + 16 * 256 partitions.
    for (at, byte) in [(12, 0), (13, 16)] {
        let dir = closed_log(3, 200);
        let meta = dir.path().join("meta");
        golden::resealed(&meta, at, byte, 32);
        let opened = LogReader::<String>::open(dir.path()).map(|reader| reader.partitions());
        let surveyed = LogSurvey::of(dir.path()).map(|survey| survey.partitions.len());
        for error in [
            refused(dir.path()),
            opened.expect_err("no reader opens it"),
            surveyed.expect_err("it is not surveyed"),
        ] {
            assert!(
                matches!(&error, LogError::Corrupt { path, position: 12, .. } if *path == meta),
                "{error}"
            );
        }
    }
}

/// A log whose records have been moved to `first` and the following offsets, with correct checksums.
fn log_moved_to(first: u64, records: u64) -> TempDir {
    let dir = closed_log(records, 1 << 20);
    let segment = last_segment(dir.path());
    let mut bytes = fs::read(&segment).expect("read");
    bytes[16..24].copy_from_slice(&first.to_le_bytes());
    let seal = |bytes: &mut [u8], covered: std::ops::Range<usize>, at: usize| {
        let checksum = crc32fast::hash(&bytes[covered]).to_le_bytes();
        bytes[at..at + 4].copy_from_slice(&checksum);
    };
    seal(&mut bytes, 0..28, 28);
    let places = places(records);
    for (number, frame) in places.windows(2).enumerate() {
        let frame = &mut bytes[frame[0] as usize..frame[1] as usize];
        frame[8..16].copy_from_slice(&(first + number as u64).to_le_bytes());
        seal(frame, 4..frame.len(), 0);
    }
    fs::write(segment.with_file_name(format!("{first:020}.log")), &bytes).expect("written");
    fs::remove_file(&segment).expect("removed");
    let mut end = vec![0; 560];
    let durable = u64::MAX;
    for (at, number) in [1, u64::MAX, first, bytes.len() as u64, durable].into_iter().enumerate() {
        end[8 + 8 * at..][..8].copy_from_slice(&number.to_le_bytes());
    }
    seal(&mut end, 4..48, 0);
    fs::write(mark(dir.path()), end).expect("written");
    dir
}

#[test]
fn a_record_behind_which_no_offset_is_left_is_refused_by_name_and_place_and_nothing_is_cut() {
    let dir = log_moved_to(u64::MAX - 1, 2);
    let segment = last_segment(dir.path());
    let before = fs::read(&segment).expect("read");
    let mut reader = LogReader::<String>::open(dir.path()).expect("opens");
    let mut records = Vec::new();
    let next = reader.read(0, Offset::new(u64::MAX - 1), 9, &mut records).expect("the first");
    assert_eq!((next, records.len()), (Offset::new(u64::MAX), 1));
    assert_eq!(reader.read(0, next, 9, &mut records).expect("nothing behind"), next);
    let survey = LogSurvey::of(dir.path()).expect("surveyed");
    assert_eq!(survey.partitions[0].damage.len(), 1, "{survey:?}");
    // The mark's end is behind the first record and before the second, which is therefore not there for readers.
    assert_eq!(reader.seek_to_time(0, i64::MAX).expect("it walks over the record"), next);
    let error = refused(dir.path());
    assert!(
        matches!(&error, LogError::Corrupt { path, position, .. }
            if *path == segment && *position == places(1)[1]),
        "{error}"
    );
    assert_eq!(fs::read(&segment).expect("read"), before);
}

#[test]
fn a_partition_without_an_offset_left_refuses_every_event_and_keeps_what_it_has() {
    let dir = log_moved_to(u64::MAX - 1, 1);
    let mut log = open(dir.path(), LogOptions::default());
    for _ in 0..2 {
        let error = log.append(0, 0, &event(1)).expect_err("no offset is left");
        assert!(
            matches!(&error, LogError::Corrupt { path, .. } if *path == last_segment(dir.path())),
            "{error}"
        );
    }
    assert_eq!(log.end(0).expect("partition 0"), Offset::new(u64::MAX));
    log.close().expect("closed");
    assert_eq!(read_all(dir.path()).len(), 1);
}
