//! What travels through a queue: a batch of events, or a control frame between two batches.

use crate::api::columns::Columns;
use crate::clock::Timestamp;
use crate::id::{CheckpointId, Root};
use crate::time::EventTime;

/// Events per batch at most; a batch is sent earlier when its sender runs out of input.
pub(crate) const BATCH: usize = 1024;

/// Bytes per batch, if that is fewer events: a batch that a stage has just written should still be in the
/// first-level cache when the next stage reads it. Memory that events own elsewhere does not count.
const BATCH_BYTES: usize = BATCH * 32;

/// Events per batch at least, however large one is.
const BATCH_LEAST: usize = 16;

/// An amount of events: their number, and the bytes that they are known to own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// Events that travel together.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    pub(crate) events: Vec<T>,
    /// What is known of each event beside it: its root, its time.
    pub(crate) columns: Columns,
    /// When the oldest of them left its source.
    pub(crate) born: Timestamp,
    /// The bytes that the events own, if known; set when the batch is sent.
    pub(crate) bytes: usize,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        let (events, columns) = (Vec::new(), Columns::default());
        Self { events, columns, born: Timestamp(u64::MAX), bytes: 0 }
    }
}

impl<T> Batch<T> {
    /// Events after which a batch of this type is full.
    pub(crate) const FULL: usize = {
        let bytes = if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
        match BATCH_BYTES / bytes {
            events if events > BATCH => BATCH,
            events if events < BATCH_LEAST => BATCH_LEAST,
            events => events,
        }
    };

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(crate) fn amount(&self) -> Amount {
        Amount { events: self.len(), bytes: self.bytes }
    }

    /// Empties the batch and keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.events.clear();
        self.columns.clear();
        (self.born, self.bytes) = (Timestamp(u64::MAX), 0);
    }

    /// Takes the event at this place out; its root.
    pub(crate) fn remove(&mut self, at: usize) -> Root {
        drop(self.events.remove(at));
        let root = self.columns.root(at);
        self.columns.remove(at..at + 1);
        root
    }

    /// Takes off everything after the first `events`.
    pub(crate) fn split_off(&mut self, events: usize) -> Self {
        let columns = self.columns.split_off(events);
        Self { events: self.events.split_off(events), columns, born: self.born, bytes: 0 }
    }

    /// Moves everything in `other` to the end of this batch.
    pub(crate) fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
        } else {
            self.events.append(&mut other.events);
            self.columns.append(&mut other.columns);
            self.born = self.born.min(other.born);
        }
        other.clear();
    }
}

/// Control frames, which travel in the streams between batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// Everything before this belongs to the checkpoint, nothing after it does.
    Barrier(CheckpointId),
    /// No event older than this follows. Along one edge it never falls.
    Watermark(EventTime),
    /// Nothing follows for a while: this stream does not hold the watermark of its readers back.
    Idle,
    /// The stream is no longer idle, and continues at the watermark of its readers.
    Active,
    /// The source has emitted its last event; replays may still come.
    Drain,
    /// Nothing follows.
    End(End),
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The input is over: operators emit what they hold.
    Finished,
    /// The job stops and will be resumed: what operators hold stays in the state.
    Suspended,
}

/// What a queue holds.
#[derive(Debug)]
pub(crate) enum Frame<T> {
    Batch(Batch<T>),
    Control(Control),
}

impl<T> Frame<T> {
    pub(crate) fn amount(&self) -> Amount {
        match self {
            Self::Batch(batch) => batch.amount(),
            Self::Control(_) => Amount::default(),
        }
    }
}
