//! The job that is compared, and the world around it: its input, its faults, its output.
//!
//! ```text
//!                  ┌──────── debit ────────┐by account
//!   transfers (2) ─┤                       ├──────────▶ balances (2) ──▶ ledger (2, transactional)
//!                  └─ ½ ms ─▶ clearing (2) ┘            fails here
//! ```
//! A transfer becomes two postings. When one of them fails, the other has had its effect; and when a
//! checkpoint is taken, debits are half a millisecond ahead of credits. The guarantees differ in what
//! follows from that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use streamwork::{
    At, BoxError, Emit, Instance, Job, KeyedOperator, Next, SourceOutput, StatefulSource,
    Transaction, TransactionalSink,
};

const ACCOUNTS: u64 = 1_000;

/// By how much credits come later than debits.
const CLEARING: Duration = Duration::from_micros(500);

/// A fault that a posting meets once.
const ERROR: u8 = 1;
const PANIC: u8 = 2;
pub(crate) const INJECTED_PANIC: &str = "injected panic";

/// What one run works on, and what can be seen of it from outside.
pub(crate) struct World {
    transfers: u64,
    /// Time between two transfers; `None` is full speed.
    pace: Option<Duration>,
    opened: Instant,
    /// One per posting.
    faults: Vec<AtomicU8>,
    shown: Mutex<Shown>,
    /// How many postings the state of each account has counted.
    counted: Vec<AtomicU64>,
    handles: AtomicU64,
}

/// What an outside reader of the ledger can see.
struct Shown {
    /// How often each posting is there.
    times: Vec<u8>,
    /// From when a transfer was due to when its posting could be seen, in microseconds.
    latency_us: Histogram<u64>,
    prepared: BTreeMap<Handle, Vec<u64>>,
}

/// The difference between the output and the truth.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wrong {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) state_error: u64,
}

impl Wrong {
    /// The worse of each.
    pub(crate) fn worse(self, other: Self) -> Self {
        Self {
            lost: self.lost.max(other.lost),
            repeated: self.repeated.max(other.repeated),
            state_error: self.state_error.max(other.state_error),
        }
    }
}

impl World {
    pub(crate) fn new(transfers: u64, pace: Option<Duration>) -> Result<Self, BoxError> {
        let postings = usize::try_from(2 * transfers)?;
        let shown = Shown {
            times: vec![0; postings],
            latency_us: Histogram::new_with_bounds(1, 60_000_000, 3)?,
            prepared: BTreeMap::new(),
        };
        Ok(Self {
            transfers,
            pace,
            // The schedule begins when the job has had time to start.
            opened: Instant::now() + Duration::from_millis(20),
            faults: (0..postings).map(|_| AtomicU8::new(0)).collect(),
            shown: Mutex::new(shown),
            counted: (0..ACCOUNTS).map(|_| AtomicU64::new(0)).collect(),
            handles: AtomicU64::new(0),
        })
    }

    /// Plans `count` faults, spread over the run; every other one is a panic.
    pub(crate) fn with_faults(self, count: u64, seed: u64) -> Self {
        let span = self.faults.len() as u64 / count;
        for fault in 0..count {
            let posting = fault * span + mixed(seed ^ mixed(fault)) % span;
            let kind = if fault % 2 == 0 { ERROR } else { PANIC };
            self.faults[posting as usize].store(kind, Ordering::Relaxed);
        }
        self
    }

    pub(crate) fn job(self: &Arc<Self>) -> Job {
        let (source, balances, ledger) = (Arc::clone(self), Arc::clone(self), Arc::clone(self));
        let job = Job::new("transfers");
        let transfers = job
            .stateful_source("transfers", move || Transfers {
                world: Arc::clone(&source),
                next: 0,
                step: 1,
            })
            .parallelism(2);
        let debits = transfers.map(|transfer| Posting::of(2 * transfer)).named("debit");
        let cleared = transfers.delay(CLEARING).map(|transfer| Posting::of(2 * transfer + 1));
        debits
            .merge(&cleared.named("clearing").parallelism(2))
            .key_by(|posting| posting.account)
            .keyed_operator("balances", move || Balances { world: Arc::clone(&balances) })
            .parallelism(2)
            .transactional_sink("ledger", move || Ledger {
                world: Arc::clone(&ledger),
                instance: 0,
                open: Vec::new(),
            });
        job
    }

