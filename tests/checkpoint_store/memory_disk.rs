//! The simulated disk of the test kit, with functions that only tests of the store need.
#![allow(dead_code, reason = "each binary uses what it needs")]

use std::path::Path;

use streamwork::storage::Disk;
pub(crate) use streamwork::testkit::SimulatedDisk as MemoryDisk;

/// A seeded generator (SplitMix64), so that a failing history can be run again.
#[derive(Debug)]
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// A disk that the test reads and changes from outside.
pub(crate) trait Outside {
    /// The disk after a power failure: any part of the unsynchronized changes is there.
    fn after_power_failure(&self, random: &mut Random) -> Self;
    /// Puts content into a file, as if it had always been there.
    fn put(&self, path: impl AsRef<Path>, content: &[u8]);
    fn get(&self, path: impl AsRef<Path>) -> Vec<u8>;
    fn names_in(&self, path: impl AsRef<Path>) -> Vec<String>;
}

impl Outside for MemoryDisk {
    fn after_power_failure(&self, random: &mut Random) -> Self {
        let disk = self.fork();
        disk.lose_power(random.next());
        disk
    }

    fn put(&self, path: impl AsRef<Path>, content: &[u8]) {
        let file = self.create(path.as_ref()).unwrap();
        file.append(content).unwrap();
        file.sync().unwrap();
    }

    fn get(&self, path: impl AsRef<Path>) -> Vec<u8> {
        self.read(path.as_ref()).unwrap()
    }

    fn names_in(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = self.list(path.as_ref()).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }
}
