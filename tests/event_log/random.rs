//! Random histories of one partition, compared with a vector.

use super::*;

/// What a random run does next.
#[derive(Clone, Debug)]
enum Act {
    Append {
        size: usize,
        timestamp_ms: i64,
    },
    Sync,
    Flush,
    Reopen,
    /// The process is killed: what was not flushed is gone.
    Kill,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        20 => (0..400usize, -50..50i64).prop_map(|(size, timestamp_ms)| Act::Append { size, timestamp_ms }),
        2 => Just(Act::Sync),
        2 => Just(Act::Flush),
        1 => Just(Act::Reopen),
        1 => Just(Act::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn what_was_appended_comes_back_through_any_sequence_of_reopening_and_kills(
        acts in prop::collection::vec(act(), 1..120),
        segment_bytes in 200..3000u64,
        buffer_bytes in 1..1000usize,
        batch in 1..20usize,
    ) {
        let options = || LogOptions { segment_bytes, buffer_bytes, ..one_partition() };
        let mut dir = tempdir().expect("a temporary directory");
        let mut log = open(dir.path(), options());
        let mut model: Vec<(i64, String)> = Vec::new();
        let mut safe = 0;
        for act in acts {
            match act {
                Act::Append { size, timestamp_ms } => {
                    let event = format!("{}:{}", model.len(), "z".repeat(size));
                    let offset = log.append(0, timestamp_ms, &event).expect("appended");
                    prop_assert_eq!(offset.get(), model.len() as u64);
                    model.push((timestamp_ms, event));
                }
                Act::Sync => { log.sync().expect("synced"); safe = model.len(); }
                Act::Flush => { log.flush().expect("written"); safe = model.len(); }
                Act::Reopen => {
                    log.close().expect("closed");
                    log = open(dir.path(), options());
                    safe = model.len();
                    prop_assert_eq!(log.repairs(), []);
                }
                Act::Kill => {
                    let image = copy_of(dir.path());
                    drop(log);
                    dir = image;
                    log = open(dir.path(), options());
                    let left = log.end(0).expect("partition 0").get() as usize;
                    prop_assert!((safe..=model.len()).contains(&left), "{} of {} flushed are left", left, safe);
                    model.truncate(left);
                    safe = left;
                }
            }
        }
        log.close().expect("closed");

        let mut reader = LogReader::<String>::open(dir.path()).expect("opens");
        let (mut next, mut records) = (Offset::ZERO, Vec::new());
        while next < reader.end(0).expect("known") {
            next = reader.read(0, next, batch, &mut records).expect("read");
        }
        let found: Vec<_> = records.into_iter().map(|record| (record.timestamp_ms, record.event)).collect();
        prop_assert_eq!(&found, &model);
        for time in -51..=51 {
            let first = model.iter().position(|(timestamp_ms, _)| *timestamp_ms >= time).unwrap_or(model.len());
            prop_assert_eq!(reader.seek_to_time(0, time).expect("found").get(), first as u64);
        }
        for start in (0..model.len()).rev().step_by(7) {
            let mut one = Vec::new();
            reader.read(0, Offset::new(start as u64), 1, &mut one).expect("read");
            prop_assert_eq!(&one[0].event, &model[start].1);
        }
    }
}
