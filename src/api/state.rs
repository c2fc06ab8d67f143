//! [`State`]: what a stateful component hands to the engine and starts from again.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// State of a stateful source or operator: any value of its own that serde can write and read.
///
/// Implemented for every such type; derive serde's `Serialize` and `Deserialize`. The engine takes
/// state by value, encodes it on another thread, and gives it back to `setup`.
///
/// A checkpoint says what the type looks like: its fields and variants, by name and order. A job whose
/// type looks otherwise is refused, unless the component is to start anew
/// ([`start_anew`](crate::Checkpointed::start_anew)). The first state of each component is read back as
/// it is stored: what serde writes in another way than it reads it (`untagged`, `flatten`,
/// `skip_serializing_if`, `serde_json::Value`) is found then, and ends the job. `Deserialize` is also
/// called while a job with a store is planned, with made-up values, to learn what the type looks like.
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
