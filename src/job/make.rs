//! Where event types are erased and recovered: a stream creates makers while it knows its event type, and
//! they build typed queues, stages and instances later, on the instance's thread. Nothing of this runs per
//! event or per batch.

use std::any::{Any, TypeId, type_name};
use std::cell::RefCell;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Serialize;

use crate::api::accounts::InstanceContext;
use crate::api::bad_record::{BadRecord, RawRecord};
use crate::api::collector::Collector;
use crate::api::dead_letter::DeadLetter;
use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::on_error::OnError;
use crate::api::operator::StatefulOperator;
use crate::api::output::Output;
use crate::api::side_output::{DeclaredOutput, SideBatch, SideEvents};
use crate::api::source::{Source, StatefulSource};
use crate::api::source_output::SourceOutput;
use crate::api::split_source::SplitSource;
use crate::api::state::State;
use crate::api::token::Holder;
use crate::api::waker::Waker;
use crate::api::weight::Weigher;
use crate::channel::inbox::Inbox;
use crate::channel::inputs::Inputs;
use crate::channel::key::hashes_of;
use crate::channel::outbox::{Outbox, Overflow};
use crate::channel::port::One;
use crate::channel::push::{Push, Tee};
use crate::channel::queue::{Bound, QueueReceiver, QueueSender, queue};
use crate::channel::routing::{KeyOf, Routing};
use crate::checkpoint::coordinator::Cut;
use crate::checkpoint::restore::Reads;
use crate::checkpoint::{CodecError, CodecId, EncodedState, Shape, Stored, ValueReader};
use crate::clock::Timestamp;
use crate::delivery::account::source_side;
use crate::delivery::terms::Commits;
use crate::error::{BoxError, Cause, Failure, Permanent};
use crate::executor::bad_records::{EventOrBadRecord, Fork, WithBadRecords};
use crate::executor::blueprint::{Execution, StateShape};
use crate::executor::component::{Component, SavedTimers, Stateful};
use crate::executor::instance::{Mailbox, Step};
use crate::executor::key_panic::KeyPanic;
use crate::executor::keyed::KeyedStart;
use crate::executor::node::held::{Held, Holding};
use crate::executor::node::{Node, NodeParts, Restored};
use crate::executor::operator_instance::OperatorInstance;
use crate::executor::side_port::{Port, SidePort};
use crate::executor::source_component::{NonRewindable, Rewindable, SourceComponent};
use crate::executor::source_instance::{Letters, SourceInstance, SourceParts};
use crate::executor::split_component::{SharedSplits, SplitComponent};
use crate::executor::stored_form::{SaidAt, StoredForm};
use crate::metrics::{Count, Counters};
use crate::state::{KeyedState, KeyedStore, Restore, StoredValue, TimeToLive};
use crate::sync::Mutex;

/// A `Box<dyn Push<T>>` whose `T` is erased.
pub(crate) type AnyPush = Box<dyn Any>;
/// One end of a queue whose event type is erased.
pub(crate) type AnyEnd = Box<dyn Any + Send>;

/// A [`LettersFactory`] whose event type is erased.
pub(crate) type AnyLetters = Arc<dyn Any + Send + Sync>;

/// What it takes to build an instance of one component.
pub(crate) struct BuildContext<'a> {
    pub(crate) execution: &'a Execution,
    pub(crate) instance: Instance,
    /// The number of its thread; for a source also that of its tracker.
    pub(crate) number: usize,
    /// The codec of its state.
    pub(crate) codec: CodecId,
    pub(crate) on_error: OnError,
    /// Whether its outputs carry times.
    pub(crate) timed: bool,
}

impl BuildContext<'_> {
    /// The version of the state that the component is restored from.
    fn stored_version(&self) -> u32 {
        self.execution.stored_version(self.instance.component())
    }
}

/// Where an instance's outputs lead to.
#[derive(Default)]
pub(crate) struct Outputs {
    pub(crate) main: Vec<AnyPush>,
    pub(crate) sides: Vec<(Box<dyn SideEvents>, Box<dyn SidePort>)>,
}

