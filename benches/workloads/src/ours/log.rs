//! The event log: one partition, appended to and synchronized every 16 MiB, then read.

use std::time::Instant;

use streamwork::BoxError;
use streamwork::log::{EventLog, LogOptions, LogReader, Offset};

use crate::log::{Payload, SYNC_BYTES, outcome};
use crate::measure::{self, Outcome};
use crate::workloads::Task;

/// Records in one call of the reader.
const READ: usize = 4096;

fn run<E: Payload>(task: &Task) -> Result<Outcome, BoxError> {
    let directory = measure::directory()?;
    let options = LogOptions { partitions: Some(1), ..LogOptions::default() };
    let started = Instant::now();
    let mut log = EventLog::create_or_open(directory.path(), options)?;
    let mut since_sync = 0;
    for index in 0..task.events {
        log.append(0, index as i64, &E::of(index))?;
        since_sync += E::BYTES;
        if since_sync >= SYNC_BYTES {
            log.sync()?;
            since_sync = 0;
        }
    }
    log.sync()?;
    let appended = started.elapsed();
    log.close()?;

    let started = Instant::now();
    let mut reader = LogReader::<E>::open(directory.path())?;
    let (mut records, mut from, mut digest) = (Vec::new(), Offset::ZERO, 0_u64);
    loop {
        records.clear();
        from = reader.read(0, from, READ, &mut records)?;
        if records.is_empty() {
            break;
        }
        for record in &records {
            digest = digest.wrapping_add(record.event.digest());
        }
    }
    Ok(outcome::<E>(task, appended, started.elapsed(), digest))
}

pub fn records_of_32_bytes(task: &Task) -> Result<Outcome, BoxError> {
    run::<crate::record::Transaction>(task)
}

pub fn records_of_1_kb(task: &Task) -> Result<Outcome, BoxError> {
    run::<String>(task)
}
