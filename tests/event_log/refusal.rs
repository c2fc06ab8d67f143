//! Operations that a log refuses without being damaged, and options that are refused when it is opened.

use super::*;

struct Unserializable(Refusal);

enum Refusal {
    None,
    Error,
    Panic,
}

impl Serialize for Unserializable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error, SerializeTuple};
        let mut tuple = serializer.serialize_tuple(2)?;
        tuple.serialize_element(&7u32)?;
        match self.0 {
            Refusal::None => tuple.serialize_element(&8u32)?,
            Refusal::Error => return Err(S::Error::custom("not today")),
            Refusal::Panic => panic!("half of the event is in the buffer"),
        }
        tuple.end()
    }
}

#[test]
fn an_event_whose_serialize_fails_or_panics_leaves_no_trace() {
    let dir = tempdir().expect("a temporary directory");
    let mut log =
        EventLog::<Unserializable>::create_or_open(dir.path(), one_partition()).expect("a new log");
    log.append(0, 1, &Unserializable(Refusal::None)).expect("appended");
    let error = log.append(0, 2, &Unserializable(Refusal::Error)).expect_err("it is refused");
    let message = error.to_string();
    assert!(message.starts_with("event for partition 0 cannot be encoded: "), "{message}");
    assert!(message.contains("not today"), "{message}");
    assert!(
        std::error::Error::source(&error)
            .is_some_and(|cause| cause.to_string().contains("not today"))
    );
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        log.append(0, 3, &Unserializable(Refusal::Panic))
    }));
    assert!(panicked.is_err());
    log.append(0, 4, &Unserializable(Refusal::None)).expect("appended");
    log.close().expect("closed");
    let mut records = Vec::new();
    LogReader::<(u32, u32)>::open(dir.path())
        .expect("opens")
        .read(0, Offset::ZERO, 9, &mut records)
        .expect("read");
    let found: Vec<_> = records
        .iter()
        .map(|record| (record.offset.get(), record.timestamp_ms, record.event))
        .collect();
    assert_eq!(found, [(0, 1, (7, 8)), (1, 4, (7, 8))]);
}

#[test]
fn an_event_that_is_too_large_is_refused_and_nothing_is_lost() {
    let dir = tempdir().expect("a temporary directory");
    let mut log = open(dir.path(), LogOptions { max_record_bytes: 108, ..one_partition() });
    append(&mut log, 0..3);
    let error = log.append(0, 0, &"x".repeat(101)).expect_err("109 bytes are too many");
    assert_eq!(error.to_string(), "event for partition 0 encodes to more than 108 bytes");
    append(&mut log, 3..5);
    assert_eq!(log.append(0, 0, &"x".repeat(100)).expect("108 bytes are allowed"), Offset::new(5));
    log.close().expect("closed");
    assert_eq!(read_all(dir.path())[..5], expected(0..5));
}

#[test]
fn a_record_larger_than_segment_and_buffers_comes_back() {
    let dir = tempdir().expect("a temporary directory");
    let mut log =
        open(dir.path(), LogOptions { segment_bytes: 100, buffer_bytes: 10, ..one_partition() });
    let sizes = [3, 1_000_000, 5, 300_000, 0, 262_144];
    for size in sizes {
        log.append(0, 0, &"y".repeat(size)).expect("appended");
    }
    log.close().expect("closed");
    assert_eq!(
        read_all(dir.path()).iter().map(|record| record.event.len()).collect::<Vec<_>>(),
        sizes
    );
}

#[test]
fn a_record_of_another_type_is_refused_by_offset_and_can_be_passed() {
    let dir = tempdir().expect("a temporary directory");
    let mut log =
        EventLog::<Vec<u8>>::create_or_open(dir.path(), one_partition()).expect("a new log");
    for bytes in [b"good", b"\xff\xfe\xfd\xfc", b"fine"] {
        log.append(0, 0, &bytes.to_vec()).expect("appended");
    }
    log.sync().expect("synced");
    let mut reader = LogReader::<String>::open(dir.path()).expect("opens");
    let mut records = Vec::new();
    let next = reader.read(0, Offset::ZERO, 9, &mut records).expect("the first is text");
    let error = reader.read(0, next, 9, &mut records).expect_err("the second is not");
    assert!(
        matches!(error, LogError::Decode { partition: 0, offset, .. } if offset == Offset::new(1))
    );
    reader.read(0, next.next(), 9, &mut records).expect("the third is text");
    assert_eq!(
        records.iter().map(|record| record.event.as_str()).collect::<Vec<_>>(),
        ["good", "fine"]
    );
}

#[test]
fn partitions_are_apart_and_their_number_is_fixed() {
    let dir = tempdir().expect("a temporary directory");
    let three = LogOptions { partitions: Some(3), ..LogOptions::default() };
    let mut log = open(dir.path(), three.clone());
    for number in 0..9 {
        log.append(number % 3, 0, &number.to_string()).expect("appended");
    }
    assert!(matches!(
        log.append(3, 0, &String::new()),
        Err(LogError::NoSuchPartition { partition: 3, partitions: 3 })
    ));
    assert!(log.end(3).is_err());
    log.close().expect("closed");
    let four = LogOptions { partitions: Some(4), ..LogOptions::default() };
    match EventLog::<String>::create_or_open(dir.path(), four) {
        Err(LogError::PartitionCountMismatch { stored: 3, requested: 4, .. }) => {}
        other => panic!("{other:?}"),
    }
    drop(open(dir.path(), three));
    assert_eq!(open(dir.path(), LogOptions::default()).partitions(), 3);
    let mut reader = LogReader::<String>::open(dir.path()).expect("opens");
    for partition in 0..reader.partitions() {
        let mut records = Vec::new();
        reader.read(partition, Offset::ZERO, 9, &mut records).expect("read");
        let events: Vec<u32> =
            records.iter().map(|record| record.event.parse().expect("a number")).collect();
        assert_eq!(events, [partition, partition + 3, partition + 6]);
    }
    assert!(reader.read(3, Offset::ZERO, 9, &mut Vec::new()).is_err());
}

#[test]
fn options_without_sense_are_refused_before_anything_is_created() {
    let fine = LogOptions::default;
    let refused = [
        LogOptions { partitions: Some(0), ..fine() },
        LogOptions { partitions: Some(5000), ..fine() },
        LogOptions { segment_bytes: 0, ..fine() },
        LogOptions { buffer_bytes: 0, ..fine() },
        LogOptions { fsync: Fsync::EveryBytes(0), ..fine() },
        LogOptions { max_record_bytes: 0, ..fine() },
        LogOptions { max_record_bytes: (256 << 20) + 1, ..fine() },
    ];
    for options in refused {
        let dir = tempdir().expect("a temporary directory");
        let result = EventLog::<String>::create_or_open(dir.path(), options);
        assert!(matches!(result, Err(LogError::InvalidOptions { .. })), "{result:?}");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 0);
    }
}

#[test]
fn an_offset_beyond_the_end_is_not_there_yet() {
    let dir = closed_log(3, 200);
    let mut reader = LogReader::<String>::open(dir.path()).expect("opens");
    assert_eq!(
        reader.read(0, Offset::new(50), 9, &mut Vec::new()).expect("nothing"),
        Offset::new(50)
    );
    assert_eq!(reader.read(0, Offset::ZERO, 0, &mut Vec::new()).expect("nothing"), Offset::ZERO);
}
