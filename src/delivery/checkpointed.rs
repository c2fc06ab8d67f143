//! Checkpoints by barriers: when something fails, the whole job rolls back to the last consistent
//! cut. With held queues that is exactly-once for state, without it at-least-once.
//!
//! [`Inputs`](crate::channel::inputs::Inputs) decides what an instance does when a barrier arrives.

use std::path::PathBuf;
use std::sync::Arc;

use crate::checkpoint::CheckpointStore;
use crate::checkpoint::coordinator::Cut;
use crate::delivery::options::{RunOptions, StoreChoice, shared_options};
use crate::delivery::terms::{Commits, Demands, Guarantee, SourceTerms, Terms, Verdict};

/// Every event counts once in the state, whenever the process is killed.
///
/// Barriers travel with the events. An instance with several inputs holds those whose barrier has
/// arrived until all have, and then saves its state. After a failure all sources and operators roll
/// back to the newest complete checkpoint together. What readers of a sink's output see depends on
/// the kind of sink: see [`TransactionalSink`](crate::TransactionalSink).
///
/// Needs sources that can be rewound ([`StatefulSource`](crate::StatefulSource)).
///
/// ```
/// use std::time::Duration;
/// use streamwork::{ExactlyOnce, Job};
///
/// # let directory = std::env::temp_dir().join(format!("streamwork-doc-{}", std::process::id()));
/// let job = Job::new("sum");
/// job.from_iter("numbers", || 0..1_000_u64).for_each(|n| println!("{n}"));
/// let report = job.run(ExactlyOnce::checkpoints_in(&directory).every(Duration::from_secs(1)))?;
/// assert!(report.metrics.checkpoints >= 1);
/// # std::fs::remove_dir_all(directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ExactlyOnce;

impl ExactlyOnce {
    /// With checkpoints in a directory, which is created if it does not exist.
    ///
    /// ```
    /// # use streamwork::{ExactlyOnce, Guarantee};
    /// let guarantee: Guarantee = ExactlyOnce::checkpoints_in("checkpoints").into();
    /// assert_eq!(guarantee.name(), "exactly-once");
    /// ```
    pub fn checkpoints_in(directory: impl Into<PathBuf>) -> Checkpointed {
        Checkpointed::aligned(StoreChoice::directory(directory.into()))
    }

    /// With checkpoints in this store.
    ///
    /// ```
    /// # use streamwork::{ExactlyOnce, Guarantee};
    /// # let directory = tempfile::tempdir()?;
    /// use std::sync::Arc;
    /// use streamwork::checkpoint::DirectoryStore;
    ///
    /// let store = Arc::new(DirectoryStore::open(directory.path())?);
    /// let guarantee: Guarantee = ExactlyOnce::checkpoints_with(store).into();
    /// assert_eq!(guarantee.name(), "exactly-once");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn checkpoints_with(store: Arc<dyn CheckpointStore>) -> Checkpointed {
        Checkpointed::aligned(StoreChoice::Own(store))
    }
}

/// A guarantee by checkpoints; made by [`ExactlyOnce::checkpoints_in`] or
/// [`AtLeastOnce::checkpoints_in`](crate::AtLeastOnce::checkpoints_in).
#[derive(Clone, Debug)]
#[must_use]
pub struct Checkpointed {
    options: RunOptions,
    hold: bool,
}

shared_options!(Checkpointed);

impl Checkpointed {
    pub(crate) fn aligned(store: StoreChoice) -> Self {
        Self { options: RunOptions { store: Some(store), ..RunOptions::default() }, hold: true }
    }

    pub(crate) fn without_alignment(store: StoreChoice) -> Self {
        Self { hold: false, ..Self::aligned(store) }
    }
}

impl From<Checkpointed> for Guarantee {
    fn from(chosen: Checkpointed) -> Self {
        let terms = Terms {
            name: if chosen.hold { "exactly-once" } else { "at-least-once-checkpoint" },
            demands: Demands { store: true, rewindable_sources: true, lossless_edges: true },
            cut: Cut::Barriers { hold: chosen.hold },
            on_failure: Verdict::RollBack,
            commits: Commits::WithCheckpoint,
            sources: SourceTerms::Plain,
            on_drop: None,
        };
        Self { terms, options: chosen.options }
    }
}
