//! [`SourceSide`]: what a source instance asks its guarantee, per batch.

use std::sync::Arc;
use std::time::Duration;

use crate::api::dead_letter::DeadLetter;
use crate::channel::frame::{BATCH, Batch};
use crate::clock::Timestamp;
use crate::delivery::at_least_once::kept::Kept;
use crate::delivery::terms::{Account, SourceTerms, Terms};

/// What is to be done with new events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Emit them.
    Emit,
    /// Make the source's position durable, then emit them.
    PersistFirst,
}

/// What a source contributes to a checkpoint.
#[derive(Clone, Debug)]
pub(crate) enum Position {
    /// Its state as it is now.
    Current,
    /// An earlier state, up to which everything is acknowledged; none if that is the beginning.
    Settled(Option<Arc<[u8]>>),
}

/// A source's dealings with its guarantee.
pub(crate) trait SourceSide<T> {
    /// How many new events may be emitted now.
    fn room(&self) -> usize;

    /// New events are about to be emitted, with this many deliveries each.
    fn admit(&mut self, batch: &mut Batch<T>, copies: u32, now: Timestamp) -> Admission;

    /// Takes in the answers that have come; `true` if there were any. Events that failed too often
    /// come out as letters.
    fn settle(&mut self, now: Timestamp, letters: &mut Vec<DeadLetter<T>>) -> bool;

    /// Puts events that are due again into `batch`.
    fn replays(&mut self, copies: u32, now: Timestamp, batch: &mut Batch<T>);

    /// Whether a state that is to be noted by [`mark`](SourceSide::mark) is wanted now.
    fn wants_mark(&self, now: Timestamp) -> bool;

    /// This state is the position after everything admitted so far.
    fn mark(&mut self, state: Arc<[u8]>, now: Timestamp);

    /// The position that may be saved.
    fn position(&mut self) -> Position;

    /// When something becomes due.
    fn deadline(&self) -> Option<Timestamp>;

    /// Whether every event is done; with `held_ones`, those that an operator holds count too.
    fn at_rest(&self, held_ones: HeldEvents) -> bool;

    /// Asks to be woken at the next answer. `false` if one has come already.
    fn await_answer(&mut self) -> bool;

    /// Events kept at present.
    fn kept(&self) -> usize;
}

/// Whether events that sit in tokens are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldEvents {
    /// They will be answered; wait.
    Wait,
    /// The job stops; they will come again.
    Leave,
}

/// The side that these terms ask for. `tracker` is the source instance's number; `bytes_of` weighs
/// an event.
pub(crate) fn source_side<T: Clone + 'static>(
    terms: &Terms,
    account: &Account,
    tracker: usize,
    bytes_of: fn(&T) -> usize,
    start: Option<Arc<[u8]>>,
) -> Box<dyn SourceSide<T>> {
    match account {
        Account::Acknowledger { acknowledger, options } => {
            Box::new(Kept::new(Arc::clone(acknowledger), tracker, *options, bytes_of, start))
        }
        Account::Nobody { .. } => Box::new(Forgotten {
            admission: match terms.sources {
                SourceTerms::WriteAhead => Admission::PersistFirst,
                SourceTerms::Plain | SourceTerms::Kept(_) => Admission::Emit,
            },
        }),
    }
}

/// Events that are forgotten once emitted.
struct Forgotten {
    admission: Admission,
}

impl<T> SourceSide<T> for Forgotten {
    fn room(&self) -> usize {
        match self.admission {
            Admission::Emit => BATCH,
            // One durable write covers them all.
            Admission::PersistFirst => 16 * BATCH,
        }
    }

    fn admit(&mut self, _: &mut Batch<T>, _: u32, _: Timestamp) -> Admission {
        self.admission
    }

    fn settle(&mut self, _: Timestamp, _: &mut Vec<DeadLetter<T>>) -> bool {
        false
    }

    fn replays(&mut self, _: u32, _: Timestamp, _: &mut Batch<T>) {}

    fn wants_mark(&self, _: Timestamp) -> bool {
        false
    }

    fn mark(&mut self, _: Arc<[u8]>, _: Timestamp) {}

    fn position(&mut self) -> Position {
        Position::Current
    }

    fn deadline(&self) -> Option<Timestamp> {
        None
    }

    fn at_rest(&self, _: HeldEvents) -> bool {
        true
    }

    fn await_answer(&mut self) -> bool {
        true
    }

    fn kept(&self) -> usize {
        0
    }
}

/// Time between two marks at least; bounds how many are kept.
pub(crate) const MARK_EVERY: Duration = Duration::from_millis(5);
