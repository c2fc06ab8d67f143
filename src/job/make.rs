//! Where types are forgotten and found again: makers that a stream creates while it still knows its
//! event type, and that build typed queues, stages and instances later, on the instance's thread.
//! Nothing of this runs per event or per batch.

use std::any::{Any, TypeId, type_name};
use std::panic::catch_unwind;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::api::accounts::Desk;
use crate::api::bad_record::{BadRecord, RawRecord};
use crate::api::collector::Collector;
use crate::api::dead_letter::DeadLetter;
use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::on_error::OnError;
use crate::api::output::Output;
use crate::api::side_output::{DeclaredOutput, SideBatch, SideEvents};
use crate::api::source::{Source, StatefulSource};
use crate::api::source_output::SourceOutput;
use crate::api::split_source::SplitSource;
use crate::api::state::State;
use crate::api::waker::Waker;
use crate::api::weight::Weigher;
use crate::channel::inbox::Inbox;
use crate::channel::inputs::Inputs;
use crate::channel::outbox::{Outbox, Overflow};
use crate::channel::partition::{KeyOf, Partition};
use crate::channel::port::One;
use crate::channel::push::{Push, Tee};
use crate::channel::queue::{Bound, QueueReceiver, QueueSender, queue};
use crate::checkpoint::coordinator::Cut;
use crate::checkpoint::{CodecError, CodecId, EncodedState};
use crate::delivery::account::source_side;
use crate::delivery::terms::Commits;
use crate::error::{BoxError, Cause, Failure, Permanent};
use crate::executor::bad_records::{EventOrBadRecord, Fork, WithBadRecords};
use crate::executor::blueprint::{Execution, StateShape};
use crate::executor::component::Component;
use crate::executor::instance::{Mailbox, Step};
use crate::executor::key_panic::KeyPanic;
use crate::executor::node::{Node, Place};
use crate::executor::operator_instance::OperatorInstance;
use crate::executor::side_port::{Port, SidePort};
use crate::executor::source_component::{Forgetful, Rewindable, SourceComponent};
use crate::executor::source_instance::{Letters, SourceInstance, SourceParts};
use crate::executor::split_component::{SharedSplits, SplitComponent};
use crate::metrics::{Count, Counters};
use crate::sync::Mutex;

/// A `Box<dyn Push<T>>` whose `T` is forgotten.
pub(crate) type AnyPush = Box<dyn Any>;
/// One end of a queue whose event type is forgotten.
pub(crate) type AnyEnd = Box<dyn Any + Send>;

/// A factory of places for dead letters whose event type is forgotten.
pub(crate) type AnyLetters = Arc<dyn Any + Send + Sync>;

/// The place of an instance that is being built.
pub(crate) struct Site<'a> {
    pub(crate) execution: &'a Execution,
    pub(crate) instance: Instance,
    /// The number of its thread; for a source also that of its tracker.
    pub(crate) number: usize,
    /// What its state is turned into bytes with.
    pub(crate) codec: CodecId,
    pub(crate) on_error: OnError,
}

/// What an instance's outputs lead to.
#[derive(Default)]
pub(crate) struct Outputs {
    pub(crate) main: Vec<AnyPush>,
    pub(crate) sides: Vec<(Box<dyn SideEvents>, Box<dyn SidePort>)>,
}

/// Makes what an edge consists of.
pub(crate) trait MakeEdge: Send + Sync {
    /// The type of the events, and its name.
    fn event_type(&self) -> (TypeId, &'static str);
    fn queue(&self, frames: usize, from: Waker, to: Waker, bound: Bound) -> (AnyEnd, AnyEnd);
    fn outbox(
        &self,
        route: Route,
        queues: Vec<(AnyEnd, Arc<Counters>)>,
        overflow: Overflow,
        site: &Site<'_>,
    ) -> AnyPush;
    fn side_port(
        &self,
        name: &'static str,
        readers: Vec<AnyPush>,
        emitted: Arc<Count>,
    ) -> (Box<dyn SideEvents>, Box<dyn SidePort>);
}

/// A grouping, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    One(usize),
    RoundRobin { first: usize },
    Key,
    All,
}

