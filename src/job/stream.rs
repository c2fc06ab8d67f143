//! [`Stream`]: what a user connects. It knows its event type. Everything that it adds goes into the
//! graph with makers that keep the type.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::api::bad_record::{BAD_RECORDS, BadRecord};
use crate::api::dead_letter::DeadLetter;
use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::on_error::OnError;
use crate::api::operator::{Operator, StatefulOperator};
use crate::api::side_output::SideOutput;
use crate::api::sink::{IdempotentSink, Sink, SinkKind, TransactionalSink};
use crate::api::weight::Weigher;
use crate::channel::key::hash_key;
use crate::channel::outbox::Overflow;
use crate::channel::routing::KeyOf;
use crate::checkpoint::StateCodec;
use crate::executor::component::{Component, Plain, Stateless, Transactional};
use crate::executor::source_instance::letters_into;
use crate::job::graph::{EdgeOptions, EdgeSpec, Graph, Grouping, NodeKind, StateScope};
use crate::job::keyed::{KeyedStream, keys_of};
use crate::job::make::{LettersFactory, OperatorMaker, TypedEdge, operator, stateful_operator};

/// A stream of events of one type, from one or several components to the components that read it.
///
/// There are three kinds of methods. Methods that add a component return its output stream. Methods
/// that choose how the stream is distributed ([`key_by`](Stream::key_by),
/// [`shuffle`](Stream::shuffle), …) apply to the next component that reads it. Methods about a
/// component ([`parallelism`](Stream::parallelism), [`own_thread`](Stream::own_thread),
/// [`named`](Stream::named)) apply to the component that emits this stream. A stream may have
/// several readers: each gets every event.
///
/// ```
/// use streamwork::{Guarantee, Job};
///
/// let job = Job::new("fan");
/// let numbers = job.from_iter("numbers", || 0..100_u32);
/// let even = numbers.filter(|n| n % 2 == 0).named("even");
/// let large = numbers.filter(|n| *n > 90).named("large");
/// even.merge(&large).for_each(|n| println!("{n}"));
/// job.run(Guarantee::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a stream that nothing reads is refused when the job is run"]
pub struct Stream<T> {
    graph: Arc<Mutex<Graph>>,
    origins: Vec<Origin<T>>,
    /// It was merged with a stream of another job.
    foreign: bool,
}

/// Where events of a stream come from, and how they are distributed to the next component. Each of
/// the streams that were merged has its own options.
struct Origin<T> {
    node: usize,
    side_output: Option<&'static str>,
    options: EdgeOptions,
    key: Option<KeyOf<T>>,
    weigher: Option<Weigher<T>>,
}

impl<T> Clone for Stream<T> {
    fn clone(&self) -> Self {
        Self {
            graph: Arc::clone(&self.graph),
            origins: self.origins.clone(),
            foreign: self.foreign,
        }
    }
}

impl<T> Clone for Origin<T> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), weigher: self.weigher.clone(), ..*self }
    }
}

impl<T> std::fmt::Debug for Stream<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of: Vec<_> = self.origins.iter().map(|from| (from.node, from.side_output)).collect();
        f.debug_struct("Stream").field("of", &of).finish_non_exhaustive()
    }
}

impl<T: Event> Stream<T> {
    pub(crate) fn of(graph: Arc<Mutex<Graph>>, node: usize) -> Self {
        let options = EdgeOptions::default();
        Self {
            graph,
            origins: vec![Origin {
                node,
                side_output: None,
                options,
                key: None,
                weigher: Weigher::known(),
            }],
            foreign: false,
        }
    }