/// Makes the parts of an edge.
pub(crate) trait MakeEdge: Send + Sync {
    /// The type of the events, and its name.
    fn event_type(&self) -> (TypeId, &'static str);
    fn queue(&self, frames: usize, from: Waker, to: Waker, bound: Bound) -> (AnyEnd, AnyEnd);
    fn outbox(
        &self,
        route: RoutingPlan,
        queues: Vec<(AnyEnd, Arc<Counters>)>,
        overflow: Overflow,
        build: &BuildContext<'_>,
    ) -> AnyPush;
    fn side_port(
        &self,
        name: &'static str,
        readers: Vec<AnyPush>,
        emitted: Arc<Count>,
    ) -> (Box<dyn SideEvents>, Box<dyn SidePort>);
}

/// A grouping after planning: its options are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoutingPlan {
    One(usize),
    RoundRobin { first: usize },
    Key,
    All,
}

/// An edge for events of type `T`.
pub(crate) struct TypedEdge<T> {
    pub(crate) key: Option<KeyOf<T>>,
    /// The bytes that its events own, if known.
    pub(crate) weigher: Option<Weigher<T>>,
}

const ONE_TYPE: &str = "both ends of an edge were made with one event type";

impl<T: Event> MakeEdge for TypedEdge<T> {
    fn event_type(&self) -> (TypeId, &'static str) {
        (TypeId::of::<T>(), type_name::<T>())
    }

    fn queue(&self, frames: usize, from: Waker, to: Waker, bound: Bound) -> (AnyEnd, AnyEnd) {
        let (sender, receiver) = queue::<T>(frames, from, to, bound);
        (Box::new(sender), Box::new(receiver))
    }

    fn outbox(
        &self,
        route: RoutingPlan,
        queues: Vec<(AnyEnd, Arc<Counters>)>,
        overflow: Overflow,
        build: &BuildContext<'_>,
    ) -> AnyPush {
        let routing = match route {
            RoutingPlan::One(instance) => Routing::One(instance),
            RoutingPlan::RoundRobin { first } => Routing::RoundRobin { next: first },
            RoutingPlan::Key => Routing::Key {
                key_of: Arc::clone(self.key.as_ref().expect("keyed by `key_by`")),
                on_panic: Box::new(KeyPanic {
                    instance: build.instance.name.clone(),
                    verdict: build.execution.terms.on_failure,
                    on_drop: build.execution.terms.on_drop.clone(),
                    counters: build.execution.counters(&build.instance.name),
                    receiver: queues.first().map(|(_, of)| Arc::clone(of)).unwrap_or_default(),
                }),
            },
            RoutingPlan::All => Routing::All,
        };
        let typed = queues
            .into_iter()
            .map(|(end, counters)| (*end.downcast::<QueueSender<T>>().expect(ONE_TYPE), counters));
        let outbox: Box<dyn Push<T>> =
            Box::new(Outbox::new(routing, typed.collect(), overflow, self.weigher.as_ref()));
        Box::new(outbox)
    }

    fn side_port(
        &self,
        name: &'static str,
        readers: Vec<AnyPush>,
        emitted: Arc<Count>,
    ) -> (Box<dyn SideEvents>, Box<dyn SidePort>) {
        let next = join::<T>(readers);
        let output = SideBatch::<T>::new(name, next.copies());
        (Box::new(output), Box::new(Port::new(next, emitted)))
    }
}

/// All readers of a stream as one.
fn join<T: Event>(readers: Vec<AnyPush>) -> Box<dyn Push<T>> {
    let typed =
        readers.into_iter().map(|push| *push.downcast::<Box<dyn Push<T>>>().expect(ONE_TYPE));
    Tee::over(typed.collect())
}

/// Where a component emits: its collector, and the stages after it.
struct OutputPorts<T> {
    collector: Collector<T>,
    next: Box<dyn Push<T>>,
    sides: Vec<Box<dyn SidePort>>,
}

