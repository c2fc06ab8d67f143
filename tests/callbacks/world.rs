//! A job in which every callback can be made to fail, and its output as an outside reader sees it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Once};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use streamwork::checkpoint::{DirectoryStore, StoreError};
use streamwork::storage::Disk;
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, DeadLetter, EventTime, ExactlyOnce, Guarantee,
    Instance, Job, JobReport, Next, OnError, Output, Refused, Restarts, RunError, Sink,
    SourceOutput, StatefulOperator, StatefulSource, Transaction, TransactionalSink,
};

#[path = "held.rs"]
mod held;
#[path = "keyed.rs"]
mod keyed;
#[path = "split_numbers.rs"]
mod split_numbers;

use crate::{CHECKPOINTS, EVENTS};
use held::{HeldNumber, Hold};
use keyed::Keep;
use split_numbers::SplitNumbers;

/// Events that the source emits at once.
const BATCH: u64 = 10;

/// How often a source is asked in vain, for want of a checkpoint, until it goes on without one.
const IN_VAIN_MAX: u32 = 8;

/// Longer than any case takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);

/// The guarantee of that name, storing on `disk`.
///
/// # Errors
/// The store cannot be opened.
fn guarantee(name: &str, disk: &Arc<dyn Disk>) -> Result<Guarantee, StoreError> {
    let often = Duration::from_millis(2);
    let restarts = Restarts { limit: 4, backoff: Duration::from_millis(1), ..Restarts::default() };
    let store = || DirectoryStore::open_on(Arc::clone(disk), "/store").map(Arc::new);
    let (least, quick) = (AtLeastOnce::new().attempts_max(4), Duration::from_millis(1));
    let least = least.backoff(quick, quick).restarts(restarts);
    let most = AtMostOnce::new().restarts(restarts);
    Ok(match name {
        "at-most-once" => most.into(),
        "at-most-once stored" => most.store_with(store()?).every(often).into(),
        "at-least-once" => least.into(),
        "at-least-once stored" => least.store_with(store()?).every(often).into(),
        "at-least-once-checkpoint" => AtLeastOnce::checkpoints_with(store()?)
            .every(often)
            .restarts(restarts)
            .incremental_above(0)
            .into(),
        "exactly-once" => ExactlyOnce::checkpoints_with(store()?)
            .every(often)
            .restarts(restarts)
            .incremental_above(0)
            .into(),
        other => panic!("no guarantee is named {other}"),
    })
}

/// How a callback fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Err,
    Panic,
}

/// One callback of one component, and at which of its calls it fails how often.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) component: &'static str,
    pub(crate) callback: &'static str,
    pub(crate) kind: Kind,
    pub(crate) from: usize,
    pub(crate) times: usize,
    calls: AtomicUsize,
    pub(crate) struck: AtomicUsize,
}

impl Fault {
    pub(crate) fn new(
        (component, callback): (&'static str, &'static str),
        kind: Kind,
        from: usize,
        times: usize,
    ) -> Self {
        let (calls, struck) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { component, callback, kind, from, times, calls, struck }
    }

    /// A fault that never happens.
    pub(crate) fn none() -> Self {
        Self::new(("", ""), Kind::Err, 0, 0)
    }

    fn strike(&self, component: &str, callback: &str) -> Result<(), BoxError> {
        if self.component != component || self.callback != callback {
            return Ok(());
        }
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if call < self.from || call - self.from >= self.times {
            return Ok(());
        }
        self.struck.fetch_add(1, Ordering::SeqCst);
        let text = format!("boom in {component}, {callback}");
        match self.kind {
            Kind::Err => Err(text.into()),
            Kind::Panic => panic!("{text}"),
        }
    }
}

/// Variants of the job of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Plain,
    /// The source has splits.
    Splits,
    /// Events on which the operator fails become dead letters, for a sink with transactions.
    DeadLetters,
    /// After the operator there is one that holds events in tokens.
    Held,
    /// After the operator there is one whose state by key the engine keeps.
    Keyed,
}

