//! [`StoredValue`]: what the engine keeps of a key, around the state that is the user's.
//!
//! Only the user's state has versions. When it is read as another type, what is around it is read as it is.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::api::state::State;
use crate::checkpoint::{CodecError, ValueReader};

/// How a value of a store is made of the user's state.
pub(crate) trait StoredValue: 'static {
    /// What is in the store.
    type Value: State;
    /// What the user keeps.
    type State: DeserializeOwned + 'static;
    /// Reads a value. `state` reads the user's part.
    ///
    /// # Errors
    /// The bytes are something else.
    fn read(
        reader: &mut ValueReader<'_>,
        state: impl FnOnce(&mut ValueReader<'_>) -> Result<Self::State, CodecError>,
    ) -> Result<Self::Value, CodecError>;

    /// The structure of a value, from that of the user's part.
    fn shape(state: &str) -> Option<String>;

    /// The structure of the user's part, from that of a value; none if what is around it is not as it is today.
    fn shape_within(value: &str) -> Option<&str>;
}

/// The user's state and nothing else.
pub(crate) struct Bare<V>(PhantomData<fn() -> V>);

impl<V: State> StoredValue for Bare<V> {
    type Value = V;
    type State = V;

    fn read(
        reader: &mut ValueReader<'_>,
        state: impl FnOnce(&mut ValueReader<'_>) -> Result<V, CodecError>,
    ) -> Result<V, CodecError> {
        state(reader)
    }

    fn shape(state: &str) -> Option<String> {
        Some(state.to_owned())
    }

    fn shape_within(value: &str) -> Option<&str> {
        Some(value)
    }
}
