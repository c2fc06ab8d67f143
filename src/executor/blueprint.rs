//! [`Blueprint`]: what the plan gives to the executor: the instances and queues to build for each
//! execution. The executor knows instances by number, and knows no streams or event types.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::api::instance::Instance;
use crate::channel::budget::Budget;
use crate::channel::key::hashes_of;
use crate::channel::ledger::Ledger;
use crate::channel::push::Context;
use serde::de::DeserializeOwned;

use crate::checkpoint::coordinator::Cut;
use crate::checkpoint::restore::{Reader, Reads, can_be_shared_out, reads, splits_of};
use crate::checkpoint::{
    CheckpointStore, CodecId, ComponentRecord, EncodedState, Manifest, PartName, PartRecord, Shape,
    StateCodec, Unit,
};
use crate::clock::Clock;
use crate::delivery::account::Account;
use crate::delivery::options::Restarts;
use crate::delivery::terms::{Commits, SourceTerms, Terms};
use crate::error::{Cause, Failure};
use crate::executor::injected::Injected;
use crate::executor::instance::{Base, Mailbox, Reporter, Step};
use crate::executor::node::Consequences;
use crate::executor::node::held::{StoredEvents, is_held_part};
use crate::executor::rebuild::Rebuild;
use crate::executor::split_component::{SharedSplits, Stored};
use crate::executor::splits::Splits;
use crate::executor::stored_form::StoredForm;
use crate::executor::verb_names;
use crate::id::{ExecutionId, InstanceName};
use crate::metrics::{Counters, Edge, Registry};
use crate::sync::Mutex;
use crate::time::watermarks::{OutputWatermark, floor_of};

/// A job, ready to be built again and again.
#[derive(Clone)]
pub(crate) struct Blueprint {
    pub(crate) job: String,
    pub(crate) components: Vec<ComponentPlan>,
    /// The streams between them.
    pub(crate) edges: Vec<Edge>,
    /// The instances that have a thread, sources first; the index here is their number.
    pub(crate) threads: Vec<ThreadPlan>,
    /// Makes queues and, for each thread, what builds its instance there.
    pub(crate) wire: Wire,
    /// Values outside the job that have to know when it runs.
    pub(crate) surroundings: Vec<Arc<dyn Surroundings>>,
}

/// The kind of a source in checkpoints.
pub(crate) const SOURCE: &str = "source";
/// The kind of a source with splits in checkpoints.
pub(crate) const SPLIT_SOURCE: &str = "split source";
/// The kind of a sink that commits its output with checkpoints.
pub(crate) const TRANSACTIONAL_SINK: &str = "transactional sink";

/// One component, as checkpoints record it.
#[derive(Clone)]
pub(crate) struct ComponentPlan {
    pub(crate) name: String,
    pub(crate) instances: usize,
    /// Source, operator, or which sink.
    pub(crate) kind: &'static str,
    pub(crate) state: StateShape,
    /// The codec of its state.
    pub(crate) codec: CodecId,
    /// How its state is stored.
    pub(crate) form: StoredForm,
    /// What the events look like that it holds in checkpoints; `Stateless` if it holds none there.
    pub(crate) held: StateShape,
    /// The verb that its name is made of, if its user has given it none and it has state.
    pub(crate) verb: Option<&'static str>,
}

impl ComponentPlan {
    pub(crate) fn is_transactional_sink(&self) -> bool {
        self.kind == TRANSACTIONAL_SINK
    }
}

/// What is known of the structure of a component's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StateShape {
    /// It has no state in checkpoints.
    Stateless,
    /// It has state whose type needs self-describing data.
    Unknown,
    /// It has state with this structure.
    Known(String),
}

impl StateShape {
    /// Whether the structure of its state is known, or it has no state.
    pub(crate) fn is_known(&self) -> bool {
        *self != Self::Unknown
    }

    /// Of a state of this type.
    pub(crate) fn of<S: DeserializeOwned>() -> Self {
        Shape::of::<S>().map_or(Self::Unknown, |shape| Self::Known(shape.to_string()))
    }
}

impl ComponentPlan {
    /// Its record in a manifest.
    pub(crate) fn record(&self) -> ComponentRecord {
        let mut record = ComponentRecord::new(self.name.clone(), self.instances as u64);
        self.kind.clone_into(&mut record.kind);
        (record.codec, record.version) = (self.codec, self.form.version);
        let known = |shape: &StateShape| match shape {
            StateShape::Known(shape) => Some(shape.clone()),
            StateShape::Stateless | StateShape::Unknown => None,
        };
        (record.state, record.held) = (known(&self.state), known(&self.held));
        record
    }

