//! [`Ports`]: the typed queues of one instance in front of its stage. An operator with one input has [`One`];
//! an operator with inputs of several types needs another implementation. The instance itself knows no event
//! type.

use crate::channel::frame::{Amount, Control, Frame};
use crate::channel::inbox::Inbox;
use crate::channel::inputs::Inputs;
use crate::channel::push::{Context, Push, Stage};
use crate::clock::Timestamp;

/// The next item of the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// A batch of this amount, which is now in the stage.
    Batch(Amount),
    /// A control frame out of this input, which is for the instance.
    Control(usize, Control),
}

/// The queues of an instance and its stage. One dynamic call per frame.
pub(crate) trait Ports {
    /// Takes the next frame of an input that is not held, if there is one. A batch goes into the stage
    /// at once.
    fn take(&mut self, inputs: &mut Inputs, context: &mut Context) -> Option<Taken>;

    /// The stage, for all that needs no event type.
    fn stage(&mut self) -> &mut dyn Stage;
    fn stage_ref(&self) -> &dyn Stage;

    /// When a frame that an edge delays becomes due.
    fn deadline(&self, inputs: &Inputs) -> Option<Timestamp>;

    /// The job stops: edges delay nothing any more.
    fn hurry(&mut self);

    /// Frames that wait in the queues.
    fn depth(&self) -> usize;
}

/// Queues of one event type.
pub(crate) struct One<T> {
    inbox: Inbox<T>,
    stage: Box<dyn Push<T>>,
}

impl<T> One<T> {
    pub(crate) fn new(inbox: Inbox<T>, stage: Box<dyn Push<T>>) -> Self {
        Self { inbox, stage }
    }
}

impl<T: 'static> Ports for One<T> {
    fn take(&mut self, inputs: &mut Inputs, context: &mut Context) -> Option<Taken> {
        match self.inbox.poll(inputs, context.now)? {
            (lane, Frame::Batch(mut batch)) => {
                inputs.on_batch(lane);
                let amount = batch.amount();
                self.stage.push(&mut batch, context);
                self.inbox.recycle(lane, batch);
                Some(Taken::Batch(amount))
            }
            (lane, Frame::Control(control)) => Some(Taken::Control(lane, control)),
        }
    }

    fn stage(&mut self) -> &mut dyn Stage {
        &mut *self.stage
    }

    fn stage_ref(&self) -> &dyn Stage {
        &*self.stage
    }

    fn deadline(&self, inputs: &Inputs) -> Option<Timestamp> {
        self.inbox.deadline(inputs)
    }

    fn hurry(&mut self) {
        self.inbox.hurry();
    }

    fn depth(&self) -> usize {
        self.inbox.depth()
    }
}
