//! One record as bytes: a fixed header and the payload.
//!
//! ```text
//!   0        4               8         16            24
//!   ┌────────┬───────────────┬─────────┬─────────────┬─────────┐
//!   │ crc32  │ payload bytes │ offset  │ timestamp   │ payload │   little endian
//!   │ u32    │ u32           │ u64     │ ms, i64     │         │
//!   └────────┴───────────────┴─────────┴─────────────┴─────────┘
//!            └────────────── covered by the crc ────────────────┘
//! ```
//!
//! Owns that layout and the buffer in which a writer collects frames. A run of zeros, which is what a file system leaves
//! where data never arrived, is not a frame: the crc of twenty zeros is not zero.

use crc32fast::Hasher;
use serde::Serialize;

use super::Offset;
use super::codec::{self, EncodeFailure, Spill};

/// The bytes of a frame that are not payload.
pub(super) const FRAME_HEADER_BYTES: usize = 24;

/// The header of a frame, as found: nothing about it is verified.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameHeader {
    crc: u32,
    pub(super) payload_bytes: u32,
    pub(super) offset: Offset,
    pub(super) timestamp_ms: i64,
}

impl FrameHeader {
    #[inline]
    pub(super) fn parse(bytes: &[u8; FRAME_HEADER_BYTES]) -> Self {
        FrameHeader {
            crc: u32::from_le_bytes(part(bytes, 0)),
            payload_bytes: u32::from_le_bytes(part(bytes, 4)),
            offset: Offset::new(u64::from_le_bytes(part(bytes, 8))),
            timestamp_ms: i64::from_le_bytes(part(bytes, 16)),
        }
    }

    #[inline]
    fn to_bytes(self) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.crc.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.get().to_le_bytes());
        bytes[16..].copy_from_slice(&self.timestamp_ms.to_le_bytes());
        bytes
    }

    /// The checksum that the frame claims.
    #[inline]
    pub(super) fn checksum(&self) -> u32 {
        self.crc
    }

    /// All bytes of the frame, header and payload.
    #[inline]
    pub(super) fn frame_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.payload_bytes as usize
    }

    /// Whether these are the bytes that were once written. `frame` is the whole frame.
    #[inline]
    pub(super) fn verifies(&self, frame: &[u8], checksums: &mut Checksums) -> bool {
        checksums.of(self.payload_bytes, frame) == self.crc
    }
}

/// Computes the checksums of frames, one after the other.
///
/// What comes first under the checksum is the payload's length, which is often that of the frame before. What the length
/// comes to is then kept and computed once; what is left begins at a multiple of eight and takes fewer steps.
#[derive(Clone, Debug, Default)]
pub(super) struct Checksums {
    /// The payload's length of the last frame that was not of the length kept.
    last_payload_bytes: u32,
    kept_payload_bytes: u32,
    /// Behind the length kept. `None` until a length has come twice in a row.
    kept: Option<Hasher>,
}

impl Checksums {
    /// The checksum of a whole frame with a payload of this length.
    #[inline]
    pub(super) fn of(&mut self, payload_bytes: u32, frame: &[u8]) -> u32 {
        match &self.kept {
            Some(kept) if self.kept_payload_bytes == payload_bytes => {
                let mut hasher = kept.clone();
                hasher.update(&frame[8..]);
                hasher.finalize()
            }
            _ => self.of_other_length(payload_bytes, frame),
        }
    }

    fn of_other_length(&mut self, payload_bytes: u32, frame: &[u8]) -> u32 {
        if payload_bytes == self.last_payload_bytes {
            let mut kept = Hasher::new();
            kept.update(&payload_bytes.to_le_bytes());
            (self.kept_payload_bytes, self.kept) = (payload_bytes, Some(kept));
        }
        self.last_payload_bytes = payload_bytes;
        crc32fast::hash(&frame[4..])
    }
}

