//! One instance's part of a checkpoint, between the moment it is taken and the moment it is bytes.
//!
//! Taking it costs the hot path one clone and one box; encoding happens on the thread that writes the checkpoint.

use std::fmt;

use serde::Serialize;

use super::codec::{self, CodecError};

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
