//! One instance's part of a checkpoint, between the moment it is taken and the moment it is bytes.
//!
//! Taking it costs the hot path one clone and one box; encoding happens on the thread that writes the checkpoint.

use std::error::Error;
use std::fmt;

use crate::storage::codec::{self, CodecError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Boxes a state so that another thread can encode it later.
///
/// ```
/// use streamwork::checkpoint::{decode, snapshot};
///
/// let taken = snapshot(vec![1_u64, 2, 3]);
/// let bytes = std::thread::spawn(move || taken.encode()).join().unwrap().unwrap();
/// assert_eq!(decode::<Vec<u64>>(&bytes).unwrap(), [1, 2, 3]);
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
    fn encode(self: Box<Self>) -> Result<Vec<u8>, CodecError>;

    /// As [`encode`](Self::encode), and makes sure that the bytes can be read back: they are decoded, and what comes out
    /// encoded again. Called for the first state of a component. The default only encodes.
    ///
    /// # Errors
    ///
    /// [`CodecError::NotGivenBack`] if they cannot.
    fn encode_and_read_back(self: Box<Self>) -> Result<Vec<u8>, CodecError> {
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
    fn encode(self: Box<Self>) -> Result<Vec<u8>, CodecError> {
        codec::encode(&self.0)
    }
}

/// As [`snapshot`], for a state of which it can be said whether its bytes give it back.
pub(crate) fn state_snapshot<S>(state: S) -> Box<dyn Snapshot>
where
    S: Serialize + DeserializeOwned + Send + 'static,
{
    Box::new(State(state))
}

struct State<S>(S);

/// A first state that is larger is not read back: it would take too long, and is seldom the first.
const READ_BACK_BYTES_MAX: usize = 16 << 20;

impl<S: Serialize + DeserializeOwned + Send> Snapshot for State<S> {
    fn encode(self: Box<Self>) -> Result<Vec<u8>, CodecError> {
        codec::encode(&self.0)
    }

    fn encode_and_read_back(self: Box<Self>) -> Result<Vec<u8>, CodecError> {
        read_back(&self.0)
    }
}

/// The bytes of a state, which were read back: what comes out encodes to the same bytes.
pub(crate) fn read_back<S: Serialize + DeserializeOwned>(state: &S) -> Result<Vec<u8>, CodecError> {
    let bytes = codec::encode(state)?;
    if bytes.len() > READ_BACK_BYTES_MAX {
        return Ok(bytes);
    }
    let type_name = std::any::type_name::<S>();
    let not = |source: Box<dyn Error + Send + Sync>| CodecError::NotGivenBack { type_name, source };
    let read: S = codec::decode(&bytes).map_err(|error| not(error.into()))?;
    let again = codec::encode(&read).map_err(|error| not(error.into()))?;
    // A map may have its entries in another order then.
    if tally(&bytes) != tally(&again) {
        return Err(not("what was read is not what was written".into()));
    }
    Ok(bytes)
}

/// How often each byte occurs.
fn tally(bytes: &[u8]) -> [u32; 256] {
    let mut tally = [0; 256];
    bytes.iter().for_each(|byte| tally[usize::from(*byte)] += 1);
    tally
}

/// State that is bytes already.
pub(crate) fn encoded(bytes: Vec<u8>) -> Box<dyn Snapshot> {
    Box::new(Encoded(bytes))
}

struct Encoded(Vec<u8>);

impl Snapshot for Encoded {
    fn encode(self: Box<Self>) -> Result<Vec<u8>, CodecError> {
        Ok(self.0)
    }
}
