//! [`SplitSource`]: a source whose input comes in splits, which are dealt out to its instances.

use std::time::Duration;

use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::source::Next;
use crate::api::source_output::SourceOutput;
use crate::api::state::State;
use crate::api::weight::heap_bytes;
use crate::error::BoxError;

/// Where events come from, when the input is in splits that are read independently of each other: partitions of a topic or
/// log, files of a directory.
///
/// Splits have names. The engine deals them out to the instances: at the start those of the checkpoint and those that
/// [`discover`](SplitSource::discover) finds, and while the job runs those that appear. It keeps a position per split, so the
/// parallelism may be another one at the next start. A split stays with its instance as long as the job runs.
///
/// All calls are made on the instance's own thread, one at a time: `setup` once, [`add`](SplitSource::add) for each split that
/// becomes this instance's, then [`get_events`](SplitSource::get_events) as for a [`StatefulSource`](crate::StatefulSource).
/// Between `get_events`, [`position`](SplitSource::position) is asked, splits are added and removed. After an error or a panic
/// in `get_events` a new value starts from the positions before the call.
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

    /// The names of all splits that there are, whoever reads them, in any order. Called at the start by the first instance
    /// that comes to it, and then by whichever instance is first when [`discover_every`](SplitSource::discover_every) has
    /// passed. A split that is no longer named is removed from its instance.
    ///
    /// # Errors
    /// At the start an error counts as a failure of the instance, and a panic always does. Later an error is told as a
    /// warning, and nothing is added or removed until it works again.
    fn discover(&mut self) -> Result<Vec<String>, BoxError>;

    /// How often to look for splits that have appeared or gone. By default never: the splits are those of the start.
    fn discover_every(&self) -> Option<Duration> {
        None
    }

    /// This split is this instance's from now on. Where to begin (`latest`, a time) has to be settled here and must show in
    /// [`position`](SplitSource::position) at once: it is part of the first checkpoint.
    ///
    /// # Errors
    /// An error counts as a failure of the instance.
    fn add(&mut self, split: &str, start: SplitStart<Self::Position>) -> Result<(), BoxError>;

    /// This split is no longer there; nothing more is emitted from it, and its position is forgotten: one of the same name
    /// that comes back is a split that has appeared. Only at-most-once with a store goes on at the old position, since
    /// it must not repeat what may be the same.
    ///
    /// # Errors
    /// An error counts as a failure of the instance.
    fn remove(&mut self, split: &str) -> Result<(), BoxError>;

    /// The place after the last event that was emitted of this split, which has been added. Called between `get_events`,
    /// often: keep it cheap.
    fn position(&self, split: &str) -> Self::Position;

    /// Emits what is there in any of its splits, up to about [`SourceOutput::room`] events, without waiting, and says when to
    /// be asked again. An instance may have no split at all. [`Next::End`] does not count if a split has come to this
    /// instance meanwhile: then it is added, and the source is asked again.
    ///
    /// # Errors
    /// An error means that the source is broken: the instance is built anew, or the job goes back.
    fn get_events(&mut self, out: &mut SourceOutput<Self::Out>) -> Result<Next, BoxError>;

    /// The position of a split has become durable: nothing before it will be asked for again, so an acknowledgement may be
    /// sent, a slot moved on. Called on the instance's thread some time after the checkpoint is complete, perhaps for a later
    /// one only, and not at all after a crash.
    ///
    /// # Errors
    /// An error is told as a warning; the checkpoint stands. A panic is a failure of the instance.
    fn checkpointed(&mut self, split: &str, position: &Self::Position) -> Result<(), BoxError> {
        let _ = (split, position);
        Ok(())
    }

    /// Bytes that one event occupies, for the bounds in bytes: of replay buffers, and of what the source is
    /// asked for in one go. By default the size of the type, and what a `String`, `Vec<u8>`, `Box<str>` or
    /// `Box<[u8]>` holds; say more if events own other memory on the heap.
    fn event_bytes(event: &Self::Out) -> usize {
        size_of_val(event).saturating_add(heap_bytes(event))
    }
}

/// Where to begin with a split.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SplitStart<P> {
    /// The job runs for the first time, and the split was there when it began: where the user wants it to begin.
    First,
    /// The split has appeared since: all of it is new.
    Appeared,
    /// There.
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
