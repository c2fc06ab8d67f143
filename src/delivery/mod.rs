//! Floor 4: what happens to an event when something fails. Decisions only; the executor acts.
//!
//! Each guarantee is a module that fills in the same [`Terms`](terms::Terms) and, where events are tracked, an
//! account of them. The executor reads terms per batch, per barrier or per failure and never learns
//! which guarantee it runs.
//!
//! | guarantee | module | a failed event | checkpoints |
//! |---|---|---|---|
//! | at-most-once | [`at_most_once`] | is dropped | operators' state; positions are written ahead |
//! | at-least-once | [`at_least_once`] | is replayed | acknowledged positions, then state |
//! | by checkpoints | [`checkpointed`] | rolls the job back | by barriers |

pub(crate) mod account;
pub(crate) mod at_least_once;
pub(crate) mod at_most_once;
pub(crate) mod checkpointed;
pub(crate) mod options;
pub(crate) mod source_side;
pub(crate) mod terms;
