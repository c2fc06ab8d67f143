//! Row 11: a sink's commit fails before its effect, after it, or its answer is lost; its prepare too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use streamwork::checkpoint::DirectoryStore;
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, ExactlyOnce, Guarantee, Instance, Job, Next, Restarts,
    SourceOutput, StatefulSource, Transaction, TransactionalSink,
};

use crate::memory_disk::{MemoryDisk, Random};
use crate::tier;
use crate::world::{counts, silence_booms};

/// How often each step fails, in percent.
#[derive(Clone, Copy, Debug)]
struct Profile {
    before_percent: u64,
    after_percent: u64,
    prepare_percent: u64,
    /// The failure is a panic instead of an error.
    panics: bool,
}

const PROFILES: [Profile; 5] = [
    Profile { before_percent: 10, after_percent: 0, prepare_percent: 0, panics: false },
    Profile { before_percent: 30, after_percent: 0, prepare_percent: 0, panics: true },
    Profile { before_percent: 0, after_percent: 10, prepare_percent: 0, panics: true },
    Profile { before_percent: 0, after_percent: 30, prepare_percent: 0, panics: false },
    Profile { before_percent: 15, after_percent: 15, prepare_percent: 10, panics: false },
];

/// The database behind the sink.
#[derive(Debug)]
struct Database {
    random: Random,
    profile: Profile,
    next: u64,
    prepared: BTreeMap<u64, Vec<u64>>,
    shown: Vec<u64>,
    failed: u64,
}

impl Database {
    fn fails(&mut self, percent: u64) -> bool {
        let fails = self.random.next() % 100 < percent;
        self.failed += u64::from(fails);
        fails
    }
}

#[derive(Clone)]
struct Bank {
    open: Vec<u64>,
    database: Arc<Mutex<Database>>,
}

impl Bank {
    fn answer(&self, is_lost: bool) -> Result<(), BoxError> {
        let panics = self.database.lock().profile.panics;
        assert!(!(is_lost && panics), "boom: no answer");
        if is_lost { Err("boom: no answer".into()) } else { Ok(()) }
    }
}

impl TransactionalSink for Bank {
    type In = u64;
    type Handle = u64;
    fn write(&mut self, event: u64) -> Result<(), BoxError> {
        self.open.push(event);
        Ok(())
    }
    fn prepare(&mut self, _: Transaction) -> Result<Option<u64>, BoxError> {
        let open = std::mem::take(&mut self.open);
        let mut database = self.database.lock();
        let percent = database.profile.prepare_percent;
        if database.fails(percent) {
            return Err("boom: cannot prepare".into());
        }
        if open.is_empty() {
            return Ok(None);
        }
        let handle = database.next;
        database.next += 1;
        database.prepared.insert(handle, open);
        Ok(Some(handle))
    }
    fn commit(&mut self, handle: u64) -> Result<(), BoxError> {
        let mut database = self.database.lock();
        let Profile { before_percent, after_percent, .. } = database.profile;
        let before = database.fails(before_percent);
        let after = database.fails(after_percent);
        if !before && let Some(events) = database.prepared.remove(&handle) {
            database.shown.extend(events);
        }
        drop(database);
        self.answer(before || after)
    }
    fn abort_unfinished(&mut self) -> Result<(), BoxError> {
        self.open.clear();
        self.database.lock().prepared.clear();
        Ok(())
    }
}

/// Counts slowly, so that there are many transactions.
struct Paced {
    next: u64,
    end: u64,
}

impl StatefulSource for Paced {
    type Out = u64;
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.next = state.unwrap_or(0);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        for _ in 0..10.min(self.end - self.next) {
            out.emit(self.next);
            self.next += 1;
        }
        let pause = Duration::from_micros(200);
        Ok(if self.next < self.end { Next::After(pause) } else { Next::End })
    }
    fn state(&self) -> u64 {
        self.next
    }
}

/// Runs a job against a database with these failures. Returns how often each event is shown, and how often
/// the database failed.
fn run(
    events: u64,
    guarantee: Guarantee,
    profile: Profile,
    seed: u64,
) -> (BTreeMap<u64, u64>, u64) {
    silence_booms();
    let database = Arc::new(Mutex::new(Database {
        random: Random(seed),
        profile,
        next: 0,
        prepared: BTreeMap::new(),
        shown: Vec::new(),
        failed: 0,
    }));
    let bank = Bank { open: Vec::new(), database: Arc::clone(&database) };
    let job = Job::new("bank");
    job.stateful_source("numbers", move || Paced { next: 0, end: events })
        .transactional_sink("bank", move || bank.clone())
        .own_thread();
    job.run(guarantee).unwrap_or_else(|error| panic!("{profile:?}: {error}"));
    let database = database.lock();
    (counts(&database.shown), database.failed)
}

#[test]
fn whatever_becomes_of_its_commits_a_transactional_sink_keeps_what_the_guarantee_promises() {
    let test =
        "whatever_becomes_of_its_commits_a_transactional_sink_keeps_what_the_guarantee_promises";
    let (seed, started) = (tier::seed(test), Instant::now());
    let (events, seeds) = (1_500, tier::times(3, 200));
    let restarts = Restarts {
        backoff: Duration::from_micros(100),
        backoff_max: Duration::from_millis(1),
        ..Restarts::unlimited()
    };
    let (often, quick) = (Duration::from_millis(1), Duration::from_micros(100));
    let mut failed_in_all = 0;
    for (number, profile) in (0..seeds).flat_map(|number| PROFILES.map(|one| (number, one))) {
        let seed = seed + number;
        let disk = Arc::new(MemoryDisk::new());
        let store = Arc::new(DirectoryStore::open_on(disk, "/store").expect("it opens"));
        let exactly = ExactlyOnce::checkpoints_with(store).every(often).restarts(restarts);
        let (shown, failed) = run(events, exactly.into(), profile, seed);
        assert!(shown.len() as u64 == events, "{profile:?}: lost");
        assert!(shown.values().all(|times| *times == 1), "{profile:?}: repeated");
        failed_in_all += failed;

        let least = AtLeastOnce::new().attempts_max(1_000).backoff(quick, quick);
        let (shown, failed) = run(events, least.restarts(restarts).into(), profile, seed);
        assert!(shown.len() as u64 == events, "{profile:?}: lost under at-least-once");
        failed_in_all += failed;

        let most = AtMostOnce::new().restarts(restarts);
        let (shown, failed) = run(events, most.into(), profile, seed);
        assert!(shown.values().all(|times| *times == 1), "{profile:?}: repeated");
        failed_in_all += failed;
    }
    assert!(failed_in_all > 200, "only {failed_in_all} commits failed");
    tier::report(11, test, failed_in_all, "failed commits", seed, started.elapsed());
}
