//! What a failure of the component leads to: the event's fate, and the component's.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::channel::push::Context;
use crate::delivery::terms::Verdict;
use crate::error::{Cause, Failure};
use crate::executor::component::{Component, carry_over};
use crate::executor::drop_hook::tell;
use crate::executor::node::Node;
use crate::executor::node::timers::TagTimers;
use crate::id::Root;

impl<C: Component> Node<C> {
    /// One event failed.
    pub(super) fn event_failed(&mut self, root: Root, failure: Failure, context: &mut Context) {
        self.counters.failed.add(1);
        match self.consequences.verdict {
            Verdict::Drop => self.give_up(&failure, 1),
            // No source can replay it, for example if a timer emitted it.
            Verdict::Fail if root.is_none() => self.give_up(&failure, 1),
            Verdict::Fail => context.ledger.fail(root, failure),
            Verdict::RollBack => context.fail(failure),
        }
    }

    pub(super) fn give_up(&mut self, failure: &Failure, events: u64) {
        self.counters.dropped.add(events);
        tracing::debug!(%failure, events, "dropped");
        tell(self.consequences.on_drop.as_ref(), failure, events);
    }

    /// The events that a sink has written and not flushed have failed.
    pub(super) fn unwritten(&mut self, events: u64, failure: &Failure, context: &mut Context) {
        self.counters.failed.add(events);
        match self.consequences.verdict {
            Verdict::Drop => self.give_up(failure, events),
            Verdict::Fail => context.ledger.fail_since(self.reported, failure),
            Verdict::RollBack => context.fail(failure.clone()),
        }
    }

    /// After a panic: the component is dropped and rebuilt from its state.
    pub(super) fn on_panic(&mut self, failure: Failure, context: &mut Context) {
        if context.fatal.is_some() {
            return;
        }
        // The new value cannot flush what the old one has written.
        if C::IS_SINK && self.unflushed > 0 {
            let events = std::mem::take(&mut self.unflushed);
            self.unwritten(events, &failure, context);
        }
        // Timers that earlier events requested are part of the state.
        self.set_timers(context.now);
        let (timers, codec) = (self.timers.left(context.now), self.codec);
        self.timers = TagTimers::default();
        let component = self.component.take();
        let carried_over = catch_unwind(AssertUnwindSafe(move || {
            let Some(mut component) = component else { return Ok(None) };
            let state = carry_over(&mut component, timers, codec);
            // If the destructor panics, the state is kept.
            let _ = catch_unwind(AssertUnwindSafe(move || drop(component)));
            state
        }));
        let lost = match carried_over {
            Ok(Ok(state)) => {
                self.carried_over = state;
                None
            }
            Ok(Err(error)) => Some(Cause::error(error)),
            Err(payload) => Some(Cause::panic(payload)),
        };
        if let Some(cause) = lost {
            if self.consequences.verdict != Verdict::Drop {
                return context.fail(self.failure("state", cause));
            }
            tracing::error!(instance = %self.instance.name, %cause, "state lost after a panic");
        }
        tracing::warn!(%failure, "instance is built anew");
        self.rebuild(context);
    }

    /// Tries to rebuild the component that is down.
    pub(super) fn rebuild(&mut self, context: &mut Context) {
        self.counters.restarts.add(1);
        match self.build(context.now) {
            Ok(()) => self.consequences.rebuild.recovered(),
            Err(failure) if failure.cause.is_permanent() => context.fail(failure),
            Err(failure) => match self.consequences.rebuild.again(context.now) {
                Some(pause) => self.retry_at = context.now.after(pause),
                None => context.fail(failure),
            },
        }
    }
}
