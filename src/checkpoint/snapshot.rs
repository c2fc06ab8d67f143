//! A part of a checkpoint, between the cut and its encoding.
//!
//! Taking it costs the hot path one clone and one box. It is encoded on the thread that writes the
//! checkpoint, and the bytes go to the store piece by piece: only one piece is in memory at a time.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::encoded::{EncodedState, StateCodec, decode_from, encode_into};
use super::manifest::PartKind;
use super::store_error::StoreError;
use super::trace::trace;
use super::unit::PartName;
use crate::clock::Timestamp;
use crate::storage::codec::{CodecError, CodecId};
use crate::time::EventTime;

/// Boxes a state so that another thread can encode it later.
///
/// ```
/// use streamwork::checkpoint::snapshot;
///
/// let taken = snapshot(vec![1_u64, 2, 3]);
/// let bytes = std::thread::spawn(move || taken.encode()).join().unwrap().unwrap();
/// assert_eq!(bytes.decode::<Vec<u64>>().unwrap(), [1, 2, 3]);
/// ```
pub fn snapshot<S: Serialize + Send + 'static>(state: S) -> Box<dyn Snapshot> {
    Box::new(Taken(state))
}

/// A unit of state at a barrier, taken by value on the instance's thread and encoded later on another.
///
/// Written at most once. A snapshot of a checkpoint that was abandoned is dropped unencoded.
pub trait Snapshot: Send {
    /// The codec of its bytes.
    fn codec(&self) -> CodecId {
        StateCodec::POSITIONAL
    }

    /// Encodes the state, and writes the bytes piece by piece.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Codec`] if the state's `Serialize` fails, [`SnapshotError::Store`] if the store does not take the
    /// bytes; the checkpoint is then abandoned, not the job.
    fn write(self: Box<Self>, to: &mut dyn PartSink) -> Result<(), SnapshotError>;

    /// As [`write`](Self::write), and verifies that the bytes can be read back: they are decoded, and the
    /// result must make the same calls to serde. Called for the first state of a component. The default only
    /// writes.
    ///
    /// # Errors
    ///
    /// [`CodecError::NotGivenBack`] if they cannot.
    fn write_and_read_back(self: Box<Self>, to: &mut dyn PartSink) -> Result<(), SnapshotError> {
        self.write(to)
    }
}

/// Where the bytes of a part go.
pub trait PartSink {
    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// What the store says.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError>;
}

impl PartSink for Vec<u8> {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// Why a snapshot was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The state cannot be turned into bytes, or not back.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The store does not take the bytes.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A unit of state that is to become part of a checkpoint.
pub(crate) struct Part {
    pub(crate) name: PartName,
    pub(crate) state: Box<dyn Snapshot>,
    /// The watermark for its record in the manifest.
    pub(crate) watermark: Option<EventTime>,
    /// The moment of the cut for its record.
    pub(crate) cut_at: Option<Timestamp>,
    pub(crate) kind: PartKind,
}

impl Part {
    /// A whole part without a watermark.
    pub(crate) fn new(name: PartName, state: Box<dyn Snapshot>) -> Self {
        Self { name, state, watermark: None, cut_at: None, kind: PartKind::Whole }
    }

