//! [`Map`], [`Filter`] and [`Inspect`]: the functions from an event to at most one that most jobs are
//! full of. Where they can, they are applied to a batch where it lies, so that a chain of them moves
//! nothing: each is a loop of its own that the compiler sees as a whole, and no type of a chain has to
//! be known to anybody.
//!
//! A slot of a batch cannot be taken out of and put into again without a value in between. For types
//! without a destructor a clone is that value: a copy of bits, which the compiler reduces to the bits
//! that change. Others are moved, by [`apply_each`](Component::apply_each) or by swapping.

use std::any::{Any, TypeId};
use std::marker::PhantomData;
use std::mem::needs_drop;
use std::sync::Arc;
use std::vec::Drain;

use crate::api::collector::Collector;
use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::channel::frame::Batch;
use crate::channel::ledger::Ledger;
use crate::error::BoxError;
use crate::executor::apply_loop::{Pass, Round, apply_each};
use crate::executor::component::{Component, Sweep, Timers};

/// Bytes of an event up to which a filter moves every event, kept or not, rather than to guess which.
const MOVED_BYTES_MAX: usize = 64;

/// Each event becomes another.
pub(crate) struct Map<F, In, Out> {
    f: Arc<F>,
    types: PhantomData<fn(In) -> Out>,
}

impl<F, In, Out> Map<F, In, Out> {
    pub(crate) fn new(f: Arc<F>) -> Self {
        Self { f, types: PhantomData }
    }
}

impl<F: Fn(In) -> Out + 'static, In: Event, Out: Event> Component for Map<F, In, Out> {
    type In = In;
    type Out = Out;

    fn setup(&mut self, _: &Instance, _: Option<&[u8]>) -> Result<Timers, BoxError> {
        Ok(Timers::new())
    }

    #[inline]
    fn apply(&mut self, event: In, out: &mut Collector<Out>) -> Result<(), BoxError> {
        out.emit((self.f)(event));
        Ok(())
    }

    fn apply_each(&mut self, events: &mut Drain<'_, In>, round: Round<'_, Out>) -> Pass {
        if !round.roots.is_empty() || round.strike.is_some() {
            return apply_each(self, events, round);
        }
        let Round { out, tally, .. } = round;
        out.begin_one_to_one();
        let f = &*self.f;
        out.events.extend(events.map(|event| {
            tally.consumed += 1;
            f(event)
        }));
        Pass::Exhausted
    }

    fn in_place() -> bool {
        TypeId::of::<In>() == TypeId::of::<Out>() && !needs_drop::<In>()
    }

    fn sweep(&mut self, batch: &mut Batch<In>, sweep: &mut Sweep, _: &mut Ledger) -> usize {
        let f = &*self.f;
        for slot in &mut batch.events {
            if let Some(event) = same::<Out, In>(f(slot.clone())) {
                *slot = event;
            }
            sweep.read += 1;
            sweep.written = sweep.read;
        }
        batch.len()
    }
}

/// The value, if it is of that type: known when the code is generated.
#[inline(always)]
fn same<A: 'static, B: 'static>(value: A) -> Option<B> {
    let mut value = Some(value);
    (&mut value as &mut dyn Any).downcast_mut::<Option<B>>().and_then(Option::take)
}

/// Keeps the events for which a function is true.
pub(crate) struct Filter<F, T> {
    f: Arc<F>,
    types: PhantomData<fn(T)>,
}

impl<F, T> Filter<F, T> {
    pub(crate) fn new(f: Arc<F>) -> Self {
        Self { f, types: PhantomData }
    }
}

impl<F: Fn(&T) -> bool + 'static, T: Event> Component for Filter<F, T> {
    type In = T;
    type Out = T;

    fn setup(&mut self, _: &Instance, _: Option<&[u8]>) -> Result<Timers, BoxError> {
        Ok(Timers::new())
    }

    #[inline]
    fn apply(&mut self, event: T, out: &mut Collector<T>) -> Result<(), BoxError> {
        if (self.f)(&event) {
            out.emit(event);
        }
        Ok(())
    }

    fn in_place() -> bool {
        true
    }

    fn sweep(&mut self, batch: &mut Batch<T>, sweep: &mut Sweep, ledger: &mut Ledger) -> usize {
        let f = &*self.f;
        let (events, roots) = (&mut batch.events[..], &mut batch.roots[..]);
        for at in 0..events.len() {
            let keep = f(&events[at]);
            if !needs_drop::<T>() && size_of::<T>() <= MOVED_BYTES_MAX {
                // Without a branch: which events are kept is hard to guess, for a processor too.
                events[sweep.written] = events[at].clone();
            } else if keep && sweep.written < at {
                events.swap(sweep.written, at);
            }
            if !roots.is_empty() {
                let root = roots[at];
                roots[sweep.written] = root;
                ledger.change(root, if keep { 0 } else { -1 });
            }
            sweep.written += usize::from(keep);
            sweep.read += 1;
        }
        sweep.written
    }
}

/// Looks at each event and passes it on.
pub(crate) struct Inspect<F, T> {
    f: Arc<F>,
    types: PhantomData<fn(T)>,
}

impl<F, T> Inspect<F, T> {
    pub(crate) fn new(f: Arc<F>) -> Self {
        Self { f, types: PhantomData }
    }
}

impl<F: Fn(&T) + 'static, T: Event> Component for Inspect<F, T> {
    type In = T;
    type Out = T;

    fn setup(&mut self, _: &Instance, _: Option<&[u8]>) -> Result<Timers, BoxError> {
        Ok(Timers::new())
    }

    #[inline]
    fn apply(&mut self, event: T, out: &mut Collector<T>) -> Result<(), BoxError> {
        (self.f)(&event);
        out.emit(event);
        Ok(())
    }

    fn in_place() -> bool {
        true
    }

    fn sweep(&mut self, batch: &mut Batch<T>, sweep: &mut Sweep, _: &mut Ledger) -> usize {
        let f = &*self.f;
        for event in &batch.events {
            f(event);
            sweep.read += 1;
            sweep.written = sweep.read;
        }
        batch.len()
    }
}
