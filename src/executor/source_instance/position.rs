//! The position of the source: saved in a checkpoint, marked for the guarantee, or written ahead.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::channel::frame::Control;
use crate::channel::push::InstanceCall;
use crate::checkpoint::{EncodedState, Part, PartName, encoded};
use crate::delivery::source_side::Position;
use crate::error::{BoxError, Cause, Failure, with_causes};
use crate::executor::blueprint::part_name;
use crate::executor::source_component::SourceComponent;
use crate::executor::source_instance::SourceInstance;
use crate::id::CheckpointId;

impl<C: SourceComponent> SourceInstance<C> {
    /// Saves the position up to which everything is done, and then the state of the components that are fused
    /// to this source.
    pub(super) fn save(&mut self, checkpoint: CheckpointId) {
        let since = self.base.context.clock.now();
        // The position first: every event before it is in a state that is taken later.
        self.save_position(checkpoint);
        self.parts.stage.call_instance(InstanceCall::Snapshot(checkpoint), &mut self.base.context);
        self.base.report_saved(checkpoint, since);
    }

    /// Saves the current state and sends the barrier behind the emitted events. Only while no event waits:
    /// events that were polled and not yet pushed would be on the wrong side.
    pub(super) fn inject(&mut self, checkpoint: CheckpointId) {
        let since = self.base.context.clock.now();
        self.save_position(checkpoint);
        self.parts.stage.control(Control::Barrier(checkpoint), &mut self.base.context);
        self.base.report_saved(checkpoint, since);
    }

    /// Puts the source's parts among the snapshots.
    pub(super) fn save_position(&mut self, checkpoint: CheckpointId) {
        if !C::REWINDABLE {
            return;
        }
        let parts = match self.parts.side.position() {
            Position::Current => self.current_parts(checkpoint),
            Position::Settled(None) => Ok(Vec::new()),
            Position::Settled(Some(bytes)) => self.settled_parts(checkpoint, &bytes),
        };
        match parts {
            Ok(parts) => {
                let watermark = self.watermark.saved();
                let parts = parts.into_iter().map(|part| part.at(watermark));
                self.base.context.snapshots.extend(parts);
            }
            Err(failure) => self.base.context.fail(failure),
        }
    }

    /// The current state. A source that is down has none: under checkpoints its execution has failed already, and
    /// under at-most-once its position was written ahead.
    fn current_parts(&mut self, checkpoint: CheckpointId) -> Result<Vec<Part>, Failure> {
        let Some(component) = &self.component else { return Ok(Vec::new()) };
        let (name, codec) = (&self.parts.instance.name, self.parts.codec);
        let taken = catch_unwind(AssertUnwindSafe(|| {
            let state = component.state();
            // A copy for `checkpointed`. If the state cannot be encoded, the writer reports that.
            let copy = EncodedState::of(&state, codec).ok();
            (copy, C::parts(state, name, codec))
        }));
        let (copy, parts) =
            taken.map_err(|payload| self.failure(C::STATE, Cause::panic(payload)))?;
        self.saved = copy.map(|copy| (checkpoint, copy));
        Ok(parts)
    }

    /// An earlier state, up to which everything is acknowledged.
    fn settled_parts(
        &mut self,
        checkpoint: CheckpointId,
        bytes: &[u8],
    ) -> Result<Vec<Part>, Failure> {
        let state = EncodedState { codec: self.parts.codec, bytes: bytes.to_vec() };
        self.saved = Some((checkpoint, state.clone()));
        if !C::HAS_SPLITS {
            return Ok(vec![Part::new(part_name(&self.parts.instance.name), encoded(state))]);
        }
        let (name, codec) = (&self.parts.instance.name, self.parts.codec);
        let decoded = catch_unwind(AssertUnwindSafe(|| state.decode::<C::State>()));
        match decoded {
            Ok(Ok(state)) => Ok(C::parts(state, name, codec)),
            Ok(Err(error)) => Err(self.failure("state", Cause::error(error))),
            Err(payload) => Err(self.failure("state", Cause::panic(payload))),
        }
    }

