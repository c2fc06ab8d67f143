//! Floor 6: what a user writes. A [`Job`] and its [`Stream`]s make a [`graph`]; [`plan`] checks it,
//! decides what is fused and gives the executor a blueprint; a [`JobHandle`] controls the run.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::api::source::{Source, StatefulSource};
use crate::api::split_source::SplitSource;
use crate::delivery::terms::Guarantee;
use crate::error::Refused;
use crate::job::graph::{Graph, NodeKind};
use crate::job::handle::{JobHandle, JobReport, RunError};
use crate::job::job_plan::JobPlan;
use crate::job::make::{SourceMaker, non_rewindable, of_splits, rewindable};
use crate::job::stream::Stream;

mod event_time;
pub(crate) mod graph;
pub(crate) mod handle;
pub(crate) mod job_plan;
pub(crate) mod keyed;
pub(crate) mod make;
pub(crate) mod plan;
pub(crate) mod stream;
pub(crate) mod table;
pub(crate) mod verbs;

/// A job: sources, operators and sinks, and the streams between them.
///
/// Building it starts nothing. The same job can be run several times, under any
/// [`Guarantee`]; each run builds new components with their factories.
///
/// ```
/// use streamwork::{Guarantee, Job};
///
/// let job = Job::new("squares");
/// job.from_iter("numbers", || 1..=3_u64)
///     .map(|n| n * n)
///     .for_each(|square| println!("{square}"));
///
/// job.run(Guarantee::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Job {
    pub(crate) graph: Arc<Mutex<Graph>>,
}

impl Drop for Job {
    fn drop(&mut self) {
        // Its streams may live on, but nobody can run it any more.
        if let Some(graph) = self.graph.try_lock() {
            graph.surroundings.iter().for_each(|surroundings| surroundings.job_is_gone());
        }
    }
}

impl Job {
    /// An empty job. Its checkpoints record the name, and only a job of this name can be restored from them.
    pub fn new(name: impl Into<String>) -> Self {
        Self { graph: Arc::new(Mutex::new(Graph::new(name.into()))) }
    }

    /// Adds a source that cannot be rewound; see [`Source`].
    pub fn source<S: Source>(
        &self,
        name: impl Into<String>,
        factory: impl Fn() -> S + Send + Sync + 'static,
    ) -> Stream<S::Out> {
        self.add_source(name.into(), non_rewindable(factory))
    }

    /// Adds a source that can be rewound; see [`StatefulSource`].
    pub fn stateful_source<S: StatefulSource>(
        &self,
        name: impl Into<String>,
        factory: impl Fn() -> S + Send + Sync + 'static,
    ) -> Stream<S::Out> {
        self.add_source(name.into(), rewindable(factory))
    }

    /// Adds a source whose input is in splits, which are distributed over its instances; see [`SplitSource`].
    pub fn split_source<S: SplitSource>(
        &self,
        name: impl Into<String>,
        factory: impl Fn() -> S + Send + Sync + 'static,
    ) -> Stream<S::Out> {
        self.add_source(name.into(), of_splits(factory))
    }

    fn add_source<T: crate::api::event::Event>(
        &self,
        name: String,
        maker: SourceMaker,
    ) -> Stream<T> {
        let node = self.graph.lock().add(name, NodeKind::Source(maker));
        Stream::of(Arc::clone(&self.graph), node)
    }

    /// The plan of this job, without starting it: its threads, its queues, and the guarantee for the
    /// output of each sink.
    ///
    /// # Errors
    /// What is wrong with the job or the guarantee.
    ///
    /// ```
    /// use streamwork::{Guarantee, Job};
    ///
    /// let job = Job::new("squares");
    /// job.from_iter("numbers", || 1..=3_u64).map(|n| n * n).for_each(|n| println!("{n}"));
    /// let plan = job.plan(Guarantee::default())?;
    /// assert_eq!(plan.threads[0].components, ["numbers", "map", "for_each"]);
    /// println!("{plan}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn plan(&self, guarantee: impl Into<Guarantee>) -> Result<JobPlan, Refused> {
        JobPlan::of(&self.graph.lock(), &guarantee.into())
    }

    /// Runs the job until all sources have ended or a failure ends it.
    ///
    /// # Errors
    /// [`RunError::Refused`] before anything has started, [`RunError::Failed`] afterwards.
    pub fn run(&self, guarantee: impl Into<Guarantee>) -> Result<JobReport, RunError> {
        Ok(self.start(guarantee)?.wait()?)
    }

    /// Starts the job and returns while it runs.
    ///
    /// # Errors
    /// What is wrong with the job, the guarantee or the store. Then no event was emitted.
    ///
    /// ```
    /// use std::time::Duration;
    /// use streamwork::{Guarantee, Job};
    ///
    /// let job = Job::new("endless");
    /// job.from_iter("numbers", || 0_u64..).for_each(|_| ());
    ///
    /// let handle = job.start(Guarantee::default())?;
    /// let report = handle.drain(Duration::from_secs(10))?;
    /// println!("{} numbers", report.metrics.sum("numbers", |m| m.emitted));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start(&self, guarantee: impl Into<Guarantee>) -> Result<JobHandle, Refused> {
        let guarantee = guarantee.into();
        let blueprint = plan::plan(&self.graph.lock(), &guarantee)?;
        handle::start(blueprint, guarantee)
    }
}
