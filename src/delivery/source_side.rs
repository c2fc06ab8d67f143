//! [`SourceSide`]: what a source instance asks its guarantee, per batch.

use std::sync::Arc;
use std::time::Duration;

use crate::api::dead_letter::DeadLetter;
use crate::channel::frame::Batch;
use crate::clock::Timestamp;
use crate::id::Root;

/// What the instance has to do with new events.
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
    /// Its current state.
    Current,
    /// An earlier state, up to which everything is acknowledged; none if that is the beginning.
    Settled(Option<Arc<[u8]>>),
}

/// What a source instance asks of its guarantee.
pub(crate) trait SourceSide<T> {
    /// How many new events may be emitted now.
    fn room(&self) -> usize;

    /// New events are about to be emitted, with this many deliveries each.
    fn admit(&mut self, batch: &mut Batch<T>, copies: u32, now: Timestamp) -> Admission;

    /// Takes the answers that have come; `true` if there were any. Events that failed too often are added
    /// to `letters`.
    fn settle(&mut self, now: Timestamp, letters: &mut Vec<DeadLetter<T>>) -> bool;

    /// The first event that is not acknowledged, if events are kept until they are: those before it never come again.
    fn front(&self) -> Option<Root> {
        None
    }

    /// Puts events that are due for replay into `batch`, until it has `most`.
    fn replays(&mut self, copies: u32, now: Timestamp, most: usize, batch: &mut Batch<T>);

    /// Whether to call [`mark`](SourceSide::mark) now.
    fn wants_mark(&self, now: Timestamp) -> bool;

    /// This state is the position after everything admitted so far.
    fn mark(&mut self, state: Arc<[u8]>, now: Timestamp);

    /// The position that may be saved.
    fn position(&mut self) -> Position;

    /// When the next replay or timeout is due.
    fn deadline(&self) -> Option<Timestamp>;

    /// Whether all events are done that must be. With [`OpenTokens::Leave`], events that operators hold and
    /// events that would be replayed only after `by` are not counted.
    fn at_rest(&self, held_ones: OpenTokens, by: Option<Timestamp>) -> bool;

    /// The input is over at that moment: events that would be replayed later become dead letters.
    fn give_up_after(&mut self, by: Timestamp, letters: &mut Vec<DeadLetter<T>>);

    /// Asks to be woken at the next answer. `false` if one has come already.
    fn await_answer(&mut self) -> bool;

    /// The number of events kept at present.
    fn kept(&self) -> usize;
}

/// Whether to wait for events that are held in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenTokens {
    /// They will be answered; wait.
    Wait,
    /// The job stops; they will be replayed.
    Leave,
}

/// The least time between two marks; it bounds how many are kept.
pub(crate) const MARK_EVERY: Duration = Duration::from_millis(5);