/// Shared by all components of one run: the fault, and the visible output.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) shape: Shape,
    number: u64,
    /// The same for all runs on one store.
    case: u64,
    pub(crate) fault: Fault,
    /// At this event the operator panics once, so that something has to be restored.
    pub(crate) stumble: Mutex<Option<u64>>,
    /// The events that the plain sink has flushed.
    pub(crate) seen: Mutex<Vec<u64>>,
    pub(crate) ledger: Mutex<Table>,
    /// The dead letters of the operator.
    pub(crate) aside: Mutex<Table>,
    /// Checkpoints that the source was told of.
    checkpoints: AtomicU64,
    /// How often each event counts in the state at the end.
    pub(crate) counted: Mutex<BTreeMap<u64, u64>>,
    pub(crate) letters: Mutex<Vec<u64>>,
}

/// Prepared transactions by handle, and what is shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    next: u64,
    open: HashMap<u64, Vec<u64>>,
    pub(crate) shown: Vec<u64>,
}

/// The current runs, for `Deserialize`, which has no other access to them.
static WORLDS: LazyLock<Mutex<HashMap<u64, Arc<World>>>> = LazyLock::new(Mutex::default);
static NUMBERS: AtomicU64 = AtomicU64::new(0);

impl World {
    pub(crate) fn new(fault: Fault, stumble: Option<u64>, shape: Shape) -> Arc<Self> {
        silence_booms();
        let number = NUMBERS.fetch_add(1, Ordering::SeqCst);
        Self::with(number, number, fault, stumble, shape)
    }

    fn with(number: u64, case: u64, fault: Fault, stumble: Option<u64>, shape: Shape) -> Arc<Self> {
        let world = Arc::new(Self {
            shape,
            number,
            case,
            fault,
            stumble: Mutex::new(stumble),
            seen: Mutex::default(),
            ledger: Mutex::default(),
            aside: Mutex::default(),
            checkpoints: AtomicU64::new(0),
            counted: Mutex::default(),
            letters: Mutex::default(),
        });
        WORLDS.lock().insert(world.number, Arc::clone(&world));
        world
    }

    /// As this one is, without a fault.
    pub(crate) fn healed(&self) -> Arc<Self> {
        let number = NUMBERS.fetch_add(1, Ordering::SeqCst);
        let healed = Self::with(number, self.case, Fault::none(), None, self.shape);
        // What was stored by the broken one must be read without a fault.
        WORLDS.lock().remove(&self.number);
        *healed.seen.lock() = self.seen.lock().clone();
        *healed.counted.lock() = self.counted.lock().clone();
        *healed.letters.lock() = self.letters.lock().clone();
        (*healed.ledger.lock()).clone_from(&self.ledger.lock());
        (*healed.aside.lock()).clone_from(&self.aside.lock());
        healed
    }

    pub(crate) fn strike(&self, component: &str, callback: &str) -> Result<(), BoxError> {
        self.fault.strike(component, callback)
    }

    /// For callbacks that cannot return an error.
    pub(crate) fn panic_if_struck(&self, component: &str, callback: &str) {
        self.strike(component, callback).expect("only panics are asked for here");
    }
}

/// Hides the messages of injected panics.
pub(crate) fn silence_booms() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let (fixed, made) = (panic.payload().downcast_ref::<&str>(), panic.payload());
            let made = made.downcast_ref::<String>().map(String::as_str);
            let text = fixed.copied().or(made).unwrap_or_default();
            if !text.starts_with("boom") {
                loud(panic);
            }
        }));
    });
}

/// Something that is stored, and whose encoding and decoding can fail.
#[derive(Clone, Debug)]
struct Stored<T> {
    world: u64,
    component: &'static str,
    value: T,
}

const COMPONENTS: [&str; 6] = ["source", "work", "ledger", "aside", "hold", "keep"];

impl<T: Serialize> Serialize for Stored<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(world) = WORLDS.lock().get(&self.world).cloned() {
            world.strike(self.component, "serialize").map_err(S::Error::custom)?;
        }
        let component = COMPONENTS.iter().position(|name| *name == self.component);
        (self.world, component.expect("one of them") as u64, &self.value).serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Stored<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (world, component, value) = <(u64, u64, T)>::deserialize(deserializer)?;
        let component = COMPONENTS[component as usize];
        if let Some(world) = WORLDS.lock().get(&world).cloned() {
            world.strike(component, "deserialize").map_err(D::Error::custom)?;
        }
        Ok(Self { world, component, value })
    }
}

struct Numbers {
    world: Arc<World>,
    next: u64,
    in_vain: u32,
}

