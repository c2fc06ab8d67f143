//! Keys: from a key to a group to an instance, the same on every machine and in every build.
//!
//! `std`'s hashers promise no such thing, so keys are written into XXH3 with a fixed seed, integers
//! in little-endian order and `usize` as 64 bits. Golden values in the tests guard it.

use std::hash::{Hash, Hasher};

use crate::checkpoint::HashRange;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// Groups that keys fall into; the unit in which keyed work can be moved between instances.
pub(crate) const KEY_GROUPS: usize = 4096;

const SEED: u64 = 0x7374_7265_616d_776b;

/// The hash that routes an event.
#[inline]
pub(crate) fn hash_key<K: Hash + ?Sized>(key: &K) -> u64 {
    let mut word = OneWord::default();
    key.hash(&mut word);
    if word.writes == 1 {
        return word.finish();
    }
    let mut hasher = KeyHasher::default();
    key.hash(&mut hasher);
    hasher.finish()
}

/// Which of `instances` a hash belongs to. Groups are contiguous ranges per instance.
#[inline]
pub(crate) fn instance_of(hash: u64, instances: usize) -> usize {
    let group = (hash >> 52) as usize;
    group * instances / KEY_GROUPS
}

/// The hashes that belong to one of `instances`, of which there are no more than groups.
pub(crate) fn hashes_of(instance: usize, instances: usize) -> HashRange {
    let first_hash = |instance: usize| {
        let first_group = (instance * KEY_GROUPS).div_ceil(instances);
        (first_group as u128) << 52
    };
    let (first, after) = (first_hash(instance), first_hash(instance + 1));
    let last = after.saturating_sub(1);
    HashRange { first: first as u64, last: last as u64 }
}

/// Hashes a key that is one number of four or eight bytes, as most keys are, and counts what else is
/// written. The compiler sees through it; the hash is that of [`KeyHasher`].
#[derive(Default)]
struct OneWord {
    word: u64,
    bytes: usize,
    /// More than one if the key is not one such number.
    writes: u32,
}

impl OneWord {
    #[inline]
    fn write_word(&mut self, word: u64, bytes: usize) {
        self.word = word;
        self.bytes = bytes;
        self.writes += 1;
    }
}