/// `N` bytes at a fixed place of a fixed-size header.
#[inline]
pub(super) fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes is an array of N bytes")
}

/// How many bytes of frames wait for their checksums. They are computed for some frames at once: long enough after the bytes were
/// stored that none waits for the stores of its own frame, and before the cache has lost them.
const UNSEALED_BYTES_MAX: usize = 16 << 10;

/// The least and the most by which the buffer grows.
const GROWTH_BYTES: (usize, usize) = (4 << 10, 256 << 10);

/// Whole frames that wait to be written.
///
/// An event whose `Serialize` fails or panics midway leaves half a frame behind the whole ones; it is never written and the
/// next push goes over it.
#[derive(Debug, Default)]
pub(super) struct FrameBuffer {
    /// Longer than what it holds: frames are stored into bytes that are there, not pushed.
    bytes: Vec<u8>,
    /// Up to here there are whole frames, ...
    whole_bytes: usize,
    /// ... and up to here they have their checksums.
    sealed_bytes: usize,
    checksums: Checksums,
    spill: Spill,
}

impl FrameBuffer {
    /// Adds one frame and says how many bytes it has.
    #[inline]
    pub(super) fn push<E: Serialize>(
        &mut self,
        offset: Offset,
        timestamp_ms: i64,
        event: &E,
        max_payload_bytes: usize,
    ) -> Result<usize, EncodeFailure> {
        let start = self.whole_bytes;
        if self.bytes.len() - start < FRAME_HEADER_BYTES {
            self.grow(start + FRAME_HEADER_BYTES);
        }
        let (header, window) =
            self.bytes[start..].split_first_chunk_mut().expect("there is room for a header");
        let held = codec::encode(event, window, &mut self.spill, max_payload_bytes)?;
        let payload_bytes = held + self.spill.bytes().len();
        *header = FrameHeader {
            // Stored when the frame is sealed.
            crc: 0,
            payload_bytes: u32::try_from(payload_bytes).expect("the ceiling is below 4 GiB"),
            offset,
            timestamp_ms,
        }
        .to_bytes();
        if payload_bytes > held {
            self.take_spilled(start + FRAME_HEADER_BYTES + held);
        }
        self.whole_bytes = start + FRAME_HEADER_BYTES + payload_bytes;
        if self.whole_bytes - self.sealed_bytes >= UNSEALED_BYTES_MAX {
            self.seal();
        }
        Ok(self.whole_bytes - start)
    }

    /// The frames, whole ones only.
    pub(super) fn whole(&mut self) -> &[u8] {
        self.seal();
        &self.bytes[..self.whole_bytes]
    }