/// An edge for events of type `T`.
pub(crate) struct TypedEdge<T> {
    pub(crate) key: Option<KeyOf<T>>,
    /// What its events weigh, if that is known.
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
        route: Route,
        queues: Vec<(AnyEnd, Arc<Counters>)>,
        overflow: Overflow,
        site: &Site<'_>,
    ) -> AnyPush {
        let partition = match route {
            Route::One(instance) => Partition::One(instance),
            Route::RoundRobin { first } => Partition::RoundRobin { next: first },
            Route::Key => Partition::Key {
                key_of: Arc::clone(self.key.as_ref().expect("keyed by `key_by`")),
                on_panic: Box::new(KeyPanic {
                    instance: site.instance.name.clone(),
                    verdict: site.execution.terms.on_failure,
                    on_drop: site.execution.terms.on_drop.clone(),
                    counters: site.execution.counters(&site.instance.name),
                    receiver: queues.first().map(|(_, of)| Arc::clone(of)).unwrap_or_default(),
                }),
            },
            Route::All => Partition::All,
        };
        let typed = queues
            .into_iter()
            .map(|(end, counters)| (*end.downcast::<QueueSender<T>>().expect(ONE_TYPE), counters));
        let outbox: Box<dyn Push<T>> =
            Box::new(Outbox::new(partition, typed.collect(), overflow, self.weigher.as_ref()));
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

/// The way out of a component: what it emits into, and what comes after.
struct WayOut<T> {
    collector: Collector<T>,
    next: Box<dyn Push<T>>,
    sides: Vec<Box<dyn SidePort>>,
}

impl<T: Event> WayOut<T> {
    fn new(site: &Site<'_>, outputs: Outputs, declared: &'static [DeclaredOutput]) -> Self {
        let next = join::<T>(outputs.main);
        let (sides, ports) = outputs.sides.into_iter().unzip();
        let desk = Desk {
            answers: site.execution.account.answers(site.number),
            counters: site.execution.counters(&site.instance.name),
            instance: site.instance.name.clone(),
            tracked: site.execution.account.tracked(),
        };
        let output = Output::new(desk, next.copies(), declared, sides);
        Self { collector: Collector::new(output), next, sides: ports }
    }
}

/// Makes the stage of an operator or sink.
type MakeStage = dyn Fn(&Site<'_>, Outputs) -> Result<AnyPush, Failure> + Send + Sync;
/// Makes an instance around a stage and the queues into it.
type MakeInstance =
    dyn Fn(&Site<'_>, AnyPush, Vec<(AnyEnd, Duration)>) -> Box<dyn Step> + Send + Sync;
/// Makes a source instance.
type MakeSource =
    dyn Fn(&Site<'_>, Outputs, Option<AnyLetters>) -> Result<Box<dyn Step>, Failure> + Send + Sync;

/// Makes operators and sinks.
#[derive(Clone)]
pub(crate) struct OperatorMaker {
    pub(crate) state: fn(Commits) -> StateShape,
    pub(crate) side_outputs: &'static [DeclaredOutput],
    /// The side output for the events that fail, if it makes dead letters of them.
    pub(crate) dead_letters: DeclaredOutput,
    pub(crate) stage: Arc<MakeStage>,
    pub(crate) instance: Arc<MakeInstance>,
}

/// Makes sources.
#[derive(Clone)]
pub(crate) struct SourceMaker {
    pub(crate) state: fn() -> StateShape,
    pub(crate) rewindable: bool,
    pub(crate) has_splits: bool,
    pub(crate) instance: Arc<MakeSource>,
}

/// The maker of a component; the factory learns of the execution, since adapters ask it.
pub(crate) fn operator<C, F>(factory: F) -> OperatorMaker
where
    C: Component + 'static,
    F: Fn(&Execution) -> C + Send + Sync + 'static,
{
    let factory = Arc::new(factory);
    let stage = move |site: &Site<'_>, outputs: Outputs| {
        let way = WayOut::<C::Out>::new(site, outputs, C::SIDE_OUTPUTS);
        let place = Place {
            instance: site.instance.clone(),
            collector: way.collector,
            next: way.next,
            sides: way.sides,
            consequences: site.execution.consequences(),
            injected: site.execution.injected.clone(),
            codec: site.codec,
            watermark: site.execution.watermark_of(&site.instance),
            on_error: site.on_error,
        };
        let state = site.execution.state_of(&site.instance)?;
        let (factory, execution) = (Arc::clone(&factory), site.execution.clone());
        let now = execution.clock.now();
        let node = Node::start(place, Box::new(move || factory(&execution)), state, now)?;
        let push: Box<dyn Push<C::In>> = Box::new(node);
        Ok(Box::new(push) as AnyPush)
    };
    let instance = |site: &Site<'_>, stage: AnyPush, ends: Vec<(AnyEnd, Duration)>| {
        let stage = join::<C::In>(vec![stage]);
        let queues = ends
            .into_iter()
            .map(|(end, delay)| (*end.downcast::<QueueReceiver<C::In>>().expect(ONE_TYPE), delay));
        let queues: Vec<_> = queues.collect();
        let aligned = site.execution.terms.cut == Cut::Barriers { hold: true };
        let inputs = Inputs::new(queues.len(), aligned);
        let ports = Box::new(One::new(Inbox::new(queues), stage));
        let counters = site.execution.counters(&site.instance.name);
        let base = site.execution.base(site.number);
        let budget = Arc::clone(&site.execution.budgets[site.number]);
        Box::new(OperatorInstance::new(base, ports, inputs, counters, budget)) as Box<dyn Step>
    };
    OperatorMaker {
        state: C::state_shape,
        side_outputs: C::SIDE_OUTPUTS,
        dead_letters: DeadLetter::<C::In>::OUTPUT.declared(),
        stage: Arc::new(stage),
        instance: Arc::new(instance),
    }
}

/// A factory of places for dead letters.
pub(crate) type LettersFactory<T> =
    Arc<dyn Fn(&Instance) -> Result<Letters<T>, BoxError> + Send + Sync>;

pub(crate) fn forgetful<S: Source>(factory: impl Fn() -> S + Send + Sync + 'static) -> SourceMaker {
    source(move || Forgetful(factory()))
}

pub(crate) fn rewindable<S: StatefulSource>(
    factory: impl Fn() -> S + Send + Sync + 'static,
) -> SourceMaker {
    source(move || Rewindable(factory()))
}

/// Where a source begins: its state, and the bytes of that; none of both for the beginning.
type StartingPoint<S> = (Option<S>, Option<Arc<[u8]>>);

/// A position as a state, and encoded as this instance encodes it: it may be of a run that chose otherwise.
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
    let make = move |site: &Site<'_>, outputs: Outputs, letters: Option<AnyLetters>| {
        let codec = site.codec;
        let encoded = site.execution.position_of(&site.instance)?.filter(|_| C::REWINDABLE);
        let restored = catch_unwind(move || restore_position::<C::State>(encoded, codec));
        let failed = |cause| failure(site, "restore", cause);
        let start = match restored {
            Ok(restored) => {
                restored.map_err(|error| failed(Cause::error(Permanent::new(error))))?
            }
            Err(payload) => return Err(failed(Cause::panic(payload))),
        };
        let factory = Arc::clone(&factory);
        build_source(site, outputs, letters, start, move || factory())
    };
    source_maker::<C>(make)
}