    /// Adds an operator that reads this stream; see [`Operator`].
    ///
    /// ```
    /// # use streamwork::{BoxError, Collector, Guarantee, Job, Operator};
    /// struct Double;
    /// impl Operator for Double {
    ///     type In = u64;
    ///     type Out = u64;
    ///     fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
    ///         out.emit(2 * n);
    ///         Ok(())
    ///     }
    /// }
    /// let job = Job::new("example");
    /// job.from_iter("numbers", || 0..3_u64).operator("double", || Double).for_each(|n| println!("{n}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn operator<O: Operator<In = T>>(
        &self,
        name: impl Into<String>,
        factory: impl Fn() -> O + Send + Sync + 'static,
    ) -> Stream<O::Out> {
        self.add_operator(name.into(), move || Stateless(factory()))
    }

    /// Adds an operator with state that reads this stream; see [`StatefulOperator`]. It has one instance,
    /// since its state covers all events. It may have more on a stream with a key
    /// ([`key_by`](Stream::key_by)), where each instance has the state of its keys, or if each instance is to
    /// have a separate state ([`per_instance`](Stream::per_instance)).
    ///
    /// ```
    /// # use streamwork::{BoxError, Collector, Guarantee, Instance, Job, StatefulOperator};
    /// #[derive(Default)]
    /// struct Sum(u64);
    /// impl StatefulOperator for Sum {
    ///     type In = u64;
    ///     type Out = u64;
    ///     type State = u64;
    ///     fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
    ///         self.0 = state.unwrap_or(0);
    ///         Ok(())
    ///     }
    ///     fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
    ///         self.0 += n;
    ///         out.emit(self.0);
    ///         Ok(())
    ///     }
    ///     fn state(&self) -> u64 {
    ///         self.0
    ///     }
    /// }
    /// let job = Job::new("example");
    /// job.from_iter("numbers", || 0..3_u64).stateful("sum", Sum::default).for_each(|sum| println!("{sum}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stateful<O: StatefulOperator<In = T>>(
        &self,
        name: impl Into<String>,
        factory: impl Fn() -> O + Send + Sync + 'static,
    ) -> Stream<O::Out> {
        self.add_stateful(name.into(), factory, StateScope::AllEvents)
    }

    /// Ends the stream in a sink; see [`Sink`].
    ///
    /// ```
    /// # use streamwork::{BoxError, Guarantee, Job, Sink};
    /// struct Print;
    /// impl Sink for Print {
    ///     type In = u64;
    ///     fn write(&mut self, n: u64) -> Result<(), BoxError> {
    ///         println!("{n}");
    ///         Ok(())
    ///     }
    /// }
    /// let job = Job::new("example");
    /// job.from_iter("numbers", || 0..3_u64).sink("print", || Print);
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sink<S: Sink<In = T>>(
        &self,
        name: impl Into<String>,
        factory: impl Fn() -> S + Send + Sync + 'static,
    ) -> SinkHandle {
        self.add_sink(name.into(), SinkKind::Plain, operator(move |_| Plain(factory())))
    }

    /// Ends the stream in a sink where writing an event twice changes nothing; see [`IdempotentSink`].
    ///
    /// ```
    /// # use streamwork::{BoxError, Guarantee, IdempotentSink, Job, Sink};
    /// use std::collections::BTreeMap;
    /// /// The newest value of each key.
    /// #[derive(Default)]
    /// struct Newest(BTreeMap<u64, &'static str>);
    /// impl Sink for Newest {
    ///     type In = (u64, &'static str);
    ///     fn write(&mut self, (key, value): Self::In) -> Result<(), BoxError> {
    ///         self.0.insert(key, value);
    ///         Ok(())
    ///     }
    /// }
    /// impl IdempotentSink for Newest {}
    /// let job = Job::new("example");
    /// job.from_iter("pairs", || [(1, "a"), (1, "b")]).idempotent_sink("newest", Newest::default);
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn idempotent_sink<S: IdempotentSink<In = T>>(
        &self,
        name: impl Into<String>,
        factory: impl Fn() -> S + Send + Sync + 'static,
    ) -> SinkHandle {
        self.add_sink(name.into(), SinkKind::Idempotent, operator(move |_| Plain(factory())))
    }

    /// Ends the stream in a sink with transactions; see [`TransactionalSink`].
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job, TransactionalFiles};
    /// let job = Job::new("example");
    /// # let directory = tempfile::tempdir()?;
    /// let files = TransactionalFiles::factory(directory.path(), |n: &u64, file: &mut Vec<u8>| {
    ///     file.extend_from_slice(&n.to_le_bytes());
    /// });
    /// job.from_iter("numbers", || 0..3_u64).transactional_sink("files", files);
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn transactional_sink<S: TransactionalSink<In = T>>(
        &self,
        name: impl Into<String>,
        factory: impl Fn() -> S + Send + Sync + 'static,
    ) -> SinkHandle {
        let maker = operator(move |execution| Transactional::new(factory(), execution.commits()));
        self.add_sink(name.into(), SinkKind::Transactional, maker)
    }

    pub(crate) fn add_operator<C: Component<In = T> + 'static>(
        &self,
        name: String,
        factory: impl Fn() -> C + Send + Sync + 'static,
    ) -> Stream<C::Out> {
        self.add_made(name, operator(move |_| factory()))
    }

    /// What this maker makes; its event types are those that are named.
    pub(super) fn add_made<Out: Event>(&self, name: String, maker: OperatorMaker) -> Stream<Out> {
        let node = self.connect(name, NodeKind::Operator(maker));
        Stream::of(Arc::clone(&self.graph), node)
    }

    pub(super) fn add_stateful<O: StatefulOperator<In = T>>(
        &self,
        name: String,
        factory: impl Fn() -> O + Send + Sync + 'static,
        scope: StateScope,
    ) -> Stream<O::Out> {
        let stream = self.add_made(name, stateful_operator(factory));
        stream.change_nodes(|node| node.scope = scope);
        stream
    }

    fn add_sink(&self, name: String, kind: SinkKind, maker: OperatorMaker) -> SinkHandle {
        let node = self.connect(name, NodeKind::Sink(kind, maker));
        SinkHandle { graph: Arc::clone(&self.graph), node }
    }

    /// This stream with a component that changes no event, inserted before the events are distributed.
    pub(super) fn before_dealing(&self, add: impl Fn(&Self) -> Self) -> Self {
        let mut stream = self.clone();
        for origin in &mut stream.origins {
            let options = EdgeOptions::default();
            let weigher = origin.weigher.clone();
            let plain = Origin { options, key: None, weigher, ..*origin };
            let before = Self { origins: vec![plain], ..self.clone() };
            let added = add(&before).origins.into_iter().next();
            let added = added.expect("a component has an output");
            (origin.node, origin.side_output) = (added.node, added.side_output);
        }
        stream
    }

    /// This stream by each of the components that emit it.
    pub(super) fn origins(&self) -> impl Iterator<Item = Self> {
        self.origins.iter().map(|origin| Self { origins: vec![origin.clone()], ..self.clone() })
    }

    /// A stream from one component with a map inserted before its events are distributed, which is then by this key.
    pub(super) fn map_before_dealing<U: Event, K: Hash>(
        &self,
        f: impl Fn(T) -> U + Send + Sync + 'static,
        key: impl Fn(&U) -> K + Send + Sync + 'static,
    ) -> Stream<U> {
        let mut plain = self.clone();
        for origin in &mut plain.origins {
            (origin.options, origin.key) = (EdgeOptions::default(), None);
        }
        let mut mapped = plain.map(f);
        for (origin, of) in mapped.origins.iter_mut().zip(&self.origins) {
            origin.options = of.options;
        }
        mapped.partition_by(key)
    }

    pub(crate) fn verb_name(&self, verb: &'static str) -> String {
        self.graph.lock().verb_name(verb)
    }

    fn connect(&self, name: String, kind: NodeKind) -> usize {
        let mut graph = self.graph.lock();
        if self.foreign {
            graph.foreign.push(name.clone());
        }
        let to = graph.add(name, kind);
        for origin in &self.origins {
            graph.connect(EdgeSpec {
                from: origin.node,
                side_output: origin.side_output,
                to,
                options: origin.options,
                maker: Arc::new(TypedEdge {
                    key: origin.key.clone(),
                    weigher: origin.weigher.clone(),
                }),
            });
        }
        to
    }

    /// This stream with an option that applies to all of its origins.
    fn with(&self, change: impl Fn(&mut EdgeOptions)) -> Self {
        let mut stream = self.clone();
        stream.origins.iter_mut().for_each(|origin| change(&mut origin.options));
        stream
    }

    fn grouped(&self, grouping: Grouping) -> Self {
        let mut stream = self.with(|options| options.grouping = grouping);
        stream.origins.iter_mut().for_each(|origin| origin.key = None);
        stream
    }

    /// Gives every event a key. Only a stream with a key allows state by key, and a verb that changes the
    /// events returns a stream without a key; see [`KeyedStream`].
    ///
    /// Events with equal keys reach the same instance of the next component. The hash is stable: the same key
    /// goes to the same instance across restarts, builds and machines.
    ///
    /// A key must own its parts: `|sale| sale.shop.clone()`. If it borrows from its event
    /// (`|sale| &sale.shop`) the compiler says that a lifetime may not live long enough.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("by key");
    /// job.from_iter("words", || ["a", "b", "a"]).key_by(|word| *word).map(str::len).parallelism(2).for_each(|_| ());
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn key_by<K: Hash>(
        &self,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> KeyedStream<K, T> {
        let key = Arc::new(key);
        let same = Arc::clone(&key);
        KeyedStream::of(
            self.partition_by(move |event| key(event)),
            keys_of(move |event| same(event)),
        )
    }

    /// Distributes events so that those with equal keys reach the same instance of the next component, and
    /// promises nothing more. It is for sinks and operators that need related events together, but keep no
    /// state by key. The hash is that of [`key_by`](Stream::key_by).
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// let numbers = job.from_iter("numbers", || 0..9_u64);
    /// numbers.partition_by(|n| n % 3).for_each(|n| println!("{n}")).parallelism(3);
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn partition_by<K: Hash>(&self, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Self {
        let mut stream = self.grouped(Grouping::Key);
        let key: KeyOf<T> = Arc::new(move |events: &[T], hashes: &mut Vec<u64>| {
            hashes.extend(events.iter().map(|event| hash_key(&key(event))));
        });
        stream.origins.iter_mut().for_each(|origin| origin.key = Some(Arc::clone(&key)));
        stream
    }

    /// Distributes events over the instances of the next component in turn.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// job.from_iter("numbers", || 0..9).shuffle().map(|n| n * n).parallelism(3).for_each(|n| println!("{n}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shuffle(&self) -> Self {
        self.grouped(Grouping::Shuffle)
    }

    /// Sends every event to every instance of the next component.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// job.from_iter("rules", || ["a", "b"]).broadcast().inspect(|rule| println!("{rule}")).parallelism(2).ignore();
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn broadcast(&self) -> Self {
        self.grouped(Grouping::Broadcast)
    }

    /// Sends every event to the first instance of the next component.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// let squares = job.from_iter("numbers", || 0..9).shuffle().map(|n| n * n).parallelism(3);
    /// squares.global().inspect(|n| println!("all of them: {n}")).parallelism(2).ignore();
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn global(&self) -> Self {
        self.grouped(Grouping::Global)
    }

    /// Sends events from instance i to instance i of the next component. Both must have the same number of
    /// instances.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// let shuffled = job.from_iter("numbers", || 0..9).shuffle().map(|n| n * n).parallelism(3);
    /// shuffled.forward().map(|n| n + 1).parallelism(3).for_each(|n| println!("{n}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forward(&self) -> Self {
        self.grouped(Grouping::Forward)
    }

    /// Delays every event by this time on its way to the next component. The wait occupies no thread. At
    /// most 65,536 events wait per queue; then the sender has to wait. A stop or drain lets all of them pass
    /// at once. Under checkpoints, the delays on the path to a component must add up to less than
    /// `checkpoint_timeout`, since barriers are delayed too. A delay of more than a year is refused.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// use std::time::Duration;
    /// let job = Job::new("example");
    /// job.from_iter("numbers", || 0..9)
    ///     .delay(Duration::from_millis(20))
    ///     .for_each(|n| println!("{n}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delay(&self, by: Duration) -> Self {
        self.with(|options| options.delay = by)
    }

    /// What happens when the queue into the next component is full. Dropping is refused if the
    /// guarantee forbids losing events.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job, Overflow};
    /// let job = Job::new("example");
    /// let numbers = job.from_iter("numbers", || 0..9);
    /// numbers.overflow(Overflow::DropOldest).for_each(|n| println!("as far as I keep up: {n}"));
    /// // Refused where the guarantee does not allow events to be lost.
    /// assert!(job.run(Guarantee::default()).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn overflow(&self, overflow: Overflow) -> Self {
        self.with(|options| options.overflow = overflow)
    }

    /// How many batches each queue into the next component holds: 1 to 65,536, and at most 8,000,000 in
    /// all queues of a job together; other values are refused. Default 8, of at most 1,024 events each.
    /// Under light load a batch may be a single event, since the sender sends it when it runs out of
    /// input. So set more batches on an edge that drops, or whose receiver may stall.
    ///
    /// If this is not set and the edge does not drop, fewer events wait for a slow receiver: together with
    /// those that it is processing, about as many as it completes in 100 ms, so that barriers and stops do
    /// not take long. If this is set, the number of batches is the only bound.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// job.from_iter("numbers", || 0..9)
    ///     .queue_batches(100)
    ///     .map(|n| n * n)
    ///     .own_thread()
    ///     .for_each(|n| println!("{n}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn queue_batches(&self, batches: usize) -> Self {
        self.with(|options| options.frames = Some(batches))
    }

    /// Gives the number of bytes that an event of this stream owns on the heap, so that the events that wait
    /// for the next component are bounded in bytes too: 1 MiB in a batch, 32 MiB in flight to each instance,
    /// and one event for each of its senders, however large. It is known for `String`, `Vec<u8>`, `Box<str>`
    /// and `Box<[u8]>`.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// #[derive(Clone)]
    /// struct Image { width: usize, pixels: Vec<u32> }
    ///
    /// let job = Job::new("images");
    /// let images = job.from_iter("images", || (1..4).map(|n| Image { width: n, pixels: vec![0; n * n] }));
    /// images
    ///     .weigh(|image| image.pixels.len() * 4)
    ///     .for_each(|image| println!("{} pixels wide", image.width))
    ///     .own_thread();
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn weigh(&self, heap_bytes: impl Fn(&T) -> usize + Send + Sync + 'static) -> Self {
        let mut stream = self.clone();
        let weigher = Weigher::by(heap_bytes);
        stream.origins.iter_mut().for_each(|origin| origin.weigher = Some(weigher.clone()));
        stream
    }

    /// This stream and another as one. Events of one origin keep their order.
    ///
    /// Each of the two keeps the grouping, key, delay, overflow and queue bound that were set on it
    /// before. Options set on the merged stream apply to both. By default the next component has as many
    /// instances as an input that is forwarded; without such an input, as many as its largest input if no
    /// input has a grouping; otherwise one.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// let rules = job.from_iter("rules", || [10_u64, 20]);
    /// let payments = job.from_iter("payments", || 0..100_u64);
    /// // Every instance gets every rule, and the payments of its accounts.
    /// payments.partition_by(|n| n % 7).merge(&rules.broadcast()).map(|n| n).parallelism(4).for_each(|_| ());
    /// let report = job.run(Guarantee::default())?;
    /// assert_eq!(report.metrics.sum("map", |m| m.delivered), 100 + 4 * 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// let (small, large) = (job.from_iter("small", || 0..3), job.from_iter("large", || 100..103));
    /// small.merge(&large).for_each(|n| println!("{n}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn merge(&self, other: &Self) -> Self {
        let mut stream = self.clone();
        if Arc::ptr_eq(&self.graph, &other.graph) {
            stream.origins.extend(other.origins.iter().cloned());
            stream.foreign |= other.foreign;
        } else {
            // The numbers of its components mean others in this graph.
            stream.foreign = true;
        }
        stream
    }

    /// The events that the component before emits on a side output; see [`SideOutput`]. Options that were set
    /// on this stream apply to the side output too. The exception is [`partition_by`](Stream::partition_by),
    /// since its key is a function of other events: the job is refused.
    ///
    /// ```
    /// # use streamwork::{BoxError, Collector, DeclaredOutput, Guarantee, Job, Operator, SideOutput};
    /// const ODD: SideOutput<u64> = SideOutput::new("odd");
    /// struct Split;
    /// impl Operator for Split {
    ///     type In = u64;
    ///     type Out = u64;
    ///     const SIDE_OUTPUTS: &'static [DeclaredOutput] = &[ODD.declared()];
    ///     fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
    ///         if n % 2 == 0 { out.emit(n) } else { out.emit_to(ODD, n) }
    ///         Ok(())
    ///     }
    /// }
    /// let job = Job::new("example");
    /// let split = job.from_iter("numbers", || 0..9_u64).operator("split", || Split);
    /// split.for_each(|n| println!("even: {n}"));
    /// split.side_output(ODD).for_each(|n| println!("odd: {n}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn side_output<E: Event>(&self, output: SideOutput<E>) -> Stream<E> {
        let side_of = |origin: &Origin<T>| {
            if origin.options.grouping == Grouping::Key {
                self.graph.lock().refuse_key(origin.node, output.name);
            }
            let Origin { node, options, .. } = *origin;
            Origin {
                node,
                side_output: Some(output.name),
                options,
                key: None,
                weigher: Weigher::known(),
            }
        };
        Stream {
            graph: Arc::clone(&self.graph),
            origins: self.origins.iter().map(side_of).collect(),
            foreign: self.foreign,
        }
    }

    /// Declares that nothing reads this stream. Otherwise a stream without a reader is refused.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// job.from_iter("numbers", || 0..3).inspect(|n| println!("{n}")).ignore();
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ignore(&self) {
        self.change_nodes(|node| node.ignored = true);
    }

    /// How many instances the component before has: at least 1, and no more than the machine can run
    /// threads; other values are refused. By default as many as its input if that is forwarded, otherwise
    /// one.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// job.from_iter("numbers", || 0..9).shuffle().map(|n| n * n).parallelism(3).for_each(|n| println!("{n}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parallelism(&self, instances: usize) -> Self {
        self.change_nodes(|node| node.parallelism = Some(instances));
        self.clone()
    }

    /// Runs the component before on separate threads, instead of fusing it to the component that it reads.
    ///
    /// A thread runs at most 64 components in a row; a longer chain continues in another thread, as if
    /// this had been called there.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// job.from_iter("numbers", || 0..9).map(|n| n * n).own_thread().for_each(|n| println!("{n}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn own_thread(&self) -> Self {
        self.change_nodes(|node| node.own_thread = true);
        self.clone()
    }

    /// Lets the component before, an operator with state, have several instances without a key. Each instance
    /// has a separate state, of the events that it happens to get. Refused for any other component.
    ///
    /// ```
    /// # use streamwork::{BoxError, Collector, Guarantee, Instance, Job, Output, StatefulOperator};
    /// /// How many events there were.
    /// #[derive(Default)]
    /// struct Count(u64);
    /// impl StatefulOperator for Count {
    ///     type In = u64;
    ///     type Out = u64;
    ///     type State = u64;
    ///     fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
    ///         self.0 = state.unwrap_or(0);
    ///         Ok(())
    ///     }
    ///     fn apply(&mut self, _: u64, _: &mut Collector<u64>) -> Result<(), BoxError> {
    ///         self.0 += 1;
    ///         Ok(())
    ///     }
    ///     fn state(&self) -> u64 {
    ///         self.0
    ///     }
    ///     fn finish(&mut self, out: &mut Output<u64>) -> Result<(), BoxError> {
    ///         out.emit(std::mem::take(&mut self.0));
    ///         Ok(())
    ///     }
    /// }
    /// let job = Job::new("example");
    /// let numbers = job.from_iter("numbers", || 0..90_u64);
    /// let counts = numbers.shuffle().stateful("count", Count::default).per_instance().parallelism(3);
    /// counts.for_each(|count| println!("one instance counted {count}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn per_instance(&self) -> Self {
        let mut graph = self.graph.lock();
        self.origins.iter().for_each(|origin| graph.per_instance(origin.node));
        drop(graph);
        self.clone()
    }

    /// The codec for the state of the component before, instead of the one that the guarantee sets for all.
    /// See [`StateCodec`].
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// use streamwork::checkpoint::StateCodec;
    /// let job = Job::new("example");
    /// let numbers = job.from_iter("numbers", || 0..9).state_codec(StateCodec::SelfDescribing);
    /// numbers.for_each(|n| println!("{n}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn state_codec(&self, codec: StateCodec) -> Self {
        self.change_nodes(|node| node.codec = Some(codec));
        self.clone()
    }

    /// Renames the component before. A verb like `map` has a generated name otherwise.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// job.from_iter("numbers", || 0..9).map(|n| n * n).named("square").for_each(|n| println!("{n}"));
    /// let report = job.run(Guarantee::default())?;
    /// assert_eq!(report.metrics.sum("square", |m| m.delivered), 9);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn named(&self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.change_nodes(|node| {
            node.name.clone_from(&name);
            node.verb = None;
        });
        self.clone()
    }

    /// What follows when the operator before returns an error from `apply`; see [`OnError`]. By default the
    /// guarantee decides. Set it at the operator, and read the failed events with
    /// [`dead_letters`](Stream::dead_letters). Refused for a source, and if nothing reads the dead letters.
    ///
    /// The engine then clones every event before the operator takes it. Outputs and timers of an event that
    /// fails are discarded. Changes that it made to the state of the operator are not, so let `apply` check
    /// before it changes anything. An event for which `apply` called [`defer`](crate::Collector::defer) fails
    /// as the guarantee says, since a token may still be answered: call it when nothing can fail any more.
    ///
    /// ```
    /// use streamwork::{ExactlyOnce, Job, LinesSource, OnError};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let (path, store) = (directory.path().join("numbers"), directory.path().join("store"));
    /// # std::fs::write(&path, "1\nx\n3\n")?;
    /// let job = Job::new("numbers");
    /// let lines = job.lines("lines", LinesSource::new(&path));
    /// let numbers = lines.try_map(|line| Ok(line.parse::<u64>()?)).named("parse").on_error(OnError::DeadLetter);
    /// numbers.for_each(|n| println!("{n}")).named("numbers");
    /// numbers
    ///     .dead_letters::<String>()
    ///     .for_each(|letter| println!("{:?}: {}", letter.event, letter.failure))
    ///     .named("failed");
    ///
    /// // One line fails, and the job neither rolls back nor ends.
    /// let metrics = job.run(ExactlyOnce::checkpoints_in(&store))?.metrics;
    /// assert_eq!(metrics.sum("numbers", |m| m.delivered), 2);
    /// assert_eq!(metrics.sum("failed", |m| m.delivered), 1);
    /// assert_eq!(metrics.restarts, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_error(&self, choice: OnError) -> Self {
        let mut graph = self.graph.lock();
        self.origins.iter().for_each(|origin| graph.on_error(origin.node, choice));
        drop(graph);
        self.clone()
    }

    /// The events that failed in the component before, an operator with [`OnError::DeadLetter`]: each as the
    /// operator received it, with its error. `E` must be the type of the events that the operator takes; the
    /// job is refused otherwise.
    ///
    /// A stream like any other: a dead letter belongs to the same checkpoint as the outputs of the events
    /// around it, and under at-least-once its event is acknowledged when the dead letter has been handled. So
    /// under exactly-once a transactional sink shows each dead letter exactly once. Options that were set on
    /// this stream apply to it too, as for [`side_output`](Stream::side_output). See
    /// [`on_error`](Stream::on_error) for an example.
    pub fn dead_letters<E: Event>(&self) -> Stream<DeadLetter<E>> {
        self.side_output(DeadLetter::OUTPUT)
    }

    /// The records that the source before could not turn into events, with their bytes and their position:
    /// those that it passes to [`SourceOutput::reject_record`](crate::SourceOutput::reject_record), as the
    /// sources of lines and of event logs do. If the job reads this stream, such records do not fail, under
    /// any guarantee, and a bad record belongs to the same checkpoint as the events around it. Refused for
    /// any other component than a source.
    ///
    /// ```
    /// use streamwork::{ExactlyOnce, Job, LinesSource};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let (path, store) = (directory.path().join("lines"), directory.path().join("store"));
    /// std::fs::write(&path, b"one\n\xff\xff\nthree\n")?;
    /// let job = Job::new("lines");
    /// let lines = job.lines("lines", LinesSource::new(&path));
    /// lines.for_each(|line| println!("{line}")).named("good");
    /// lines.bad_records().for_each(|bad| println!("{}: {:?}", bad.record.offset, bad.record.bytes)).named("bad");
    ///
    /// let metrics = job.run(ExactlyOnce::checkpoints_in(&store))?.metrics;
    /// assert_eq!(metrics.sum("good", |m| m.delivered), 2);
    /// assert_eq!(metrics.sum("bad", |m| m.delivered), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn bad_records(&self) -> Stream<BadRecord> {
        self.side_output(BAD_RECORDS)
    }

    /// Sends events of this source that have failed `attempts_max` times to a sink, under a guarantee that
    /// replays them. The sink is outside the job: for a stream of the events that fail in one operator, under
    /// every guarantee, see [`on_error`](Stream::on_error).
    ///
    /// ```
    /// use streamwork::{BoxError, DeadLetter, Guarantee, Job, Sink};
    ///
    /// struct Graveyard;
    /// impl Sink for Graveyard {
    ///     type In = DeadLetter<u32>;
    ///     fn write(&mut self, letter: DeadLetter<u32>) -> Result<(), BoxError> {
    ///         println!("{} after {} attempts: {}", letter.event, letter.attempts, letter.failure);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let job = Job::new("poison");
    /// let numbers = job.from_iter("numbers", || 0..10_u32);
    /// numbers.dead_letter_sink(|| Graveyard);
    /// numbers.try_map(|n| if n == 7 { Err("poison".into()) } else { Ok(n) }).for_each(|_| ());
    /// let report = job.run(Guarantee::default())?;
    /// assert_eq!(report.metrics.sum("numbers", |m| m.dead_lettered), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dead_letter_sink<S: Sink<In = DeadLetter<T>>>(
        &self,
        factory: impl Fn() -> S + Send + Sync + 'static,
    ) {
        let make: LettersFactory<T> = Arc::new(move |instance: &Instance| {
            let mut sink = factory();
            sink.setup(instance)?;
            Ok(letters_into(sink))
        });
        self.change_nodes(|node| node.letters = Some(Arc::new(Arc::clone(&make))));
    }

    pub(super) fn change_nodes(&self, mut change: impl FnMut(&mut crate::job::graph::NodeSpec)) {
        let mut graph = self.graph.lock();
        for origin in &self.origins {
            change(&mut graph.nodes[origin.node]);
        }
    }
}

