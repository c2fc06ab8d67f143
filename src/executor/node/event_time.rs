//! A node whose component makes watermarks: after each batch, and when time passes without one.
//!
//! Watermarks and idleness of its inputs are not passed on.

use crate::api::columns::Columns;
use crate::channel::frame::Control;
use crate::channel::push::Context;
use crate::executor::component::Component;
use crate::executor::node::Node;
use crate::time::replayable::Replayable;
use crate::time::watermarks::Change;

/// Notes the times of events that leave the component, if it makes watermarks and the events may be replayed.
#[inline]
pub(super) fn note_replayable<C: Component>(
    component: &mut Option<C>,
    replayable: &mut Replayable,
    columns: &Columns,
    context: &Context,
) {
    let (Some(generator), Some(front)) =
        (component.as_mut().and_then(C::watermarks), context.front)
    else {
        return;
    };
    if generator.waits_for_replays() {
        for (root, time) in columns.roots.iter().zip(&columns.times) {
            let is_first = root.tracker() == front.tracker();
            replayable.event(is_first.then(|| root.sequence()), *time);
        }
    }
}

impl<C: Component> Node<C> {
    /// Whether the component makes watermarks, so that this frame of an input is not passed on.
    pub(super) fn makes_watermarks(&mut self, control: Control) -> bool {
        let of_event_time =
            matches!(control, Control::Watermark(_) | Control::Idle | Control::Active);
        of_event_time && self.is_generator()
    }

    fn is_generator(&mut self) -> bool {
        self.component.as_mut().is_some_and(|component| component.watermarks().is_some())
    }

    /// Passes on the watermark that follows from the events of a batch.
    pub(super) fn say_after_batch(&mut self, context: &mut Context) {
        let Some(generator) = self.component.as_mut().and_then(C::watermarks) else { return };
        let change = generator.after_batch();
        self.say_held_back(change, context);
    }

    /// Passes on what follows from the time that has passed, such as idleness. Time in which the node was blocked does
    /// not count as time without events.
    pub(super) fn say_after_time(&mut self, context: &mut Context) {
        // Asked first: looking through the stage is work for every node and every step.
        if !self.is_generator() {
            return;
        }
        let blocked = self.stage_blocked() || !self.pending.is_empty();
        let Some(generator) = self.component.as_mut().and_then(C::watermarks) else { return };
        generator.waits(blocked, context.now);
        if !blocked {
            let change = generator.at(context.now);
            self.say_held_back(change, context);
        }
    }

    /// Passes on as much of a change as the events allow that may be replayed.
    fn say_held_back(&mut self, change: Change, context: &mut Context) {
        let change = match context.front {
            Some(front) => self.replayable.hold_back(change, front.sequence()),
            None => change,
        };
        self.say(change, context);
    }

    fn say(&mut self, change: Change, context: &mut Context) {
        if change.active {
            self.tell(Control::Active, context);
        }
        if let Some(watermark) = change.watermark
            && self.watermark.rise(watermark)
        {
            self.tell_watermark(context);
        }
        if change.idle {
            self.tell(Control::Idle, context);
        }
    }
}
