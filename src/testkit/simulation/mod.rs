//! [`Simulation`]: runs a job on one thread, in an order drawn from a seed, on a disk in memory and
//! with a counted clock, under faults; and again after each crash, until it ends.
//!
//! ```text
//!              seed ──▶ world: what happens next
//!                        │
//!   job ──▶ supervisor ──┴─▶ host: one step of an instance, of the writer, or of the supervisor
//!              ▲                │
//!              └── crash: what the disk really holds is where the next life begins
//! ```
//! Supervisor, instances, writer and store are those of production: only `Host`, clock and disk
//! differ. FoundationDB is tested with such simulations (Zhou et al., "FoundationDB: A Distributed
//! Unbundled Transactional Key Value Store", SIGMOD 2021, section 4).

use std::any::Any;
use std::borrow::Borrow;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::unbounded;

use crate::checkpoint::DirectoryStore;
use crate::clock::Clock;
use crate::delivery::options::StoreChoice;
use crate::delivery::terms::Guarantee;
use crate::error::{JobError, Refused, with_causes};
use crate::executor::supervisor::{Supervisor, SupervisorParts};
use crate::job::Job;
use crate::job::plan::plan;
use crate::metrics::Metrics;
use crate::testkit::simulated_disk::SimulatedDisk;
use crate::testkit::simulation::host::{Course, Hung, Killed, SimulatedHost};
use crate::testkit::simulation::world::{Crash, Shared, World};

pub use faults::{Fault, Faults};

mod explore;
mod faults;
mod host;
mod world;

pub use explore::explore;

/// What makes a checkpoint complete.
const MANIFEST: &str = "MANIFEST";

/// Lives after which a history has gone on for too long.
const LIVES_MAX: u32 = 200;

/// One seed, and the faults that may occur.
///
/// The job runs on the calling thread, so its components must not wait for other threads. They should
/// not depend on time or chance: a source that reads a clock, or a map whose order differs from run to
/// run, makes two runs of one seed differ. Values that its factories share stand for the outside world:
/// they survive when the simulated process is killed.
///
/// ```
/// use streamwork::testkit::{Collected, Ended, Simulation};
/// use streamwork::{ExactlyOnce, Job};
///
/// let seen = Collected::new();
/// let job = Job::new("squares");
/// job.from_iter("numbers", || 1..=3_u64).map(|n| n * n).sink("squares", seen.factory());
///
/// let history = Simulation::new(7).run(&job, ExactlyOnce::checkpoints_in("/checkpoints"));
/// assert!(matches!(history.ended, Ended::Finished(_)), "{history}");
/// // A plain sink may see a square again after a crash, but each at least once.
/// assert!([1, 4, 9].iter().all(|square| seen.events().contains(square)), "{history}");
/// ```
#[derive(Debug)]
pub struct Simulation {
    seed: u64,
    faults: Faults,
    steps_max: u64,
    disk: SimulatedDisk,
    /// Fingerprints of what was run, for the comparison with a second run.
    runs: Rc<RefCell<Vec<u64>>>,
}

/// What happened in one simulated history.
#[derive(Debug)]
#[non_exhaustive]
pub struct History {
    /// The seed that repeats it.
    pub seed: u64,
    /// How it ended.
    pub ended: Ended,
    /// How many processes it took.
    pub lives: u32,
    /// The faults, in order.
    pub injected: Vec<String>,
    /// Steps of instances, writer and supervisor, and waits between them.
    pub steps: u64,
    /// Time that passed on the simulated clock.
    pub simulated: Duration,
    /// A hash of all choices: the same for the same seed.
    pub fingerprint: u64,
    /// A hash of all bytes that were written to the disk.
    pub disk_fingerprint: u64,
}

/// How a history ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ended {
    /// All sources ended by themselves; the counters of the last process.
    Finished(Metrics),
    /// The process was killed, and there is no store from which another could continue.
    Killed,
    /// The job failed, and no later process could continue: there is no store, or it failed without a
    /// fault.
    Failed(JobError),
    /// The job was refused, without a fault.
    Refused(Refused),
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, lives, steps, simulated, .. } = self;
        write!(f, "seed {seed}: {lives} processes, {steps} steps, {simulated:?}, ")?;
        match &self.ended {
            Ended::Finished(_) => f.write_str("finished")?,
            Ended::Killed => f.write_str("killed for good")?,
            Ended::Failed(error) => write!(f, "failed: {}", with_causes(error))?,
            Ended::Refused(error) => write!(f, "refused: {}", with_causes(error))?,
        }
        for what in &self.injected {
            write!(f, "\n  {what}")?;
        }
        Ok(())
    }
}

