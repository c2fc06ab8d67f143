//! streamwork: jobs as its documentation says to write them.

pub mod cost;
pub mod deep;
pub mod failing;
pub mod hops;
pub mod idle;
pub mod keyed;
pub mod latency;
pub mod log;
pub mod pause;
pub mod pipeline;
pub mod sized;
pub mod slow;
pub mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use streamwork::{BoxError, Instance, Next, Sink, SourceOutput, StatefulSource};

use crate::record::{Total, Transaction, Update};
use crate::workloads::Task;

/// Each instance makes every n-th transaction, as fast as there is room.
pub struct Transactions {
    events: u64,
    accounts: u64,
    next: u64,
    step: u64,
}

impl Transactions {
    pub fn of(task: &Task) -> Self {
        Self { events: task.events, accounts: task.accounts, next: 0, step: 1 }
    }
}

impl StatefulSource for Transactions {
    type Out = Transaction;
    type State = u64;

    fn setup(&mut self, instance: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.step = instance.parallelism() as u64;
        self.next = state.unwrap_or(instance.index() as u64);
        Ok(())
    }

    fn get_events(&mut self, out: &mut SourceOutput<Transaction>) -> Result<Next, BoxError> {
        let left = self.events.saturating_sub(self.next).div_ceil(self.step);
        for _ in 0..left.min(out.room() as u64) {
            out.emit(Transaction::of(self.next, self.accounts));
            self.next += self.step;
        }
        Ok(if self.next < self.events { Next::Now } else { Next::End })
    }

    fn state(&self) -> u64 {
        self.next
    }
}

/// What all instances of a sink have seen together.
#[derive(Clone, Default)]
pub struct Shared(Arc<[AtomicU64; 3]>);

impl Shared {
    pub fn add(&self, total: Total) {
        for (shared, own) in self.0.iter().zip([total.events, total.digest, total.sums]) {
            shared.fetch_add(own, Ordering::Relaxed);
        }
    }

    pub fn total(&self) -> Total {
        let [events, digest, sums] = self.0.each_ref().map(|part| part.load(Ordering::Relaxed));
        Total { events, digest, sums }
    }
}

/// The sink of the pipeline.
pub struct Summed {
    pub own: Total,
    pub shared: Shared,
}

impl Sink for Summed {
    type In = Transaction;

    fn write(&mut self, transaction: Transaction) -> Result<(), BoxError> {
        self.own.add(&transaction);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        self.shared.add(std::mem::take(&mut self.own));
        Ok(())
    }
}

/// The sink of the keyed job.
pub struct Updates {
    pub own: Total,
    pub shared: Shared,
}

impl Sink for Updates {
    type In = Update;

    fn write(&mut self, update: Update) -> Result<(), BoxError> {
        self.own.add_update(&update);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        self.shared.add(std::mem::take(&mut self.own));
        Ok(())
    }
}
