//! The loops over a batch, event by event: where nobody counts, and where every event has a root.
//! Inside nothing is boxed, locked, cloned or matched per event.
//!
//! They take events out of a drain that outlives them. So when a component panics, what it had not
//! come to is still there.

use std::vec::Drain;

use crate::api::collector::Collector;
use crate::channel::frame::Batch;
use crate::channel::ledger::Ledger;
use crate::error::BoxError;
use crate::executor::component::Component;
use crate::executor::injected::Strike;
use crate::id::Root;

/// Full batches of outputs after which a loop hands on before it takes the next event.
const BATCHES: usize = 4;

/// Why a loop stopped.
pub(crate) enum Pass {
    Exhausted,
    Full,
    Failed(BoxError),
}

/// How far the loops over one batch have come. Kept outside of them, where a panic leaves it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Events that the component was called for.
    pub(crate) consumed: usize,
    /// Those that it deferred.
    pub(crate) deferred: usize,
}

/// The loop where nobody counts.
#[inline]
pub(crate) fn plain<C: Component>(
    component: &mut C,
    events: &mut Drain<'_, C::In>,
    out: &mut Collector<C::Out>,
    tally: &mut Tally,
) -> Pass {
    for event in events {
        tally.consumed += 1;
        if C::IS_SINK {
            // It emits, defers and times nothing.
            if let Err(error) = component.apply(event, out) {
                return Pass::Failed(error);
            }
            continue;
        }
        out.begin(Root::NONE);
        if let Err(error) = component.apply(event, out) {
            return Pass::Failed(error);
        }
        tally.deferred += usize::from(out.deferred());
        if out.events.len() >= BATCHES * Batch::<C::Out>::FULL {
            return Pass::Full;
        }
    }
    Pass::Exhausted
}

/// The loop where every event has a root; of what comes in, and not of a sink: what a sink has taken
/// is reported for the whole batch.
#[inline]
pub(crate) fn tracked<C: Component>(
    component: &mut C,
    events: &mut Drain<'_, C::In>,
    out: &mut Collector<C::Out>,
    tally: &mut Tally,
    roots: &[Root],
    ledger: &mut Ledger,
) -> Pass {
    for event in events {
        let root = roots[tally.consumed];
        tally.consumed += 1;
        out.begin(root);
        if let Err(error) = component.apply(event, out) {
            return Pass::Failed(error);
        }
        tally.deferred += usize::from(out.deferred());
        ledger.change(root, out.settle());
        if out.events.len() >= BATCHES * Batch::<C::Out>::FULL {
            return Pass::Full;
        }
    }
    Pass::Exhausted
}

/// One event that is made to fail.
pub(crate) fn struck<C: Component>(
    component: &mut C,
    events: &mut Drain<'_, C::In>,
    out: &mut Collector<C::Out>,
    tally: &mut Tally,
    roots: &[Root],
    strike: Strike,
) -> Pass {
    let Some(event) = events.next() else { return Pass::Exhausted };
    out.begin(roots.get(tally.consumed).copied().unwrap_or(Root::NONE));
    tally.consumed += 1;
    match strike.around(|| component.apply(event, out)) {
        Ok(()) => Pass::Exhausted,
        Err(error) => Pass::Failed(error),
    }
}
