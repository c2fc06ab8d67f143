//! How bytes are damaged: flipped, cut, spliced, swapped, zeroed, with huge lengths.

use crate::memory_disk::Random;

/// Numbers that lengths and offsets are set to.
const NUMBERS: [u64; 10] = [
    0,
    1,
    0xff,
    0xffff,
    1 << 20,
    (256 << 20) + 1,
    u32::MAX as u64,
    1 << 46,
    i64::MAX as u64,
    u64::MAX,
];

/// The same bytes after one to four changes; at times unchanged.
pub(crate) fn mutated(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        change(&mut bytes, random);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, random: &mut Random) {
    let length = bytes.len();
    let (at, to) = (random.below(length + 1), random.below(length + 1));
    let size = random.below(64.min(length - at.max(to)) + 1);
    match random.below(10) {
        0 | 1 if at < length => bytes[at] ^= 1 << random.below(8),
        2 if at < length => bytes[at] = random.next() as u8,
        3 => bytes.truncate(at),
        4 => set(bytes, at, &NUMBERS[random.below(NUMBERS.len())].to_le_bytes()),
        5 => set(bytes, at, &(NUMBERS[random.below(NUMBERS.len())] as u32).to_le_bytes()),
        6 => bytes[at..at + size].fill(0),
        7 => (0..size).for_each(|byte| bytes.swap(at + byte, to + byte)),
        8 => {
            let piece = bytes[at..at + size].to_vec();
            bytes.splice(to..to, piece);
        }
        9 => {
            let piece: Vec<u8> = (0..random.below(32)).map(|_| random.next() as u8).collect();
            bytes.splice(at..at, piece);
        }
        _ => {}
    }
}

fn set(bytes: &mut [u8], at: usize, number: &[u8]) {
    for (byte, new) in bytes[at..].iter_mut().zip(number) {
        *byte = *new;
    }
}

/// Puts the right checksum over everything before it at the end.
pub(crate) fn reseal(bytes: &mut [u8]) {
    if let Some(end) = bytes.len().checked_sub(4) {
        let checksum = crc32fast::hash(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&checksum);
    }
}