impl Numbers {
    /// Whether there have been fewer checkpoints than there are to be by now.
    fn has_to_wait(&self) -> bool {
        let told = self.world.checkpoints.load(Ordering::SeqCst);
        let due = |all: u64| all.min(self.next / BATCH);
        self.in_vain < IN_VAIN_MAX && CHECKPOINTS.is_some_and(|all| told < due(all))
    }
}

impl StatefulSource for Numbers {
    type Out = u64;
    type State = StoredNumber;
    fn setup(&mut self, _: &Instance, state: Option<StoredNumber>) -> Result<(), BoxError> {
        self.next = state.map_or(0, |stored| stored.0.value);
        self.world.strike("source", "setup")
    }
    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        let pause = Duration::from_micros(500);
        if self.has_to_wait() {
            self.in_vain += 1;
            return Ok(Next::After(pause));
        }
        self.in_vain = 0;
        let until = (self.next + BATCH).min(EVENTS);
        while self.next < until && out.room() > 0 {
            out.emit(self.next);
            self.next += 1;
        }
        self.world.strike("source", "get_events")?;
        out.advance_watermark(EventTime::from_unix_ms(self.next as i64));
        Ok(if self.next < EVENTS { Next::After(pause) } else { Next::End })
    }
    fn state(&self) -> StoredNumber {
        self.world.panic_if_struck("source", "state");
        let (world, value) = (self.world.number, self.next);
        StoredNumber(Stored { world, component: "source", value })
    }
    fn checkpointed(&mut self, _: &StoredNumber) -> Result<(), BoxError> {
        self.world.checkpoints.fetch_add(1, Ordering::SeqCst);
        self.world.strike("source", "checkpointed")
    }
}

/// The private type under a name that the traits can show.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredNumber(Stored<u64>);

