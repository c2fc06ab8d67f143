//! [`Map`] and [`Filter`]: functions from an event to at most one event, which most jobs use often. If
//! possible they are applied to a batch in place, so that a chain of them moves no event. Each is a
//! separate loop that the compiler sees as a whole, and a chain needs no type of its own.

use std::any::{Any, TypeId};
use std::marker::PhantomData;
use std::sync::Arc;
use std::vec::Drain;

use crate::api::apply_loop::{Pass, apply_each};
use crate::api::collector::Collector;
use crate::api::event::Event;
use crate::channel::frame::Batch;
use crate::channel::ledger::Ledger;
use crate::channel::moves::{filter_map_in_place, retain_in_place};
use crate::executor::component::Component;

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

    fn apply_each(
        &mut self,
        events: &mut Drain<'_, In>,
        out: &mut Collector<Out>,
        tracked: bool,
    ) -> Pass {
        if tracked {
            return apply_each(events, out, tracked, |event, out| {
                out.emit((self.f)(event));
                Ok(())
            });
        }
        out.accounts.begin_one_to_one();
        out.events.extend(events.map(&*self.f));
        Pass::Exhausted
    }

    fn in_place() -> bool {
        TypeId::of::<In>() == TypeId::of::<Out>()
    }

    fn apply_in_place(&mut self, batch: &mut Batch<In>, handled: &mut usize, _: &mut Ledger) {
        let f = &*self.f;
        filter_map_in_place(&mut batch.events, |event| {
            *handled += 1;
            (same::<Out, In>(f(event)).expect("`in_place` says that the types are one"), true)
        });
    }
}

/// The value, if it is of that type: the compiler decides this when it generates the code.
#[inline(always)]
fn same<A: 'static, B: 'static>(value: A) -> Option<B> {
    let mut value = Some(value);
    (&mut value as &mut dyn Any).downcast_mut::<Option<B>>().and_then(Option::take)
}

/// Keeps the events for which a function is true; `inspect` keeps all.
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

    fn apply_each(
        &mut self,
        events: &mut Drain<'_, T>,
        out: &mut Collector<T>,
        tracked: bool,
    ) -> Pass {
        apply_each(events, out, tracked, |event, out| {
            if (self.f)(&event) {
                out.emit(event);
            }
            Ok(())
        })
    }

    fn in_place() -> bool {
        true
    }

    fn apply_in_place(&mut self, batch: &mut Batch<T>, handled: &mut usize, ledger: &mut Ledger) {
        let f = &*self.f;
        if batch.columns.are_empty() {
            retain_in_place(&mut batch.events, |event| {
                *handled += 1;
                f(event)
            });
            return;
        }
        let mut written = 0;
        if !batch.columns.times.is_empty() {
            let columns = &mut batch.columns;
            retain_in_place(&mut batch.events, |event| {
                let at = *handled;
                *handled += 1;
                let (stays, root) = (f(event), columns.row(at).root);
                columns.move_down(at, written);
                written += usize::from(stays);
                if let Some(root) = root.filter(|_| !stays) {
                    ledger.change(root, -1);
                }
                stays
            });
            return columns.truncate(written);
        }
        let roots = &mut batch.columns.roots;
        retain_in_place(&mut batch.events, |event| {
            let root = roots[*handled];
            *handled += 1;
            let stays = f(event);
            roots[written] = root;
            written += usize::from(stays);
            ledger.change(root, if stays { 0 } else { -1 });
            stays
        });
        roots.truncate(written);
    }
}
