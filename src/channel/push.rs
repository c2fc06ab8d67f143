//! [`Push`]: the only edge inside an instance, and the [`Context`] that goes along.
//!
//! A fused operator, a tee and an outbox to other threads all implement it. So fusing is a choice of
//! the plan, and does not change the types of a chain. One dynamic call per batch and stage.

use std::sync::Arc;

use crate::channel::frame::{Batch, Control};
use crate::channel::ledger::Ledger;
use crate::channel::slice::Slice;
use crate::checkpoint::Part;
use crate::clock::{Clock, Timestamp, earlier};
use crate::error::Failure;
use crate::id::{CheckpointId, Root};

/// What a stage gets from its instance, and what it leaves for the instance to act on.
pub(crate) struct Context {
    /// Read once per step.
    pub(crate) now: Timestamp,
    /// How long this step goes on.
    pub(crate) slice: Slice,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ledger: Ledger,
    /// The first event of the source of this instance that is not acknowledged, where events are kept until they are.
    pub(crate) front: Option<Root>,
    /// Snapshots taken in this step, to be sent to the checkpoint writer.
    pub(crate) snapshots: Vec<Part>,
    /// Whether components have not given all their parts of the checkpoint at hand.
    pub(crate) saving: Saving,
    /// A failure that the instance cannot handle by itself.
    pub(crate) fatal: Option<Failure>,
}

impl Context {
    pub(crate) fn new(clock: Arc<dyn Clock>, ledger: Ledger) -> Self {
        let now = clock.now();
        let (slice, snapshots, saving) = (Slice::at(now), Vec::new(), Saving::Through);
        Self { now, slice, clock, ledger, front: None, snapshots, saving, fatal: None }
    }

    /// A step begins at this moment.
    pub(crate) fn begin_step(&mut self, now: Timestamp) {
        self.now = now;
        self.slice.begin(now);
    }

    /// Keeps the first failure; later ones are its consequences.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.fatal.get_or_insert(failure);
    }
}

/// How far the components of an instance are with a checkpoint that they save in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Saving {
    /// All parts are there.
    Through,
    /// There is more to encode.
    GoesOn,
    /// The checkpoint writer has to catch up first.
    Waits,
}

/// A call to every component of an instance, never across a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InstanceCall {
    /// Take a snapshot now, without a barrier.
    Snapshot(CheckpointId),
    /// Encode some more of what is being saved.
    GoOnSaving,
    /// Encode all the rest of it.
    FinishSaving,
    /// As `Snapshot`, after which the instance does no more.
    LastSnapshot(CheckpointId),
    /// The job is suspended, also where the input is over: what is held waits for the next start.
    Suspend,
    /// This checkpoint is complete: what was prepared up to it is to be committed.
    Complete(CheckpointId),
}

/// The next stage, for all that needs no event type.
pub(crate) trait Stage {
    /// Takes a control frame. If events wait, the frame waits behind them: it has passed this instance
    /// when the stage is no longer blocked.
    fn control(&mut self, control: Control, context: &mut Context);

    /// Passes a call to every component after this point in the same instance.
    fn call_instance(&mut self, call: InstanceCall, context: &mut Context);

    /// Does everything that has become due: timers, restarts, events that had to wait.
    fn tick(&mut self, context: &mut Context);

    /// Sends partial batches. Returns whether anything moved.
    fn flush(&mut self, context: &mut Context) -> bool;

    /// Whether events wait that must be sent before new input is taken.
    fn blocked(&self) -> bool;

    /// Whether a barrier would come out of the stage at once: nothing waits in it, or only the end of the
    /// stream, which a barrier may overtake since no event is between them.
    fn lets_barrier_through(&self) -> bool {
        !self.blocked()
    }

    /// When `tick` has something to do, if at a known time.
    fn deadline(&self) -> Option<Timestamp>;
}

/// The next stage, as the one before sees it.
pub(crate) trait Push<T>: Stage {
    /// Takes all events out of the batch; events that cannot be handled now wait here.
    fn push(&mut self, batch: &mut Batch<T>, context: &mut Context);

    /// Deliveries that one event makes.
    fn copies(&self) -> u32;

    /// How many events can be taken now without some of them having to wait here.
    fn room(&self) -> usize;
}

/// The end of a stream that nothing reads.
pub(crate) struct Discard;

impl Stage for Discard {
    fn control(&mut self, _: Control, _: &mut Context) {}
    fn call_instance(&mut self, _: InstanceCall, _: &mut Context) {}
    fn tick(&mut self, _: &mut Context) {}
    fn flush(&mut self, _: &mut Context) -> bool {
        false
    }
    fn blocked(&self) -> bool {
        false
    }
    fn deadline(&self) -> Option<Timestamp> {
        None
    }
}

impl<T> Push<T> for Discard {
    fn push(&mut self, batch: &mut Batch<T>, _: &mut Context) {
        batch.clear();
    }
    fn copies(&self) -> u32 {
        0
    }
    fn room(&self) -> usize {
        usize::MAX
    }
}

/// Several readers of one stream: each gets every event.
pub(crate) struct Tee<T> {
    readers: Vec<Box<dyn Push<T>>>,
    copy: Batch<T>,
}

impl<T: Clone + 'static> Tee<T> {
    /// The cheapest stage that feeds all of these.
    pub(crate) fn over(mut readers: Vec<Box<dyn Push<T>>>) -> Box<dyn Push<T>> {
        match readers.len() {
            0 => Box::new(Discard),
            1 => readers.remove(0),
            _ => Box::new(Self { readers, copy: Batch::default() }),
        }
    }
}

impl<T> Stage for Tee<T> {
    fn control(&mut self, control: Control, context: &mut Context) {
        self.readers.iter_mut().for_each(|reader| reader.control(control, context));
    }

    fn call_instance(&mut self, call: InstanceCall, context: &mut Context) {
        self.readers.iter_mut().for_each(|reader| reader.call_instance(call, context));
    }

    fn tick(&mut self, context: &mut Context) {
        self.readers.iter_mut().for_each(|reader| reader.tick(context));
    }

    fn flush(&mut self, context: &mut Context) -> bool {
        self.readers.iter_mut().fold(false, |moved, reader| reader.flush(context) | moved)
    }

    fn blocked(&self) -> bool {
        self.readers.iter().any(|reader| reader.blocked())
    }

    fn lets_barrier_through(&self) -> bool {
        self.readers.iter().all(|reader| reader.lets_barrier_through())
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.readers.iter().fold(None, |least, reader| earlier(least, reader.deadline()))
    }
}

impl<T: Clone> Push<T> for Tee<T> {
    fn push(&mut self, batch: &mut Batch<T>, context: &mut Context) {
        let (last, others) = self.readers.split_last_mut().expect("a tee has two readers or more");
        for reader in others {
            self.copy.events.extend_from_slice(&batch.events);
            self.copy.columns.extend_from(&batch.columns, 0..batch.len());
            self.copy.born = batch.born;
            reader.push(&mut self.copy, context);
        }
        last.push(batch, context);
    }

    fn copies(&self) -> u32 {
        self.readers.iter().map(|reader| reader.copies()).sum()
    }

    fn room(&self) -> usize {
        self.readers.iter().map(|reader| reader.room()).min().unwrap_or(usize::MAX)
    }
}
