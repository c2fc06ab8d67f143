//! [`SplitComponent`]: adapter for [`SplitSource`]. Its state is a position per split, and each position is a
//! separate part in checkpoints.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::instance::Instance;
use crate::api::source::Next;
use crate::api::source_output::SourceOutput;
use crate::api::split_source::{SplitSource, SplitStart};
use crate::api::state::State;
use crate::checkpoint::{CodecId, EncodedState, Part, PartName, Unit, state_snapshot};
use crate::clock::Timestamp;
use crate::error::{BoxError, Permanent, with_causes};
use crate::executor::blueprint::StateShape;
use crate::executor::injected::Injected;
use crate::executor::named_call::{is_panic, named};
use crate::executor::source_component::SourceComponent;
use crate::executor::splits::Splits;
use crate::id::InstanceName;
use crate::sync::Mutex;

/// Where an instance is in each of its splits.
#[derive(Serialize, Deserialize)]
#[serde(bound = "P: State")]
pub(crate) struct SplitPositions<P>(BTreeMap<String, P>);

/// What the store has of a split.
pub(crate) type Stored = Arc<dyn Fn(&str) -> Result<Option<EncodedState>, BoxError> + Send + Sync>;

/// What all instances of a split source share in one execution.
#[derive(Clone)]
pub(crate) struct SharedSplits {
    pub(crate) splits: Arc<Mutex<Splits>>,
    pub(crate) stored: Stored,
    /// Whether the job has never run.
    pub(crate) is_first_run: bool,
    pub(crate) injected: Injected,
}

/// Adapter for [`SplitSource`].
pub(crate) struct SplitComponent<S: SplitSource> {
    source: S,
    name: InstanceName,
    shared: SharedSplits,
    /// The splits that have been added, and the version of the shared assignment that they correspond to.
    mine: Vec<String>,
    version: u64,
}

impl<S: SplitSource> SplitComponent<S> {
    pub(crate) fn new(source: S, name: InstanceName, shared: SharedSplits) -> Self {
        Self { source, name, shared, mine: Vec::new(), version: 0 }
    }

    /// Calls the user's source within another callback. A failure is reported under this callback's name.
    fn call<R>(
        &mut self,
        callback: &'static str,
        call: impl FnOnce(&mut S) -> Result<R, BoxError>,
    ) -> Result<R, BoxError> {
        let Self { source, name, shared, .. } = self;
        named(callback, || shared.injected.call(name, callback, || call(source)))
    }

    /// Adds splits that were assigned to this instance, and removes splits that are gone.
    fn follow(&mut self, mut known: BTreeMap<String, S::Position>) -> Result<(), BoxError> {
        let mut mine = std::mem::take(&mut self.mine);
        let (version, now, back) = {
            let splits = self.shared.splits.lock();
            let has_come_back = |split: &String| splits.has_come_back(split, self.version);
            let (back, still): (Vec<_>, Vec<_>) = mine.into_iter().partition(has_come_back);
            mine = still;
            (splits.version(), splits.of(self.name.instance), back)
        };
        for gone in mine.iter().filter(|split| !now.contains(split)).chain(&back) {
            tracing::info!(split = gone, "a split is gone");
            self.call("remove", |source| source.remove(gone))?;
        }
        for split in now.iter().filter(|split| !mine.contains(split)) {
            let start = match known.remove(split) {
                Some(position) => SplitStart::At(position),
                None => self.start_of(split)?,
            };
            self.call("add", |source| source.add(split, start))?;
        }
        (self.mine, self.version) = (now, version);
        Ok(())
    }

    /// Where to begin with a split of which this execution knows no position.
    fn start_of(&self, split: &str) -> Result<SplitStart<S::Position>, BoxError> {
        Ok(match (self.shared.stored)(split)? {
            Some(position) => {
                let decode = || Ok(position.decode().map_err(Permanent::new)?);
                SplitStart::At(named("restore", decode)?)
            }
            None if self.shared.is_first_run && self.was_at_the_start(split) => SplitStart::First,
            None => SplitStart::Appeared,
        })
    }

    fn was_at_the_start(&self, split: &str) -> bool {
        self.shared.splits.lock().was_at_the_start(split)
    }

    /// Discovers splits if it is time to, and if this instance is the one to do it.
    fn look(&mut self, now: Timestamp, every: Duration) -> Result<(), BoxError> {
        if self.shared.splits.lock().is_due(now, every) {
            match self.call("discover", S::discover) {
                Ok(found) => self.shared.splits.lock().found(found),
                Err(error) if is_panic(&error) => return Err(error),
                Err(error) => {
                    let error = with_causes(&*error);
                    tracing::warn!(%error, "splits cannot be looked for; those that are known are read on");
                }
            }
        }
        if self.shared.splits.lock().version() != self.version {
            self.follow(BTreeMap::new())?;
        }
        Ok(())
    }
}

impl<S: SplitSource> SourceComponent for SplitComponent<S> {
    type Out = S::Out;
    type State = SplitPositions<S::Position>;
    const REWINDABLE: bool = true;
    const STATE: &str = "position";
    const HAS_SPLITS: bool = true;

    fn state_shape() -> StateShape {
        StateShape::of::<S::Position>()
    }

    fn setup(&mut self, instance: &Instance, state: Option<Self::State>) -> Result<(), BoxError> {
        self.source.setup(instance)?;
        let shared = Arc::clone(&self.shared.splits);
        let mut splits = shared.lock();
        if !splits.is_discovered() {
            // The other instances wait here until the first one has discovered the splits.
            splits.found(self.call("discover", S::discover)?);
        }
        splits.reopen(self.name.instance);
        drop(splits);
        self.follow(state.map(|SplitPositions(positions)| positions).unwrap_or_default())
    }

    fn get_events(
        &mut self,
        out: &mut SourceOutput<S::Out>,
        now: Timestamp,
    ) -> Result<Next, BoxError> {
        let Some(every) = self.source.discover_every() else { return self.source.get_events(out) };
        self.look(now, every)?;
        Ok(match self.source.get_events(out)? {
            Next::After(pause) => Next::After(pause.min(every)),
            Next::WhenWoken => Next::After(every),
            Next::End => {
                let mut splits = self.shared.splits.lock();
                let over = splits.close(self.name.instance, self.version);
                if over { Next::End } else { Next::Now }
            }
            Next::Now => Next::Now,
        })
    }

    fn state(&self) -> Self::State {
        let position = |split: &String| (split.clone(), self.source.position(split));
        SplitPositions(self.mine.iter().map(position).collect())
    }

    fn parts(state: Self::State, of: &InstanceName, codec: CodecId) -> Vec<Part> {
        let part = |(split, position)| {
            let name = PartName::of(&*of.component, "", Unit::Split(split));
            Part::new(name, state_snapshot(position, codec))
        };
        state.0.into_iter().map(part).collect()
    }

    fn checkpointed(&mut self, state: &Self::State) -> Result<(), BoxError> {
        let (mine, source) = (&self.mine, &mut self.source);
        let mut still_here = state.0.iter().filter(|(split, _)| mine.contains(split));
        still_here.try_for_each(|(split, position)| source.checkpointed(split, position))
    }

    fn bytes_of(events: &[S::Out]) -> usize {
        events.iter().map(S::event_bytes).fold(0, usize::saturating_add)
    }
}