impl<T: Event> OutputPorts<T> {
    fn new(
        build: &BuildContext<'_>,
        outputs: Outputs,
        declared: &'static [DeclaredOutput],
        holder: Arc<dyn Holder>,
    ) -> Self {
        let next = join::<T>(outputs.main);
        let (sides, ports) = outputs.sides.into_iter().unzip();
        let context = InstanceContext {
            answers: build.execution.account.answers(build.number),
            counters: build.execution.counters(&build.instance.name),
            instance: build.instance.name.clone(),
            holder,
            tracked: build.execution.account.tracked(),
            timed: build.timed,
        };
        let output = Output::new(context, next.copies(), declared, sides);
        Self { collector: Collector::new(output), next, sides: ports }
    }
}

/// Makes the stage of an operator or sink.
type MakeStage = dyn Fn(&BuildContext<'_>, Outputs) -> Result<AnyPush, Failure> + Send + Sync;
/// Makes an instance around a stage and the queues into it.
type MakeInstance =
    dyn Fn(&BuildContext<'_>, AnyPush, Vec<(AnyEnd, Duration)>) -> Box<dyn Step> + Send + Sync;
/// Makes a source instance.
type MakeSource = dyn Fn(&BuildContext<'_>, Outputs, Option<AnyLetters>) -> Result<Box<dyn Step>, Failure>
    + Send
    + Sync;

/// Makes operators and sinks.
#[derive(Clone)]
pub(crate) struct OperatorMaker {
    pub(crate) state: fn(Commits) -> StateShape,
    /// How its state is stored.
    pub(crate) form: StoredForm,
    /// The shape of the held events in checkpoints; `Stateless` if it does not store them.
    pub(crate) held: fn() -> StateShape,
    pub(crate) side_outputs: &'static [DeclaredOutput],
    /// Whether its events must have times.
    pub(crate) needs_event_time: bool,
    /// The side output for dead letters, if it makes any.
    pub(crate) dead_letters: DeclaredOutput,
    pub(crate) stage: Arc<MakeStage>,
    pub(crate) instance: Arc<MakeInstance>,
}

/// Makes sources.
#[derive(Clone)]
pub(crate) struct SourceMaker {
    pub(crate) state: fn() -> StateShape,
    /// How its state is stored.
    pub(crate) form: StoredForm,
    pub(crate) rewindable: bool,
    pub(crate) has_splits: bool,
    pub(crate) instance: Arc<MakeSource>,
}

/// The maker of an operator or sink. The factory gets the execution, which some adapters need.
pub(crate) fn operator<C, F>(factory: F) -> OperatorMaker
where
    C: Component + 'static,
    F: Fn(&Execution) -> C + Send + Sync + 'static,
{
    let factory = Arc::new(factory);
    made(move |build: &BuildContext<'_>| {
        let (factory, execution) = (Arc::clone(&factory), build.execution.clone());
        let state = build.execution.state_of(&build.instance)?;
        let factory: Box<dyn Fn() -> C> = Box::new(move || factory(&execution));
        Ok(Start { factory, keyed: None, state })
    })
}

/// The maker of an operator whose state is one value of each instance.
pub(crate) fn stateful_operator<O: StatefulOperator>(
    factory: impl Fn() -> O + Send + Sync + 'static,
) -> OperatorMaker {
    let (factory, stored) = (Arc::new(factory), O::stored());
    let form = StoredForm::of(&stored);
    let maker = made(move |build: &BuildContext<'_>| {
        let (factory, then) = (Arc::clone(&factory), build.stored_version());
        let read = |reader: &mut ValueReader<'_>| {
            reader.begin_tuple(2)?;
            Ok((stored.read(then, reader)?, reader.read::<SavedTimers>()?))
        };
        let state = match build.execution.state_of(&build.instance)? {
            Some(state) if then != stored.newest() => Some(migrated(build, &state, read)?),
            state => state,
        };
        let factory: Box<dyn Fn() -> Stateful<O>> = Box::new(move || Stateful(factory()));
        Ok(Start { factory, keyed: None, state })
    });
    OperatorMaker { form, ..maker }
}

