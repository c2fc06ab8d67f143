//! W6: for how long an instance with all the accounts processes nothing when a checkpoint comes by.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use streamwork::{BoxError, Collector, ExactlyOnce, Instance, StatefulOperator};

use crate::measure::{self, Outcome};
use crate::ours::keyed::{self, Running};
use crate::ours::{Shared, Transactions, Updates};
use crate::record::{Balances, Total, Transaction, Update};
use crate::workloads::Task;

/// The longest stop and the longest clone in it, in nanoseconds.
#[derive(Default)]
struct Longest {
    stop: AtomicU64,
    clone: AtomicU64,
}

/// Counts, and looks at the clock when its state is asked for and at the next event after it.
struct Timed {
    running: Running,
    asked: Cell<Option<Instant>>,
    longest: Arc<Longest>,
}

fn keep(longest: &AtomicU64, since: Instant) {
    longest.fetch_max(since.elapsed().as_nanos() as u64, Ordering::Relaxed);
}

impl StatefulOperator for Timed {
    type In = Transaction;
    type Out = Update;
    type State = Balances;

    fn setup(&mut self, instance: &Instance, state: Option<Balances>) -> Result<(), BoxError> {
        self.running.setup(instance, state)
    }

    fn apply(
        &mut self,
        transaction: Transaction,
        out: &mut Collector<Update>,
    ) -> Result<(), BoxError> {
        if let Some(asked) = self.asked.take() {
            keep(&self.longest.stop, asked);
        }
        self.running.apply(transaction, out)
    }

    fn state(&self) -> Balances {
        let asked = Instant::now();
        self.asked.set(Some(asked));
        let state = self.running.state();
        keep(&self.longest.clone, asked);
        state
    }
}

pub fn run(task: &Task) -> Result<Outcome, BoxError> {
    let directory = measure::directory()?;
    let longest = Arc::new(Longest::default());
    let shared = Shared::default();
    let (task, seen, clocks) = (*task, shared.clone(), Arc::clone(&longest));
    let operator = move || Timed {
        running: Running::default(),
        asked: Cell::new(None),
        longest: Arc::clone(&clocks),
    };
    let job = keyed::job(
        task.threads,
        move || Transactions::of(&task),
        operator,
        |updates| {
            updates.sink("sum", move || Updates { own: Total::default(), shared: seen.clone() })
        },
    );
    let every = Duration::from_millis(250);
    job.run(ExactlyOnce::checkpoints_in(directory.path()).every(every))?;
    let milliseconds = |nanoseconds: &AtomicU64| nanoseconds.load(Ordering::Relaxed) as f64 / 1e6;
    Ok(Outcome::default()
        .checked(shared.total())
        .with("stop", milliseconds(&longest.stop))
        .with("clone", milliseconds(&longest.clone)))
}
