//! [`Key`]: what state can belong to.

use std::hash::Hash;

use crate::api::state::State;

/// What state can belong to: a value that is hashed and compared, stored with the state, and cloned.
///
/// Implemented for every such type. Its `Hash` must be the same in every build, as a derived one is: it decides which
/// instance has the key, also after a restart.
///
/// ```
/// #[derive(Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
/// struct Account { bank: u32, number: String }
///
/// fn is_key<K: streamwork::Key>() {}
/// is_key::<Account>();
/// is_key::<(u64, String)>();
/// ```
#[diagnostic::on_unimplemented(
    message = "state cannot belong to a key of type `{Self}`",
    label = "not a key",
    note = "derive `Clone`, `PartialEq`, `Eq`, `Hash`, `serde::Serialize` and `serde::Deserialize`; it holds no references"
)]
pub trait Key: State + Hash + Eq + Clone {}

impl<K: State + Hash + Eq + Clone> Key for K {}
