//! Floor 4: what happens to an event when something fails. Decisions only; the executor acts.
//!
//! Each guarantee is a module that fills in the same [`Terms`](terms::Terms) and, where events are tracked, an
//! account of them. The executor reads terms per batch, per barrier or per failure and never learns
//! which guarantee it runs.
//!
//! | guarantee | module | an event that fails is | checkpoints are |
//! |---|---|---|---|
//! | at-most-once | [`at_most_once`] | dropped | operators' state; positions written ahead |
//! | at-least-once | [`at_least_once`] | emitted again | acknowledged positions, then state |
//! | by checkpoints | [`checkpointed`] | a reason to go back | barriers |

pub(crate) mod account;
pub(crate) mod at_least_once;
pub(crate) mod at_most_once;
pub(crate) mod checkpointed;
pub(crate) mod options;
pub(crate) mod source_side;
pub(crate) mod terms;