/// What an instance of a component starts from.
struct Start<C> {
    factory: Box<dyn Fn() -> C>,
    /// Its state by key, already restored.
    keyed: Option<Rc<dyn KeyedState>>,
    /// Its other state, encoded.
    state: Option<EncodedState>,
}

/// What a user says of state by key.
pub(crate) struct KeyedForm<V> {
    pub(crate) stored: Stored<V>,
    pub(crate) said_at: SaidAt,
    pub(crate) time_to_live: Option<TimeToLive>,
}

impl<V> Clone for KeyedForm<V> {
    fn clone(&self) -> Self {
        Self { stored: self.stored.clone(), ..*self }
    }
}

/// What a component does with values beside applying events to them.
pub(crate) struct ValueHooks<V> {
    /// A value has come out of a checkpoint that was cut at the first moment; the second is now.
    pub(crate) restored: fn(&mut V, Timestamp, Timestamp),
    /// The time of a value is over. Whether nothing is left of it.
    pub(crate) expires: fn(&mut V) -> bool,
}

/// The maker of a component with this state by key. `factory` gets the state.
pub(crate) fn keyed_operator<C, K, S>(
    factory: impl Fn(KeyedStart<K, S::Value>) -> C + Send + Sync + 'static,
    KeyedForm { stored, said_at, time_to_live }: KeyedForm<S::State>,
    ValueHooks { restored, expires }: ValueHooks<S::Value>,
) -> OperatorMaker
where
    C: Component + 'static,
    K: State + Hash + Eq,
    S: StoredValue,
{
    let factory = Arc::new(factory);
    let form = StoredForm::by_key(&stored, said_at, S::shape_within, |state| {
        match (Shape::of::<K>(), S::shape(&state)) {
            (Some(key), Some(value)) => StateShape::Known(format!("({key}, {value})")),
            _ => StateShape::Unknown,
        }
    });
    let maker = made(move |build: &BuildContext<'_>| {
        let execution = build.execution;
        let then = build.stored_version();
        let decode_old = |entry: &[u8], codec| {
            let mut reader = ValueReader::new(entry, codec);
            reader.begin_tuple(2)?;
            let key: K = reader.read()?;
            let value = S::read(&mut reader, |reader| stored.read(then, reader))?;
            reader.end(type_name::<S::State>()).map(|()| (key, value))
        };
        let range = hashes_of(build.instance.index(), build.instance.parallelism());
        let store = KeyedStore::new(range, build.codec, execution.incremental_above);
        let mut store = store.with_time_to_live(time_to_live, expires);
        let failed = |cause| failure(build, "restore", cause);
        let now = execution.clock.now();
        for Reads { part, of } in execution.keyed_parts_of(&build.instance) {
            let Some(encoded) = execution.read(&build.instance, part)? else { continue };
            // What a part of an earlier checkpoint has was older at the cut.
            let at = Restore { now, cut_at: part.cut_at.map(Timestamp) };
            let each = |_: &K, value: &mut S::Value, then| restored(value, then, now);
            let load = || match then == stored.newest() {
                true => store.load(&encoded, of, at, each),
                false => store.load_with(&encoded, of, at, decode_old, each),
            };
            match catch_unwind(AssertUnwindSafe(load)) {
                Ok(loaded) => {
                    loaded.map_err(|error| failed(Cause::error(Permanent::new(error))))?;
                }
                Err(payload) if then != stored.newest() => {
                    return Err(failed(panic_of_migration(then, payload)));
                }
                Err(payload) => return Err(failed(Cause::panic(payload))),
            }
        }
        let start =
            KeyedStart { store: Rc::new(RefCell::new(store)), clock: Arc::clone(&execution.clock) };
        let (factory, keyed) = (Arc::clone(&factory), Rc::clone(&start.store));
        let factory: Box<dyn Fn() -> C> = Box::new(move || factory(start.clone()));
        Ok(Start { factory, keyed: Some(keyed), state: None })
    });
    let needs_event_time =
        maker.needs_event_time || time_to_live.is_some_and(|ttl| ttl.in_event_time);
    OperatorMaker { form, needs_event_time, ..maker }
}

