//! Where the source is: handed over for a checkpoint, noted as a mark, made durable ahead.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::channel::frame::Control;
use crate::channel::push::Local;
use crate::checkpoint::{PartName, Snapshot, encoded, state_snapshot};
use crate::delivery::source_side::Position;
use crate::error::{Cause, Failure};
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
                Ok(state) => Some(state_snapshot(state)),
                Err(payload) => {
                    let failure = self.failure("state", Cause::panic(payload));
                    return self.base.context.fail(failure);
                }
            },
            Position::Settled(bytes) => bytes.map(|bytes| encoded(bytes.to_vec())),
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
            Ok(bytes) if persist => self.persist(&bytes),
            Ok(bytes) => {
                self.parts.side.mark(bytes.into(), self.base.context.now);
                self.unmarked = false;
            }
            Err(failure) => self.base.context.fail(failure),
        }
    }

    /// Where the source is after the events that it has emitted; if it is down, where it will go on.
    pub(super) fn position(&self) -> Result<Vec<u8>, Failure> {
        let encoded = catch_unwind(AssertUnwindSafe(|| match (&self.component, &self.before) {
            (Some(component), _) => encode_position(&component.state()),
            (None, Some(state)) => encode_position(state),
            (None, None) => Err("the position is not known".into()),
        }));
        match encoded {
            Ok(position) => position.map_err(|error| self.failure("state", Cause::error(error))),
            Err(payload) => Err(self.failure("state", Cause::panic(payload))),
        }
    }

    pub(super) fn persist(&mut self, bytes: &[u8]) {
        let Some(store) = &self.parts.store else { return };
        let execution = self.parts.instance.execution;
        if let Err(error) = store.write_position(execution, &self.part_name(), bytes) {
            let failure = self.failure("position", Cause::error(error));
            self.base.context.fail(failure);
            // Not durable: they must not be seen.
            self.outgoing.clear();
        }
    }

    fn part_name(&self) -> PartName {
        PartName {
            component: self.parts.instance.component().to_owned(),
            instance: self.parts.instance.index(),
        }
    }
}
