//! [`Component`]: what a node runs. One thin adapter per trait that a user implements, so that the
//! loop is written once.

use std::vec::Drain;

use crate::api::apply_loop::Pass;
use crate::api::collector::Collector;
use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::operator::{Operator, StatefulOperator};
use crate::api::output::Output;
use crate::api::side_output::DeclaredOutput;
use crate::api::sink::{Sink, Transaction, TransactionalSink};
use crate::channel::frame::Batch;
use crate::channel::ledger::Ledger;
use crate::checkpoint::{CodecError, CodecId, EncodedState, Snapshot, state_snapshot};
use crate::clock::Timestamp;
use crate::delivery::terms::Commits;
use crate::error::{BoxError, Permanent};
use crate::executor::blueprint::StateShape;
use crate::executor::node::held::HeldCodec;
use crate::id::{CheckpointId, ExecutionId};
use crate::time::EventTime;
use crate::time::generator::Generator;

/// Timers as they are stored, in the order in which they fire: nanoseconds that were left, and the tag.
pub(crate) type SavedTimers = Vec<(u64, u64)>;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// By the watermark that the component knows, and at this moment.
    At(Timestamp),
    /// All that is left: the input is over.
    Rest,
}

/// What a node runs.
pub(crate) trait Component: Sized {
    type In: Event;
    type Out: Event;

    /// The shape of its state in checkpoints, given when its outputs are committed.
    fn state_shape(_: Commits) -> StateShape {
        StateShape::Stateless
    }

    /// Whether it is a sink: its events count as delivered when `end_batch` has succeeded.
    const IS_SINK: bool = false;

    /// Its outputs beside the main one.
    const SIDE_OUTPUTS: &'static [DeclaredOutput] = &[];

    /// Whether the plan refuses it on a stream without event time.
    const NEEDS_EVENT_TIME: bool = false;

    /// How the events that it holds are stored; `None` if they are not.
    fn held_codec() -> Option<HeldCodec<Self::In>> {
        None
    }

    /// Starts from encoded state, and returns the timers that were part of it. By default it has no state.
    fn setup(&mut self, _: &Instance, _: Option<&EncodedState>) -> Result<SavedTimers, BoxError> {
        Ok(SavedTimers::new())
    }

    /// Applies itself to one event after the other. `tracked` if the events have roots or times.
    fn apply_each(
        &mut self,
        events: &mut Drain<'_, Self::In>,
        out: &mut Collector<Self::Out>,
        tracked: bool,
    ) -> Pass;

    /// Whether it can be applied to a whole batch in place. Then `In` and `Out` are the same type.
    fn in_place() -> bool {
        false
    }

    /// Applies itself to a whole batch in place, and leaves its outputs in the batch, in order. Events without
    /// an output are finished in the ledger. `handled` counts the events for which it was called. If it unwinds,
    /// the event at hand is gone; the batch has the outputs of the events before it, and the events after it.
    fn apply_in_place(
        &mut self,
        _batch: &mut Batch<Self::In>,
        _handled: &mut usize,
        _: &mut Ledger,
    ) {
    }

    /// The generator of its watermarks, if it makes any.
    fn watermarks(&mut self) -> Option<&mut Generator> {
        None
    }

    /// When its watermark or idleness changes next without an event.
    fn watermark_due(&self) -> Option<Timestamp> {
        None
    }

    /// Whether a timer by key is due, and `fire` would call it. Asked again after each call.
    fn is_due(&mut self, _: Due) -> bool {
        false
    }

    /// Fires what `is_due` has found.
    fn fire(&mut self, _out: &mut Output<Self::Out>) -> Result<(), BoxError> {
        Ok(())
    }

    /// When the next timer by key in processing time is due.
    fn next_due(&self) -> Option<Timestamp> {
        None
    }

    /// The watermark has risen to this; what is due by it fires before `on_watermark`.
    fn advance(&mut self, _: EventTime) {}

    /// What was due by the watermark has fired; readers are told of it now.
    fn has_advanced(&mut self) {}

