//! What is written to a log, and when it is made durable.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::measure::Outcome;
use crate::record::Transaction;
use crate::workloads::Task;

/// Bytes of payload between two calls of fsync.
pub const SYNC_BYTES: usize = 16 << 20;

/// A record of known size.
pub trait Payload: Serialize + DeserializeOwned {
    const BYTES: usize;
    fn of(index: u64) -> Self;
    /// Says something about what was read.
    fn digest(&self) -> u64;
    /// As it is written by hand.
    fn write(&self, into: &mut Vec<u8>);
    /// The digest of what was written by hand.
    fn digest_of(bytes: &[u8]) -> u64;
}

impl Payload for Transaction {
    const BYTES: usize = 32;

    fn of(index: u64) -> Self {
        Self::of(index, 100_000)
    }

    fn digest(&self) -> u64 {
        self.id ^ self.account
    }

    fn write(&self, into: &mut Vec<u8>) {
        for number in [self.id, self.account] {
            into.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.merchant, self.amount_cents] {
            into.extend_from_slice(&number.to_le_bytes());
        }
        into.extend_from_slice(&self.ts_ms.to_le_bytes());
    }

    fn digest_of(bytes: &[u8]) -> u64 {
        number(bytes, 0) ^ number(bytes, 8)
    }
}

/// 1,016 letters behind their length.
impl Payload for String {
    const BYTES: usize = 1024;

    fn of(index: u64) -> Self {
        let mut text = "x".repeat(Self::BYTES - 8);
        text.replace_range(..1, if index.is_multiple_of(2) { "a" } else { "b" });
        text
    }

    fn digest(&self) -> u64 {
        number(self.as_bytes(), 0)
    }

    fn write(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&(self.len() as u64).to_le_bytes());
        into.extend_from_slice(self.as_bytes());
    }

    fn digest_of(bytes: &[u8]) -> u64 {
        number(bytes, 8)
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

pub fn outcome<E: Payload>(task: &Task, append: Duration, read: Duration, digest: u64) -> Outcome {
    let megabytes = task.events as f64 * E::BYTES as f64 / 1e6;
    let rate = |time: Duration| megabytes / time.as_secs_f64();
    Outcome { checksum: Some((task.events, digest)), ..Outcome::default() }
        .with("append", rate(append))
        .with("read", rate(read))
}
