//! An event to bytes and back: bincode, fixed-width integers, little endian.
//!
//! The bytes are those of [`Bincode`], under its id, which every file carries; what is here is the loop around it. Into a window
//! of memory that is there, because a vector for each event would cost more than its bytes.
//! Never sees bytes whose checksum was not verified, never allocates much
//! more than sixteen times the payload (a MiB at least), and takes a payload with bytes left over for a mistake.

use std::error::Error;

use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::storage::codec::{Bincode, Codec, FIXED};

/// Which codec wrote a file: the one here. Other numbers are for codecs to come.
pub(super) const CODEC_ID: u16 = Bincode::ID.0 as u16;

/// No payload is ever larger, whatever the options say.
pub(super) const PAYLOAD_BYTES_CEILING: usize = 256 << 20;

/// Why an event did not become bytes.
pub(super) enum EncodeFailure {
    TooLarge,
    Refused(Box<dyn Error + Send + Sync>),
}

/// Writes the event's bytes into `window`, and what does not fit there into `spill`. Returns how many are in the window; after
/// a failure some of them may be in either.
///
/// A window of plain bytes, not a vector to push to: the bytes of a small event are then as many stores and
/// nothing else.
#[inline]
pub(super) fn encode<E: Serialize>(
    event: &E,
    window: &mut [u8],
    spill: &mut Spill,
    max_bytes: usize,
) -> Result<usize, EncodeFailure> {
    let window_bytes = window.len().min(max_bytes);
    spill.begin(max_bytes - window_bytes);
    let mut writer = WindowWriter { left: &mut window[..window_bytes], spill };
    let result = bincode::serde::encode_into_writer(event, &mut writer, FIXED);
    let left_bytes = writer.left.len();
    // Asked first: an event's own `Serialize` may swallow the error.
    if spill.overflowed {
        return Err(EncodeFailure::TooLarge);
    }
    match result {
        Ok(()) => Ok(window_bytes - left_bytes),
        Err(error) => Err(EncodeFailure::Refused(error.into())),
    }
}

/// The bytes of an event for which the window was too small.
#[derive(Debug, Default)]
pub(super) struct Spill {
    bytes: Vec<u8>,
    room_bytes: usize,
    overflowed: bool,
}

impl Spill {
    #[inline]
    fn begin(&mut self, room_bytes: usize) {
        if self.bytes.capacity() > 0 {
            self.release();
        }
        (self.room_bytes, self.overflowed) = (room_bytes, false);
    }

    /// What came behind the window's end.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives the memory back; an event that spills is rare.
    #[cold]
    pub(super) fn release(&mut self) {
        self.bytes = Vec::new();
    }

