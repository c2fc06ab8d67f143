//! The checksums that a reader of a file keeps of the bytes that it has read, to recognize them.
//!
//! ```text
//!   0        64 KiB                           64 to 128 KiB         offset
//!   ├── head ──┤ ╌╌╌╌╌╌╌╌╌ not looked at ╌╌╌╌╌╌╌╌╌ ├──── tail ────────┤
//! ```
//!
//! Two checksums: cheap to keep while reading, and cheap to verify however large the file is.

use std::io::{self, Read, Seek, SeekFrom};

use crc32fast::Hasher;
use serde::{Deserialize, Serialize};

/// The number of bytes of the head, and the least of the tail.
const WINDOW_BYTES: u64 = 64 << 10;

/// The checksums at one place of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TrailMark {
    pub(super) offset: u64,
    head: u32,
    tail_start: u64,
    tail: u32,
}

/// The checksums while reading.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail {
    offset: u64,
    head: Hasher,
    /// The tail, and the one that becomes it when it is long enough.
    tail: Window,
    next_tail: Window,
}

#[derive(Clone, Debug, Default)]
struct Window {
    start: u64,
    hasher: Hasher,
}

impl Trail {
    /// The trail of a file that was read up to `offset`, with the tail from `tail_start` on.
    fn read(file: &mut (impl Read + Seek), offset: u64, tail_start: u64) -> io::Result<Self> {
        let mut trail = Self { offset, ..Self::default() };
        hash(file, 0, WINDOW_BYTES.min(offset), &mut trail.head)?;
        trail.tail.start = tail_start;
        hash(file, tail_start, offset, &mut trail.tail.hasher)?;
        trail.next_tail.start = offset;
        Ok(trail)
    }

    /// The trail of a file as if it had been read up to `offset`.
    pub(super) fn at(file: &mut (impl Read + Seek), offset: u64) -> io::Result<Self> {
        Self::read(file, offset, offset.saturating_sub(WINDOW_BYTES))
    }

    /// The trail of a file that was read as far as `mark`, or `None` if it holds other bytes there.
    pub(super) fn find(
        file: &mut (impl Read + Seek),
        mark: &TrailMark,
    ) -> io::Result<Option<Self>> {
        let trail = Self::read(file, mark.offset, mark.tail_start)?;
        Ok((trail.mark() == *mark).then_some(trail))
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// These bytes were read.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let of_head = WINDOW_BYTES.saturating_sub(self.offset);
        let of_head = usize::try_from(of_head).unwrap_or(usize::MAX).min(bytes.len());
        self.head.update(&bytes[..of_head]);
        self.tail.hasher.update(bytes);
        self.next_tail.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        if self.offset - self.next_tail.start >= WINDOW_BYTES {
            let begun = Window { start: self.offset, hasher: Hasher::new() };
            self.tail = std::mem::replace(&mut self.next_tail, begun);
        }
    }

    pub(super) fn mark(&self) -> TrailMark {
        TrailMark {
            offset: self.offset,
            head: self.head.clone().finalize(),
            tail_start: self.tail.start,
            tail: self.tail.hasher.clone().finalize(),
        }
    }
}

/// Hashes the content of the file between two offsets, as far as it exists.
fn hash(
    file: &mut (impl Read + Seek),
    start: u64,
    end: u64,
    hasher: &mut Hasher,
) -> io::Result<()> {
    file.seek(SeekFrom::Start(start))?;
    let mut chunk = vec![0; 64 << 10];
    let mut rest = file.take(end.saturating_sub(start));
    loop {
        match rest.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(bytes) => hasher.update(&chunk[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Marks at many places of the file, as reading in pieces of this length leaves them.
    fn marks(bytes: &[u8], piece: usize) -> Vec<TrailMark> {
        let mut trail = Trail::default();
        let mut marks = vec![trail.mark()];
        for piece in bytes.chunks(piece) {
            trail.extend(piece);
            marks.push(trail.mark());
        }
        marks
    }

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    #[test]
    fn a_file_that_only_grew_is_recognized_from_every_place_and_read_on() {
        let file = bytes(400_000);
        for piece in [997, 64 << 10, 100_000] {
            for mark in marks(&file, piece) {
                let grown = &mut Cursor::new([&file[..], b"more"].concat());
                let mut found = Trail::find(grown, &mark).unwrap().expect("it is the same file");
                assert_eq!(found.mark(), mark);
                found.extend(&file[mark.offset as usize..]);
                let again = found.mark();
                assert!(Trail::find(grown, &again).unwrap().is_some());
            }
        }
    }

    #[test]
    fn a_byte_that_changed_at_the_beginning_or_before_the_place_is_noticed() {
        let file = bytes(400_000);
        for mark in marks(&file, 9_973).into_iter().skip(1) {
            let end = mark.offset as usize;
            for changed in
                [0, end.min(WINDOW_BYTES as usize) - 1, end.saturating_sub(60_000), end - 1]
            {
                let mut other = file.clone();
                other[changed] ^= 1;
                let found = Trail::find(&mut Cursor::new(other), &mark).unwrap();
                assert!(found.is_none(), "byte {changed} of {end}");
            }
        }
    }
}