    /// Compares with the truth, which every part of this file can compute from a number.
    pub(crate) fn wrong(&self) -> Wrong {
        let mut truth = vec![0_u64; self.counted.len()];
        for posting in (0..2 * self.transfers).map(Posting::of) {
            truth[posting.account as usize] += 1;
        }
        let counted = self.counted.iter().map(|counted| counted.load(Ordering::Relaxed));
        let times = &self.shown.lock().times;
        Wrong {
            lost: times.iter().filter(|times| **times == 0).count() as u64,
            repeated: times.iter().map(|times| u64::from(times.saturating_sub(1))).sum(),
            state_error: counted.zip(&truth).map(|(counted, right)| counted.abs_diff(*right)).sum(),
        }
    }

    pub(crate) fn p99_us(&self) -> u64 {
        self.shown.lock().latency_us.value_at_quantile(0.99)
    }

    fn due(&self, transfer: u64) -> Option<Instant> {
        let pace = self.pace?;
        Some(self.opened + Duration::from_nanos(pace.as_nanos() as u64 * transfer))
    }
}

/// Half of a transfer.
#[derive(Clone, Copy)]
struct Posting {
    /// Twice the number of the transfer, and one more for the credit.
    id: u64,
    account: u32,
}

impl Posting {
    fn of(id: u64) -> Self {
        Self { id, account: (mixed(id) % ACCOUNTS) as u32 }
    }
}

/// The finalizer of SplitMix64.
fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Every instance emits each `step`-th transfer, at its time if there is a pace.
struct Transfers {
    world: Arc<World>,
    next: u64,
    step: u64,
}

impl StatefulSource for Transfers {
    type Out = u64;
    type State = u64;

    fn setup(&mut self, instance: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.step = instance.parallelism() as u64;
        self.next = state.unwrap_or(instance.index() as u64);
        Ok(())
    }

    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        while self.next < self.world.transfers && out.room() > 0 {
            if let Some(due) = self.world.due(self.next) {
                let early = due.saturating_duration_since(Instant::now());
                if !early.is_zero() {
                    return Ok(Next::After(early));
                }
            }
            out.emit(self.next);
            self.next += self.step;
        }
        Ok(if self.next < self.world.transfers { Next::Now } else { Next::End })
    }

    fn state(&self) -> u64 {
        self.next
    }
}

/// Counts the postings of each account.
struct Balances {
    world: Arc<World>,
}

impl KeyedOperator for Balances {
    type Key = u32;
    type In = Posting;
    type Out = u64;
    type State = u64;
    type Timer = ();

    fn apply(
        &mut self,
        posting: Posting,
        at: &mut At<'_, Self>,
        out: &mut Emit<'_, u64>,
    ) -> Result<(), BoxError> {
        let fault = &self.world.faults[posting.id as usize];
        if fault.load(Ordering::Relaxed) != 0 {
            match fault.swap(0, Ordering::Relaxed) {
                ERROR => return Err("injected error".into()),
                PANIC => std::panic::panic_any(INJECTED_PANIC),
                _ => {}
            }
        }
        let postings = at.state();
        *postings += 1;
        self.world.counted[posting.account as usize].store(*postings, Ordering::Relaxed);
        out.emit(posting.id);
        Ok(())
    }
}

/// Which instance prepared it, and its number.
type Handle = (usize, u64);

/// Shows postings only when they are committed.
struct Ledger {
    world: Arc<World>,
    instance: usize,
    open: Vec<u64>,
}

impl TransactionalSink for Ledger {
    type In = u64;
    type Handle = Handle;

    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        self.instance = instance.index();
        Ok(())
    }

    fn write(&mut self, posting: u64) -> Result<(), BoxError> {
        self.open.push(posting);
        Ok(())
    }

    fn prepare(&mut self, _: Transaction) -> Result<Option<Handle>, BoxError> {
        if self.open.is_empty() {
            return Ok(None);
        }
        let handle = (self.instance, self.world.handles.fetch_add(1, Ordering::Relaxed));
        self.world.shown.lock().prepared.insert(handle, std::mem::take(&mut self.open));
        Ok(Some(handle))
    }

    fn commit(&mut self, handle: Handle) -> Result<(), BoxError> {
        let mut guard = self.world.shown.lock();
        let shown = &mut *guard;
        // A commit may come twice; the second finds nothing.
        for posting in shown.prepared.remove(&handle).unwrap_or_default() {
            let times = &mut shown.times[posting as usize];
            *times = times.saturating_add(1);
            if let Some(due) = self.world.due(posting / 2) {
                let late = Instant::now().saturating_duration_since(due);
                shown.latency_us.saturating_record(late.as_micros() as u64);
            }
        }
        Ok(())
    }

    fn abort_unfinished(&mut self) -> Result<(), BoxError> {
        self.open.clear();
        self.world.shown.lock().prepared.retain(|(instance, _), _| *instance != self.instance);
        Ok(())
    }
}