impl Hasher for OneWord {
    #[inline]
    fn write(&mut self, _: &[u8]) {
        self.writes = 2;
    }
    #[inline]
    fn write_u32(&mut self, n: u32) {
        self.write_word(u64::from(n), 4);
    }
    #[inline]
    fn write_u64(&mut self, n: u64) {
        self.write_word(n, 8);
    }
    #[inline]
    fn write_usize(&mut self, n: usize) {
        self.write_word(n as u64, 8);
    }
    #[inline]
    fn write_i32(&mut self, n: i32) {
        self.write_u32(n as u32);
    }
    #[inline]
    fn write_i64(&mut self, n: i64) {
        self.write_u64(n as u64);
    }
    #[inline]
    fn write_isize(&mut self, n: isize) {
        self.write_u64(n as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        let bytes = self.word.to_le_bytes();
        match self.bytes {
            4 => xxh3_64_with_seed(&bytes[..4], SEED),
            _ => xxh3_64_with_seed(&bytes, SEED),
        }
    }
}

/// Gathers short keys on the stack and hashes them in one go; long ones stream.
struct KeyHasher {
    short: [u8; Self::SHORT],
    length: usize,
    long: Option<Box<Xxh3>>,
}

impl KeyHasher {
    const SHORT: usize = 64;
}

impl Default for KeyHasher {
    fn default() -> Self {
        Self { short: [0; Self::SHORT], length: 0, long: None }
    }
}

impl Hasher for KeyHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if self.long.is_none() && end <= Self::SHORT {
            self.short[self.length..end].copy_from_slice(bytes);
            self.length = end;
            return;
        }
        let long = self.long.get_or_insert_with(|| {
            let mut long = Box::new(Xxh3::with_seed(SEED));
            long.update(&self.short[..self.length]);
            long
        });
        long.update(bytes);
    }

    fn write_u16(&mut self, n: u16) {
        self.write(&n.to_le_bytes());
    }
    fn write_u32(&mut self, n: u32) {
        self.write(&n.to_le_bytes());
    }
    #[inline]
    fn write_u64(&mut self, n: u64) {
        self.write(&n.to_le_bytes());
    }
    fn write_u128(&mut self, n: u128) {
        self.write(&n.to_le_bytes());
    }
    fn write_usize(&mut self, n: usize) {
        self.write(&(n as u64).to_le_bytes());
    }
    fn write_i16(&mut self, n: i16) {
        self.write(&n.to_le_bytes());
    }
    fn write_i32(&mut self, n: i32) {
        self.write(&n.to_le_bytes());
    }
    fn write_i64(&mut self, n: i64) {
        self.write(&n.to_le_bytes());
    }
    fn write_i128(&mut self, n: i128) {
        self.write(&n.to_le_bytes());
    }
    fn write_isize(&mut self, n: isize) {
        self.write(&(n as i64).to_le_bytes());
    }

    #[inline]
    fn finish(&self) -> u64 {
        match &self.long {
            Some(long) => long.digest(),
            None => xxh3_64_with_seed(&self.short[..self.length], SEED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hash_belongs_to_the_instance_whose_range_it_lies_in() {
        for instances in [1, 2, 3, 7, 64, 100, 4095, 4096] {
            let mut next = 0;
            for instance in 0..instances {
                let HashRange { first, last } = hashes_of(instance, instances);
                assert_eq!(first, next, "{instance} of {instances}");
                assert_eq!(instance_of(first, instances), instance);
                assert_eq!(instance_of(last, instances), instance);
                next = last.wrapping_add(1);
            }
            assert_eq!(next, 0, "the last range of {instances} ends with the last hash");
        }
    }

    #[test]
    fn keys_hash_to_the_golden_values_of_the_first_release() {
        assert_eq!(hash_key(&42_u64), GOLDEN[0]);
        assert_eq!(hash_key("account"), GOLDEN[1]);
        assert_eq!(hash_key(&(7_u32, 'x', Some(-1_i64))), GOLDEN[2]);
        assert_eq!(hash_key("x".repeat(200).as_str()), GOLDEN[3]);
    }

    const GOLDEN: [u64; 4] =
        [11491086021840613192, 17549563547841496178, 13247360628417749171, 12912892122561950996];

    #[test]
    fn a_key_of_one_number_hashes_as_when_it_is_gathered() {
        fn gathered<K: Hash>(key: K) -> u64 {
            let mut hasher = KeyHasher::default();
            key.hash(&mut hasher);
            hasher.finish()
        }
        for n in [0, 1, 0xffff_ffff, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(hash_key(&n), gathered(n));
            assert_eq!(hash_key(&(n as u32)), gathered(n as u32));
            assert_eq!(hash_key(&(n as i32)), gathered(n as i32));
            assert_eq!(hash_key(&(n as i64)), gathered(n as i64));
            assert_eq!(hash_key(&(n as usize)), gathered(n as usize));
            assert_eq!(hash_key(&(n as u8)), gathered(n as u8));
            assert_eq!(hash_key(&(n, n)), gathered((n, n)));
            assert_eq!(hash_key(&Some(n)), gathered(Some(n)));
            assert_eq!(hash_key(&(n as u8, n)), gathered((n as u8, n)));
        }
    }

    #[test]
    fn a_key_split_over_several_writes_hashes_as_in_one() {
        let mut parts = KeyHasher::default();
        parts.write(&[1; 60]);
        parts.write(&[1; 60]);
        let mut whole = KeyHasher::default();
        whole.write(&[1; 120]);
        assert_eq!(parts.finish(), whole.finish());
    }

    #[test]
    fn instances_share_the_keys_evenly_and_leave_none_out() {
        let mut counts = [0_u32; 7];
        for key in 0..70_000_u64 {
            counts[instance_of(hash_key(&key), 7)] += 1;
        }
        assert!(counts.iter().all(|n| (9_000..11_000).contains(n)), "{counts:?}");
        assert_eq!(instance_of(u64::MAX, 7), 6);
        assert_eq!(instance_of(0, 7), 0);
    }
}
