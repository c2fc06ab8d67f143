//! The two loops over a batch: where nobody counts, and where every event has a root. Inside nothing
//! is boxed, locked, cloned or matched per event.

use crate::api::collector::Collector;
use crate::channel::frame::BATCH;
use crate::channel::ledger::Ledger;
use crate::error::BoxError;
use crate::executor::component::Component;
use crate::executor::injected::Strike;
use crate::id::Root;

/// Outputs after which a loop hands on before it takes the next event.
const OUTPUTS: usize = 4 * BATCH;

/// Why the loop stopped.
pub(super) enum Pass {
    Exhausted,
    Full,
    Failed(BoxError),
}

/// The loop where nobody counts.
#[inline]
pub(super) fn plain<C: Component>(
    component: &mut C,
    events: &mut impl Iterator<Item = C::In>,
    out: &mut Collector<C::Out>,
    consumed: &mut usize,
    deferred: &mut u64,
) -> Pass {
    for event in events {
        *consumed += 1;
        out.begin(Root::NONE);
        if let Err(error) = component.apply(event, out) {
            return Pass::Failed(error);
        }
        *deferred += u64::from(out.deferred());
        if out.events.len() >= OUTPUTS {
            return Pass::Full;
        }
    }
    Pass::Exhausted
}

/// One event that is made to fail.
pub(super) fn struck<C: Component>(
    component: &mut C,
    events: &mut impl Iterator<Item = C::In>,
    out: &mut Collector<C::Out>,
    roots: &[Root],
    consumed: &mut usize,
    strike: Strike,
) -> Pass {
    let Some(event) = events.next() else { return Pass::Exhausted };
    out.begin(roots.get(*consumed).copied().unwrap_or(Root::NONE));
    *consumed += 1;
    match strike.around(|| component.apply(event, out)) {
        Ok(()) => Pass::Exhausted,
        Err(error) => Pass::Failed(error),
    }
}

/// Where the tracked loop reads roots and writes changes.
pub(super) struct Rooted<'a> {
    pub(super) roots: &'a [Root],
    pub(super) consumed: &'a mut usize,
    pub(super) ledger: &'a mut Ledger,
}

/// The loop where every event has a root.
#[inline]
pub(super) fn tracked<C: Component>(
    component: &mut C,
    events: &mut impl Iterator<Item = C::In>,
    out: &mut Collector<C::Out>,
    rooted: &mut Rooted<'_>,
    deferred: &mut u64,
) -> Pass {
    for event in events {
        let root = rooted.roots[*rooted.consumed];
        *rooted.consumed += 1;
        out.begin(root);
        if let Err(error) = component.apply(event, out) {
            return Pass::Failed(error);
        }
        *deferred += u64::from(out.deferred());
        let change = out.settle();
        rooted.ledger.change(root, change);
        if out.events.len() >= OUTPUTS {
            return Pass::Full;
        }
    }
    Pass::Exhausted
}