    fn on_timer(&mut self, _tag: u64, _out: &mut Output<Self::Out>) -> Result<(), BoxError> {
        Ok(())
    }
    fn on_watermark(
        &mut self,
        _watermark: EventTime,
        _out: &mut Output<Self::Out>,
    ) -> Result<(), BoxError> {
        Ok(())
    }
    fn finish(&mut self, _out: &mut Output<Self::Out>) -> Result<(), BoxError> {
        Ok(())
    }
    fn end_batch(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
    /// Takes its state; `None` if it has none.
    fn snapshot(&mut self, _timers: SavedTimers, _: CodecId) -> Option<Box<dyn Snapshot>> {
        None
    }
    fn prepare(&mut self, _checkpoint: CheckpointId) -> Result<(), BoxError> {
        Ok(())
    }
    fn complete(&mut self, _checkpoint: CheckpointId) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Adapter for [`Operator`].
pub(crate) struct Stateless<O>(pub(crate) O);

impl<O: Operator> Component for Stateless<O> {
    type In = O::In;
    type Out = O::Out;
    const SIDE_OUTPUTS: &'static [DeclaredOutput] = O::SIDE_OUTPUTS;
    const NEEDS_EVENT_TIME: bool = O::NEEDS_EVENT_TIME;

    fn held_codec() -> Option<HeldCodec<O::In>> {
        HeldCodec::of(O::HELD_EVENTS)
    }

    fn setup(
        &mut self,
        instance: &Instance,
        _: Option<&EncodedState>,
    ) -> Result<SavedTimers, BoxError> {
        self.0.setup(instance).map(|()| SavedTimers::new())
    }
    fn apply_each(
        &mut self,
        events: &mut Drain<'_, O::In>,
        out: &mut Collector<O::Out>,
        tracked: bool,
    ) -> Pass {
        self.0.apply_each(events, out, tracked)
    }
    fn on_timer(&mut self, tag: u64, out: &mut Output<O::Out>) -> Result<(), BoxError> {
        self.0.on_timer(tag, out)
    }
    fn on_watermark(
        &mut self,
        watermark: EventTime,
        out: &mut Output<O::Out>,
    ) -> Result<(), BoxError> {
        self.0.on_watermark(watermark, out)
    }
    fn finish(&mut self, out: &mut Output<O::Out>) -> Result<(), BoxError> {
        self.0.finish(out)
    }
}

/// Adapter for [`StatefulOperator`].
pub(crate) struct Stateful<O>(pub(crate) O);

impl<O: StatefulOperator> Component for Stateful<O> {
    type In = O::In;
    type Out = O::Out;
    const SIDE_OUTPUTS: &'static [DeclaredOutput] = O::SIDE_OUTPUTS;
    const NEEDS_EVENT_TIME: bool = O::NEEDS_EVENT_TIME;

    fn held_codec() -> Option<HeldCodec<O::In>> {
        HeldCodec::of(O::HELD_EVENTS)
    }

    fn state_shape(_: Commits) -> StateShape {
        StateShape::of::<O::State>()
    }

    fn setup(
        &mut self,
        instance: &Instance,
        state: Option<&EncodedState>,
    ) -> Result<SavedTimers, BoxError> {
        let (state, timers) = match state {
            Some(encoded) => {
                let decoded =
                    encoded.decode::<(O::State, SavedTimers)>().map_err(Permanent::new)?;
                (Some(decoded.0), decoded.1)
            }
            None => (None, SavedTimers::new()),
        };
        self.0.setup(instance, state).map(|()| timers)
    }
    fn apply_each(
        &mut self,
        events: &mut Drain<'_, O::In>,
        out: &mut Collector<O::Out>,
        tracked: bool,
    ) -> Pass {
        self.0.apply_each(events, out, tracked)
    }
    fn on_timer(&mut self, tag: u64, out: &mut Output<O::Out>) -> Result<(), BoxError> {
        self.0.on_timer(tag, out)
    }
    fn on_watermark(
        &mut self,
        watermark: EventTime,
        out: &mut Output<O::Out>,
    ) -> Result<(), BoxError> {
        self.0.on_watermark(watermark, out)
    }
    fn finish(&mut self, out: &mut Output<O::Out>) -> Result<(), BoxError> {
        self.0.finish(out)
    }
    fn snapshot(&mut self, timers: SavedTimers, codec: CodecId) -> Option<Box<dyn Snapshot>> {
        Some(state_snapshot((self.0.state(), timers), codec))
    }
}

/// Adapter for [`Sink`].
pub(crate) struct Plain<S>(pub(crate) S);

impl<S: Sink> Component for Plain<S> {
    type In = S::In;
    type Out = ();
    const IS_SINK: bool = true;

    fn setup(
        &mut self,
        instance: &Instance,
        _: Option<&EncodedState>,
    ) -> Result<SavedTimers, BoxError> {
        self.0.setup(instance).map(|()| SavedTimers::new())
    }
    fn apply_each(
        &mut self,
        events: &mut Drain<'_, S::In>,
        _: &mut Collector<()>,
        _: bool,
    ) -> Pass {
        self.0.write_each(events)
    }
    fn end_batch(&mut self) -> Result<(), BoxError> {
        self.0.flush()
    }
}

/// What a checkpoint stores of a transactional sink: the handles that are committed with it, and
/// [`newest`](TransactionalSink::newest).
type Stored<H> = (Vec<(CheckpointId, H)>, Option<H>);

/// Adapter for [`TransactionalSink`]: keeps the handles that wait for their checkpoint.
pub(crate) struct Transactional<S: TransactionalSink> {
    sink: S,
    commits: Commits,
    execution: ExecutionId,
    batches: u64,
    prepared: Vec<(CheckpointId, S::Handle)>,
}

impl<S: TransactionalSink> Transactional<S> {
    pub(crate) fn new(sink: S, commits: Commits) -> Self {
        let execution = ExecutionId(0);
        Self { sink, commits, execution, batches: 0, prepared: Vec::new() }
    }
}

impl<S: TransactionalSink> Transactional<S> {
    fn transaction(&self, checkpoint: CheckpointId) -> Transaction {
        Transaction::new(self.execution, checkpoint)
    }
}

impl<S: TransactionalSink> Component for Transactional<S> {
    type In = S::In;
    type Out = ();
    const IS_SINK: bool = true;

    fn state_shape(commits: Commits) -> StateShape {
        match commits {
            Commits::EachBatch => StateShape::Stateless,
            Commits::WithCheckpoint => StateShape::of::<S::Handle>(),
        }
    }

    fn setup(
        &mut self,
        instance: &Instance,
        state: Option<&EncodedState>,
    ) -> Result<SavedTimers, BoxError> {
        self.execution = instance.execution();
        self.sink.setup(instance)?;
        if let Some(encoded) = state {
            let decoded = encoded.decode::<Stored<S::Handle>>().map_err(Permanent::new)?;
            let (prepared, newest) = decoded;
            for (_, handle) in prepared {
                self.sink.commit(handle)?;
            }
            if let Some(newest) = newest {
                self.sink.rewind(newest)?;
            }
        }
        self.sink.abort_unfinished()?;
        Ok(SavedTimers::new())
    }

    fn apply_each(
        &mut self,
        events: &mut Drain<'_, S::In>,
        _: &mut Collector<()>,
        _: bool,
    ) -> Pass {
        self.sink.write_each(events)
    }

    fn end_batch(&mut self) -> Result<(), BoxError> {
        if self.commits == Commits::EachBatch {
            self.batches += 1;
            if let Some(handle) = self.sink.prepare(self.transaction(CheckpointId(self.batches)))? {
                self.sink.commit(handle)?;
            }
        }
        Ok(())
    }

    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<(), BoxError> {
        if self.commits == Commits::WithCheckpoint {
            let handle = self.sink.prepare(self.transaction(checkpoint))?;
            self.prepared.extend(handle.map(|handle| (checkpoint, handle)));
        }
        Ok(())
    }

    fn snapshot(&mut self, _: SavedTimers, codec: CodecId) -> Option<Box<dyn Snapshot>> {
        match self.commits {
            Commits::WithCheckpoint => {
                let stored: Stored<S::Handle> = (self.prepared.clone(), self.sink.newest());
                Some(state_snapshot(stored, codec))
            }
            Commits::EachBatch => None,
        }
    }

    fn complete(&mut self, checkpoint: CheckpointId) -> Result<(), BoxError> {
        let later = self.prepared.iter().position(|(of, _)| *of > checkpoint);
        let now = later.unwrap_or(self.prepared.len());
        for (_, handle) in &self.prepared[..now] {
            self.sink.commit(handle.clone())?;
        }
        self.prepared.drain(..now);
        Ok(())
    }
}

/// Encodes the state of an old value, for the new one that takes its place.
///
/// # Errors
/// The state cannot be encoded.
pub(crate) fn carry_over<C: Component>(
    component: &mut C,
    timers: SavedTimers,
    codec: CodecId,
) -> Result<Option<EncodedState>, CodecError> {
    component.snapshot(timers, codec).map(<dyn Snapshot>::encode).transpose()
}
