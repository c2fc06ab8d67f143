//! The transactions as they come in, at two paces.
//!
//! [`OpenLoop`] emits each at its intended time, whether or not the job keeps up: that is how
//! customers behave, and only so is latency measured honestly. [`ClosedLoop`] emits the next ones
//! when earlier ones have been decided: as fast as the machine can.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use streamwork::{BoxError, Instance, Next, Source, SourceOutput, Waker};

use crate::fraud::transaction::Transaction;

/// A transaction on its way, and when it was to be emitted. The budget counts from there.
#[derive(Clone, Copy, Debug)]
pub struct Offered {
    /// The transaction.
    pub transaction: Transaction,
    /// Its intended time, which back-pressure does not move.
    pub due: Instant,
}

/// Transactions in order; made anew with each start of the source.
pub type Transactions = Box<dyn Iterator<Item = Transaction>>;

/// A fixed rate of transactions, even if the job falls behind.
pub struct OpenLoop {
    transactions: Transactions,
    per_second: f64,
    started: Option<Instant>,
    emitted: u64,
}

impl OpenLoop {
    /// The source sleeps at least this long, and then emits all that is due. Costs this much
    /// latency, and saves a wake-up of every instance for every single transaction.
    const NAP: Duration = Duration::from_micros(200);

    /// Transactions per second.
    pub fn new(transactions: Transactions, per_second: f64) -> Self {
        Self { transactions, per_second, started: None, emitted: 0 }
    }
}

impl Source for OpenLoop {
    type Out = Offered;

    fn get_events(&mut self, out: &mut SourceOutput<Offered>) -> Result<Next, BoxError> {
        let now = Instant::now();
        let started = *self.started.get_or_insert(now);
        while out.room() > 0 {
            let due = started + Duration::from_secs_f64(self.emitted as f64 / self.per_second);
            if due > now {
                return Ok(Next::After((due - now).max(Self::NAP)));
            }
            let Some(transaction) = self.transactions.next() else { return Ok(Next::End) };
            out.emit(Offered { transaction, due });
            self.emitted += 1;
        }
        Ok(Next::Now)
    }
}

/// How many transactions are on their way, and how many may be.
#[derive(Debug)]
pub struct InFlight {
    now: AtomicUsize,
    source: OnceLock<Waker>,
}

impl InFlight {
    /// Few enough that the last of them is decided well within the budget, also by a build without
    /// optimization; enough that nobody waits for work.
    const MAX: usize = 256;

    /// Nothing is on its way.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { now: AtomicUsize::new(0), source: OnceLock::new() })
    }

    /// One was decided. Half of them gone, the source is woken: so it emits many at a time.
    pub fn decided(&self) {
        if self.now.fetch_sub(1, Ordering::Relaxed) == Self::MAX / 2 + 1
            && let Some(source) = self.source.get()
        {
            source.wake();
        }
    }

    /// How many may be emitted now.
    fn room(&self) -> usize {
        let now = self.now.load(Ordering::Relaxed);
        if now <= Self::MAX / 2 { Self::MAX - now } else { 0 }
    }
}

/// As many as [`InFlight`] allows.
pub struct ClosedLoop {
    transactions: Transactions,
    in_flight: Arc<InFlight>,
}

impl ClosedLoop {
    /// Stays within `in_flight`.
    pub fn new(transactions: Transactions, in_flight: Arc<InFlight>) -> Self {
        Self { transactions, in_flight }
    }
}

impl Source for ClosedLoop {
    type Out = Offered;

    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        self.in_flight.source.get_or_init(|| instance.waker());
        Ok(())
    }

    fn get_events(&mut self, out: &mut SourceOutput<Offered>) -> Result<Next, BoxError> {
        let due = Instant::now();
        let room = self.in_flight.room();
        self.in_flight.now.fetch_add(room, Ordering::Relaxed);
        for _ in 0..room {
            let Some(transaction) = self.transactions.next() else { return Ok(Next::End) };
            out.emit(Offered { transaction, due });
        }
        Ok(Next::WhenWoken)
    }
}