impl StoredNumber {
    pub(crate) fn of_source(world: &World, value: u64) -> Self {
        Self(Stored { world: world.number, component: "source", value })
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.value
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredCounts(Stored<BTreeMap<u64, u64>>);

struct Work {
    world: Arc<World>,
    counts: BTreeMap<u64, u64>,
}

impl StatefulOperator for Work {
    type In = u64;
    type Out = u64;
    type State = StoredCounts;
    fn setup(&mut self, _: &Instance, state: Option<StoredCounts>) -> Result<(), BoxError> {
        self.counts = state.map(|stored| stored.0.value).unwrap_or_default();
        self.world.strike("work", "setup")
    }
    fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        out.emit(event);
        self.world.strike("work", "apply")?;
        // Something has to become a dead letter where it may, or where the sink for those is to fail.
        let world = &self.world;
        let has_poison = world.shape == Shape::DeadLetters || world.fault.component == "letters";
        if has_poison && event.is_multiple_of(50) {
            return Err("boom: poison".into());
        }
        if self.world.stumble.lock().take_if(|at| *at == event).is_some() {
            panic!("boom in work, stumbled at {event}");
        }
        if event.is_multiple_of(8) {
            out.set_timer(Duration::ZERO, event);
        }
        *self.counts.entry(event).or_default() += 1;
        Ok(())
    }
    fn on_timer(&mut self, _: u64, _: &mut Output<u64>) -> Result<(), BoxError> {
        self.world.strike("work", "on_timer")
    }
    fn on_watermark(&mut self, _: EventTime, _: &mut Output<u64>) -> Result<(), BoxError> {
        self.world.strike("work", "on_watermark")
    }
    fn finish(&mut self, _: &mut Output<u64>) -> Result<(), BoxError> {
        (*self.world.counted.lock()).clone_from(&self.counts);
        self.world.strike("work", "finish")
    }
    fn state(&self) -> StoredCounts {
        self.world.panic_if_struck("work", "state");
        let (world, value) = (self.world.number, self.counts.clone());
        StoredCounts(Stored { world, component: "work", value })
    }
}

struct Seen {
    world: Arc<World>,
    open: Vec<u64>,
}

impl Sink for Seen {
    type In = u64;
    fn setup(&mut self, _: &Instance) -> Result<(), BoxError> {
        self.world.strike("seen", "setup")
    }
    fn write(&mut self, event: u64) -> Result<(), BoxError> {
        self.world.strike("seen", "write")?;
        self.open.push(event);
        Ok(())
    }
    fn flush(&mut self) -> Result<(), BoxError> {
        let open = std::mem::take(&mut self.open);
        self.world.strike("seen", "flush")?;
        self.world.seen.lock().extend(open);
        Ok(())
    }
}

struct Ledger {
    world: Arc<World>,
    name: &'static str,
    open: Vec<u64>,
}

impl Ledger {
    fn new(world: &Arc<World>, name: &'static str) -> Self {
        world.panic_if_struck(name, "factory");
        Self { world: Arc::clone(world), name, open: Vec::new() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        if self.name == "aside" { self.world.aside.lock() } else { self.world.ledger.lock() }
    }
}

impl TransactionalSink for Ledger {
    type In = u64;
    type Handle = StoredNumber;
    fn setup(&mut self, _: &Instance) -> Result<(), BoxError> {
        self.world.strike(self.name, "setup")
    }
    fn write(&mut self, event: u64) -> Result<(), BoxError> {
        self.world.strike(self.name, "write")?;
        self.open.push(event);
        Ok(())
    }
    fn prepare(&mut self, _: Transaction) -> Result<Option<StoredNumber>, BoxError> {
        let open = std::mem::take(&mut self.open);
        self.world.strike(self.name, "prepare")?;
        if open.is_empty() {
            return Ok(None);
        }
        let mut table = self.table();
        let value = table.next;
        table.next += 1;
        table.open.insert(value, open);
        let (world, component) = (self.world.number, self.name);
        drop(table);
        Ok(Some(StoredNumber(Stored { world, component, value })))
    }
    fn commit(&mut self, handle: StoredNumber) -> Result<(), BoxError> {
        self.world.strike(self.name, "commit")?;
        let mut table = self.table();
        if let Some(events) = table.open.remove(&handle.0.value) {
            table.shown.extend(events);
        }
        Ok(())
    }
    fn abort_unfinished(&mut self) -> Result<(), BoxError> {
        self.world.strike(self.name, "abort_unfinished")?;
        self.open.clear();
        self.table().open.clear();
        Ok(())
    }
}

struct Letters(Arc<World>);

impl Sink for Letters {
    type In = DeadLetter<u64>;
    fn write(&mut self, letter: DeadLetter<u64>) -> Result<(), BoxError> {
        self.0.strike("letters", "write")?;
        self.0.letters.lock().push(letter.event);
        Ok(())
    }
    fn flush(&mut self) -> Result<(), BoxError> {
        self.0.strike("letters", "flush")
    }
}

macro_rules! fails_when_dropped {
    ($($component:ty: |$this:ident| $name:expr),*) => {$(
        impl Drop for $component {
            fn drop(&mut self) {
                // A panic on top of a panic ends the process, and that is not ours to survive.
                if !std::thread::panicking() {
                    let $this = &*self;
                    self.world.panic_if_struck($name, "drop");
                }
            }
        }
    )*};
}

fails_when_dropped!(
    Numbers: |_this| "source",
    Work: |_this| "work",
    Hold: |_this| "hold",
    Keep: |_this| "keep",
    Seen: |_this| "seen",
    Ledger: |this| this.name
);

/// The job, under a name that its threads carry.
fn job(world: &Arc<World>, name: &str) -> Job {
    let [source, key, work, seen, ledger, letters, aside, hold, held, keep] =
        [(); 10].map(|()| Arc::clone(world));
    let job = Job::new("callbacks");
    let called = format!("source{name}");
    let build = move || {
        source.panic_if_struck("source", "factory");
        Numbers { world: Arc::clone(&source), next: 0, in_vain: 0 }
    };
    let numbers = match world.shape {
        Shape::Splits => job.split_source(called, move || SplitNumbers::of(build())),
        Shape::Plain | Shape::DeadLetters | Shape::Held | Shape::Keyed => {
            job.stateful_source(called, build)
        }
    };
    numbers.dead_letter_sink(move || Letters(Arc::clone(&letters)));
    let worked = numbers
        .key_by(move |event| {
            key.panic_if_struck("source", "key");
            *event
        })
        .stateful(format!("work{name}"), move || {
            work.panic_if_struck("work", "factory");
            Work { world: Arc::clone(&work), counts: BTreeMap::new() }
        });
    let worked = match world.shape {
        Shape::Held => worked
            .map(move |number| HeldNumber::new(&held, number))
            .operator(format!("hold{name}"), move || Hold::new(&hold)),
        Shape::Keyed => worked
            .key_by(|number| number % 5)
            .keyed_operator(format!("keep{name}"), move || Keep::new(&keep)),
        Shape::Plain | Shape::Splits | Shape::DeadLetters => worked,
    };
    worked
        .sink(format!("seen{name}"), move || {
            seen.panic_if_struck("seen", "factory");
            Seen { world: Arc::clone(&seen), open: Vec::new() }
        })
        .own_thread();
    worked
        .transactional_sink(format!("ledger{name}"), move || Ledger::new(&ledger, "ledger"))
        .own_thread();
    if world.shape == Shape::DeadLetters {
        let failed = worked.on_error(OnError::DeadLetter).dead_letters::<u64>();
        let events = failed.map(|letter| letter.event).named(format!("letters{name}"));
        events.transactional_sink(format!("aside{name}"), move || Ledger::new(&aside, "aside"));
    }
    job
}

/// Runs the job to its end, whether it succeeds or fails. It must end in time, and leave no thread behind.
pub(crate) fn run(
    world: &Arc<World>,
    name: &str,
    disk: &Arc<dyn Disk>,
    what: &str,
) -> Result<JobReport, RunError> {
    // Components are identities in the store, so a second run on it has the names of the first; the
    // threads of another case have not.
    // A number alone may also be in the name of the test binary.
    let case = &format!("#{:05}", world.case);
    let handle = job(world, case).start(guarantee(name, disk).map_err(Refused::from)?)?;
    let started = Instant::now();
    while !handle.is_finished() {
        assert!(started.elapsed() < PATIENCE, "{what}: it hangs");
        std::thread::sleep(Duration::from_micros(200));
    }
    let result = handle.wait().map_err(RunError::from);
    // The system takes a moment to forget a thread that was joined.
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let left = threads_of(case);
        if left.is_empty() {
            return result;
        }
        assert!(Instant::now() < deadline, "{what}: threads are left behind: {left:?}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The names of the threads of this process that carry the name of a case.
fn threads_of(case: &str) -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("the threads of this process");
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        // A thread may end between being listed and being looked at.
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks.filter_map(name).filter(|name| name.contains(case)).collect()
}

/// How often each event occurs.
pub(crate) fn counts(events: &[u64]) -> BTreeMap<u64, u64> {
    events.iter().fold(BTreeMap::new(), |mut counts, event| {
        *counts.entry(*event).or_default() += 1;
        counts
    })
}

/// Checks the promise of the guarantee, after a run that succeeded or failed.
#[track_caller]
pub(crate) fn assert_promised(
    guarantee: &str,
    world: &World,
    went_well: bool,
    again: bool,
    what: &str,
) {
    let (seen, shown) = (counts(&world.seen.lock()), counts(&world.ledger.lock().shown));
    let counted = world.counted.lock().clone();
    let letters = world.letters.lock().clone();
    for of in [&seen, &shown, &counted] {
        assert!(of.keys().all(|event| *event < EVENTS), "{what}: invented: {of:?}");
    }
    let aside = counts(&world.aside.lock().shown);
    let repeated = |of: &BTreeMap<u64, u64>| of.values().any(|n| *n > 1);
    let lost = |of: &BTreeMap<u64, u64>| {
        let found = |event: &u64| {
            of.contains_key(event) || letters.contains(event) || aside.contains_key(event)
        };
        (0..EVENTS).find(|event| !found(event))
    };
    if guarantee.starts_with("at-most-once") {
        assert!(!repeated(&seen), "{what}: repeated at the plain sink, again: {again}");
        assert!(!repeated(&shown), "{what}: repeated at the ledger, again: {again}");
        assert!(!repeated(&counted), "{what}: repeated in the state, again: {again}");
        assert!(!repeated(&aside), "{what}: a dead letter is repeated, again: {again}");
    } else if went_well {
        assert_eq!(lost(&seen), None, "{what}: lost at the plain sink, again: {again}");
        assert_eq!(lost(&shown), None, "{what}: lost at the ledger, again: {again}");
        assert_eq!(lost(&counted), None, "{what}: lost in the state, again: {again}");
    }
    if guarantee == "exactly-once" {
        assert!(letters.is_empty());
        assert!(!repeated(&aside), "{what}: a dead letter is repeated, again: {again}");
        let both =
            aside.keys().find(|event| shown.contains_key(event) || counted.contains_key(event));
        assert_eq!(both, None, "{what}: shown and a dead letter, again: {again}");
        assert!(!repeated(&shown), "{what}: repeated at the ledger, again: {again}");
        assert!(!repeated(&counted), "{what}: repeated in the state, again: {again}");
    }
}
