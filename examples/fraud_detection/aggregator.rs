//! The score aggregator: brings together what is said about one transaction, and decides in time.
//!
//! ```text
//!   transaction ──────────────┐
//!   average ticket ──────┐    ▼
//!   proximity ───────────┼─▶ open: id ─▶ { transaction, scores }
//!   transaction count ───┘    │ all there ───────────▶ decision
//!                             └ timer ───────────────▶ decision, partial
//! ```
//!
//! Each transaction is decided once. A whole decision has used up all four arrivals, so nothing can
//! follow it. A partial one is made at the deadline and never earlier, so a score that belongs to it
//! is known by the clock: after the deadline nothing is opened for a score. No ids of the past are
//! remembered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use streamwork::{BoxError, Collector, Operator, Output};

use crate::fraud::database::Decided;
use crate::fraud::decision::decide;
use crate::fraud::score::Score;
use crate::source::{InFlight, Offered};

/// A card holder waits at the terminal: a decision is made within this time.
pub const BUDGET: Duration = Duration::from_millis(20);
/// When the aggregator stops waiting for scores. The rest of the budget is for what comes between a
/// timer and its thread on a busy machine.
pub const DECIDE_AFTER: Duration = Duration::from_millis(15);

/// What the aggregator hears about a transaction, in any order.
#[derive(Clone, Copy, Debug)]
pub enum Arrival {
    /// That it exists. Comes straight from the source, so that a transaction is decided even if no
    /// analyzer lives.
    Transaction(Offered),
    /// What one analyzer says.
    Score {
        /// What it says.
        score: Score,
        /// When the transaction was to be emitted.
        due: Instant,
    },
}

impl Arrival {
    /// Which transaction it is about.
    pub fn transaction_id(&self) -> u64 {
        match self {
            Self::Transaction(offered) => offered.transaction.id,
            Self::Score { score, .. } => score.transaction,
        }
    }
}

/// Decides when all is there, or at the deadline with what there is.
pub struct ScoreAggregator {
    open: HashMap<u64, Open>,
    /// Whom to tell of a decision, where transactions wait for that.
    in_flight: Option<Arc<InFlight>>,
}

/// A transaction that is not decided.
#[derive(Default)]
struct Open {
    offered: Option<Offered>,
    scores: [Option<Score>; 3],
}

impl Open {
    fn is_complete(&self) -> bool {
        self.offered.is_some() && self.scores.iter().all(Option::is_some)
    }
}

impl ScoreAggregator {
    /// Knows of no transaction.
    pub fn new(in_flight: Option<Arc<InFlight>>) -> Self {
        Self { open: HashMap::new(), in_flight }
    }

    fn is_too_late(&self, arrival: &Arrival, now: Instant) -> bool {
        match arrival {
            Arrival::Transaction(_) => false,
            Arrival::Score { score, due } => {
                now >= *due + DECIDE_AFTER && !self.open.contains_key(&score.transaction)
            }
        }
    }

    /// Closes a transaction, if it is there to be closed.
    fn close(&mut self, id: u64, now: Instant) -> Option<Decided> {
        let Open { offered, scores } = self.open.remove(&id)?;
        let Offered { transaction, due } = offered?;
        if let Some(in_flight) = &self.in_flight {
            in_flight.decided();
        }
        Some(Decided {
            decided_unix_us: unix_us(),
            latency_us: now.duration_since(due).as_micros() as u64,
            ..Decided::untimed(&transaction, decide(&scores))
        })
    }
}

impl Operator for ScoreAggregator {
    type In = Arrival;
    type Out = Decided;

    fn apply(&mut self, arrival: Arrival, out: &mut Collector<Decided>) -> Result<(), BoxError> {
        let now = Instant::now();
        if self.is_too_late(&arrival, now) {
            return Ok(());
        }
        let id = arrival.transaction_id();
        let open = self.open.entry(id).or_default();
        match arrival {
            Arrival::Transaction(offered) => {
                open.offered = Some(offered);
                out.set_timer((offered.due + DECIDE_AFTER).saturating_duration_since(now), id);
            }
            Arrival::Score { score, .. } => open.scores[score.analyzer as usize] = Some(score),
        }
        if open.is_complete()
            && let Some(decided) = self.close(id, now)
        {
            out.emit(decided);
        }
        Ok(())
    }

    fn on_timer(&mut self, id: u64, out: &mut Output<Decided>) -> Result<(), BoxError> {
        let now = Instant::now();
        let Some(offered) = self.open.get(&id).and_then(|open| open.offered) else { return Ok(()) };
        let left = (offered.due + DECIDE_AFTER).saturating_duration_since(now);
        if !left.is_zero() {
            out.set_timer(left, id);
            return Ok(());
        }
        self.close(id, now).into_iter().for_each(|decided| out.emit(decided));
        Ok(())
    }

    /// No score can come any more, so nobody waits for one.
    fn finish(&mut self, out: &mut Output<Decided>) -> Result<(), BoxError> {
        let now = Instant::now();
        let left: Vec<u64> = self.open.keys().copied().collect();
        left.into_iter().filter_map(|id| self.close(id, now)).for_each(|decided| out.emit(decided));
        Ok(())
    }
}

fn unix_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}
