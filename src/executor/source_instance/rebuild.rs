//! The life of the user's source inside its instance: built, failed, rebuilt at its last position.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::api::source::OnStop;
use crate::api::state::State;
use crate::channel::frame::End;
use crate::checkpoint::{CodecError, CodecId, EncodedState, read_back};
use crate::delivery::terms::Verdict;
use crate::error::{BoxError, Cause, Failure, Permanent};
use crate::executor::named_call::{laid_to, named};
use crate::executor::source_component::SourceComponent;
use crate::executor::source_instance::{Phase, SourceInstance};

impl<C: SourceComponent> SourceInstance<C> {
    pub(super) fn build(&mut self) -> Result<(), Failure> {
        let (factory, instance, state) = (&self.factory, &self.parts.instance, self.before.take());
        let injected = &self.parts.injected;
        let built = catch_unwind(AssertUnwindSafe(|| {
            let mut component = factory();
            injected.call(&instance.name, "setup", || component.setup(instance, state))?;
            // Where it begins, in case its first call fails.
            let state = named(C::STATE, || Ok(component.state()))?;
            Ok::<_, BoxError>((component, state))
        }));
        match built {
            Ok(Ok((component, state))) => {
                if self.parts.store.is_some() {
                    gives_back(&state, self.parts.codec)
                        .map_err(|cause| self.failure(C::STATE, cause))?;
                }
                self.component = Some(component);
                self.before = Some(state);
                Ok(())
            }
            Ok(Err(error)) => {
                let (callback, cause) = laid_to("setup", error);
                Err(self.failure(callback, cause))
            }
            Err(payload) => Err(self.failure("setup", Cause::panic(payload))),
        }
    }

    /// The source has failed: it is rebuilt at its position before the call, or the job rolls back.
    pub(super) fn source_failed(&mut self, failure: Failure) {
        self.parts.counters.failed_calls.add(1);
        let now = self.base.context.now;
        if C::REWINDABLE {
            // It will emit these events again. If the watermark were kept, they would be late.
            self.parts.output.discard();
        } else {
            // It cannot read these events again, so they count as emitted.
            self.take_watermark();
            self.reject();
            let mut batch = self.collected(now);
            self.admit(&mut batch);
            self.outgoing.append(&mut batch);
        }
        if self.parts.consequences.verdict == Verdict::RollBack {
            return self.base.context.fail(failure);
        }
        tracing::warn!(%failure, "source is built anew");
        let old = self.component.take();
        // The value may be broken, so its destructor may panic as well. That adds nothing to the failure.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(old)));
        self.down(failure);
    }

    pub(super) fn down(&mut self, failure: Failure) {
        if failure.cause.is_permanent() {
            return self.base.context.fail(failure);
        }
        match self.parts.consequences.rebuild.again(self.base.context.now) {
            Some(pause) => self.poll_at = Some(self.base.context.now.after(pause)),
            None => self.base.context.fail(failure),
        }
    }

    pub(super) fn rebuild(&mut self) {
        self.parts.counters.restarts.add(1);
        // `setup` takes the state by value; a copy goes through its encoded form.
        let had_state = self.before.is_some();
        let codec = self.parts.codec;
        let encode = |state| quietly(|| EncodedState::of(state, codec).ok());
        let kept = self.before.as_ref().and_then(encode);
        if let Err(failure) = self.build() {
            self.before = kept.and_then(|state| quietly(|| state.decode().ok()));
            if had_state && self.before.is_none() {
                // Its position is lost. Rebuilt without one, it would emit everything again.
                return self.base.context.fail(failure);
            }
            self.down(failure);
        } else {
            self.poll_at = Some(self.base.context.now);
            if let Phase::Emptying(end) = self.phase {
                // The new value does not know yet that the job stops.
                self.stop(end);
            }
        }
    }

    /// The job stops: nothing more is emitted, except events that the source has accepted.
    pub(super) fn stop(&mut self, end: End) {
        let Some(component) = &mut self.component else {
            // It is down. A rewindable source need not be rebuilt for a stop: its input can be read again.
            self.phase = if C::REWINDABLE { Phase::Ending(end) } else { Phase::Emptying(end) };
            return;
        };
        match catch_unwind(AssertUnwindSafe(|| component.on_stop())) {
            Ok(OnStop::End) => self.phase = Phase::Ending(end),
            Ok(OnStop::EmitRest) => {
                self.phase = Phase::Emptying(end);
                self.poll_at = Some(self.base.context.now);
            }
            Err(payload) => {
                self.phase = Phase::Emptying(end);
                self.source_failed(self.failure("on_stop", Cause::panic(payload)));
            }
        }
    }
}

/// Checks that a state can be restored from its stored form.
fn gives_back<S: State>(state: &S, codec: CodecId) -> Result<(), Cause> {
    match catch_unwind(AssertUnwindSafe(|| read_back(state, codec))) {
        Ok(Err(error @ CodecError::NotGivenBack { .. })) => {
            Err(Cause::error(Permanent::new(error)))
        }
        // A state that cannot be encoded now may be encodable later; where it is needed, the error is
        // reported.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The value of the user's code, or none if it panics.
fn quietly<T>(code: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(code)).ok().flatten()
}