    pub(crate) fn at(self, watermark: Option<EventTime>) -> Self {
        Self { watermark, ..self }
    }
}

impl dyn Snapshot {
    /// All bytes of the state.
    ///
    /// # Errors
    ///
    /// [`CodecError::Encode`] if the state's `Serialize` fails.
    pub fn encode(self: Box<Self>) -> Result<EncodedState, CodecError> {
        let (codec, mut bytes) = (self.codec(), Vec::new());
        match self.write(&mut bytes) {
            Ok(()) => Ok(EncodedState { codec, bytes }),
            Err(SnapshotError::Codec(error)) => Err(error),
            Err(SnapshotError::Store(error)) => {
                let type_name = "state";
                Err(CodecError::Encode { type_name, source: Box::new(error) })
            }
        }
    }
}

impl fmt::Debug for dyn Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

struct Taken<S>(S);

impl<S: Serialize + Send> Snapshot for Taken<S> {
    fn write(self: Box<Self>, to: &mut dyn PartSink) -> Result<(), SnapshotError> {
        Pieces::write(&self.0, StateCodec::POSITIONAL, to, 0).map(drop)
    }
}

/// As [`snapshot`], for a state that can be decoded again to verify its bytes.
pub(crate) fn state_snapshot<S>(state: S, codec: CodecId) -> Box<dyn Snapshot>
where
    S: Serialize + DeserializeOwned + Send + 'static,
{
    Box::new(State { state, codec })
}

struct State<S> {
    state: S,
    codec: CodecId,
}

impl<S: Serialize + DeserializeOwned + Send> Snapshot for State<S> {
    fn codec(&self) -> CodecId {
        self.codec
    }

    fn write(self: Box<Self>, to: &mut dyn PartSink) -> Result<(), SnapshotError> {
        Pieces::write(&self.state, self.codec, to, 0).map(drop)
    }

    fn write_and_read_back(self: Box<Self>, to: &mut dyn PartSink) -> Result<(), SnapshotError> {
        let (state, codec) = (&self.state, self.codec);
        match Pieces::write(state, codec, to, READ_BACK_BYTES_MAX)? {
            Some(bytes) => Ok(given_back::<S, S>(state, &bytes, codec)?),
            None => Ok(()),
        }
    }
}

/// A larger first state is not read back: it would take too long, and a first state is seldom large.
const READ_BACK_BYTES_MAX: usize = 16 << 20;

/// The size of a piece in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// Collects the bytes of a codec, which gives a few at a time, into pieces for a sink.
struct Pieces<'a> {
    to: &'a mut dyn PartSink,
    piece: Vec<u8>,
    /// All bytes so far, unless they are too many.
    kept: Option<Vec<u8>>,
    kept_max: usize,
    /// The error of the sink; the codec only knows that there was one.
    failed: Option<StoreError>,
}

impl<'a> Pieces<'a> {
    /// Encodes a state into a sink. All its bytes, if they are no more than `keep`.
    fn write<S: Serialize>(
        state: &S,
        codec: CodecId,
        to: &'a mut dyn PartSink,
        keep: usize,
    ) -> Result<Option<Vec<u8>>, SnapshotError> {
        let mut pieces = Self {
            to,
            piece: Vec::new(),
            kept: (keep > 0).then(Vec::new),
            kept_max: keep,
            failed: None,
        };
        let encoded = encode_into(state, codec, &mut pieces);
        let handed_on = encoded.map_err(SnapshotError::from).and_then(|()| Ok(pieces.hand_on()?));
        match pieces.failed {
            Some(error) => Err(error.into()),
            None => handed_on.map(|()| pieces.kept),
        }
    }