    /// How many bytes [`whole`](Self::whole) has.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.whole_bytes
    }

    /// Forgets the frames. A buffer that one huge record has blown up goes back to `keep_bytes`.
    pub(super) fn clear(&mut self, keep_bytes: usize) {
        (self.whole_bytes, self.sealed_bytes) = (0, 0);
        if self.bytes.len() > 2 * keep_bytes {
            self.bytes.truncate(2 * keep_bytes);
            self.bytes.shrink_to_fit();
        }
    }

    /// Gives every whole frame its checksum.
    #[inline(never)]
    fn seal(&mut self) {
        let mut frames = &mut self.bytes[self.sealed_bytes..self.whole_bytes];
        while let Some(header) = frames.first_chunk() {
            let header = FrameHeader::parse(header);
            let (frame, following) = frames.split_at_mut(header.frame_bytes());
            let crc = self.checksums.of(header.payload_bytes, frame);
            frame[..4].copy_from_slice(&crc.to_le_bytes());
            frames = following;
        }
        self.sealed_bytes = self.whole_bytes;
    }

    /// Puts behind `at` what the buffer was too short for.
    #[cold]
    fn take_spilled(&mut self, at: usize) {
        self.grow(at + self.spill.bytes().len());
        self.bytes[at..][..self.spill.bytes().len()].copy_from_slice(self.spill.bytes());
        self.spill.release();
    }

    /// Makes the buffer longer than `bytes`.
    #[cold]
    fn grow(&mut self, bytes: usize) {
        let growth = self.bytes.len().clamp(GROWTH_BYTES.0, GROWTH_BYTES.1);
        self.bytes.resize(bytes + growth, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_documented_one() {
        let mut buffer = FrameBuffer::default();
        assert!(buffer.push(Offset::new(0x0102), -2, &0xAABBu16, 100).is_ok());
        let expected_after_crc = [
            2, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            0xBB, 0xAA,
        ];
        assert_eq!(buffer.whole()[4..], expected_after_crc);
        assert_eq!(buffer.whole()[..4], crc32fast::hash(&expected_after_crc).to_le_bytes());
    }

    #[test]
    fn zeros_are_not_a_frame() {
        let zeros = [0; FRAME_HEADER_BYTES];
        assert!(!FrameHeader::parse(&zeros).verifies(&zeros, &mut Checksums::default()));
    }

    #[test]
    fn an_event_that_is_refused_leaves_the_frames_before_it_whole() {
        let mut buffer = FrameBuffer::default();
        assert!(buffer.push(Offset::ZERO, 0, &1u8, 8).is_ok());
        let before = buffer.whole().to_vec();
        assert!(buffer.push(Offset::new(1), 0, &[0u64; 2], 8).is_err());
        assert_eq!(buffer.whole(), before);
    }

    #[test]
    fn the_checksum_of_a_frame_does_not_depend_on_the_lengths_of_those_before_it() {
        let mut checksums = Checksums::default();
        let lengths = [0, 0, 0, 7, 7, 40, 7, 7, 7, 0, 0, 40, 40, 40, 7, 40];
        for (number, payload_bytes) in lengths.into_iter().enumerate() {
            let mut buffer = FrameBuffer::default();
            let event = vec![number as u8; payload_bytes];
            let pushed = buffer.push(Offset::ZERO, 0, &Unframed(&event), 100);
            assert_eq!(pushed.ok(), Some(FRAME_HEADER_BYTES + payload_bytes));
            let frame = buffer.whole();
            let expected = crc32fast::hash(&frame[4..]);
            assert_eq!(frame[..4], expected.to_le_bytes(), "frame {number}");
            assert_eq!(checksums.of(payload_bytes as u32, frame), expected, "frame {number}");
        }
    }

    #[test]
    fn frames_are_the_same_wherever_the_buffer_had_to_grow() {
        let mut together = FrameBuffer::default();
        let mut apart = Vec::new();
        for number in 0..3000_u64 {
            let event = "x".repeat(if number % 500 == 7 { 300_000 } else { number as usize % 90 });
            let mut alone = FrameBuffer::default();
            for buffer in [&mut together, &mut alone] {
                let pushed = buffer.push(Offset::new(number), -1, &event, 1 << 20);
                assert_eq!(pushed.ok(), Some(FRAME_HEADER_BYTES + 8 + event.len()));
            }
            apart.extend_from_slice(alone.whole());
        }
        assert!(together.whole() == apart);
        together.clear(1000);
        assert!(together.whole().is_empty());
        assert!(together.bytes.capacity() <= 2000, "its memory is given back");
        assert!(together.push(Offset::ZERO, 0, &"x".repeat(5000), 10_000).is_ok());
        let alone = together.whole().to_vec();
        assert!(
            FrameHeader::parse(alone.first_chunk().expect("a header"))
                .verifies(&alone, &mut Checksums::default())
        );
    }

    /// Bytes without their number before them.
    struct Unframed<'a>(&'a [u8]);

    impl Serialize for Unframed<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeTuple;
            let mut tuple = serializer.serialize_tuple(self.0.len())?;
            self.0.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
            tuple.end()
        }
    }
}