/// A maker of sources whose state is a position per split.
pub(crate) fn of_splits<S: SplitSource>(
    factory: impl Fn() -> S + Send + Sync + 'static,
) -> SourceMaker {
    let (factory, sharing) = (Arc::new(factory), Sharing::default());
    let make = move |site: &Site<'_>, outputs: Outputs, letters: Option<AnyLetters>| {
        let (shared, factory) = (sharing.of(site), Arc::clone(&factory));
        let name = site.instance.name.clone();
        let build = move || SplitComponent::new(factory(), name.clone(), shared.clone());
        build_source(site, outputs, letters, (None, None), build)
    };
    source_maker::<SplitComponent<S>>(make)
}

/// What an execution is known by.
type OfExecution = Weak<[Arc<Mailbox>]>;

/// What the instances of a source share, for each execution that still lives.
#[derive(Default)]
struct Sharing(Mutex<Vec<(OfExecution, SharedSplits)>>);

impl Sharing {
    /// That of the execution at hand.
    fn of(&self, site: &Site<'_>) -> SharedSplits {
        let mut known = self.0.lock();
        known.retain(|(of, _)| of.strong_count() > 0);
        let this = Arc::downgrade(&site.execution.mailboxes);
        if let Some((_, shared)) = known.iter().find(|(of, _)| of.ptr_eq(&this)) {
            return shared.clone();
        }
        let shared = site.execution.shared_splits(&site.instance);
        known.push((this, shared.clone()));
        shared
    }
}

