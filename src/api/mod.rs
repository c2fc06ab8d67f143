//! Floor 2: what a user implements. Each trait's documentation is its contract: who calls what,
//! when, how often, on which thread, and what an error means.
//!
//! The only executable code here is the per-batch loop. It is a hidden method of the user traits, so that the
//! compiler can inline `apply` into it. The rest of the engine is on the floors above.

pub(crate) mod accounts;
pub(crate) mod aggregate;
pub(crate) mod apply_loop;
pub(crate) mod bad_record;
pub(crate) mod changed;
pub(crate) mod collector;
pub(crate) mod columns;
pub(crate) mod dead_letter;
pub(crate) mod emit;
pub(crate) mod event;
pub(crate) mod held_events;
pub(crate) mod instance;
pub(crate) mod key;
pub(crate) mod on_error;
pub(crate) mod operator;
pub(crate) mod output;
pub(crate) mod side_output;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod source_output;
pub(crate) mod split_source;
pub(crate) mod state;
pub(crate) mod token;
pub(crate) mod waker;
pub(crate) mod watermark_strategy;
pub(crate) mod weight;
