//! The loop over a batch, event by event. Inside nothing is boxed, locked, cloned or matched per event.
//!
//! It is a hidden method of the user traits. The compiler generates a trait's provided methods in the codegen
//! unit of the implementation. There the loop is the only caller of `apply`, and the compiler can inline
//! `apply` into it; from the engine's units `apply` would be a call. With `apply` inlined, the processor,
//! which looks some hundreds of instructions ahead, works on several events at once, so the cache misses of
//! one look-up overlap with the next look-ups.
//!
//! It takes events out of a drain that outlives it. So when a component panics, the events that it had not
//! reached are still there. It is one loop for all guarantees, with branches that always go the same way.

use std::vec::Drain;

use crate::api::collector::Collector;
use crate::error::BoxError;

/// Why the loop stopped. It has no public name, so no other crate can override the methods that return it.
#[derive(Debug)]
pub enum Pass {
    /// There are no more events.
    Exhausted,
    /// The output is full and must be passed on first.
    Full,
    /// The event that was taken last failed.
    Failed(BoxError),
}

/// Applies an operator to one event after the other. Events have roots or times if they are `tracked`; their accounts
/// are closed here, and the caller settles them for the whole batch.
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

/// Gives a sink one event after the other. A sink has no accounts: its events are reported for the whole
/// batch.
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
