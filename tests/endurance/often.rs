//! A checkpoint every millisecond, and a failure every few checkpoints.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use streamwork::testkit::Collected;
use streamwork::{
    BoxError, Collector, ExactlyOnce, Instance, Job, Next, Output, Restarts, SourceOutput,
    StatefulOperator, StatefulSource, Transaction, TransactionalSink,
};

use crate::tier;

/// Checkpoints between two failures.
const EVERY: u64 = 4;

/// What fails next, and whether failures go on.
#[derive(Debug, Default)]
struct Faults {
    prepared: AtomicU64,
    operator: AtomicBool,
    commit_before: AtomicBool,
    commit_after: AtomicBool,
    over: AtomicBool,
}

impl Faults {
    /// Called at each checkpoint: now and then something fails after it.
    fn checkpoint(&self) {
        let nth = self.prepared.fetch_add(1, Ordering::SeqCst);
        if self.over.load(Ordering::SeqCst) || !nth.is_multiple_of(EVERY) {
            return;
        }
        let next = [&self.operator, &self.commit_before, &self.commit_after];
        next[(nth / EVERY) as usize % next.len()].store(true, Ordering::SeqCst);
    }

    fn strikes(which: &AtomicBool) -> Result<(), BoxError> {
        if which.swap(false, Ordering::SeqCst) { Err("struck".into()) } else { Ok(()) }
    }
}

/// Counts up under its own number until it is told that the time is over.
struct Numbers {
    instance: u64,
    next: u64,
    faults: Arc<Faults>,
}

impl StatefulSource for Numbers {
    type Out = (u64, u64);
    type State = u64;
    fn setup(&mut self, instance: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.instance = instance.index() as u64;
        self.next = state.unwrap_or(0);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<(u64, u64)>) -> Result<Next, BoxError> {
        if self.faults.over.load(Ordering::SeqCst) {
            return Ok(Next::End);
        }
        for _ in 0..20.min(out.room()) {
            out.emit((self.instance, self.next));
            self.next += 1;
        }
        Ok(Next::After(Duration::from_micros(200)))
    }
    fn state(&self) -> u64 {
        self.next
    }
}

/// How many numbers there were of each source, and their sum.
#[derive(Default)]
struct Tally(BTreeMap<u64, (u64, u64)>);

impl StatefulOperator for Tally {
    type In = (u64, u64);
    type Out = (u64, (u64, u64));
    type State = BTreeMap<u64, (u64, u64)>;
    fn setup(&mut self, _: &Instance, state: Option<Self::State>) -> Result<(), BoxError> {
        self.0 = state.unwrap_or_default();
        Ok(())
    }
    fn apply(
        &mut self,
        (of, number): (u64, u64),
        _: &mut Collector<Self::Out>,
    ) -> Result<(), BoxError> {
        let (count, sum) = self.0.entry(of).or_default();
        *count += 1;
        *sum += number;
        Ok(())
    }
    fn finish(&mut self, out: &mut Output<Self::Out>) -> Result<(), BoxError> {
        std::mem::take(&mut self.0).into_iter().for_each(|entry| out.emit(entry));
        Ok(())
    }
    fn state(&self) -> Self::State {
        self.0.clone()
    }
}

/// The committed output by source: numbers below this, each once. The prepared output by handle.
#[derive(Debug, Default)]
struct Shown {
    below: BTreeMap<u64, u64>,
    prepared: BTreeMap<u64, Vec<(u64, u64)>>,
    handles: u64,
}

/// A transactional sink that checks at each commit that its output continues the output so far.
#[derive(Clone)]
struct Ledger {
    open: Vec<(u64, u64)>,
    shown: Arc<Mutex<Shown>>,
    faults: Arc<Faults>,
}

impl TransactionalSink for Ledger {
    type In = (u64, u64);
    type Handle = u64;
    fn write(&mut self, event: (u64, u64)) -> Result<(), BoxError> {
        self.open.push(event);
        Ok(())
    }
    fn prepare(&mut self, _: Transaction) -> Result<Option<u64>, BoxError> {
        self.faults.checkpoint();
        let mut shown = self.shown.lock();
        shown.handles += 1;
        let handle = shown.handles;
        shown.prepared.insert(handle, std::mem::take(&mut self.open));
        Ok(Some(handle))
    }
    fn commit(&mut self, handle: u64) -> Result<(), BoxError> {
        Faults::strikes(&self.faults.commit_before)?;
        let mut shown = self.shown.lock();
        for (of, number) in shown.prepared.remove(&handle).unwrap_or_default() {
            let below = shown.below.entry(of).or_default();
            assert_eq!(number, *below, "source {of}: lost or repeated");
            *below += 1;
        }
        drop(shown);
        Faults::strikes(&self.faults.commit_after)
    }
    fn abort_unfinished(&mut self) -> Result<(), BoxError> {
        self.open.clear();
        self.shown.lock().prepared.clear();
        Ok(())
    }
}

#[test]
fn a_checkpoint_every_millisecond_with_failures_between_leaves_the_exact_state() {
    let test = "a_checkpoint_every_millisecond_with_failures_between_leaves_the_exact_state";
    let directory = tempfile::tempdir().expect("a directory");
    let began = Instant::now();
    let faults = Arc::new(Faults::default());
    let (shown, tallied) = (Arc::new(Mutex::new(Shown::default())), Collected::new());
    let ledger =
        Ledger { open: Vec::new(), shown: Arc::clone(&shown), faults: Arc::clone(&faults) };
    let (counting, striking) = (Arc::clone(&faults), Arc::clone(&faults));
    let job = Job::new("often");
    let numbers = job
        .stateful_source("numbers", move || Numbers {
            instance: 0,
            next: 0,
            faults: Arc::clone(&counting),
        })
        .parallelism(2);
    numbers
        .key_by(|(_, number)| number % 100)
        .try_map(move |event| Faults::strikes(&striking.operator).map(|()| event))
        .parallelism(2)
        .global()
        .stateful("tally", Tally::default)
        .sink("tallied", tallied.factory());
    numbers.global().transactional_sink("ledger", move || ledger.clone());
    let guarantee = ExactlyOnce::checkpoints_in(directory.path())
        .every(Duration::from_millis(1))
        .restarts(Restarts { backoff: Duration::from_millis(1), ..Restarts::unlimited() });
    let handle = job.start(guarantee).expect("the job starts");
    let time = Duration::from_secs(tier::times(20, 3_600));
    while began.elapsed() < time && !handle.is_finished() {
        std::thread::sleep(Duration::from_millis(10));
    }
    faults.over.store(true, Ordering::SeqCst);
    let over = Instant::now();
    let report = handle.wait().expect("the job comes to its end");
    assert!(over.elapsed() < Duration::from_secs(5), "{:?} to the end", over.elapsed());
    let (checkpoints, restarts) = (report.metrics.checkpoints, report.metrics.restarts);
    let below = shown.lock().below.clone();
    println!("{checkpoints} checkpoints, {restarts} restarts, shown {below:?}");
    assert!(restarts > time.as_secs() && checkpoints > restarts, "{checkpoints}, {restarts}");
    let expected = below.iter().map(|(of, below)| (*of, (*below, below * (below - 1) / 2)));
    // What was tallied before a last failure was told again after it.
    let last: BTreeMap<u64, (u64, u64)> = tallied.events().into_iter().collect();
    assert_eq!(last, expected.collect());
    tier::report(10, test, checkpoints, "checkpoints", 0, began.elapsed());
}
