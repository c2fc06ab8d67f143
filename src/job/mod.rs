//! Floor 6: what a user writes. A [`Job`] and its [`Stream`]s make a [`graph`]; [`plan`] checks it,
//! decides what is fused and hands the executor a blueprint; a [`JobHandle`] looks after the run.

use std::cell::RefCell;
use std::rc::Rc;

use crate::api::source::{Source, StatefulSource};
use crate::delivery::terms::Guarantee;
use crate::error::Refused;
use crate::job::graph::{Graph, NodeKind};
use crate::job::handle::{JobHandle, JobReport, RunError};
use crate::job::make::{SourceMaker, forgetful, rewindable};
use crate::job::stream::Stream;

pub(crate) mod graph;
pub(crate) mod handle;
pub(crate) mod make;
pub(crate) mod plan;
pub(crate) mod stream;
pub(crate) mod verbs;

/// A job: sources, operators and sinks, and the streams between them.
///
/// Building it starts nothing. The same job can be run several times, also under different
/// guarantees; each run builds its components anew with their factories.
///
/// ```
/// use streamwork::{AtLeastOnce, AtMostOnce, Job};
///
/// let job = Job::new("squares");
/// job.from_iter("numbers", || 1..=3_u64)
///     .map(|n| n * n)
///     .for_each(|square| println!("{square}"));
///
/// job.run(AtMostOnce::new())?;
/// job.run(AtLeastOnce::new())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Job {
    pub(crate) graph: Rc<RefCell<Graph>>,
}

impl Job {
    /// An empty job. The name is part of what checkpoints are known by.
    pub fn new(name: impl Into<String>) -> Self {
        Self { graph: Rc::new(RefCell::new(Graph::new(name.into()))) }
    }

    /// Adds a source that cannot be rewound; see [`Source`].
    pub fn source<S: Source>(
        &self,
        name: impl Into<String>,
        factory: impl Fn() -> S + Send + Sync + 'static,
    ) -> Stream<S::Out> {
        self.add_source(name.into(), forgetful(factory))
    }

    /// Adds a source that can be rewound; see [`StatefulSource`].
    pub fn stateful_source<S: StatefulSource>(
        &self,
        name: impl Into<String>,
        factory: impl Fn() -> S + Send + Sync + 'static,
    ) -> Stream<S::Out> {
        self.add_source(name.into(), rewindable(factory))
    }

    fn add_source<T: crate::api::event::Event>(
        &self,
        name: String,
        maker: SourceMaker,
    ) -> Stream<T> {
        let node = self.graph.borrow_mut().add(name, NodeKind::Source(maker));
        Stream::of(Rc::clone(&self.graph), node)
    }

    /// Runs the job to its end: when all sources have ended, or something ends it.
    ///
    /// # Errors
    /// [`RunError::Refused`] before anything has started, [`RunError::Failed`] afterwards.
    pub fn run(&self, guarantee: impl Into<Guarantee>) -> Result<JobReport, RunError> {
        Ok(self.start(guarantee)?.wait()?)
    }

    /// Starts the job and returns while it runs.
    ///
    /// # Errors
    /// What is wrong with the job, the guarantee or the store. No event has flowed then.
    ///
    /// ```
    /// use std::time::Duration;
    /// use streamwork::{AtMostOnce, Job};
    ///
    /// let job = Job::new("endless");
    /// job.from_iter("numbers", || 0_u64..).for_each(|_| ());
    ///
    /// let handle = job.start(AtMostOnce::new())?;
    /// let report = handle.drain(Duration::from_secs(10))?;
    /// println!("{} numbers", report.metrics.sum("numbers", |m| m.emitted));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start(&self, guarantee: impl Into<Guarantee>) -> Result<JobHandle, Refused> {
        let guarantee = guarantee.into();
        let blueprint = plan::plan(&self.graph.borrow(), &guarantee)?;
        handle::start(blueprint, guarantee)
    }
}