fn source_maker<C: SourceComponent>(
    make: impl Fn(&Site<'_>, Outputs, Option<AnyLetters>) -> Result<Box<dyn Step>, Failure>
    + Send
    + Sync
    + 'static,
) -> SourceMaker {
    SourceMaker {
        state: C::state_shape,
        rewindable: C::REWINDABLE,
        has_splits: C::HAS_SPLITS,
        instance: Arc::new(make),
    }
}

fn failure(site: &Site<'_>, callback: &'static str, cause: Cause) -> Failure {
    Failure { instance: site.instance.name.clone(), callback, cause }
}

/// Builds a source instance that begins there. What it is made of depends on whether the job reads its bad records.
fn build_source<C: SourceComponent + 'static>(
    site: &Site<'_>,
    outputs: Outputs,
    letters: Option<AnyLetters>,
    start: StartingPoint<C::State>,
    factory: impl Fn() -> C + 'static,
) -> Result<Box<dyn Step>, Failure> {
    let events = join::<C::Out>(outputs.main);
    let letters = letters_of::<C::Out>(site, letters)?;
    let Some(bad_records) = outputs.sides.into_iter().next() else {
        return start_source(site, events, letters, start, Box::new(factory));
    };
    let counters = site.execution.counters(&site.instance.name);
    let fork = Box::new(Fork::new(events, bad_records, counters));
    let name = site.instance.name.clone();
    let factory = move || WithBadRecords::new(factory(), name.clone());
    start_source(site, fork, letters.map(of_events), start, Box::new(factory))
}

/// The place for dead letters of this source, if it has one.
fn letters_of<T: Event>(
    site: &Site<'_>,
    letters: Option<AnyLetters>,
) -> Result<Option<Letters<T>>, Failure> {
    let letters = letters.and_then(|any| any.downcast_ref::<LettersFactory<T>>().cloned());
    let letters = letters.map(|make| make(&site.instance)).transpose();
    letters.map_err(|error| failure(site, "dead letters", Cause::error(error)))
}

/// A place for dead letters that takes those of events only: of a bad record that failed too often at what reads it
/// there is no event.
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

/// Starts a source instance in front of this stage.
fn start_source<C: SourceComponent + 'static>(
    site: &Site<'_>,
    stage: Box<dyn Push<C::Out>>,
    letters: Option<Letters<C::Out>>,
    (state, start): StartingPoint<C::State>,
    factory: Box<dyn Fn() -> C>,
) -> Result<Box<dyn Step>, Failure> {
    let execution = site.execution;
    let (terms, account) = (&execution.terms, &execution.account);
    let side = source_side(terms, account, site.number, C::bytes_of, start);
    let parts = SourceParts {
        instance: site.instance.clone(),
        counters: execution.counters(&site.instance.name),
        output: SourceOutput::new(),
        stage,
        side,
        letters,
        store: execution.store.clone(),
        cut: terms.cut,
        consequences: execution.consequences(),
        injected: execution.injected.clone(),
        codec: site.codec,
    };
    let start = (state, execution.watermark_of(&site.instance));
    let source = SourceInstance::start(execution.base(site.number), parts, factory, start)?;
    Ok(Box::new(source))
}
