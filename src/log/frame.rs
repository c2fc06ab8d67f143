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

use serde::Serialize;

use super::Offset;
use super::codec::{self, EncodeFailure};

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

    /// All bytes of the frame, header and payload.
    #[inline]
    pub(super) fn frame_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.payload_bytes as usize
    }

    /// Whether these are the bytes that were once written. `frame` is the whole frame.
    #[inline]
    pub(super) fn verifies(&self, frame: &[u8]) -> bool {
        crc32fast::hash(&frame[4..]) == self.crc
    }
}

/// `N` bytes at a fixed place of a fixed-size header.
#[inline]
pub(super) fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes is an array of N bytes")
}

/// Whole frames that wait to be written.
///
/// An event whose `Serialize` fails or panics midway leaves half a frame behind the whole ones; it is never written and the
/// next push removes it.
#[derive(Debug, Default)]
pub(super) struct FrameBuffer {
    bytes: Vec<u8>,
    whole_bytes: usize,
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
        self.bytes.truncate(start);
        self.bytes.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        codec::encode(event, &mut self.bytes, max_payload_bytes)?;

        let frame = &mut self.bytes[start..];
        let payload_bytes =
            u32::try_from(frame.len() - FRAME_HEADER_BYTES).expect("the ceiling is below 4 GiB");
        frame[4..8].copy_from_slice(&payload_bytes.to_le_bytes());
        frame[8..16].copy_from_slice(&offset.get().to_le_bytes());
        frame[16..24].copy_from_slice(&timestamp_ms.to_le_bytes());
        let crc = crc32fast::hash(&frame[4..]);
        frame[..4].copy_from_slice(&crc.to_le_bytes());

        self.whole_bytes = self.bytes.len();
        Ok(self.whole_bytes - start)
    }

    /// The frames, whole ones only.
    pub(super) fn whole(&self) -> &[u8] {
        &self.bytes[..self.whole_bytes]
    }

    /// How many bytes [`whole`](Self::whole) has.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.whole_bytes
    }

    /// Forgets the frames. A buffer that one huge record has blown up goes back to `keep_bytes`.
    pub(super) fn clear(&mut self, keep_bytes: usize) {
        self.bytes.clear();
        self.whole_bytes = 0;
        self.bytes.shrink_to(2 * keep_bytes);
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
        assert!(!FrameHeader::parse(&zeros).verifies(&zeros));
    }

    #[test]
    fn an_event_that_is_refused_leaves_the_frames_before_it_whole() {
        let mut buffer = FrameBuffer::default();
        assert!(buffer.push(Offset::ZERO, 0, &1u8, 8).is_ok());
        let before = buffer.whole().to_vec();
        assert!(buffer.push(Offset::new(1), 0, &[0u64; 2], 8).is_err());
        assert_eq!(buffer.whole(), before);
    }
}
