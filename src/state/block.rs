//! The entries of a range of keys as the bytes of a part: all of them, or what has changed.
//!
//! ```text
//!   whole    1 byte   1
//!            8 bytes  the moment of the cut, by the clock of the instance, little-endian
//!            each     4 bytes length, then key and value by the codec of the part
//!
//!   delta    1 byte   2
//!            8 bytes  the moment of the cut
//!            8 bytes  the length of what follows
//!            each     4 bytes length, then key and value; with the highest bit of the length: a key that was removed
//!            ...      perhaps another delta, of a later cut
//! ```
//! A delta in which nothing has changed has no bytes. In a store with a time to live the first byte has 0x10 more, or
//! 0x20 more if it is in event time, and behind each value are 8 bytes more: when it was touched, in milliseconds of the
//! clock of the instance, or since 1970.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::checkpoint::{
    CodecError, CodecId, EncodedState, PartKind, PartSink, Snapshot, SnapshotError, decode_from,
    encode_into, given_back,
};
use crate::clock::Timestamp;
use crate::sync::{AtomicUsize, Ordering};

const WHOLE: u8 = 1;
const DELTA: u8 = 2;

/// The bits of the first byte that are not of [`Times`].
const VERSIONS: u8 = 0x0f;

/// In the length of a record: it is a key that was removed.
const REMOVED: u32 = 1 << 31;

/// The times that entries bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    Clock = 0x10,
    Event = 0x20,
}

/// The bytes of a time behind a value.
pub(super) const TOUCHED: usize = 8;

/// What stands before the records of a part that was cut at this moment.
pub(super) fn head(kind: PartKind, times: Option<Times>, at: Timestamp, records: usize) -> Vec<u8> {
    let mut head = Vec::new();
    let times = times.map_or(0, |times| times as u8);
    match kind {
        PartKind::Delta if records == 0 => return head,
        PartKind::Delta => head.push(DELTA | times),
        PartKind::Whole => head.push(WHOLE | times),
    }
    head.extend_from_slice(&at.0.to_le_bytes());
    if kind == PartKind::Delta {
        head.extend_from_slice(&(records as u64).to_le_bytes());
    }
    head
}

/// Puts an entry behind the others. If it cannot be encoded, the bytes are as before.
pub(super) fn put<K: Serialize, V: Serialize>(
    key: &K,
    value: &V,
    touched: Option<i64>,
    codec: CodecId,
    to: &mut Vec<u8>,
) -> Result<(), CodecError> {
    put_record::<_, V>(&(key, value), touched, codec, 0, to)
}

/// Puts a key that was removed behind the others. If it cannot be encoded, the bytes are as before.
pub(super) fn put_removed<K: Serialize>(
    key: &K,
    codec: CodecId,
    to: &mut Vec<u8>,
) -> Result<(), CodecError> {
    put_record::<_, K>(key, None, codec, REMOVED, to)
}

fn put_record<R: Serialize, V>(
    record: &R,
    touched: Option<i64>,
    codec: CodecId,
    mark: u32,
    to: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let begin = to.len();
    to.extend_from_slice(&[0; 4]);
    let encoded = encode_into(record, codec, to).and_then(|()| {
        to.extend(touched.iter().flat_map(|touched| touched.to_le_bytes()));
        let length =
            u32::try_from(to.len() - begin - 4).ok().filter(|length| length & REMOVED == 0);
        length.ok_or_else(|| CodecError::Encode {
            type_name: std::any::type_name::<V>(),
            source: "an entry of 2 GiB or more".into(),
        })
    });
    match encoded {
        Ok(length) => {
            to[begin..begin + 4].copy_from_slice(&(length | mark).to_le_bytes());
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

/// What a part says of a key.
pub(super) enum Record<K, V> {
    /// When it was touched too, if that was saved.
    Entry(K, V, Option<(Times, i64)>),
    Removed(K),
}

/// Whether a part has all entries of its range.
pub(super) fn is_whole(part: &EncodedState) -> bool {
    part.bytes.first().is_some_and(|version| version & VERSIONS == WHOLE)
}

/// The records of a part in their order, with entries as `decode` reads them, and the moments of their cuts.
pub(super) fn read<K: DeserializeOwned, V>(
    part: &EncodedState,
    decode: impl Fn(&[u8], CodecId) -> Result<(K, V), CodecError>,
    mut each: impl FnMut(Record<K, V>, Timestamp),
) -> Result<(), CodecError> {
    let type_name = std::any::type_name::<(K, V)>();
    let damaged = |what: &'static str| CodecError::Decode { type_name, source: what.into() };
    let cut_off = || damaged("a part that is cut off");
    let mut rest = &part.bytes[..];
    while let Some((&first, after)) = rest.split_first() {
        let version = first & VERSIONS;
        let times = match first & !VERSIONS {
            0 => None,
            times if times == Times::Clock as u8 => Some(Times::Clock),
            times if times == Times::Event as u8 => Some(Times::Event),
            _ => return Err(damaged("a part of a later version")),
        };
        if !matches!(version, WHOLE | DELTA) {
            return Err(damaged("a part of a later version"));
        }
        let (at, after) = after.split_first_chunk::<8>().ok_or_else(cut_off)?;
        let at = Timestamp(u64::from_le_bytes(*at));
        let (mut records, after) = match version {
            DELTA => {
                let (length, after) = after.split_first_chunk::<8>().ok_or_else(cut_off)?;
                let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut_off())?;
                after.split_at_checked(length).ok_or_else(cut_off)?
            }
            _ => (after, &[][..]),
        };
        rest = after;
        while !records.is_empty() {
            let (length, after) = records.split_first_chunk::<4>().ok_or_else(cut_off)?;
            let length = u32::from_le_bytes(*length);
            let is_removed = version == DELTA && length & REMOVED != 0;
            let length = if is_removed { length & !REMOVED } else { length };
            let (bytes, after) = after.split_at_checked(length as usize).ok_or_else(cut_off)?;
            records = after;
            let record = match is_removed {
                true => Record::Removed(decode_from(bytes, part.codec)?),
                false => {
                    let (bytes, touched) = match times {
                        None => (bytes, None),
                        Some(times) => {
                            let (bytes, touched) =
                                bytes.split_last_chunk::<TOUCHED>().ok_or_else(cut_off)?;
                            (bytes, Some((times, i64::from_le_bytes(*touched))))
                        }
                    };
                    let (key, value) = decode(bytes, part.codec)?;
                    Record::Entry(key, value, touched)
                }
            };
            each(record, at);
        }
    }
    Ok(())
}

/// A block on its way to the store. While it exists its bytes count as unsent.
pub(super) struct Block {
    codec: CodecId,
    head: Vec<u8>,
    records: Result<Vec<u8>, CodecError>,
    unsent: Unsent,
}

impl Block {
    pub(super) fn new(
        codec: CodecId,
        head: Vec<u8>,
        records: Result<Vec<u8>, CodecError>,
        unsent: &Arc<AtomicUsize>,
    ) -> Self {
        let length = records.as_ref().map_or(0, Vec::len);
        unsent.fetch_add(length, Ordering::Relaxed);
        Self { codec, head, records, unsent: Unsent { bytes: length, of: Arc::clone(unsent) } }
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
        let Self { head, records, unsent, .. } = *self;
        let records = records?;
        to.append(&head)?;
        to.append(&records)?;
        drop(unsent);
        Ok(())
    }
}
