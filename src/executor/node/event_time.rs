//! A node whose component makes watermarks: they follow each batch, and time that passes without one.
//!
//! What the streams before it say of event time ends here.

use crate::channel::frame::Control;
use crate::channel::push::Context;
use crate::executor::component::Component;
use crate::executor::node::Node;
use crate::time::watermarks::Change;

impl<C: Component> Node<C> {
    /// The component makes watermarks, so what comes from before it does not pass.
    pub(super) fn makes_watermarks(&mut self, control: Control) -> bool {
        let of_event_time =
            matches!(control, Control::Watermark(_) | Control::Idle | Control::Active);
        of_event_time
            && self.component.as_mut().is_some_and(|component| component.watermarks().is_some())
    }

    /// Says what follows from the events that have been passed on.
    pub(super) fn say_after_batch(&mut self, context: &mut Context) {
        let Some(generator) = self.component.as_mut().and_then(C::watermarks) else { return };
        let change = generator.after_batch();
        self.say(change, context);
    }

    /// Says what follows from the time that has passed. Time in which the readers were not ready is no time without
    /// events.
    pub(super) fn say_after_time(&mut self, context: &mut Context) {
        let blocked = self.stage_blocked() || !self.pending.is_empty();
        let Some(generator) = self.component.as_mut().and_then(C::watermarks) else { return };
        generator.waits(blocked, context.now);
        if !blocked {
            let change = generator.at(context.now);
            self.say(change, context);
        }
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
