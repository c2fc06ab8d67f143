//! A block: the entries of a range of keys as the bytes of a part.
//!
//! ```text
//!   1 byte   version, 1
//!   8 bytes  the moment of the cut, by the clock of the instance, little-endian
//!   each     4 bytes length, then key and value by the codec of the part
//! ```

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::checkpoint::{
    CodecError, CodecId, EncodedState, PartSink, Snapshot, SnapshotError, encode_into, given_back,
};
use crate::clock::Timestamp;
use crate::sync::{AtomicUsize, Ordering};

const VERSION: u8 = 1;
const HEADER: usize = 9;

/// What opens a block that is cut at this moment.
pub(super) fn begin(at: Timestamp) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&at.0.to_le_bytes());
    bytes
}

/// Puts an entry behind the others. If it cannot be encoded, the bytes are as before.
pub(super) fn put<K: Serialize, V: Serialize>(
    key: &K,
    value: &V,
    codec: CodecId,
    to: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let begin = to.len();
    to.extend_from_slice(&[0; 4]);
    let encoded = encode_into(&(key, value), codec, to).and_then(|()| {
        let length = to.len() - begin - 4;
        u32::try_from(length).map_err(|error| CodecError::Encode {
            type_name: std::any::type_name::<V>(),
            source: Box::new(error),
        })
    });
    match encoded {
        Ok(length) => {
            to[begin..begin + 4].copy_from_slice(&length.to_le_bytes());
            Ok(())
        }
        Err(error) => {
            to.truncate(begin);
            Err(error)
        }
    }
}

/// Whether the entry that was put last is given back by its bytes.
pub(super) fn read_back<K, V>(
    key: &K,
    value: &V,
    codec: CodecId,
    entry: &[u8],
) -> Result<(), CodecError>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    given_back::<_, (K, V)>(&(key, value), entry.get(4..).unwrap_or_default(), codec)
}

/// The entries of a block as `decode` reads them, and the moment of its cut.
pub(super) fn read<K, V>(
    block: &EncodedState,
    decode: impl Fn(&[u8], CodecId) -> Result<(K, V), CodecError>,
    mut each: impl FnMut(K, V, Timestamp),
) -> Result<(), CodecError> {
    let type_name = std::any::type_name::<(K, V)>();
    let damaged = |what: &'static str| CodecError::Decode { type_name, source: what.into() };
    let (header, mut rest) =
        block.bytes.split_at_checked(HEADER).ok_or_else(|| damaged("a block without header"))?;
    if header[0] != VERSION {
        return Err(damaged("a block of a later version"));
    }
    let at = Timestamp(u64::from_le_bytes(header[1..].try_into().unwrap_or_default()));
    while !rest.is_empty() {
        let (length, after) =
            rest.split_first_chunk::<4>().ok_or_else(|| damaged("an entry without length"))?;
        let length = u32::from_le_bytes(*length) as usize;
        let (bytes, after) =
            after.split_at_checked(length).ok_or_else(|| damaged("an entry that is cut off"))?;
        let (key, value) = decode(bytes, block.codec)?;
        each(key, value, at);
        rest = after;
    }
    Ok(())
}

/// A block on its way to the store. While it exists its bytes count as unsent.
pub(super) struct Block {
    codec: CodecId,
    bytes: Result<Vec<u8>, CodecError>,
    unsent: Unsent,
}

impl Block {
    pub(super) fn new(
        codec: CodecId,
        bytes: Result<Vec<u8>, CodecError>,
        unsent: &Arc<AtomicUsize>,
    ) -> Self {
        let length = bytes.as_ref().map_or(0, Vec::len);
        unsent.fetch_add(length, Ordering::Relaxed);
        Self { codec, bytes, unsent: Unsent { bytes: length, of: Arc::clone(unsent) } }
    }
}

struct Unsent {
    bytes: usize,
    of: Arc<AtomicUsize>,
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Snapshot for Block {
    fn codec(&self) -> CodecId {
        self.codec
    }

    fn write(self: Box<Self>, to: &mut dyn PartSink) -> Result<(), SnapshotError> {
        let Self { bytes, unsent, .. } = *self;
        to.append(&bytes?)?;
        drop(unsent);
        Ok(())
    }
}