    /// Whether it can be restored from the state that is recorded under its name; if not, why.
    fn takes(&self, then: &ComponentRecord, shared_out: bool) -> Result<(), String> {
        let Self { name, instances, kind, state, .. } = self;
        if !then.kind.is_empty() && then.kind != *kind {
            return Err(format!("\"{name}\" was a {} and is a {kind} now", then.kind));
        }
        if *state == StateShape::Stateless {
            return Err(format!("\"{name}\" had state and has none now"));
        }
        self.form.reads(then, state)?;
        let shared_out = shared_out || *kind == SPLIT_SOURCE;
        if then.parallelism != *instances as u64 && !shared_out {
            return Err(format!(
                "\"{name}\" had {} instances and has {instances} now: state cannot be dealt out anew",
                then.parallelism
            ));
        }
        Ok(())
    }

    /// Whether the events that the component that this was held can be given back to it; if not, why.
    fn takes_held(&self, then: &ComponentRecord) -> Result<(), String> {
        let Self { name, instances, held, .. } = self;
        if *held == StateShape::Stateless {
            return Err(format!(
                "\"{name}\" held events and does not store those it holds now, so none can be given back"
            ));
        }
        if let Some((then, now)) = different(then.codec, then.held.as_deref(), held) {
            let (then, now) = in_short(then, now);
            return Err(format!(
                "the events that \"{name}\" held were {then} and its events are {now} now"
            ));
        }
        if then.parallelism != *instances as u64 {
            return Err(format!(
                "\"{name}\" had {} instances and has {instances} now: events that it held cannot be dealt out anew",
                then.parallelism
            ));
        }
        Ok(())
    }
}

/// What a type was and is where bytes of the one cannot be read as the other.
pub(crate) fn different<'s>(
    codec: CodecId,
    then: Option<&'s str>,
    now: &'s StateShape,
) -> Option<(&'s str, &'s str)> {
    match (then, now) {
        // Bytes with the names of fields are read as serde's attributes say.
        _ if codec == StateCodec::SELF_DESCRIBING => None,
        (Some(then), StateShape::Known(now)) if then != now => Some((then, now)),
        _ => None,
    }
}

/// Two texts, or the parts where they begin to differ if they are long.
pub(crate) fn in_short(then: &str, now: &str) -> (String, String) {
    let at = first_difference(then, now);
    (around(then, at), around(now, at))
}

/// Where two texts begin to differ.
fn first_difference(one: &str, other: &str) -> usize {
    one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count()
}

