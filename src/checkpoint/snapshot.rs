//! One instance's part of a checkpoint, between the moment it is taken and the moment it is bytes.
//!
//! Taking it costs the hot path one clone and one box; encoding happens on the thread that writes the checkpoint.

use std::error::Error;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::encoded::{EncodedState, StateCodec};
use super::trace::trace;
use crate::storage::codec::{CodecError, CodecId};

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

/// One instance's state at a barrier, taken by value on the instance's thread and encoded later on another.
///
/// `encode` is called at most once. A snapshot of a checkpoint that was given up is dropped unencoded.
pub trait Snapshot: Send {
    /// Turns the state into the bytes of a part.
    ///
    /// # Errors
    ///
    /// [`CodecError::Encode`] if the state's `Serialize` fails; the checkpoint is then given up, not the job.
    fn encode(self: Box<Self>) -> Result<EncodedState, CodecError>;

    /// As [`encode`](Self::encode), and makes sure that the bytes can be read back: they are decoded, and what comes out
    /// encoded again. Called for the first state of a component. The default only encodes.
    ///
    /// # Errors
    ///
    /// [`CodecError::NotGivenBack`] if they cannot.
    fn encode_and_read_back(self: Box<Self>) -> Result<EncodedState, CodecError> {
        self.encode()
    }
}

impl fmt::Debug for dyn Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

struct Taken<S>(S);

impl<S: Serialize + Send> Snapshot for Taken<S> {
    fn encode(self: Box<Self>) -> Result<EncodedState, CodecError> {
        EncodedState::of(&self.0, StateCodec::POSITIONAL)
    }
}

/// As [`snapshot`], for a state of which it can be said whether its bytes give it back.
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

/// A first state that is larger is not read back: it would take too long, and is seldom the first.
const READ_BACK_BYTES_MAX: usize = 16 << 20;

impl<S: Serialize + DeserializeOwned + Send> Snapshot for State<S> {
    fn encode(self: Box<Self>) -> Result<EncodedState, CodecError> {
        EncodedState::of(&self.state, self.codec)
    }

    fn encode_and_read_back(self: Box<Self>) -> Result<EncodedState, CodecError> {
        read_back(&self.state, self.codec)
    }
}

/// The bytes of a state, which were read back: what comes out tells serde the same.
pub(crate) fn read_back<S>(state: &S, codec: CodecId) -> Result<EncodedState, CodecError>
where
    S: Serialize + DeserializeOwned,
{
    let encoded = EncodedState::of(state, codec)?;
    if encoded.bytes.len() > READ_BACK_BYTES_MAX {
        return Ok(encoded);
    }
    let type_name = std::any::type_name::<S>();
    let not = |source: Box<dyn Error + Send + Sync>| CodecError::NotGivenBack { type_name, source };
    let read: S = encoded.decode().map_err(|error| not(error.into()))?;
    let (written, read) = (trace(state), trace(&read));
    match (written, read) {
        (Ok(written), Ok(read)) if written == read => Ok(encoded),
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
    fn encode(self: Box<Self>) -> Result<EncodedState, CodecError> {
        Ok(self.0)
    }
}