/// A sink of a job, to set its options and read its dead letters.
#[derive(Debug)]
pub struct SinkHandle {
    graph: Arc<Mutex<Graph>>,
    node: usize,
}

impl SinkHandle {
    /// As [`Stream::state_codec`], for the handles that a transactional sink keeps in checkpoints.
    pub fn state_codec(self, codec: StateCodec) -> Self {
        self.graph.lock().nodes[self.node].codec = Some(codec);
        self
    }

    /// How many instances the sink has: at least 1, and no more than the machine can run threads; other
    /// values are refused. By default as many as its input if that is forwarded, otherwise one.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// job.from_iter("numbers", || 0..9).shuffle().for_each(|n| println!("{n}")).parallelism(3);
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parallelism(self, instances: usize) -> Self {
        self.graph.lock().nodes[self.node].parallelism = Some(instances);
        self
    }

    /// Runs the sink on separate threads, instead of fusing it to the component that it reads.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// job.from_iter("numbers", || 0..9).for_each(|n| println!("{n}")).own_thread();
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn own_thread(self) -> Self {
        self.graph.lock().nodes[self.node].own_thread = true;
        self
    }

    /// As [`Stream::on_error`], for an error of `write`. Use it only if a `write` that returns an error
    /// leaves nothing of its event behind: the event is not written again, and nothing is rolled back.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// use streamwork::OnError;
    /// let job = Job::new("example");
    /// let numbers = job.from_iter("numbers", || 0..9_u64);
    /// let small = |n| if n < 8 { Ok(println!("{n}")) } else { Err("too large".into()) };
    /// let written = numbers.try_for_each(small).on_error(OnError::DeadLetter);
    /// written.dead_letters::<u64>().for_each(|letter| println!("{}: {}", letter.event, letter.failure));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_error(self, choice: OnError) -> Self {
        self.graph.lock().on_error(self.node, choice);
        self
    }

    /// As [`Stream::dead_letters`]: the events for which the `write` of the sink returned an error.
    pub fn dead_letters<E: Event>(&self) -> Stream<DeadLetter<E>> {
        Stream::<()>::of(Arc::clone(&self.graph), self.node).side_output(DeadLetter::OUTPUT)
    }

    /// Renames the sink.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("example");
    /// job.from_iter("numbers", || 0..9).for_each(|n| println!("{n}")).named("print");
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn named(self, name: impl Into<String>) -> Self {
        self.graph.lock().nodes[self.node].name = name.into();
        self
    }
}
