//! State by key that the engine owns: where it is kept while a job runs, and how it gets into checkpoints
//! without a pause.
//!
//! ```text
//!   KeyedStore        the keys of one instance: a range of the routing hash
//!    └─ segments      256 at most, by ranges of the hash, so that no growth moves more than one of them
//!        └─ table     entries of key, value, and the number of the save after whose cut they changed last
//! ```
//! A barrier begins a *save*, which costs as much as there are segments. An entry that changes before it is
//! saved is encoded first, by whoever changes it; all others are encoded between batches, a few thousand at a
//! time. A save is of what has changed since the newest complete checkpoint; [`bases`] says what is written whole.

mod bases;
mod block;
mod cleanup;
mod key_timers;
mod keyed_operator;
mod keyed_state;
mod measured;
mod save;
mod segment;
mod store;
mod stored_value;
mod time_to_live;

pub(crate) use key_timers::{Moment, TimerIndex};
pub(crate) use keyed_operator::Cell;
pub use keyed_operator::{At, KeyedOperator};
pub(crate) use keyed_state::{KeyedState, SaveBegin, StateSize};
pub(crate) use store::{KeyedStore, Restore};
pub(crate) use stored_value::{Bare, StoredValue};
pub use time_to_live::TimeToLive;
