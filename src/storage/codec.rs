//! Codecs between values and bytes: one that writes values alone, and one that writes the names of fields
//! too. An id in every part of a checkpoint says which one was used.
//!
//! An event log has its own loop around the same configuration, [`FIXED`], since it encodes one small event
//! after the other into existing memory: see `log/codec`.
//!
//! Never opens files and never checks checksums: the caller verifies bytes before they are decoded.

use std::{any::type_name, error::Error, fmt, io::Write};

use bincode::{
    Decode,
    config::{Configuration, Fixint, Limit, LittleEndian},
    de::{
        Decoder, DecoderImpl,
        read::{Reader, SliceReader},
    },
    error::DecodeError,
    serde::Compat,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Encodes a value with the codec that new files use, [`Bincode`].
///
/// # Errors
///
/// [`CodecError::Encode`] if the value's own `Serialize` fails, or asks for what a binary format cannot do (a sequence
/// of unknown length).
///
/// # Examples
///
/// ```
/// use streamwork::checkpoint::{decode, encode};
///
/// let bytes = encode(&(7_u64, "seven")).unwrap();
/// assert_eq!(decode::<(u64, String)>(&bytes).unwrap(), (7, "seven".to_owned()));
/// ```
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    Bincode::encode(value)
}

/// Decodes what [`encode`] made. All bytes must be consumed.
///
/// No single buffer is ever larger than the input (or, for a collection's first guess, one mebibyte), whatever lengths the
/// input claims.
///
/// # Errors
///
/// [`CodecError::Decode`] if the bytes do not hold a `T`, [`CodecError::TrailingBytes`] if they hold a `T` and more.
///
/// # Examples
///
/// ```
/// use streamwork::checkpoint::decode;
///
/// let claims_a_string_of_64_tebibytes = (1_u64 << 46).to_le_bytes();
/// assert!(decode::<String>(&claims_a_string_of_64_tebibytes).is_err());
/// ```
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    Bincode::decode(bytes)
}

/// A way to write values as bytes. Called off the hot path, from any thread, and never twice at once for one value.
///
/// `decode` must restore an equal value from the bytes of `encode` of the same codec, in every later version
/// of this library: a change of the bytes is a new codec with a new id.
pub trait Codec {
    /// The number that stands for this codec in file headers.
    const ID: CodecId;

    /// Encodes a value.
    ///
    /// # Errors
    ///
    /// [`CodecError::Encode`] if the value cannot be expressed.
    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
        let mut bytes = Vec::new();
        Self::encode_into(value, &mut bytes).map(|()| bytes)
    }

    /// As [`encode`](Codec::encode), but writes the bytes as they come, a few at a time.
    ///
    /// # Errors
    ///
    /// [`CodecError::Encode`] if the value cannot be expressed, or `to` does not take the bytes.
    fn encode_into<T: Serialize, W: Write>(value: &T, to: &mut W) -> Result<(), CodecError>;

    /// Decodes a value, with memory bounded by the length of `bytes`, and consumes all of them.
    ///
    /// # Errors
    ///
    /// [`CodecError::Decode`] or [`CodecError::TrailingBytes`] if `bytes` are not exactly one `T`.
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError>;
}

/// Which codec wrote a file.
///
/// ```
/// use streamwork::checkpoint::{Bincode, Codec, CodecId};
///
/// assert_eq!(Bincode::ID, CodecId(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CodecId(pub u8);

/// Bincode 2 with integers of fixed width, least significant byte first.
///
/// ```
/// use streamwork::checkpoint::{Bincode, Codec};
///
/// assert_eq!(Bincode::encode(&258_u32).unwrap(), [2, 1, 0, 0]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Bincode;

/// MessagePack, with the names of fields and variants: for types whose `Deserialize` needs self-describing
/// data (`untagged`, `flatten`, `skip_serializing_if`, `serde_json::Value`), and for types that will change.
///
/// Values nested more than 256 deep are not decoded. `Some(None)` and `Some(())` are written as `None` is: a
/// state with such a value is refused as soon as it is stored.
///
/// ```
/// use std::collections::BTreeMap;
/// use streamwork::checkpoint::{Codec, MessagePack};
///
/// let state = BTreeMap::from([("count", 7)]);
/// assert_eq!(MessagePack::encode(&state).unwrap(), *b"\x81\xa5count\x07");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagePack;

