//! [`EncodedState`]: the bytes of a state, and the codec that made them.

use std::any::type_name;
use std::io::Write;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::trace::trace_within;
use crate::storage::codec::{Bincode, Codec, CodecError, CodecId, MessagePack};

/// The bytes of a state, and the codec that made them.
///
/// ```
/// use streamwork::checkpoint::{EncodedState, StateCodec};
///
/// let state = EncodedState::of(&vec![1_u64, 2], StateCodec::SELF_DESCRIBING)?;
/// assert_eq!(state.decode::<Vec<u64>>()?, [1, 2]);
/// # Ok::<(), streamwork::checkpoint::CodecError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedState {
    /// The codec that made the bytes.
    pub codec: CodecId,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl EncodedState {
    /// Encodes a state.
    ///
    /// # Errors
    ///
    /// [`CodecError::Encode`] if its `Serialize` fails or the codec cannot express it, [`CodecError::Unknown`] if there is
    /// no such codec.
    pub fn of<S: Serialize>(state: &S, codec: CodecId) -> Result<Self, CodecError> {
        let mut bytes = Vec::new();
        encode_into(state, codec, &mut bytes)?;
        Ok(Self { codec, bytes })
    }

    /// Decodes the state with the codec that made its bytes.
    ///
    /// # Errors
    ///
    /// [`CodecError::Decode`] or [`CodecError::TrailingBytes`] if the bytes are not exactly one `S`,
    /// [`CodecError::Unknown`] if there is no such codec.
    pub fn decode<S: DeserializeOwned>(&self) -> Result<S, CodecError> {
        decode_from(&self.bytes, self.codec)
    }
}

/// Decodes a state from the bytes of a codec.
pub(crate) fn decode_from<S: DeserializeOwned>(
    bytes: &[u8],
    codec: CodecId,
) -> Result<S, CodecError> {
    match codec {
        Bincode::ID => Bincode::decode(bytes),
        MessagePack::ID => MessagePack::decode(bytes),
        codec => Err(CodecError::Unknown { codec }),
    }
}

/// Encodes a state, and writes the bytes as they come.
pub(crate) fn encode_into<S: Serialize, W: Write>(
    state: &S,
    codec: CodecId,
    to: &mut W,
) -> Result<(), CodecError> {
    match codec {
        Bincode::ID => Bincode::encode_into(state, to),
        MessagePack::ID => {
            trace_within(state, WRITTEN_DEPTH_MAX).map_err(|error| CodecError::Encode {
                type_name: type_name::<S>(),
                source: Box::new(error),
            })?;
            MessagePack::encode_into(state, to)
        }
        codec => Err(CodecError::Unknown { codec }),
    }
}

/// The nesting depth up to which MessagePack is written. It is read to a greater depth, so everything that
/// was written can be read.
const WRITTEN_DEPTH_MAX: usize = 200;

/// Bytes without a codec count as those of [`Bincode`].
impl<B: Into<Vec<u8>>> From<B> for EncodedState {
    fn from(bytes: B) -> Self {
        Self { codec: Bincode::ID, bytes: bytes.into() }
    }
}

/// The codec of states.
///
/// | | `Positional` | `SelfDescribing` |
/// |---|---|---|
/// | format | bincode 2, integers of fixed width | MessagePack with the names of fields |
/// | types that it can restore | those whose `Deserialize` knows what comes next, as derived without further attributes | any that serde can read back: `untagged`, `flatten`, `skip_serializing_if`, `serde_json::Value` too |
/// | a type that has changed | is refused by name | is read as serde's attributes say (`default`, `rename`, `alias`) |
/// | cost | 1 | bytes × 1.2, encoding × 4, decoding × 1 to 2 (200,000 entries of a map with five fields each) |
///
/// Every part of a checkpoint says which codec made it, so the choice can change between two runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateCodec {
    /// `Positional`, unless the type of the state needs self-describing data: then `SelfDescribing`.
    #[default]
    Auto,
    /// Values alone, in the order of the fields. A state whose type needs self-describing data is refused.
    Positional,
    /// Values with the names of their fields, nested at most 200 deep; a deeper state cannot be stored.
    SelfDescribing,
}

impl StateCodec {
    /// The codec of [`StateCodec::Positional`].
    pub const POSITIONAL: CodecId = Bincode::ID;
    /// The codec of [`StateCodec::SelfDescribing`].
    pub const SELF_DESCRIBING: CodecId = MessagePack::ID;

    /// The codec for a state whose structure is known or not; none if the choice cannot store it.
    pub(crate) fn settle(self, says_what_it_is_made_of: bool) -> Option<CodecId> {
        match self {
            Self::SelfDescribing => Some(MessagePack::ID),
            Self::Auto if !says_what_it_is_made_of => Some(MessagePack::ID),
            Self::Positional if !says_what_it_is_made_of => None,
            Self::Auto | Self::Positional => Some(Bincode::ID),
        }
    }
}