/// A state of an earlier version, read by `read` and encoded as one of today.
fn migrated<T: Serialize>(
    build: &BuildContext<'_>,
    state: &EncodedState,
    read: impl Fn(&mut ValueReader<'_>) -> Result<T, CodecError>,
) -> Result<EncodedState, Failure> {
    let again = || state.read_with(read).and_then(|value| EncodedState::of(&value, build.codec));
    let cause = match catch_unwind(AssertUnwindSafe(again)) {
        Ok(Ok(migrated)) => return Ok(migrated),
        Ok(Err(error)) => Cause::error(Permanent::new(error)),
        Err(payload) => panic_of_migration(build.stored_version(), payload),
    };
    Err(failure(build, "restore", cause))
}

/// No later attempt can mend it: the same closure would get the same value.
fn panic_of_migration(from: u32, payload: Box<dyn Any + Send>) -> Cause {
    let said = Cause::panic(payload);
    Cause::error(Permanent::new(format!("the migration from version {from}: {said}")))
}

/// The maker of a component whose instances start in this way.
fn made<C: Component + 'static>(
    start: impl Fn(&BuildContext<'_>) -> Result<Start<C>, Failure> + Send + Sync + 'static,
) -> OperatorMaker {
    let stage = move |build: &BuildContext<'_>, outputs: Outputs| {
        let execution = build.execution;
        let start = start(build)?;
        let counters = execution.counters(&build.instance.name);
        let held = Held::new(counters, build.instance.waker.clone());
        let holder = Arc::clone(&held) as _;
        let ports = OutputPorts::<C::Out>::new(build, outputs, C::SIDE_OUTPUTS, holder);
        let parts = NodeParts {
            instance: build.instance.clone(),
            collector: ports.collector,
            next: ports.next,
            sides: ports.sides,
            consequences: build.execution.consequences(),
            injected: build.execution.injected.clone(),
            codec: build.codec,
            keyed: start.keyed,
            watermark: build.execution.watermark_of(&build.instance),
            on_error: build.on_error,
            holding: Holding::new(
                held,
                execution.terms.held_in(execution.store.is_some()),
                C::held_codec(),
                execution.answer_within,
            ),
        };
        let restored = Restored { state: start.state, held: execution.held_of(&build.instance)? };
        let node = Node::start(parts, start.factory, restored, execution.clock.now())?;
        let push: Box<dyn Push<C::In>> = Box::new(node);
        Ok(Box::new(push) as AnyPush)
    };
    let instance = |build: &BuildContext<'_>, stage: AnyPush, ends: Vec<(AnyEnd, Duration)>| {
        let stage = join::<C::In>(vec![stage]);
        let queues = ends
            .into_iter()
            .map(|(end, delay)| (*end.downcast::<QueueReceiver<C::In>>().expect(ONE_TYPE), delay));
        let queues: Vec<_> = queues.collect();
        let aligned = build.execution.terms.cut == Cut::Barriers { hold: true };
        let inputs = Inputs::new(queues.len(), aligned);
        let ports = Box::new(One::new(Inbox::new(queues), stage));
        let counters = build.execution.counters(&build.instance.name);
        let base = build.execution.base(build.number);
        let budget = Arc::clone(&build.execution.budgets[build.number]);
        Box::new(OperatorInstance::new(base, ports, inputs, counters, budget)) as Box<dyn Step>
    };
    OperatorMaker {
        state: C::state_shape,
        form: StoredForm::unversioned(),
        held: || C::held_codec().map_or(StateShape::Stateless, |codec| (codec.shape)()),
        side_outputs: C::SIDE_OUTPUTS,
        needs_event_time: C::NEEDS_EVENT_TIME,
        dead_letters: DeadLetter::<C::In>::OUTPUT.declared(),
        stage: Arc::new(stage),
        instance: Arc::new(instance),
    }
}

