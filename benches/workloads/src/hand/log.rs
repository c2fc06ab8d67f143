//! Plain writes of the same bytes to one file, synchronized as often, and a plain read.

use std::fs::File;
use std::io::{Read, Write};
use std::time::Instant;

use streamwork::BoxError;

use crate::log::{Payload, SYNC_BYTES, outcome};
use crate::measure::{self, Outcome};
use crate::workloads::Task;

/// Bytes in one write and one read: what the event log buffers by default.
const BUFFER: usize = 1 << 20;

fn run<E: Payload>(task: &Task) -> Result<Outcome, BoxError> {
    let directory = measure::directory()?;
    let path = directory.path().join("plain");
    let started = Instant::now();
    let mut file = File::create(&path)?;
    let mut buffer = Vec::with_capacity(BUFFER + E::BYTES);
    let mut since_sync = 0;
    for index in 0..task.events {
        E::of(index).write(&mut buffer);
        if buffer.len() >= BUFFER {
            file.write_all(&buffer)?;
            buffer.clear();
        }
        since_sync += E::BYTES;
        if since_sync >= SYNC_BYTES {
            file.write_all(&buffer)?;
            buffer.clear();
            file.sync_data()?;
            since_sync = 0;
        }
    }
    file.write_all(&buffer)?;
    file.sync_data()?;
    let appended = started.elapsed();

    let started = Instant::now();
    let mut file = File::open(&path)?;
    let mut buffer = vec![0; BUFFER];
    let mut digest = 0_u64;
    let mut left = task.events as usize * E::BYTES;
    while left > 0 {
        let part = &mut buffer[..left.min(BUFFER)];
        file.read_exact(part)?;
        left -= part.len();
        for record in part.chunks_exact(E::BYTES) {
            digest = digest.wrapping_add(E::digest_of(record));
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