/// The text, or the part around this place if it is long.
fn around(text: &str, at: usize) -> String {
    const SHOWN: usize = 160;
    if text.len() <= SHOWN {
        return text.to_owned();
    }
    let boundary = |mut at: usize| {
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let from = boundary(at.min(text.len()).saturating_sub(SHOWN / 2));
    let to = boundary((from + SHOWN).min(text.len()));
    format!("…{}…", &text[from..to])
}

/// A value outside the job that has to know whether the job runs, over all its restarts: a channel
/// into the job.
pub(crate) trait Surroundings: Send + Sync {
    /// A run of the job has started.
    fn run_begins(&self);
    /// The run has ended, for whatever reason.
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
    /// The time an event may be held, if that is limited.
    pub(crate) answer_within: Option<Duration>,
    /// Above so many bytes, the state by key of an instance is saved by what has changed.
    pub(crate) incremental_above: u64,
    pub(crate) account: Account,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) injected: Injected,
    pub(crate) registry: Arc<Registry>,
    pub(crate) store: Option<Arc<dyn CheckpointStore>>,
    pub(crate) restored: Option<Arc<Manifest>>,
    /// Where its parts are: in the store, or in a savepoint.
    pub(crate) restored_in: Option<Arc<dyn CheckpointStore>>,
    /// Components that start without their stored state.
    pub(crate) anew: Arc<BTreeSet<String>>,
    /// By number. Shared, not copied: each instance keeps this value.
    pub(crate) mailboxes: Arc<[Arc<Mailbox>]>,
    /// The budget of events in flight to each instance, by number.
    pub(crate) budgets: Arc<[Arc<Budget>]>,
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

    /// Whether sources store their positions by themselves, before they emit.
    pub(crate) fn writes_positions_ahead(&self) -> bool {
        matches!(self.terms.sources, SourceTerms::WriteAhead)
    }

    /// The version of the state that the checkpoint has of a component.
    pub(crate) fn stored_version(&self, component: &str) -> u32 {
        let records = self.restored.iter().flat_map(|manifest| &manifest.components);
        let mut versions = records.filter(|of| of.name == component).map(|of| of.version);
        versions.next().unwrap_or(1)
    }

    /// The encoded state that an instance starts from.
    ///
    /// # Errors
    /// An error of the store.
    pub(crate) fn state_of(&self, instance: &Instance) -> Result<Option<EncodedState>, Failure> {
        let stored = self.stored(instance, |name| !is_held_part(name))?;
        Ok(stored.map(|(_, state)| state))
    }

    /// The events that an instance held, encoded.
    ///
    /// # Errors
    /// An error of the store.
    pub(crate) fn held_of(&self, instance: &Instance) -> Result<Option<StoredEvents>, Failure> {
        let stored = self.stored(instance, is_held_part)?;
        Ok(stored.map(|(name, events)| StoredEvents::of(&name, events)))
    }

    /// The first part of this name that an instance takes over.
    fn stored(
        &self,
        instance: &Instance,
        is_wanted: impl Fn(&PartName) -> bool,
    ) -> Result<Option<(PartName, EncodedState)>, Failure> {
        let Some(manifest) = &self.restored else { return Ok(None) };
        let reads = self.reads_of(manifest, instance);
        let wanted = reads.iter().find(|reads| is_wanted(&reads.part.name));
        let Some(Reads { part, .. }) = wanted else { return Ok(None) };
        let read = self.read(instance, part)?;
        Ok(read.map(|encoded| (part.name.clone(), encoded)))
    }

    /// The parts with keys of an instance, in the order in which they have to be applied.
    pub(crate) fn keyed_parts_of(&self, instance: &Instance) -> Vec<Reads<'_>> {
        let reads = self.restored.iter().flat_map(|manifest| self.reads_of(manifest, instance));
        reads.filter(|read| matches!(read.part.name.unit, Unit::Range(_))).collect()
    }

    /// A part of the checkpoint that the job is restored from.
    ///
    /// # Errors
    /// An error of the store.
    pub(crate) fn read(
        &self,
        instance: &Instance,
        part: &PartRecord,
    ) -> Result<Option<EncodedState>, Failure> {
        let Some(store) = &self.restored_in else { return Ok(None) };
        let read = store.read(part).map(Some);
        read.map_err(|error| failed_restore(&instance.name, error))
    }

    /// What an instance takes over from a checkpoint.
    fn reads_of<'a>(&self, manifest: &'a Manifest, instance: &Instance) -> Vec<Reads<'a>> {
        if self.anew.contains(instance.component()) {
            return Vec::new();
        }
        let reader = Reader {
            instance: instance.index(),
            instances: instance.parallelism,
            keys: hashes_of(instance.index(), instance.parallelism),
        };
        reads(manifest, instance.component(), reader)
    }

    /// The watermark that an instance is restored with, and reports first.
    pub(crate) fn watermark_of(&self, instance: &Instance) -> OutputWatermark {
        if self.store.is_none() || !self.terms.saves_watermarks() {
            return OutputWatermark::default();
        }
        let read = self.restored.iter().flat_map(|manifest| self.reads_of(manifest, instance));
        OutputWatermark::restored(floor_of(read.map(|read| read.part.watermark)))
    }

    /// The encoded position that a source instance starts from.
    ///
    /// # Errors
    /// An error of the store.
    pub(crate) fn position_of(&self, instance: &Instance) -> Result<Option<EncodedState>, Failure> {
        let name = &instance.name;
        match (&self.store, self.terms.sources) {
            (Some(_), SourceTerms::WriteAhead) if self.anew.contains(&*name.component) => Ok(None),
            (Some(store), SourceTerms::WriteAhead) => {
                store.read_position(&part_name(name)).map_err(|error| failed_restore(name, error))
            }
            _ => self.state_of(instance),
        }
    }
}

