//! [`Blueprint`]: what is to be built for one execution, as the plan hands it down. The executor
//! knows instances by number and knows nothing of streams or types.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::channel::ledger::Ledger;
use crate::channel::push::Context;
use crate::checkpoint::{CheckpointStore, Manifest, PartName};
use crate::clock::Clock;
use crate::delivery::account::Account;
use crate::delivery::options::Restarts;
use crate::delivery::terms::{Commits, SourceTerms, Terms};
use crate::error::{Cause, Failure};
use crate::executor::injected::Injected;
use crate::executor::instance::{Base, Mailbox, Reporter, Step};
use crate::executor::node::Consequences;
use crate::executor::rebuild::Rebuild;
use crate::id::{ExecutionId, InstanceName};
use crate::metrics::{Counters, Edge, Registry};

/// A job, ready to be built again and again.
#[derive(Clone)]
pub(crate) struct Blueprint {
    pub(crate) job: String,
    /// Every component and how many instances it has.
    pub(crate) components: Vec<(String, usize)>,
    /// The streams between them.
    pub(crate) edges: Vec<Edge>,
    /// The instances that have a thread, sources first; their place here is their number.
    pub(crate) threads: Vec<ThreadPlan>,
    /// Makes queues and, for each thread, what builds its instance there.
    pub(crate) wire: Wire,
    /// What belongs to the job beside its executions.
    pub(crate) surroundings: Vec<Arc<dyn Surroundings>>,
}

/// Something outside that has to know whether its job runs, however often it starts over: a channel
/// into the job.
pub(crate) trait Surroundings: Send + Sync {
    /// A run of the job has started.
    fn run_begins(&self);
    /// It is over, whatever ended it.
    fn run_ends(&self);
    /// The job can not be run any more; a run that has started goes on.
    fn job_is_gone(&self);
}

/// A run of a job, as its surroundings know it: over when this is dropped.
pub(crate) struct Run(Vec<Arc<dyn Surroundings>>);

impl Run {
    pub(crate) fn begin(surroundings: Vec<Arc<dyn Surroundings>>) -> Self {
        surroundings.iter().for_each(|surroundings| surroundings.run_begins());
        Self(surroundings)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.0.iter().for_each(|surroundings| surroundings.run_ends());
    }
}

/// Makes queues and, for each thread, what builds its instance there.
pub(crate) type Wire = Arc<dyn Fn(&Execution) -> Vec<BuildInstance> + Send + Sync>;

/// One thread.
#[derive(Clone, Debug)]
pub(crate) struct ThreadPlan {
    /// The component at its head.
    pub(crate) name: InstanceName,
    pub(crate) is_source: bool,
}

/// Builds an instance; called on the instance's own thread.
pub(crate) type BuildInstance = Box<dyn FnOnce() -> Result<Box<dyn Step>, Failure> + Send>;

/// All that the instances of one execution share.
#[derive(Clone)]
pub(crate) struct Execution {
    pub(crate) id: ExecutionId,
    pub(crate) terms: Terms,
    pub(crate) restarts: Restarts,
    pub(crate) account: Account,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) injected: Injected,
    pub(crate) registry: Arc<Registry>,
    pub(crate) store: Option<Arc<dyn CheckpointStore>>,
    pub(crate) restored: Option<Arc<Manifest>>,
    /// By number. Shared, not copied: each instance keeps this value.
    pub(crate) mailboxes: Arc<[Arc<Mailbox>]>,
    pub(crate) reporters: Arc<[Reporter]>,
}

impl Execution {
    /// What instance `number` is built around.
    pub(crate) fn base(&self, number: usize) -> Base {
        let ledger = Ledger::new(self.account.reports());
        let context = Context::new(Arc::clone(&self.clock), ledger);
        Base::new(Arc::clone(&self.mailboxes[number]), self.reporters[number].clone(), context)
    }

    pub(crate) fn counters(&self, name: &InstanceName) -> Arc<Counters> {
        self.registry.counters(name)
    }

    pub(crate) fn consequences(&self) -> Consequences {
        Consequences {
            verdict: self.terms.on_failure,
            on_drop: self.terms.on_drop.clone(),
            rebuild: Rebuild::new(self.restarts),
        }
    }

    pub(crate) fn commits(&self) -> Commits {
        self.terms.commits
    }

    /// The encoded state that an instance starts from.
    ///
    /// # Errors
    /// What the store said.
    pub(crate) fn state_of(&self, name: &InstanceName) -> Result<Option<Vec<u8>>, Failure> {
        let (Some(store), Some(manifest)) = (&self.store, &self.restored) else { return Ok(None) };
        store.read_part(manifest, &part_name(name)).map_err(|error| failed_restore(name, error))
    }

    /// The encoded position that a source instance starts from.
    ///
    /// # Errors
    /// What the store said.
    pub(crate) fn position_of(&self, name: &InstanceName) -> Result<Option<Vec<u8>>, Failure> {
        match (&self.store, self.terms.sources) {
            (Some(store), SourceTerms::WriteAhead) => {
                store.read_position(&part_name(name)).map_err(|error| failed_restore(name, error))
            }
            _ => self.state_of(name),
        }
    }
}

pub(crate) fn part_name(name: &InstanceName) -> PartName {
    PartName { component: name.component.to_string(), instance: name.instance }
}

fn failed_restore(
    name: &InstanceName,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Failure {
    Failure { instance: name.clone(), callback: "restore", cause: Cause::error(error) }
}

impl Blueprint {
    /// Whether a checkpoint fits this job; if not, why.
    pub(crate) fn accepts(&self, manifest: &Manifest, cut: &str) -> Result<(), String> {
        if manifest.job != self.job {
            return Err(format!(
                "it is of job \"{}\", and this is \"{}\": use a directory per job",
                manifest.job, self.job
            ));
        }
        if manifest.cut != cut {
            return Err(format!(
                "it was taken by {}, and this guarantee needs one by {cut}: use another directory, or the guarantee it was taken under",
                manifest.cut
            ));
        }
        let now: BTreeMap<&str, u64> =
            self.components.iter().map(|(name, n)| (name.as_str(), *n as u64)).collect();
        for part in &manifest.parts {
            let component = part.name.component.as_str();
            if !now.contains_key(component) {
                return Err(format!(
                    "it has state of \"{component}\", which the job no longer has"
                ));
            }
        }
        for (component, then) in &manifest.parallelism {
            let has_state = manifest.parts.iter().any(|part| part.name.component == *component);
            match now.get(component.as_str()) {
                Some(instances) if has_state && instances != then => {
                    return Err(format!(
                        "\"{component}\" had {then} instances and has {instances} now: state cannot be dealt out anew"
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
