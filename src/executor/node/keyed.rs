//! A node whose component has state by key: the state is saved in pieces, and stays while the component is built anew.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::channel::frame::Control;
use crate::channel::push::{Context, Saving};
use crate::clock::Timestamp;
use crate::executor::component::{Component, Due};
use crate::executor::node::Node;
use crate::id::CheckpointId;
use crate::state::{KeyedState, SaveBegin, StateSize};

/// Places of entries that are looked at after each batch while a checkpoint is saved: about as much work as a batch.
const PLACES: usize = 4096;

/// Timers that fire before the clock is read again.
const LOOK: u32 = 64;

/// How long after a change the size of the state is looked at.
const MEASURED_AFTER: Duration = Duration::from_millis(100);

/// The state by key of a component, and when its size is to be looked at.
pub(super) struct StateByKey {
    pub(super) state: Rc<dyn KeyedState>,
    measure_at: Option<Timestamp>,
}

impl StateByKey {
    /// State that may have been restored.
    pub(super) fn new(state: Rc<dyn KeyedState>) -> Self {
        Self { state, measure_at: Some(Timestamp(0)) }
    }

    /// It has changed, or may have.
    pub(super) fn changed(&mut self, now: Timestamp) {
        self.measure_at.get_or_insert_with(|| now.after(MEASURED_AFTER));
    }
}

impl<C: Component> Node<C> {
    /// Says how much state there is, if it is time.
    pub(super) fn measure_state(&mut self, now: Timestamp) {
        let Some(keyed) = &mut self.keyed else { return };
        if keyed.measure_at.take_if(|at| *at <= now).is_some() {
            let StateSize { entries, bytes } = keyed.state.size();
            self.counters.state_entries.set(entries);
            self.counters.state_bytes.set(bytes);
        }
    }

    /// When the size of the state has to be looked at.
    pub(super) fn measure_due(&self) -> Option<Timestamp> {
        self.keyed.as_ref().and_then(|keyed| keyed.measure_at)
    }

    /// Begins to save the keyed state, and saves all of it if the instance does no more after this.
    pub(super) fn begin_save(&mut self, of: CheckpointId, last: bool, context: &mut Context) {
        let Some(keyed) = self.keyed.as_ref().filter(|_| context.fatal.is_none()) else { return };
        keyed.state.begin_save(SaveBegin {
            component: Arc::clone(&self.instance.name.component),
            checkpoint: of,
            watermark: self.watermark.saved(),
            at: context.now,
        });
        match last {
            true => while !keyed.state.go_on(usize::MAX, &mut context.snapshots) {},
            false => context.saving = context.saving.max(Saving::GoesOn),
        }
    }

    /// Encodes some more, or all the rest.
    pub(super) fn go_on_saving(&mut self, all: bool, context: &mut Context) {
        let Some(StateByKey { state: keyed, .. }) = &self.keyed else { return };
        let saving = match all {
            true => {
                while !keyed.go_on(usize::MAX, &mut context.snapshots) {}
                Saving::Through
            }
            false if keyed.is_full() => Saving::Waits,
            false if keyed.go_on(PLACES, &mut context.snapshots) => Saving::Through,
            false => Saving::GoesOn,
        };
        context.saving = context.saving.max(saving);
    }

    /// Fires timers by key for a control frame. Whether all of them have fired; if not, the frame waits at the head
    /// of the others, and events wait behind it.
    pub(super) fn fires(&mut self, due: Due, of: Control, context: &mut Context) -> bool {
        let all = self.fire_all(due, context);
        self.firing = !all && context.fatal.is_none();
        if self.firing {
            self.waiting.push_front(of);
        }
        all
    }

    /// Fires the timers by key that are due by now.
    pub(super) fn fire_due(&mut self, context: &mut Context) {
        if !self.firing && !self.over {
            self.fire_all(Due::At(context.now), context);
        }
    }

    /// Fires timers by key until none is due, the next stage is full, or the step has taken its time. Whether none is
    /// due.
    fn fire_all(&mut self, due: Due, context: &mut Context) -> bool {
        if self.keyed.is_none() {
            return true;
        }
        let mut fired = 0_u32;
        while context.fatal.is_none() {
            let Some(component) = &mut self.component else { return false };
            if !component.is_due(due) {
                return true;
            }
            if fired > 0 && fired.is_multiple_of(LOOK) {
                context.slice.look(context.clock.now(), context.slice.paused());
            }
            if context.slice.is_over() || self.stage_blocked() || self.waits_for_writer() {
                return false;
            }
            fired += 1;
            self.keyed.iter_mut().for_each(|keyed| keyed.changed(context.now));
            self.call("on_timer", context, Component::fire);
        }
        false
    }

    /// When timers by key have to be looked at.
    pub(super) fn key_timers_due(&self) -> Option<Timestamp> {
        let component = self.component.as_ref().filter(|_| !self.stage_blocked())?;
        if self.firing { Some(Timestamp(0)) } else { component.next_due() }
    }

    /// Whether no event can be applied before the checkpoint writer has caught up.
    pub(super) fn waits_for_writer(&self) -> bool {
        self.keyed.as_ref().is_some_and(|keyed| keyed.state.is_full())
    }
}
