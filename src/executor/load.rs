//! [`Load`]: the work of an instance, measured from batch to batch.

use std::sync::Arc;
use std::time::Duration;

use crate::channel::budget::{BATCHES, Budget, Throughput};
use crate::channel::frame::Amount;
use crate::channel::slice::Slice;
use crate::clock::Timestamp;

/// Measures the time from taking events in until the instance can take in more, and sets the budget of its
/// senders from that.
pub(crate) struct Load {
    budget: Arc<Budget>,
    throughput: Throughput,
    /// The events at hand, and since when.
    at_hand: Option<(Amount, Timestamp)>,
    /// Pauses that have been told to the senders.
    told: Duration,
}

impl Load {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, throughput: Throughput::default(), at_hand: None, told: Duration::ZERO }
    }

    /// Of an instance without senders, a source: it takes in at most this many events at a time.
    pub(crate) fn of_source(most: usize) -> Self {
        let budget = Budget::default();
        budget.add_queue(BATCHES * most);
        Self::new(Arc::new(budget))
    }

    /// Events that may be taken in now.
    pub(crate) fn room(&self) -> usize {
        self.budget.batch()
    }

    /// More could have been taken in.
    pub(crate) fn want(&self) {
        self.budget.want();
    }

    /// These events were taken out of a queue at that moment.
    pub(crate) fn begin(&mut self, amount: Amount, at: Timestamp) {
        self.at_hand = Some((amount, at));
    }

    /// A source emits these events from that moment on, unless it does so already.
    pub(crate) fn begin_emitting(&mut self, events: usize, at: Timestamp) {
        if self.at_hand.is_none() {
            let amount = Amount { events, bytes: 0 };
            self.budget.enter(amount);
            self.begin(amount, at);
        }
    }

    /// All events that were taken in have left the instance.
    pub(crate) fn end(&mut self, slice: &Slice) {
        let Some((amount, since)) = self.at_hand.take() else { return };
        self.budget.leave(amount);
        let paused = slice.paused() - self.told;
        if !paused.is_zero() {
            self.told = slice.paused();
            self.budget.pause(paused);
        }
        let worked = slice.looked().since(since).saturating_sub(paused);
        self.throughput.completed(amount.events, worked, slice.last_pause());
        self.budget.adjust(&mut self.throughput);
    }
}
