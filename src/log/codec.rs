//! An event to bytes and back: bincode, fixed-width integers, little endian.
//!
//! Owns the codec's id, which every file carries. Never sees bytes whose checksum was not verified, never allocates much
//! more than sixteen times the payload (a MiB at least), and takes a payload with bytes left over for a mistake.

use std::error::Error;

use bincode::config::{Configuration, Fixint, LittleEndian, standard};
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Which codec wrote a file. 1 is the one here; other numbers are for codecs to come.
pub(super) const CODEC_ID: u16 = 1;

/// No payload is ever larger, whatever the options say.
pub(super) const PAYLOAD_BYTES_CEILING: usize = 256 << 20;

const FIXED: Configuration<LittleEndian, Fixint> = standard().with_fixed_int_encoding();

/// Why an event did not become bytes.
pub(super) enum EncodeFailure {
    TooLarge,
    Refused(Box<dyn Error + Send + Sync>),
}

/// Adds the event's bytes to the end of `into`; after a failure some of them may be there.
pub(super) fn encode<E: Serialize>(
    event: &E,
    into: &mut Vec<u8>,
    max_bytes: usize,
) -> Result<(), EncodeFailure> {
    let mut writer = BoundedWriter { room_bytes: max_bytes, overflowed: false, into };
    let result = bincode::serde::encode_into_writer(event, &mut writer, FIXED);
    // Asked first: an event's own `Serialize` may swallow the error.
    if writer.overflowed {
        return Err(EncodeFailure::TooLarge);
    }
    result.map_err(|error| EncodeFailure::Refused(error.into()))
}

/// The event in a verified payload.
pub(super) fn decode<E: DeserializeOwned>(
    payload: &[u8],
) -> Result<E, Box<dyn Error + Send + Sync>> {
    // A length inside a payload of another type is an arbitrary number, and bincode allocates what it says up to the
    // limit, which is a constant of the type. So there is one limit for each order of magnitude.
    let (event, used_bytes) = match payload.len() {
        0..=0x1_0000 => bincode::serde::decode_from_slice(payload, FIXED.with_limit::<0x1_0000>()),
        0x1_0001..=0x10_0000 => {
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
        return Err(format!(
            "{} of {} bytes are left over",
            payload.len() - used_bytes,
            payload.len()
        )
        .into());
    }
    Ok(event)
}

struct BoundedWriter<'a> {
    into: &'a mut Vec<u8>,
    room_bytes: usize,
    overflowed: bool,
}

impl Writer for BoundedWriter<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        if bytes.len() > self.room_bytes {
            self.overflowed = true;
            // Nothing smaller that comes after may slip in behind the gap.
            self.room_bytes = 0;
            return Err(EncodeError::Other("the event is larger than allowed"));
        }
        self.room_bytes -= bytes.len();
        self.into.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_take_their_full_width_little_endian() {
        let mut bytes = Vec::new();
        assert!(encode(&(1u32, -1i16, "ab"), &mut bytes, 100).is_ok());
        assert_eq!(bytes, [1, 0, 0, 0, 0xff, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b']);
    }

    #[test]
    fn a_payload_with_bytes_left_over_is_refused() {
        assert_eq!(decode::<u32>(&[1, 0, 0, 0]).expect("four bytes are a u32"), 1);
        let refused = decode::<u32>(&[1, 0, 0, 0, 9]).expect_err("five are not");
        assert_eq!(refused.to_string(), "1 of 5 bytes are left over");
    }

    #[test]
    fn a_payload_of_exactly_the_maximum_is_accepted() {
        let mut bytes = Vec::new();
        assert!(encode(&[7u8; 10], &mut bytes, 10).is_ok());
        assert!(matches!(encode(&[7u8; 11], &mut bytes, 10), Err(EncodeFailure::TooLarge)));
    }

    #[test]
    fn a_length_beyond_the_payload_is_an_error_and_not_an_allocation() {
        let claims_an_exabyte = (1u64 << 60).to_le_bytes();
        assert!(decode::<String>(&claims_an_exabyte).is_err());
    }

    #[test]
    fn payloads_of_every_order_of_magnitude_come_back() {
        for length in [0, 0xfff8, 0xfff9, 0xf_fff8, 0xf_fff9, 0xff_fff8, 0xff_fff9] {
            let event = "x".repeat(length);
            let mut bytes = Vec::new();
            assert!(encode(&event, &mut bytes, PAYLOAD_BYTES_CEILING).is_ok());
            assert_eq!(decode::<String>(&bytes).expect("what was encoded decodes"), event);
        }
    }
}