    #[cold]
    #[inline(never)]
    fn take(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        if bytes.len() > self.room_bytes {
            self.overflowed = true;
            // Nothing smaller that comes after may slip in behind the gap.
            self.room_bytes = 0;
            return Err(EncodeError::Other("the event is larger than allowed"));
        }
        self.room_bytes -= bytes.len();
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Gives `take` the event in a verified payload.
///
/// Given, not returned: the event is then made where it goes, instead of being copied there.
#[inline]
pub(super) fn decode<E: DeserializeOwned>(
    payload: &[u8],
    take: impl FnOnce(E),
) -> Result<(), Box<dyn Error + Send + Sync>> {
    // A length inside a payload of another type is an arbitrary number, and bincode allocates what it says up to the
    // limit, which is a constant of the type. So there is one limit for each order of magnitude.
    if payload.len() > 0x1_0000 {
        take(decode_large(payload)?);
        return Ok(());
    }
    let decoded = bincode::serde::decode_from_slice(payload, FIXED.with_limit::<0x1_0000>());
    match decoded {
        Ok((event, used_bytes)) if used_bytes == payload.len() => {
            take(event);
            Ok(())
        }
        Ok((_, used_bytes)) => Err(left_over(used_bytes, payload)),
        Err(error) => Err(error.into()),
    }
}

#[cold]
fn decode_large<E: DeserializeOwned>(payload: &[u8]) -> Result<E, Box<dyn Error + Send + Sync>> {
    let (event, used_bytes) = match payload.len() {
        0..=0x10_0000 => {
            bincode::serde::decode_from_slice(payload, FIXED.with_limit::<0x10_0000>())
        }
        0x10_0001..=0x100_0000 => {
            bincode::serde::decode_from_slice(payload, FIXED.with_limit::<0x100_0000>())
        }
        _ => {
            bincode::serde::decode_from_slice(payload, FIXED.with_limit::<PAYLOAD_BYTES_CEILING>())
        }
    }?;
    if used_bytes != payload.len() {
        return Err(left_over(used_bytes, payload));
    }
    Ok(event)
}

#[cold]
fn left_over(used_bytes: usize, payload: &[u8]) -> Box<dyn Error + Send + Sync> {
    format!("{} of {} bytes are left over", payload.len() - used_bytes, payload.len()).into()
}

struct WindowWriter<'a> {
    /// What is left of the window.
    left: &'a mut [u8],
    /// Elsewhere, so that the window itself stays in registers.
    spill: &'a mut Spill,
}

impl Writer for WindowWriter<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let left = std::mem::take(&mut self.left);
        if bytes.len() <= left.len() {
            let (here, left) = left.split_at_mut(bytes.len());
            here.copy_from_slice(bytes);
            self.left = left;
            return Ok(());
        }
        // The window is filled to its end first, so that what has spilled is one piece.
        let (here, beyond) = bytes.split_at(left.len());
        left.copy_from_slice(here);
        self.spill.take(beyond)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of an event, of which a window takes the first ones.
    fn encoded<E: Serialize>(
        event: &E,
        window_bytes: usize,
        max_bytes: usize,
    ) -> Result<Vec<u8>, EncodeFailure> {
        let (mut window, mut spill) = (vec![0; window_bytes], Spill::default());
        let held = encode(event, &mut window, &mut spill, max_bytes)?;
        Ok([&window[..held], spill.bytes()].concat())
    }

    fn decoded<E: DeserializeOwned>(payload: &[u8]) -> Result<E, Box<dyn Error + Send + Sync>> {
        let mut event = None;
        decode(payload, |decoded| event = Some(decoded))?;
        Ok(event.expect("it was taken"))
    }

    #[test]
    fn integers_take_their_full_width_little_endian() {
        let expected = [1, 0, 0, 0, 0xff, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b'];
        for window_bytes in 0..=20 {
            let bytes = encoded(&(1u32, -1i16, "ab"), window_bytes, 100);
            assert_eq!(bytes.ok(), Some(expected.to_vec()), "a window of {window_bytes} bytes");
        }
    }

    #[test]
    fn a_payload_with_bytes_left_over_is_refused() {
        assert_eq!(decoded::<u32>(&[1, 0, 0, 0]).expect("four bytes are a u32"), 1);
        let refused = decoded::<u32>(&[1, 0, 0, 0, 9]).expect_err("five are not");
        assert_eq!(refused.to_string(), "1 of 5 bytes are left over");
    }

    #[test]
    fn a_payload_of_exactly_the_maximum_is_accepted() {
        for window_bytes in 0..=20 {
            assert!(encoded(&[7u8; 10], window_bytes, 10).is_ok());
            let too_large = encoded(&[7u8; 11], window_bytes, 10);
            assert!(matches!(too_large, Err(EncodeFailure::TooLarge)));
        }
    }

    #[test]
    fn a_length_beyond_the_payload_is_an_error_and_not_an_allocation() {
        let claims_an_exabyte = (1u64 << 60).to_le_bytes();
        assert!(decoded::<String>(&claims_an_exabyte).is_err());
    }

    #[test]
    fn payloads_of_every_order_of_magnitude_come_back() {
        for length in [0, 0xfff8, 0xfff9, 0xf_fff8, 0xf_fff9, 0xff_fff8, 0xff_fff9] {
            let event = "x".repeat(length);
            let bytes = encoded(&event, 0x1_0000, PAYLOAD_BYTES_CEILING);
            let bytes = bytes.ok().expect("it is encoded");
            assert_eq!(decoded::<String>(&bytes).expect("what was encoded decodes"), event);
        }
    }
}
