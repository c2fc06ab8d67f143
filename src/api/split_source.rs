//! [`SplitSource`]: a source whose input consists of splits, which are distributed over its instances.

use std::time::Duration;

use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::source::Next;
use crate::api::source_output::SourceOutput;
use crate::api::state::State;
use crate::api::weight::heap_bytes;
use crate::error::BoxError;

/// A source whose input consists of splits that are read independently of each other: partitions of a topic
/// or log, files of a directory.
///
/// Splits have names. The engine distributes them over the instances: at the start those of the checkpoint
/// and those that [`discover`](SplitSource::discover) finds, and while the job runs those that appear. It
/// keeps a position per split, so the parallelism may change at the next start. A split stays with its
/// instance as long as the job runs.
///
/// All calls are made on the instance's own thread, one at a time: `setup` once, [`add`](SplitSource::add)
/// for each split that is assigned to this instance, then [`get_events`](SplitSource::get_events) as for a
/// [`StatefulSource`](crate::StatefulSource). Between calls of `get_events`, the engine calls
/// [`position`](SplitSource::position), and adds and removes splits. After an error or a panic in
/// `get_events` a new value starts from the positions before the call.
///
/// ```
/// use std::collections::BTreeMap;
/// use streamwork::{BoxError, Guarantee, Job, Next, SourceOutput, SplitSource, SplitStart};
///
/// /// Three splits of ten numbers each.
/// #[derive(Default)]
/// struct Numbers(BTreeMap<String, u64>);
///
/// impl SplitSource for Numbers {
///     type Out = (String, u64);
///     type Position = u64;
///
///     fn discover(&mut self) -> Result<Vec<String>, BoxError> {
///         Ok(["a", "b", "c"].map(String::from).into())
///     }
///     fn add(&mut self, split: &str, start: SplitStart<u64>) -> Result<(), BoxError> {
///         self.0.insert(split.to_owned(), start.position().unwrap_or(0));
///         Ok(())
///     }
///     fn remove(&mut self, split: &str) -> Result<(), BoxError> {
///         self.0.remove(split);
///         Ok(())
///     }
///     fn position(&self, split: &str) -> u64 {
///         self.0[split]
///     }
///     fn get_events(&mut self, out: &mut SourceOutput<Self::Out>) -> Result<Next, BoxError> {
///         for (split, next) in &mut self.0 {
///             while *next < 10 && out.room() > 0 {
///                 out.emit((split.clone(), *next));
///                 *next += 1;
///             }
///         }
///         Ok(if self.0.values().all(|next| *next == 10) { Next::End } else { Next::Now })
///     }
/// }
///
/// let job = Job::new("numbers");
/// job.split_source("numbers", Numbers::default).parallelism(2).for_each(|(split, n)| println!("{split}: {n}"));
/// let report = job.run(Guarantee::default())?;
/// assert_eq!(report.metrics.sum("numbers", |m| m.emitted), 30);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a split source",
    note = "implement `streamwork::SplitSource`: `type Out`, `type Position`, `discover`, `add`, `remove`, `position` and `get_events`"
)]
pub trait SplitSource: 'static {
    /// The events it emits.
    type Out: Event;
    /// Where it is within a split.
    type Position: State;

    /// Opens what it reads. Called once, before anything else.
    ///
    /// # Errors
    /// An error counts as a failure of the instance and is tried again by the restart policy.
    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        let _ = instance;
        Ok(())
    }

    /// The names of all existing splits, of all instances, in any order. Called at the start by one instance,
    /// and then by whichever instance is first when [`discover_every`](SplitSource::discover_every) has
    /// passed. A split that is no longer named is removed from its instance.
    ///
    /// # Errors
    /// At the start an error counts as a failure of the instance, and a panic always does. Later an error is
    /// logged as a warning, and nothing is added or removed until a call succeeds.
    fn discover(&mut self) -> Result<Vec<String>, BoxError>;

    /// How often to look for splits that have appeared or gone. By default never: the splits are those of the start.
    fn discover_every(&self) -> Option<Duration> {
        None
    }

    /// This split is assigned to this instance. The beginning (`latest`, a time) has to be resolved to a
    /// position here, and [`position`](SplitSource::position) must return it at once: it is part of the first
    /// checkpoint.
    ///
    /// # Errors
    /// An error counts as a failure of the instance.
    fn add(&mut self, split: &str, start: SplitStart<Self::Position>) -> Result<(), BoxError>;

    /// This split no longer exists; nothing more is emitted from it, and its position is dropped. If a split
    /// of this name appears again, it counts as new. Only at-most-once with a store continues at the old
    /// position then, since it must not repeat events that may be the same.
    ///
    /// # Errors
    /// An error counts as a failure of the instance.
    fn remove(&mut self, split: &str) -> Result<(), BoxError>;

    /// The position after the last event that was emitted of this split, which has been added. Called often,
    /// between calls of `get_events`: keep it cheap.
    fn position(&self, split: &str) -> Self::Position;

    /// Emits the available events of any of its splits, up to about [`SourceOutput::room`], without waiting,
    /// and returns when it is to be called again. An instance may have no split at all. [`Next::End`] is
    /// ignored if a split was assigned to this instance meanwhile: then the split is added, and `get_events`
    /// is called again.
    ///
    /// # Errors
    /// An error means that the source is broken: the instance is rebuilt, or the job rolls back.
    fn get_events(&mut self, out: &mut SourceOutput<Self::Out>) -> Result<Next, BoxError>;

    /// The position of a split has become durable: nothing before it will be requested again, so the source
    /// may send an acknowledgement or advance a replication slot. Called on the instance's thread some time
    /// after the checkpoint is complete. It may be skipped for a checkpoint if a later one follows, and is
    /// not called after a crash.
    ///
    /// # Errors
    /// An error is logged as a warning; the checkpoint stays valid. A panic is a failure of the instance.
    fn checkpointed(&mut self, split: &str, position: &Self::Position) -> Result<(), BoxError> {
        let _ = (split, position);
        Ok(())
    }

    /// Bytes that one event occupies, for the bounds in bytes of the replay buffer and of one call of
    /// `get_events`. By default the size of the type, plus the content of a `String`, `Vec<u8>`, `Box<str>`
    /// or `Box<[u8]>`; override it if events own other memory on the heap.
    fn event_bytes(event: &Self::Out) -> usize {
        size_of_val(event).saturating_add(heap_bytes(event))
    }
}

/// Where to begin with a split.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SplitStart<P> {
    /// The job runs for the first time, and the split existed when it began: start where the user wants it
    /// to.
    First,
    /// The split has appeared since: start at its beginning.
    Appeared,
    /// Start at this position.
    At(P),
}

impl<P> SplitStart<P> {
    /// The position, if there is one.
    pub fn position(self) -> Option<P> {
        match self {
            Self::At(position) => Some(position),
            Self::First | Self::Appeared => None,
        }
    }
}