    /// This checkpoint is complete: tells the source which of its states has become durable.
    pub(super) fn checkpointed(&mut self, checkpoint: CheckpointId) {
        if let Some((_, state)) = self.saved.take_if(|(of, _)| *of <= checkpoint) {
            self.tell_durable(&state);
        }
    }

    fn tell_durable(&mut self, state: &EncodedState) {
        let Some(component) = &mut self.component else { return };
        let (name, injected) = (&self.parts.instance.name, &self.parts.injected);
        let tell =
            || injected.call(name, "checkpointed", || component.checkpointed(&state.decode()?));
        match catch_unwind(AssertUnwindSafe(tell)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = with_causes(&*error);
                tracing::warn!(instance = %name, error, "the source has failed in `checkpointed`");
            }
            Err(payload) => {
                let failure = self.failure("checkpointed", Cause::panic(payload));
                self.source_failed(failure);
            }
        }
    }

    /// Writes the position ahead or marks it, if the guarantee asks for either.
    pub(super) fn note_position(&mut self, persist: bool) {
        let mark = self.unmarked && self.parts.side.wants_mark(self.base.context.now);
        if !C::REWINDABLE || !(persist || mark) || self.base.context.fatal.is_some() {
            return;
        }
        match self.position() {
            Ok(position) if persist => self.persist(&position),
            Ok(position) => {
                self.parts.side.mark(position.bytes.into(), self.base.context.now);
                self.unmarked = false;
            }
            Err(failure) => self.base.context.fail(failure),
        }
    }

    /// The position after the events that the source has emitted; if it is down, where it will continue.
    pub(super) fn position(&self) -> Result<EncodedState, Failure> {
        let encoded = catch_unwind(AssertUnwindSafe(|| match (&self.component, &self.before) {
            (Some(component), _) => Ok(EncodedState::of(&component.state(), self.parts.codec)?),
            (None, Some(state)) => Ok(EncodedState::of(state, self.parts.codec)?),
            (None, None) => Err(BoxError::from("the position is not known")),
        }));
        match encoded {
            Ok(position) => position.map_err(|error| self.failure(C::STATE, Cause::error(error))),
            Err(payload) => Err(self.failure(C::STATE, Cause::panic(payload))),
        }
    }

    /// Writes a position ahead; of splits, only those whose position differs from the stored one.
    pub(super) fn persist(&mut self, position: &EncodedState) {
        if let Err(cause) = self.write_position(position) {
            let failure = self.failure("position", cause);
            self.base.context.fail(failure);
            // Their position is not durable: if they were emitted, the next process would repeat them.
            self.outgoing.clear();
            return;
        }
        self.tell_durable(position);
    }

    pub(super) fn write_position(&mut self, position: &EncodedState) -> Result<(), Cause> {
        let Some(store) = &self.parts.store else { return Ok(()) };
        let (instance, codec) = (&self.parts.instance, self.parts.codec);
        let write = |name: &PartName, position: &EncodedState| {
            store.write_position(instance.execution, name, position).map_err(Cause::error)
        };
        if !C::HAS_SPLITS {
            return write(&part_name(&instance.name), position);
        }
        let state = position.decode::<C::State>().map_err(Cause::error)?;
        let mut before = std::mem::take(&mut self.persisted);
        for Part { name, state, .. } in C::parts(state, &instance.name, codec) {
            let position = state.encode().map_err(Cause::error)?;
            let known = match before.remove(&name) {
                // A split that is new to this instance may have a position from another one or an earlier
                // run.
                None => store.read_position(&name).map_err(Cause::error)?,
                known => known,
            };
            if known.as_ref() != Some(&position) {
                write(&name, &position)?;
            }
            self.persisted.insert(name, position);
        }
        Ok(())
    }
}
