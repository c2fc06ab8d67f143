//! The pieces, each as so many rounds of the same work: what criterion times and what instructions are counted of.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::time::{Duration, Instant};

use streamwork::checkpoint::{decode, encode};
use streamwork::log::{EventLog, LogOptions, LogReader, Offset, Retention};
use streamwork::pieces;
use tempfile::TempDir;

/// One piece.
pub(crate) struct Piece {
    pub(crate) name: &'static str,
    /// Events, barriers, keys or records in one round.
    pub(crate) each: u64,
    /// Does so many rounds; how long they took.
    pub(crate) run: fn(u64) -> Duration,
}

const BATCH: u64 = pieces::EVENTS_PER_BATCH;

/// Keys in the state that is encoded.
const KEYS: u64 = 10_000;

/// What a log that is appended to keeps of itself.
const LOG_BYTES_MAX: u64 = 128 << 20;

/// Records that are appended or read in a round: a full buffer of the log.
const RECORDS: u64 = 10_000;

pub(crate) const PIECES: &[Piece] = &[
    Piece { name: "hop/to another thread", each: BATCH, run: pieces::hop },
    Piece { name: "hop/in one thread", each: BATCH, run: pieces::hop_alone },
    Piece { name: "partition/2", each: BATCH, run: |rounds| pieces::partition(rounds, 2) },
    Piece { name: "partition/16", each: BATCH, run: |rounds| pieces::partition(rounds, 16) },
    Piece { name: "partition/64", each: BATCH, run: |rounds| pieces::partition(rounds, 64) },
    Piece { name: "acknowledger/one to one", each: BATCH, run: pieces::acknowledger },
    Piece { name: "gate/2", each: 2, run: |rounds| pieces::gate(rounds, 2) },
    Piece { name: "gate/64", each: 64, run: |rounds| pieces::gate(rounds, 64) },
    Piece { name: "codec/encode", each: KEYS, run: codec_encode },
    Piece { name: "codec/decode", each: KEYS, run: codec_decode },
    Piece { name: "log/append", each: RECORDS, run: log_append },
    Piece { name: "log/read", each: RECORDS, run: log_read },
];

/// State of a keyed operator. Its hasher is the same in every process, so that counts of instructions are.
type State = HashMap<u64, (u64, u64), BuildHasherDefault<DefaultHasher>>;

fn state() -> State {
    (0..KEYS).map(|key| (key, (key, 2 * key))).collect()
}

fn codec_encode(rounds: u64) -> Duration {
    let state = state();
    timed(rounds, || {
        std::hint::black_box(encode(&state).expect("numbers can be encoded"));
    })
}

fn codec_decode(rounds: u64) -> Duration {
    let bytes = encode(&state()).expect("numbers can be encoded");
    timed(rounds, || {
        std::hint::black_box(decode::<State>(&bytes).expect("it was just encoded"));
    })
}

type Record = [u64; 4];

fn append(log: &mut EventLog<Record>) {
    for number in 0..RECORDS {
        log.append(0, number as i64, &[number; 4]).expect("the disk has room");
    }
}

fn log_in(directory: &TempDir) -> EventLog<Record> {
    let retention = Retention { max_partition_bytes: Some(LOG_BYTES_MAX), ..Retention::default() };
    let options = LogOptions { partitions: Some(1), retention, ..LogOptions::default() };
    EventLog::create_or_open(directory.path(), options).expect("a new log")
}

/// Without fsync: that is the disk's time.
fn log_append(rounds: u64) -> Duration {
    let directory = TempDir::new().expect("a temporary directory");
    let mut log = log_in(&directory);
    timed(rounds, || append(&mut log))
}

fn log_read(rounds: u64) -> Duration {
    let directory = TempDir::new().expect("a temporary directory");
    let mut log = log_in(&directory);
    append(&mut log);
    log.sync().expect("the disk has room");
    let mut reader = LogReader::<Record>::open(directory.path()).expect("a log");
    let mut records = Vec::new();
    timed(rounds, || {
        records.clear();
        let mut from = Offset::ZERO;
        while records.len() < RECORDS as usize {
            from = reader.read(0, from, RECORDS as usize, &mut records).expect("records");
        }
    })
}

fn timed(rounds: u64, mut round: impl FnMut()) -> Duration {
    let started = Instant::now();
    for _ in 0..rounds {
        round();
    }
    started.elapsed()
}