/// A factory of functions that take dead letters.
pub(crate) type LettersFactory<T> =
    Arc<dyn Fn(&Instance) -> Result<Letters<T>, BoxError> + Send + Sync>;

pub(crate) fn non_rewindable<S: Source>(
    factory: impl Fn() -> S + Send + Sync + 'static,
) -> SourceMaker {
    source(move || NonRewindable(factory()))
}

pub(crate) fn rewindable<S: StatefulSource>(
    factory: impl Fn() -> S + Send + Sync + 'static,
) -> SourceMaker {
    source(move || Rewindable(factory()))
}

/// Where a source begins: its state, and that state encoded. Both are `None` at the beginning of the input.
type StartingPoint<S> = (Option<S>, Option<Arc<[u8]>>);

/// Decodes a position, and encodes it again if an earlier run chose another codec.
fn restore_position<S: State>(
    encoded: Option<EncodedState>,
    codec: CodecId,
) -> Result<StartingPoint<S>, CodecError> {
    let Some(encoded) = encoded else { return Ok((None, None)) };
    let state: S = encoded.decode()?;
    let encoded = match encoded.codec == codec {
        true => encoded,
        false => EncodedState::of(&state, codec)?,
    };
    Ok((Some(state), Some(encoded.bytes.into())))
}

fn source<C: SourceComponent + 'static>(
    factory: impl Fn() -> C + Send + Sync + 'static,
) -> SourceMaker {
    let factory = Arc::new(factory);
    let make = move |build: &BuildContext<'_>, outputs: Outputs, letters: Option<AnyLetters>| {
        let codec = build.codec;
        let encoded = build.execution.position_of(&build.instance)?.filter(|_| C::REWINDABLE);
        // A position that is written ahead is of the newest version: another one is refused.
        let is_older = !build.execution.writes_positions_ahead()
            && build.stored_version() != C::stored().newest();
        let encoded = match encoded {
            Some(old) if is_older => {
                let (stored, then) = (C::stored(), build.stored_version());
                Some(migrated(build, &old, |reader| stored.read(then, reader))?)
            }
            encoded => encoded,
        };
        let restored = catch_unwind(move || restore_position::<C::State>(encoded, codec));
        let failed = |cause| failure(build, "restore", cause);
        let start = match restored {
            Ok(restored) => {
                restored.map_err(|error| failed(Cause::error(Permanent::new(error))))?
            }
            Err(payload) => return Err(failed(Cause::panic(payload))),
        };
        let factory = Arc::clone(&factory);
        build_source(build, outputs, letters, start, move || factory())
    };
    let form = match C::REWINDABLE {
        true => StoredForm::of(&C::stored()),
        false => StoredForm::unversioned(),
    };
    SourceMaker { form, ..source_maker::<C>(make) }
}

/// A maker of sources whose state is a position per split.
pub(crate) fn of_splits<S: SplitSource>(
    factory: impl Fn() -> S + Send + Sync + 'static,
) -> SourceMaker {
    let (factory, sharing) = (Arc::new(factory), Sharing::default());
    let make = move |build: &BuildContext<'_>, outputs: Outputs, letters: Option<AnyLetters>| {
        let (shared, factory) = (sharing.of(build), Arc::clone(&factory));
        let name = build.instance.name.clone();
        let component = move || SplitComponent::new(factory(), name.clone(), shared.clone());
        build_source(build, outputs, letters, (None, None), component)
    };
    source_maker::<SplitComponent<S>>(make)
}

/// Identifies an execution.
type OfExecution = Weak<[Arc<Mailbox>]>;

/// What the instances of a source share, for each execution that is not dropped.
#[derive(Default)]
struct Sharing(Mutex<Vec<(OfExecution, SharedSplits)>>);

impl Sharing {
    /// What they share in the execution at hand.
    fn of(&self, build: &BuildContext<'_>) -> SharedSplits {
        let mut known = self.0.lock();
        known.retain(|(of, _)| of.strong_count() > 0);
        let this = Arc::downgrade(&build.execution.mailboxes);
        if let Some((_, shared)) = known.iter().find(|(of, _)| of.ptr_eq(&this)) {
            return shared.clone();
        }
        let shared = build.execution.shared_splits(&build.instance);
        known.push((this, shared.clone()));
        shared
    }
}