    fn hand_on(&mut self) -> Result<(), StoreError> {
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(&self.piece);
        }
        if self.kept.as_ref().is_some_and(|kept| kept.len() > self.kept_max) {
            self.kept = None;
        }
        let handed_on = self.to.append(&self.piece);
        self.piece.clear();
        handed_on
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES
            && let Err(error) = self.hand_on()
        {
            self.failed = Some(error);
            return Err(io::Error::other("the store takes no more"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a state can be restored from its bytes.
pub(crate) fn read_back<S>(state: &S, codec: CodecId) -> Result<(), CodecError>
where
    S: Serialize + DeserializeOwned,
{
    let encoded = EncodedState::of(state, codec)?;
    match encoded.bytes.len() <= READ_BACK_BYTES_MAX {
        true => given_back::<S, S>(state, &encoded.bytes, codec),
        false => Ok(()),
    }
}

/// Whether what is read from the bytes of a state makes the same calls to serde as the state did.
pub(crate) fn given_back<W: Serialize, S: Serialize + DeserializeOwned>(
    state: &W,
    bytes: &[u8],
    codec: CodecId,
) -> Result<(), CodecError> {
    let type_name = std::any::type_name::<S>();
    let not = |source: Box<dyn Error + Send + Sync>| CodecError::NotGivenBack { type_name, source };
    let read: S = decode_from(bytes, codec).map_err(|error| not(error.into()))?;
    match (trace(state), trace(&read)) {
        (Ok(written), Ok(read)) if written == read => Ok(()),
        (Err(error), _) | (_, Err(error)) => Err(not(error.into())),
        _ => Err(not("what was read is not what was written".into())),
    }
}

/// State that is bytes already.
pub(crate) fn encoded(state: EncodedState) -> Box<dyn Snapshot> {
    Box::new(Encoded(state))
}

struct Encoded(EncodedState);

impl Snapshot for Encoded {
    fn codec(&self) -> CodecId {
        self.0.codec
    }

    fn write(self: Box<Self>, to: &mut dyn PartSink) -> Result<(), SnapshotError> {
        Ok(to.append(&self.0.bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records the lengths of the pieces, and takes this many.
    struct Noting {
        bytes: Vec<u8>,
        pieces: Vec<usize>,
        takes: usize,
    }

    impl PartSink for Noting {
        fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
            if self.pieces.len() >= self.takes {
                return Err(StoreError::NotBegun);
            }
            self.pieces.push(bytes.len());
            self.bytes.extend_from_slice(bytes);
            Ok(())
        }
    }

    fn noting(takes: usize) -> Noting {
        Noting { bytes: Vec::new(), pieces: Vec::new(), takes }
    }

    #[test]
    fn a_large_state_goes_on_in_pieces_and_no_piece_is_much_longer_than_it_may_be() {
        let state: Vec<String> = (0..50_000).map(|n| format!("the number {n}")).collect();
        for codec in [StateCodec::POSITIONAL, StateCodec::SELF_DESCRIBING] {
            for first in [false, true] {
                let mut sink = noting(usize::MAX);
                let taken = state_snapshot(state.clone(), codec);
                let written = match first {
                    true => taken.write_and_read_back(&mut sink),
                    false => taken.write(&mut sink),
                };
                written.expect("written");
                assert!(sink.pieces.len() > 10, "{:?}", sink.pieces);
                assert!(sink.pieces.iter().all(|piece| *piece < PIECE_BYTES + 100));
                let encoded = EncodedState { codec, bytes: sink.bytes };
                assert_eq!(encoded.decode::<Vec<String>>().expect("decoded"), state);
            }
        }
    }

    #[test]
    fn what_the_store_says_in_the_middle_of_a_state_is_what_the_writer_hears() {
        let state: Vec<String> = (0..50_000).map(|n| format!("the number {n}")).collect();
        for codec in [StateCodec::POSITIONAL, StateCodec::SELF_DESCRIBING] {
            for takes in [0, 3] {
                let taken = state_snapshot(state.clone(), codec);
                let failed = taken.write(&mut noting(takes)).expect_err("the store is full");
                let of_the_store = matches!(failed, SnapshotError::Store(StoreError::NotBegun));
                assert!(of_the_store, "{failed:?}");
            }
        }
    }

    #[test]
    fn what_is_deeper_than_can_be_read_back_is_not_written() {
        let nested = |depth| (0..depth).fold(serde_json::json!(1), |of, _| serde_json::json!([of]));
        let written = |depth| EncodedState::of(&nested(depth), StateCodec::SELF_DESCRIBING);
        let deepest = written(200).expect("encoded");
        assert_eq!(deepest.decode::<serde_json::Value>().expect("decoded"), nested(200));
        for depth in 190..300 {
            if let Ok(encoded) = written(depth) {
                encoded.decode::<serde_json::Value>().expect("what is written can be read");
            }
        }
        assert!(written(300).is_err());
    }
}
