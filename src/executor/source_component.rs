//! [`SourceComponent`]: what a source instance polls. One thin adapter per trait that a user
//! implements.

use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::source::{Next, OnStop, Source, StatefulSource};
use crate::api::source_output::SourceOutput;
use crate::api::state::State;
use crate::checkpoint::{CodecId, Part, Stored, state_snapshot};
use crate::clock::Timestamp;
use crate::error::BoxError;
use crate::executor::blueprint::{StateShape, part_name};
use crate::id::InstanceName;

/// What a source instance polls.
pub(crate) trait SourceComponent {
    type Out: Event;
    type State: State;
    const REWINDABLE: bool;
    /// The name of the callback that returns the state.
    const STATE: &str = "state";
    /// Whether its state belongs to splits, which may go to another instance at the next start.
    const HAS_SPLITS: bool = false;

    /// Its state in a checkpoint.
    fn state_shape() -> StateShape {
        match Self::REWINDABLE {
            true => StateShape::of::<Self::State>(),
            false => StateShape::Stateless,
        }
    }

    /// How its state is stored.
    fn stored() -> Stored<Self::State> {
        Stored::default()
    }

    fn setup(&mut self, instance: &Instance, state: Option<Self::State>) -> Result<(), BoxError>;
    fn get_events(
        &mut self,
        out: &mut SourceOutput<Self::Out>,
        now: Timestamp,
    ) -> Result<Next, BoxError>;
    /// The job is stopped or drained. A rewindable source has not accepted events from elsewhere, so it ends.
    fn on_stop(&mut self) -> OnStop {
        OnStop::End
    }
    fn state(&self) -> Self::State;
    /// A state as parts of a checkpoint.
    fn parts(state: Self::State, of: &InstanceName, codec: CodecId) -> Vec<Part> {
        vec![Part::new(part_name(of), state_snapshot(state, codec))]
    }
    /// This state has become durable.
    fn checkpointed(&mut self, _: &Self::State) -> Result<(), BoxError> {
        Ok(())
    }
    /// The weight of these events together.
    fn bytes_of(events: &[Self::Out]) -> usize;
}

/// Adapter for [`Source`].
pub(crate) struct NonRewindable<S>(pub(crate) S);

impl<S: Source> SourceComponent for NonRewindable<S> {
    type Out = S::Out;
    type State = ();
    const REWINDABLE: bool = false;

    fn setup(&mut self, instance: &Instance, _: Option<()>) -> Result<(), BoxError> {
        self.0.setup(instance)
    }
    fn get_events(
        &mut self,
        out: &mut SourceOutput<S::Out>,
        _: Timestamp,
    ) -> Result<Next, BoxError> {
        self.0.get_events(out)
    }
    fn on_stop(&mut self) -> OnStop {
        self.0.on_stop()
    }
    fn state(&self) {}
    fn bytes_of(events: &[S::Out]) -> usize {
        events.iter().map(S::event_bytes).fold(0, usize::saturating_add)
    }
}

/// Adapter for [`StatefulSource`].
pub(crate) struct Rewindable<S>(pub(crate) S);

impl<S: StatefulSource> SourceComponent for Rewindable<S> {
    type Out = S::Out;
    type State = S::State;
    const REWINDABLE: bool = true;

    fn stored() -> Stored<S::State> {
        S::stored()
    }
    fn setup(&mut self, instance: &Instance, state: Option<S::State>) -> Result<(), BoxError> {
        self.0.setup(instance, state)
    }
    fn get_events(
        &mut self,
        out: &mut SourceOutput<S::Out>,
        _: Timestamp,
    ) -> Result<Next, BoxError> {
        self.0.get_events(out)
    }
    fn state(&self) -> S::State {
        self.0.state()
    }
    fn checkpointed(&mut self, state: &S::State) -> Result<(), BoxError> {
        self.0.checkpointed(state)
    }
    fn bytes_of(events: &[S::Out]) -> usize {
        events.iter().map(S::event_bytes).fold(0, usize::saturating_add)
    }
}
