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
use crate::executor::injected::Strike;
use crate::id::Root;

/// Full batches of outputs after which the loop hands on before it takes the next event.
const BATCHES: usize = 4;

/// Why the loop stopped.
pub(crate) enum Pass {
    Exhausted,
    Full,
    Failed(BoxError),
}

/// How far the loop over one batch has come. Kept outside of it, where a panic leaves it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Events that the component was called for.
    pub(crate) consumed: usize,
    /// Those that it deferred.
    pub(crate) deferred: usize,
}

/// What the loop needs beside events and component.
pub(crate) struct Round<'a, Out> {
    pub(crate) out: &'a mut Collector<Out>,
    pub(crate) tally: &'a mut Tally,
    /// One for each event of the whole batch where events are tracked, else none. For a sink too: what
    /// it has taken is reported for the batch.
    pub(crate) roots: &'a [Root],
    /// A failure that is to happen at the next event, which is then the last of this round.
    pub(crate) strike: Option<Strike>,
}

/// Applies the component to one event after the other. The accounts of tracked events are closed here and
/// settled by the caller, for many in one go.
#[inline]
pub(crate) fn apply_each<C: Component>(
    component: &mut C,
    events: &mut Drain<'_, C::In>,
    round: Round<'_, C::Out>,
) -> Pass {
    let Round { out, tally, roots, strike } = round;
    let tracked = !roots.is_empty();
    for event in events {
        if !C::IS_SINK {
            if tracked {
                out.begin_tracked(roots[tally.consumed]);
            } else {
                out.begin();
            }
        }
        tally.consumed += 1;
        let instead = strike.filter(|strike| !strike.after);
        let result = match instead {
            None => component.apply(event, out),
            Some(strike) => Err(strike.fail()),
        };
        let result = match strike.filter(|strike| strike.after && result.is_ok()) {
            None => result,
            Some(strike) => Err(strike.fail()),
        };
        if let Err(error) = result {
            return Pass::Failed(error);
        }
        if C::IS_SINK {
            continue;
        }
        let deferred = if tracked { out.end_tracked() } else { out.end() };
        tally.deferred += usize::from(deferred);
        if out.events.len() >= BATCHES * Batch::<C::Out>::FULL {
            return Pass::Full;
        }
    }
    Pass::Exhausted
}