impl Execution {
    /// What the instances of a split source share: the splits in the store, their instances and positions.
    pub(crate) fn shared_splits(&self, of: &Instance) -> SharedSplits {
        let component = of.component().to_owned();
        let is_anew = self.anew.contains(of.component());
        let restored = self.restored.clone().filter(|_| !is_anew);
        let names = restored.iter().flat_map(|manifest| splits_of(manifest, &component));
        let splits = Splits::restored(of.parallelism, names.map(str::to_owned));
        // What is shared may outlive the execution, and must not keep its store from the next one.
        let store = self.store.as_ref().map(Arc::downgrade);
        let restored_in = self.restored_in.as_ref().map(Arc::downgrade);
        let ahead = self.writes_positions_ahead();
        let is_first_run = restored.is_none();
        let splits = Arc::new(Mutex::new(splits));
        let known = Arc::clone(&splits);
        let stored: Stored = Arc::new(move |split| {
            let name = PartName::of(&*component, "", Unit::Split(split.to_owned()));
            let open = |store: &Weak<_>| store.upgrade().ok_or("the execution is over");
            let store: Option<Arc<dyn CheckpointStore>> = match ahead {
                true => store.as_ref().map(open).transpose()?,
                false => restored_in.as_ref().map(open).transpose()?,
            };
            match (&store, &restored) {
                (Some(store), _) if ahead && !is_anew => Ok(store.read_position(&name)?),
                (Some(_), Some(_)) if !ahead && known.lock().has_been_gone(split) => Ok(None),
                (Some(store), Some(manifest)) if !ahead => Ok(store.read_part(manifest, &name)?),
                _ => Ok(None),
            }
        });
        SharedSplits { splits, stored, is_first_run, injected: self.injected.clone() }
    }
}

pub(crate) fn part_name(name: &InstanceName) -> PartName {
    PartName::new(&*name.component, name.instance)
}

fn failed_restore(
    name: &InstanceName,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Failure {
    Failure { instance: name.clone(), callback: "restore", cause: Cause::error(error) }
}

/// Whether the stored version of a position can be another one than the checkpoint says: it is written at other times.
fn is_written_ahead(cut: &str, now: &ComponentPlan, then: &ComponentRecord) -> bool {
    let is_source = [SOURCE, SPLIT_SOURCE].contains(&now.kind);
    cut == Cut::Operators.word() && is_source && then.version != now.form.version
}

/// What a checkpoint has of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum StoredKind {
    State,
    HeldEvents,
}

impl Blueprint {
    /// Counters for all components of the job.
    pub(crate) fn registry(&self) -> Registry {
        let components = self.components.iter();
        Registry::of(components.map(|of| (&*of.name, of.instances)), &self.edges)
    }

    /// Whether this job can be restored from a checkpoint, except these components, which start without
    /// state; if not, why.
    pub(crate) fn accepts(
        &self,
        manifest: &Manifest,
        cut: &str,
        anew: &BTreeSet<String>,
    ) -> Result<(), String> {
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
        let now: BTreeMap<&str, &ComponentPlan> =
            self.components.iter().map(|component| (&*component.name, component)).collect();
        let then: BTreeMap<&str, &ComponentRecord> =
            manifest.components.iter().map(|component| (&*component.name, component)).collect();
        // Where sources write their positions by themselves, the manifest says whose they are.
        let positions = manifest.components.iter().filter(|then| {
            let is_source = [SOURCE, SPLIT_SOURCE].contains(&&*then.kind);
            cut == Cut::Operators.word() && then.state.is_some() && is_source
        });
        let parts = || manifest.parts.iter().map(|part| (&*part.name.component, part));
        let with_state: BTreeSet<(&str, StoredKind)> = parts()
            .map(|(component, part)| match is_held_part(&part.name) {
                true => (component, StoredKind::HeldEvents),
                false => (component, StoredKind::State),
            })
            .chain(positions.map(|then| (&*then.name, StoredKind::State)))
            .collect();
        let stateful = with_state.iter().filter(|(_, kept)| *kept == StoredKind::State);
        verb_names::are_those_of(stateful.map(|(name, _)| *name), &self.components, anew)?;
        for (component, kept) in with_state.into_iter().filter(|(of, _)| !anew.contains(*of)) {
            let unknown;
            let fits = match (now.get(component), then.get(component)) {
                (None, _) => {
                    Err(format!("it has state of \"{component}\", which the job no longer has"))
                }
                (Some(now), then) => {
                    unknown = ComponentRecord::new(component, now.instances as u64);
                    let then = then.copied().unwrap_or(&unknown);
                    let of_it =
                        parts().filter(|(of, part)| *of == component && !is_held_part(&part.name));
                    match kept {
                        StoredKind::State if is_written_ahead(cut, now, then) => Err(format!(
                            "the position of \"{component}\" is stored as version {} and is written ahead under this guarantee, where positions are not migrated",
                            then.version
                        )),
                        StoredKind::State => {
                            now.takes(then, can_be_shared_out(of_it.map(|(_, part)| part)))
                        }
                        StoredKind::HeldEvents => now.takes_held(then),
                    }
                }
            };
            fits.map_err(|reason| {
                format!(
                    "{reason}; to leave that state behind, choose `start_anew(\"{component}\")` for one run"
                )
            })?;
        }
        Ok(())
    }
}
