//! Where the source is: handed over for a checkpoint, noted as a mark, made durable ahead.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::channel::frame::Control;
use crate::channel::push::Local;
use crate::checkpoint::{EncodedState, PartName, Snapshot, encoded, state_snapshot};
use crate::delivery::source_side::Position;
use crate::error::{Cause, Failure};
use crate::executor::blueprint::part_name;
use crate::executor::component::encode_position;
use crate::executor::source_component::SourceComponent;
use crate::executor::source_instance::SourceInstance;
use crate::id::CheckpointId;

impl<C: SourceComponent> SourceInstance<C> {
    /// Hands over the position up to which all is done, and then the state of what is fused to this
    /// source.
    pub(super) fn save(&mut self, checkpoint: CheckpointId) {
        let since = self.base.context.clock.now();
        self.save_position();
        self.parts.stage.local(Local::Snapshot(checkpoint), &mut self.base.context);
        self.base.report_saved(checkpoint, since);
    }

    /// Hands over the state as it is and sends the barrier after what has been emitted. Only while
    /// nothing waits: events that are polled and not yet pushed would be on the wrong side.
    pub(super) fn inject(&mut self, checkpoint: CheckpointId) {
        let since = self.base.context.clock.now();
        self.save_position();
        self.parts.stage.control(Control::Barrier(checkpoint), &mut self.base.context);
        self.base.report_saved(checkpoint, since);
    }

    /// Puts the source's part among the snapshots.
    pub(super) fn save_position(&mut self) {
        let Some(component) = self.component.as_ref().filter(|_| C::REWINDABLE) else { return };
        let part: Option<Box<dyn Snapshot>> = match self.parts.side.position() {
            Position::Current => match catch_unwind(AssertUnwindSafe(|| component.state())) {
                Ok(state) => Some(state_snapshot(state, self.parts.codec)),
                Err(payload) => {
                    let failure = self.failure("state", Cause::panic(payload));
                    return self.base.context.fail(failure);
                }
            },
            Position::Settled(bytes) => bytes.map(|bytes| encoded(self.of_codec(&bytes))),
        };
        let name = self.part_name();
        self.base.context.snapshots.extend(part.map(|part| (name, part)));
    }

    /// Makes the position durable or notes it, where the guarantee asks for either.
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

    /// Where the source is after the events that it has emitted; if it is down, where it will go on.
    pub(super) fn position(&self) -> Result<EncodedState, Failure> {
        let encoded = catch_unwind(AssertUnwindSafe(|| match (&self.component, &self.before) {
            (Some(component), _) => encode_position(&component.state(), self.parts.codec),
            (None, Some(state)) => encode_position(state, self.parts.codec),
            (None, None) => Err("the position is not known".into()),
        }));
        match encoded {
            Ok(position) => position.map_err(|error| self.failure("state", Cause::error(error))),
            Err(payload) => Err(self.failure("state", Cause::panic(payload))),
        }
    }

    pub(super) fn persist(&mut self, position: &EncodedState) {
        let Some(store) = &self.parts.store else { return };
        let execution = self.parts.instance.execution;
        if let Err(error) = store.write_position(execution, &self.part_name(), position) {
            let failure = self.failure("position", Cause::error(error));
            self.base.context.fail(failure);
            // Not durable: they must not be seen.
            self.outgoing.clear();
        }
    }

    fn part_name(&self) -> PartName {
        part_name(&self.parts.instance.name)
    }

    /// A position that this instance has encoded.
    fn of_codec(&self, bytes: &[u8]) -> EncodedState {
        EncodedState { codec: self.parts.codec, bytes: bytes.to_vec() }
    }
}
