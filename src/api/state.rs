//! [`State`]: what a stateful component gives to the engine and is restored from.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// State of a stateful source or operator: any value of its own that serde can write and read.
///
/// Implemented for every such type; derive serde's `Serialize` and `Deserialize`. The engine takes
/// state by value, encodes it on another thread, and gives it back to `setup`.
///
/// A checkpoint records the structure of the type: its fields and variants, by name and order. A job
/// whose type has another structure is refused, unless the state has a version and a migration
/// ([`Stored`](crate::Stored)), or the component is to start without its state
/// ([`start_anew`](crate::Checkpointed::start_anew)). The first state of each component is read back as
/// it is stored. If serde reads it differently from how it writes it (`untagged`, `flatten`,
/// `skip_serializing_if`, `serde_json::Value`), that is found then, and ends the job. `Deserialize` is
/// also called while a job with a store is planned, with made-up values, to find the structure.
///
/// ```
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Balance { cents: i64 }
///
/// fn is_state<S: streamwork::State>() {}
/// is_state::<Balance>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the state of a component",
    label = "not a state",
    note = "derive `serde::Serialize` and `serde::Deserialize`, and hold no references"
)]
pub trait State: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> State for T {}