/// A value could not be encoded, or bytes could not be decoded as the requested type.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The value refused to be serialised.
    #[error("cannot encode a {type_name}: {source}")]
    Encode {
        /// The Rust type of the value.
        type_name: &'static str,
        /// The error of the codec.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The bytes are not such a value.
    #[error("cannot decode a {type_name}: {source}")]
    Decode {
        /// The requested Rust type.
        type_name: &'static str,
        /// The error of the codec.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The value was encoded, but cannot be restored from its bytes.
    #[error(
        "a {type_name} cannot be stored, since its bytes do not give it back: {source}; choose another codec for it \
         (`state_codec`), keep it as text, or in plain fields"
    )]
    NotGivenBack {
        /// The Rust type of the value.
        type_name: &'static str,
        /// What differs.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A later version of this library, or another program, made the bytes.
    #[error("made by codec {codec}, which is not known")]
    Unknown {
        /// The codec.
        codec: CodecId,
    },
    /// The bytes begin with such a value but do not end after it, so they are something else.
    #[error("a {type_name} is followed by bytes that do not belong to it")]
    TrailingBytes {
        /// The requested Rust type.
        type_name: &'static str,
    },
}

impl Codec for Bincode {
    const ID: CodecId = CodecId(1);

    fn encode_into<T: Serialize, W: Write>(value: &T, to: &mut W) -> Result<(), CodecError> {
        let written = bincode::serde::encode_into_std_write(value, to, CONFIGURATION);
        written.map(drop).map_err(|source| CodecError::Encode {
            type_name: type_name::<T>(),
            source: Box::new(source),
        })
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
        let failed =
            |source| CodecError::Decode { type_name: type_name::<T>(), source: Box::new(source) };
        let mut decoder = DecoderImpl::new(SliceReader::new(bytes), CONFIGURATION, ());
        // Bincode's limit is a constant of the type. Claiming all of it but the input's length leaves a limit that is the
        // input's length: with integers of fixed width an honest value claims exactly the bytes it takes.
        decoder.claim_bytes_read(usize::MAX - bytes.len()).map_err(failed)?;
        let Compat(value) = Compat::<T>::decode(&mut decoder).map_err(failed)?;
        match decoder.reader().peek_read(1) {
            None => Ok(value),
            Some(_) => Err(CodecError::TrailingBytes { type_name: type_name::<T>() }),
        }
    }
}

impl Bincode {
    /// Decodes the value that the bytes begin with, and removes it from them. Memory is bounded as in
    /// [`decode`](Codec::decode).
    pub(crate) fn take<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, CodecError> {
        let failed =
            |source| CodecError::Decode { type_name: type_name::<T>(), source: Box::new(source) };
        let length = bytes.len();
        let mut decoder = DecoderImpl::new(Rest(bytes), CONFIGURATION, ());
        decoder.claim_bytes_read(usize::MAX - length).map_err(failed)?;
        let Compat(value) = Compat::<T>::decode(&mut decoder).map_err(failed)?;
        Ok(value)
    }
}

/// Bytes that are read from their beginning.
struct Rest<'a, 'b>(&'a mut &'b [u8]);

impl Reader for Rest<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), DecodeError> {
        let additional = bytes.len().saturating_sub(self.0.len());
        let (read, rest) = self
            .0
            .split_at_checked(bytes.len())
            .ok_or(DecodeError::UnexpectedEnd { additional })?;
        bytes.copy_from_slice(read);
        *self.0 = rest;
        Ok(())
    }
}

impl MessagePack {
    /// Decodes the value that the bytes begin with, and removes it from them.
    pub(crate) fn take<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, CodecError> {
        let mut decoder = rmp_serde::Deserializer::new(bytes);
        decoder.set_max_depth(DEPTH_MAX);
        T::deserialize(&mut decoder).map_err(|source| CodecError::Decode {
            type_name: type_name::<T>(),
            source: Box::new(source),
        })
    }
}

impl Codec for MessagePack {
    const ID: CodecId = CodecId(2);

    fn encode_into<T: Serialize, W: Write>(value: &T, to: &mut W) -> Result<(), CodecError> {
        let mut encoder = rmp_serde::Serializer::new(to).with_struct_map();
        value.serialize(&mut encoder).map_err(|source| CodecError::Encode {
            type_name: type_name::<T>(),
            source: Box::new(source),
        })
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
        let mut rest = bytes;
        let value = Self::take(&mut rest)?;
        match rest {
            [] => Ok(value),
            _ => Err(CodecError::TrailingBytes { type_name: type_name::<T>() }),
        }
    }
}

/// The nesting depth up to which values are read; deeper ones are refused before they exhaust the stack.
const DEPTH_MAX: usize = 256;

impl fmt::Display for CodecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of [`Bincode`] in all files: in checkpoints and in event logs.
pub(crate) const FIXED: Configuration<LittleEndian, Fixint> =
    bincode::config::standard().with_little_endian().with_fixed_int_encoding();

const CONFIGURATION: Configuration<LittleEndian, Fixint, Limit<{ usize::MAX }>> =
    FIXED.with_limit::<{ usize::MAX }>();
