//! The loop over a batch, event by event. Inside nothing is boxed, locked, cloned or matched per event.
//!
//! It takes events out of a drain that outlives it. So when a component panics, what it had not come to
//! is still there. It is one loop for all guarantees, with branches that always go the same way, since
//! only a component that is called from a single place becomes part of it: then the processor sees
//! several events at once, and the misses of one look-up pass while the next ones are under way.

use std::vec::Drain;

use crate::api::collector::Collector;
use crate::channel::frame::Batch;
use crate::error::BoxError;
use crate::executor::component::Component;

/// Full batches of outputs after which the loop hands on before it takes the next event.
const BATCHES: usize = 4;

/// Why the loop stopped.
pub(crate) enum Pass {
    Exhausted,
    Full,
    Failed(BoxError),
}

/// Applies the component to one event after the other, where events have roots if they are `tracked`. The
/// accounts of tracked events are closed here and settled by the caller, for many in one go. A sink has no
/// accounts: what it has taken is reported for the batch.
///
/// Every instruction counts: a processor looks some hundreds of them ahead, and the fewer an event takes,
/// the more look-ups of state are on their way to memory at the same time.
#[inline]
pub(crate) fn apply_each<C: Component>(
    component: &mut C,
    events: &mut Drain<'_, C::In>,
    out: &mut Collector<C::Out>,
    tracked: bool,
) -> Pass {
    for event in events {
        if !C::IS_SINK {
            out.begin();
        }
        if let Err(error) = component.apply(event, out) {
            return Pass::Failed(error);
        }
        if C::IS_SINK {
            continue;
        }
        out.end();
        if tracked {
            out.end_tracked();
        }
        if out.events.len() >= BATCHES * Batch::<C::Out>::FULL {
            return Pass::Full;
        }
    }
    Pass::Exhausted
}