/// How one process ended.
enum Death {
    Finished(Metrics),
    Stopped,
    Failed(JobError),
    Refused(Refused),
    Crashed,
}

impl Simulation {
    /// A simulation with all kinds of faults.
    pub fn new(seed: u64) -> Self {
        let (disk, runs) = (SimulatedDisk::new(), Rc::default());
        Self { seed, faults: Faults::default(), steps_max: 1_000_000, disk, runs }
    }

    /// Sets the faults that may occur.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Steps after which a job counts as hanging. Default a million.
    ///
    /// # Panics
    /// If it is 0: every job would count as hanging.
    pub fn steps_max(mut self, steps: u64) -> Self {
        assert!(steps > 0, "steps_max: at least 1, or every job counts as hanging");
        self.steps_max = steps;
        self
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The disk that checkpoints go to, for components that write to it too, and to inspect it
    /// afterwards.
    pub fn disk(&self) -> &SimulatedDisk {
        &self.disk
    }

    /// Runs the job to its end, however many processes that takes. A directory that the guarantee names
    /// is on the simulated disk; a store that the user provides is used as it is.
    ///
    /// # Panics
    /// If the job hangs: nothing moves any more, or it does not end. If the account of a component does
    /// not add up ([`ComponentAccount::check`](crate::metrics::ComponentAccount::check)) at the end of a
    /// process.
    pub fn run(&self, job: &Job, guarantee: impl Into<Guarantee>) -> History {
        self.history(|_| job, guarantee.into())
    }

    /// As [`run`](Simulation::run), with a job for each process, counted from 1: after a process was stopped
    /// or killed, the next one may have another parallelism.
    ///
    /// ```
    /// use streamwork::testkit::{Collected, Ended, Simulation};
    /// use streamwork::{AtLeastOnce, Job};
    ///
    /// let seen = Collected::new();
    /// let job = |process: u32| {
    ///     let job = Job::new("squares");
    ///     let squares = job.from_iter("numbers", || 1..=3_u64).map(|n| n * n);
    ///     squares.parallelism(process as usize).sink("squares", seen.factory());
    ///     job
    /// };
    /// let history = Simulation::new(7).run_each(job, AtLeastOnce::new().store_in("/positions"));
    /// assert!(matches!(history.ended, Ended::Finished(_)), "{history}");
    /// ```
    ///
    /// # Panics
    /// As `run` does.
    pub fn run_each(&self, job: impl Fn(u32) -> Job, guarantee: impl Into<Guarantee>) -> History {
        self.history(job, guarantee.into())
    }

    fn history<J: Borrow<Job>>(&self, job: impl Fn(u32) -> J, guarantee: Guarantee) -> History {
        let shared = Shared::new(World::new(self.seed, &self.faults));
        let began = shared.now();
        self.disk.follow(shared.clone());
        let mut lives = 0;
        let ended = loop {
            lives += 1;
            let before = shared.world.lock().troubles;
            let death = self.live(job(lives).borrow(), guarantee.clone(), &shared);
            let nothing_went_wrong = shared.world.lock().troubles == before;
            let goes_on = guarantee.options.store.is_some() && lives < LIVES_MAX;
            match death {
                Death::Finished(metrics) => break Ended::Finished(metrics),
                Death::Crashed if !goes_on => {
                    self.crash(&shared);
                    break Ended::Killed;
                }
                Death::Failed(error) if !goes_on || nothing_went_wrong => {
                    break Ended::Failed(error);
                }
                Death::Refused(error) if !goes_on || nothing_went_wrong => {
                    break Ended::Refused(error);
                }
                Death::Crashed => {
                    self.crash(&shared);
                    self.damage(&guarantee, &shared);
                }
                Death::Stopped | Death::Failed(_) | Death::Refused(_) => self.disk.lose_process(),
            }
        };
        // Who looks at the disk now meets no more faults.
        self.disk.follow_nobody();
        let world = shared.world.lock();
        self.runs.borrow_mut().push(world.fingerprint);
        History {
            seed: self.seed,
            ended,
            lives,
            injected: world.injected.clone(),
            steps: world.steps,
            simulated: shared.now().since(began),
            fingerprint: world.fingerprint,
            disk_fingerprint: world.disk_fingerprint,
        }
    }

    fn crash(&self, shared: &Shared) {
        let (crash, seed) = {
            let mut world = shared.world.lock();
            (world.crash.take(), world.random.next())
        };
        match crash {
            Some(Crash::PowerFailure) => self.disk.lose_power(seed),
            Some(Crash::Kill) | None => self.disk.lose_process(),
        }
    }

    /// Damages the newest checkpoint if it is time for that and there is an older one.
    fn damage(&self, guarantee: &Guarantee, shared: &Shared) {
        let Some(StoreChoice::Directory(store)) = &guarantee.options.store else { return };
        let complete = |name: &String| self.disk.peek(&store.join(name)).contains(&MANIFEST.into());
        let checkpoints = self.disk.peek(store).into_iter().filter(|name| name.starts_with("chk-"));
        let complete: Vec<String> = checkpoints.filter(complete).collect();
        let mut world = shared.world.lock();
        let [.., _, newest] = &complete[..] else { return };
        if !world.draw(Fault::Damage) {
            return;
        }
        let directory = store.join(newest);
        let files = self.disk.peek(&directory);
        let file = directory.join(&files[world.random.below(files.len())]);
        self.disk.flip_a_bit(&file, world.random.next());
        world.inject(format!("a bit of {} is wrong", file.display()));
    }

    /// One process, from its start to its end.
    fn live(&self, job: &Job, guarantee: Guarantee, shared: &Shared) -> Death {
        let lived = catch_unwind(AssertUnwindSafe(|| self.run_process(job, guarantee, shared)));
        match lived {
            Ok(death) if shared.world.lock().crash.is_none() => death,
            // It was killed in its last moments.
            Ok(_) => Death::Crashed,
            Err(payload) => self.fallen(payload),
        }
    }

    fn fallen(&self, payload: Box<dyn Any + Send>) -> Death {
        if payload.is::<Killed>() {
            return Death::Crashed;
        }
        match payload.downcast::<Hung>() {
            Ok(hung) => panic!("seed {}: the job hangs: {}", self.seed, hung.0),
            Err(payload) => resume_unwind(payload),
        }
    }

    /// Every event of a process that came to its end must be accounted for.
    fn check_accounts(&self, counted: &Metrics) {
        for account in &counted.accounts {
            if let Err(error) = account.check() {
                panic!("seed {}: {error}", self.seed);
            }
        }
    }

    fn run_process(&self, job: &Job, mut guarantee: Guarantee, shared: &Shared) -> Death {
        let blueprint = match plan(&job.graph.lock(), &guarantee) {
            Ok(blueprint) => blueprint,
            Err(refused) => return Death::Refused(refused),
        };
        if let Some(StoreChoice::Directory(path)) = &guarantee.options.store {
            match DirectoryStore::open_on(Arc::new(self.disk.clone()), path) {
                Ok(store) => guarantee.options.store = Some(StoreChoice::Own(Arc::new(store))),
                Err(error) => return Death::Refused(error.into()),
            }
        }
        let store = match guarantee.options.store.as_ref().map(StoreChoice::open).transpose() {
            Ok(store) => store,
            Err(refused) => return Death::Refused(refused),
        };
        let registry = Arc::new(blueprint.registry());
        let (to_supervisor, requests) = unbounded();
        let course = Course {
            stop_within: guarantee.options.stop_within,
            resumable: store.is_some(),
            steps_max: self.steps_max,
        };
        let host = SimulatedHost::new(shared.clone(), self.disk.clone(), course, to_supervisor);
        let parts = SupervisorParts {
            blueprint,
            guarantee,
            store,
            clock: Arc::new(shared.clone()),
            registry: Arc::clone(&registry),
            requests,
        };
        let mut supervisor = Supervisor::new(parts, host);
        if let Err(refused) = supervisor.begin() {
            return Death::Refused(refused);
        }
        let ended = supervisor.run();
        let counted = registry.snapshot();
        for instance in &counted.instances {
            let mut world = shared.world.lock();
            world.note("processed", instance.processed);
            world.note("emitted", instance.emitted);
        }
        if ended.is_ok() && shared.world.lock().crash.is_none() {
            self.check_accounts(&counted);
        }
        match ended {
            Ok(ended) if ended.asked.is_some() => Death::Stopped,
            Ok(_) => Death::Finished(counted),
            Err(error) => Death::Failed(error),
        }
    }
}
