//! At-most-once: fire and forget. Nothing is tracked; what fails is dropped, and counted.
//!
//! With a store, a source's position is durable *before* the events that it covers are emitted: then
//! a kill can lose these events but never repeats them.

use std::path::PathBuf;
use std::sync::Arc;

use crate::checkpoint::CheckpointStore;
use crate::checkpoint::coordinator::Cut;
use crate::delivery::options::{RunOptions, StoreChoice, shared_options};
use crate::delivery::terms::{
    Commits, Demands, DropHook, Dropped, Guarantee, SourceTerms, Terms, Verdict,
};

/// Every event is processed once or not at all; never twice.
///
/// After an error or panic the event at hand is dropped, counted and passed to the hook, and the job
/// continues. No ids, no copies, no acknowledgements: this is the fastest guarantee, and right if the
/// next event matters more than the last one. A graceful stop loses nothing.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use streamwork::{AtMostOnce, Job};
///
/// let lost = Arc::new(AtomicU64::new(0));
/// let hook = Arc::clone(&lost);
///
/// let job = Job::new("readings");
/// job.from_iter("texts", || ["1", "2", "three"].map(String::from))
///     .try_map(|text| Ok(text.parse::<i32>()?))
///     .for_each(|number| println!("{number}"));
/// job.run(AtMostOnce::new().on_drop(move |dropped| {
///     println!("{}", dropped.failure);
///     hook.fetch_add(1, Ordering::Relaxed);
/// }))?;
/// assert_eq!(lost.load(Ordering::Relaxed), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct AtMostOnce {
    options: RunOptions,
    on_drop: Option<DropHook>,
}

shared_options!(AtMostOnce);

impl AtMostOnce {
    /// Nothing is stored: a restarted process starts at the sources' own "now".
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps positions and state in a directory, so that a restarted process continues after the
    /// events that had been emitted.
    ///
    /// ```
    /// # use streamwork::{AtMostOnce, Job};
    /// # let directory = tempfile::tempdir()?;
    /// let job = Job::new("numbers");
    /// job.from_iter("numbers", || 0..9_u64).for_each(|_| ());
    /// let guarantee = || AtMostOnce::new().store_in(directory.path());
    /// assert_eq!(job.run(guarantee())?.metrics.sum("numbers", |m| m.emitted), 9);
    /// assert_eq!(job.run(guarantee())?.metrics.sum("numbers", |m| m.emitted), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn store_in(self, directory: impl Into<PathBuf>) -> Self {
        self.store(StoreChoice::directory(directory.into()))
    }

    /// As [`store_in`](AtMostOnce::store_in), in this store.
    pub fn store_with(self, store: Arc<dyn CheckpointStore>) -> Self {
        self.store(StoreChoice::Own(store))
    }

    /// Called, on the instance's thread, for every event that is dropped after a failure.
    pub fn on_drop(mut self, hook: impl Fn(&Dropped) + Send + Sync + 'static) -> Self {
        self.on_drop = Some(DropHook(Arc::new(hook)));
        self
    }

    fn store(mut self, store: StoreChoice) -> Self {
        self.options.store = Some(store);
        self
    }
}

impl From<AtMostOnce> for Guarantee {
    fn from(chosen: AtMostOnce) -> Self {
        let sources = match chosen.options.store {
            Some(_) => SourceTerms::WriteAhead,
            None => SourceTerms::Plain,
        };
        let terms = Terms {
            name: "at-most-once",
            demands: Demands::default(),
            cut: Cut::Operators,
            on_failure: Verdict::Drop,
            commits: Commits::EachBatch,
            sources,
            on_drop: chosen.on_drop,
        };
        Self { terms, options: chosen.options }
    }
}