fn source_maker<C: SourceComponent>(
    make: impl Fn(&BuildContext<'_>, Outputs, Option<AnyLetters>) -> Result<Box<dyn Step>, Failure>
    + Send
    + Sync
    + 'static,
) -> SourceMaker {
    SourceMaker {
        state: C::state_shape,
        form: StoredForm::unversioned(),
        rewindable: C::REWINDABLE,
        has_splits: C::HAS_SPLITS,
        instance: Arc::new(make),
    }
}

fn failure(build: &BuildContext<'_>, callback: &'static str, cause: Cause) -> Failure {
    Failure { instance: build.instance.name.clone(), callback, cause }
}

/// Builds a source instance that begins at `start`. If the job reads its bad records, the source is wrapped.
fn build_source<C: SourceComponent + 'static>(
    build: &BuildContext<'_>,
    outputs: Outputs,
    letters: Option<AnyLetters>,
    start: StartingPoint<C::State>,
    factory: impl Fn() -> C + 'static,
) -> Result<Box<dyn Step>, Failure> {
    let events = join::<C::Out>(outputs.main);
    let letters = letters_of::<C::Out>(build, letters)?;
    let Some(bad_records) = outputs.sides.into_iter().next() else {
        return start_source(build, events, letters, start, Box::new(factory));
    };
    let counters = build.execution.counters(&build.instance.name);
    let fork = Box::new(Fork::new(events, bad_records, counters));
    let name = build.instance.name.clone();
    let factory = move || WithBadRecords::new(factory(), name.clone());
    start_source(build, fork, letters.map(of_events), start, Box::new(factory))
}

/// The function that takes this source's dead letters, if there is one.
fn letters_of<T: Event>(
    build: &BuildContext<'_>,
    letters: Option<AnyLetters>,
) -> Result<Option<Letters<T>>, Failure> {
    let letters = letters.and_then(|any| any.downcast_ref::<LettersFactory<T>>().cloned());
    let letters = letters.map(|make| make(&build.instance)).transpose();
    letters.map_err(|error| failure(build, "dead letters", Cause::error(error)))
}

/// Passes on dead letters of events only. A bad record that fails too often in its readers has no event; it is
/// logged and given up.
fn of_events<T: Event>(mut letters: Letters<T>) -> Letters<EventOrBadRecord<T>> {
    Box::new(move |DeadLetter { event, failure, attempts }| match event {
        Ok(event) => letters(DeadLetter { event, failure, attempts }),
        Err(bad) => {
            let BadRecord { record: RawRecord { split, offset, .. }, .. } = *bad;
            tracing::error!(%failure, attempts, split, offset, "a bad record is given up");
            Ok(())
        }
    })
}

/// Starts a source instance that emits into this stage.
fn start_source<C: SourceComponent + 'static>(
    build: &BuildContext<'_>,
    stage: Box<dyn Push<C::Out>>,
    letters: Option<Letters<C::Out>>,
    (state, start): StartingPoint<C::State>,
    factory: Box<dyn Fn() -> C>,
) -> Result<Box<dyn Step>, Failure> {
    let execution = build.execution;
    let (terms, account) = (&execution.terms, &execution.account);
    let side = source_side(terms, account, build.number, C::bytes_of, start);
    let parts = SourceParts {
        instance: build.instance.clone(),
        counters: execution.counters(&build.instance.name),
        output: SourceOutput::new(),
        stage,
        side,
        letters,
        store: execution.store.clone(),
        cut: terms.cut,
        consequences: execution.consequences(),
        injected: execution.injected.clone(),
        codec: build.codec,
    };
    let start = (state, execution.watermark_of(&build.instance));
    let source = SourceInstance::start(execution.base(build.number), parts, factory, start)?;
    Ok(Box::new(source))
}
