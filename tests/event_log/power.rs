//! A log whose machine loses power, or whose process is killed, at random moments, many times; compared with a vector.
//!
//! Afterwards the log has all records that its policy calls durable and all that readers have seen. No record is torn, and
//! none is missing between two others.

use std::sync::Arc;

use streamwork::testkit::{DiskFailures, DiskFault, SimulatedDisk};

use super::*;
use crate::tier;

const LOG: &str = "/log";
const PARTITIONS: u32 = 2;
/// The bytes of a record: a frame around a number.
const RECORD_BYTES: u64 = FRAME_HEADER_BYTES + 8;

/// A seeded generator (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// What is known of one partition.
#[derive(Clone, Debug, Default)]
struct Known {
    /// All records that were appended and may be there.
    appended: Vec<u64>,
    /// The number of durable records, ...
    durable: usize,
    /// ... of those that survive the end of the process, ...
    written: usize,
    /// ... and of those that a reader has seen.
    seen: usize,
}

/// A log over many lives of its machine.
struct Machine {
    disk: SimulatedDisk,
    random: Random,
    fsync: Fsync,
    known: [Known; PARTITIONS as usize],
    unsynced_bytes: u64,
    number: u64,
}

impl Machine {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let fsync = match random.below(4) {
            0 => Fsync::Never,
            1 => Fsync::EveryBytes(1 + random.below(300)),
            2 => Fsync::Always,
            _ => Fsync::GroupCommit,
        };
        let (disk, known) = (SimulatedDisk::new(), Default::default());
        Self { disk, random, fsync, known, unsynced_bytes: 0, number: 0 }
    }

    fn open(&mut self) -> Result<EventLog<u64>, LogError> {
        let options = LogOptions {
            partitions: Some(PARTITIONS),
            segment_bytes: 60 + self.random.below(500),
            buffer_bytes: 1 + self.random.below(200) as usize,
            fsync: self.fsync,
            ..LogOptions::default()
        };
        EventLog::create_or_open_on(Arc::new(self.disk.clone()), LOG, options)
    }

    fn reader(&self) -> Result<LogReader<u64>, LogError> {
        LogReader::open_on(Arc::new(self.disk.clone()), LOG)
    }

    /// All is on disk.
    fn is_durable(&mut self) {
        self.unsynced_bytes = 0;
        for known in &mut self.known {
            (known.durable, known.written) = (known.appended.len(), known.appended.len());
        }
    }

    fn append(&mut self, log: &mut EventLog<u64>) -> Result<(), LogError> {
        let partition = self.random.below(u64::from(PARTITIONS)) as u32;
        self.number += 1;
        // If it fails it may be there all the same.
        self.known[partition as usize].appended.push(self.number);
        log.append(partition, 0, &self.number)?;
        self.unsynced_bytes += RECORD_BYTES;
        match self.fsync {
            Fsync::Always => self.is_durable(),
            Fsync::EveryBytes(bytes) if self.unsynced_bytes >= bytes => self.is_durable(),
            _ => {}
        }
        Ok(())
    }

    /// Uses the log until the disk fails, or for a while.
    fn live(&mut self) -> Result<(), LogError> {
        let mut log = self.open()?;
        self.take_stock(&log);
        for _ in 0..self.random.below(80) {
            match self.random.below(12) {
                0 => {
                    log.sync()?;
                    self.is_durable();
                }
                1 => {
                    log.flush()?;
                    self.known.iter_mut().for_each(|known| known.written = known.appended.len());
                }
                2 => self.look()?,
                _ => self.append(&mut log)?,
            }
        }
        // Closed, or gone with the process while all of it waits in memory.
        if self.random.below(2) == 0 {
            log.close()?;
            self.is_durable();
        } else {
            self.disk.fail(DiskFailures { fault: DiskFault::Crash, ..DiskFailures::default() });
        }
        Ok(())
    }

    /// The records that a new writer has found are durable, and there are no others.
    fn take_stock(&mut self, log: &EventLog<u64>) {
        for (partition, known) in (0..).zip(&mut self.known) {
            let end = log.end(partition).expect("the partition exists").get() as usize;
            known.appended.truncate(end);
        }
        self.is_durable();
    }

    /// Readers see a prefix of the appended records, which never gets shorter.
    fn look(&mut self) -> Result<(), LogError> {
        let mut reader = self.reader()?;
        for (partition, known) in (0..).zip(&mut self.known) {
            let found = read(&mut reader, partition)?;
            assert!(known.appended.starts_with(&found), "{found:?} of {known:?}");
            assert!(found.len() >= known.seen, "{} of {known:?}", found.len());
            known.seen = found.len();
        }
        Ok(())
    }

    /// Ends the power or the process, and checks the records that are left.
    fn end(&mut self, what: &str) {
        let power = self.random.below(3) > 0;
        match power {
            true => self.disk.lose_power(self.random.below(u64::MAX)),
            false => self.disk.lose_process(),
        }
        // Readers may see less until the next writer has looked, and never what was not appended.
        for partition in 0..PARTITIONS {
            let Ok(mut reader) = self.reader() else { continue };
            let (known, end) = (&self.known[partition as usize], reader.end(partition));
            let found = end.and_then(|_| read(&mut reader, partition));
            let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(known.appended.starts_with(&found), "{what}: {found:?} of {known:?}");
        }
        let log = self.open().unwrap_or_else(|error| panic!("{what}: {error}"));
        for (partition, known) in (0..).zip(&mut self.known) {
            let end = log.end(partition).expect("the partition exists").get() as usize;
            // Under `Never` readers see what only the process has written.
            let seen = if self.fsync == Fsync::Never && power { 0 } else { known.seen };
            let promised = if power { known.durable } else { known.written }.max(seen);
            let possible = promised..=known.appended.len();
            assert!(possible.contains(&end), "{what}, power {power}: {end} of {known:?}");
            known.seen = known.seen.min(end);
        }
        self.take_stock(&log);
        drop(log);
        self.look().unwrap_or_else(|error| panic!("{what}: {error}"));
        for known in &self.known {
            assert_eq!(known.seen, known.appended.len(), "{what}: all that is left is shown");
        }
    }
}

fn read(reader: &mut LogReader<u64>, partition: u32) -> Result<Vec<u64>, LogError> {
    let (mut next, mut records) = (Offset::ZERO, Vec::new());
    loop {
        let from = next;
        next = reader.read(partition, from, 3, &mut records)?;
        if next == from {
            break;
        }
    }
    assert!((0..).zip(&records).all(|(offset, record)| record.offset == Offset::new(offset)));
    Ok(records.into_iter().map(|record| record.event).collect())
}

#[test]
fn what_is_durable_or_was_seen_is_there_after_every_loss_of_power_and_nothing_is_torn() {
    let test = "what_is_durable_or_was_seen_is_there_after_every_loss_of_power_and_nothing_is_torn";
    let (began, first) = (Instant::now(), tier::seed(test));
    let machines = tier::times(1_000, 300_000);
    let mut crashed = 0;
    for seed in first..first + machines {
        let mut machine = Machine::new(seed);
        for life in 0..6 {
            let what = format!("STREAMWORK_SEED={seed}, {:?}, life {life}", machine.fsync);
            let after = machine.random.below(300);
            let fault = DiskFault::Crash;
            machine.disk.fail(DiskFailures { after, times: 1, fault, ..DiskFailures::default() });
            crashed += u64::from(machine.live().is_err());
            machine.end(&what);
        }
    }
    assert!(crashed > machines, "a test that cannot fail: {crashed} writers met their end");
    tier::report(4, test, machines * 6, "lives of a log", first, began.elapsed());
}
