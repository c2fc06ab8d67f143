//! The loop over a batch, event by event. Inside nothing is boxed, locked, cloned or matched per event.
//!
//! It is part of the traits that a user implements, as a method that they do not see: a compiler puts a
//! trait's own methods into the unit of code in which the implementation is, and there the loop is the only
//! caller of `apply`, which becomes part of it. From the engine's own units `apply` would be a call. Then the
//! processor, which looks some hundreds of instructions ahead, sees several events at once, and the misses
//! of one look-up pass while the next ones are under way.
//!
//! It takes events out of a drain that outlives it. So when a component panics, what it had not come to
//! is still there. It is one loop for all guarantees, with branches that always go the same way.

use std::vec::Drain;

use crate::api::collector::Collector;
use crate::error::BoxError;

/// Why the loop stopped. Has no name outside, and neither has what is made of it.
#[derive(Debug)]
pub enum Pass {
    /// There are no more events.
    Exhausted,
    /// So much has been emitted that it must be handed on first.
    Full,
    /// The event that was taken last failed.
    Failed(BoxError),
}

/// Applies an operator to one event after the other, where events have roots if they are `tracked`. The
/// accounts of tracked events are closed here and settled by the caller, for many in one go.
#[inline(always)]
pub(crate) fn apply_each<In, Out>(
    events: &mut Drain<'_, In>,
    out: &mut Collector<Out>,
    tracked: bool,
    mut apply: impl FnMut(In, &mut Collector<Out>) -> Result<(), BoxError>,
) -> Pass {
    for event in events {
        out.begin();
        if let Err(error) = apply(event, out) {
            return Pass::Failed(error);
        }
        out.end();
        if tracked {
            out.end_tracked();
        }
        if out.is_full() {
            return Pass::Full;
        }
    }
    Pass::Exhausted
}

/// Gives a sink one event after the other. It has no accounts: what it has taken is reported for the batch.
#[inline(always)]
pub(crate) fn write_each<In>(
    events: &mut Drain<'_, In>,
    write: impl FnMut(In) -> Result<(), BoxError>,
) -> Pass {
    match events.try_for_each(write) {
        Ok(()) => Pass::Exhausted,
        Err(error) => Pass::Failed(error),
    }
}
