//! [`Sink`], [`IdempotentSink`] and [`TransactionalSink`]: where events leave the job.
//!
//! Exactly-once *state* is not yet exactly-once *output*. What an outside reader sees after a
//! failure depends on the kind of sink:
//!
//! | kind | after the job has gone back |
//! |---|---|
//! | plain | events since the last checkpoint are written again |
//! | idempotent | written again, to no effect: the same key gets the same value |
//! | transactional | what was not committed is discarded, what was is not repeated |

use std::vec::Drain;

use crate::api::apply_loop::{Pass, write_each};
use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::state::State;
use crate::error::BoxError;
use crate::id::{CheckpointId, ExecutionId};

/// Which of the three a sink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SinkKind {
    Plain,
    Idempotent,
    Transactional,
}

/// Where events leave the job.
///
/// All calls are made on the instance's own thread, one at a time. `write` per event, `flush`
/// after every batch and before the events of that batch are acknowledged: so `write` may buffer
/// (or open a database transaction) and `flush` makes it final.
///
/// ```
/// use streamwork::{BoxError, Guarantee, Job, Sink};
///
/// struct Print;
/// impl Sink for Print {
///     type In = u64;
///     fn write(&mut self, event: u64) -> Result<(), BoxError> {
///         println!("{event}");
///         Ok(())
///     }
/// }
///
/// let job = Job::new("print");
/// job.from_iter("numbers", || 0..3).sink("print", || Print);
/// job.run(Guarantee::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a sink",
    note = "implement `streamwork::Sink`: `type In` and `fn write`"
)]
pub trait Sink: 'static {
    /// The events it takes.
    type In: Event;

    /// Opens what it writes to. Called once, before the first event.
    ///
    /// # Errors
    /// An error counts as a failure of the instance and is tried again by the restart policy.
    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        let _ = instance;
        Ok(())
    }

    /// Takes one event.
    ///
    /// # Errors
    /// An error fails this event.
    fn write(&mut self, event: Self::In) -> Result<(), BoxError>;

    // The engine's loop. Without `#[inline]`: so it is made next to `write`, which becomes part of it.
    #[doc(hidden)]
    fn write_each(&mut self, events: &mut Drain<'_, Self::In>) -> Pass {
        write_each(events, |event| self.write(event))
    }

    /// Makes what was written since the last call final.
    ///
    /// # Errors
    /// An error fails every event written since the last call; take none of them as written.
    fn flush(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A [`Sink`] for which writing an event twice leaves what writing it once does: an upsert under a
/// key that is in the event, a file named by its content.
///
/// A promise of yours that the engine relies on and cannot check;
/// [`testkit::assert_idempotent`](crate::testkit::assert_idempotent) tests it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not promise to be idempotent",
    note = "implement `streamwork::Sink`, then `impl IdempotentSink for {Self} {{}}` if writing an event twice changes nothing; otherwise use `.sink(…)`"
)]
pub trait IdempotentSink: Sink {}

/// Which transaction a [`TransactionalSink`] is to prepare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transaction {
    /// The life of the job in which it was written; 0 where nothing is stored.
    pub execution: ExecutionId,
    /// The checkpoint that is to hold its handle. Where transactions end with each batch, a number that grows.
    pub checkpoint: CheckpointId,
}

impl Transaction {
    /// One of this checkpoint; for tests of a sink.
    pub fn new(execution: ExecutionId, checkpoint: CheckpointId) -> Self {
        Self { execution, checkpoint }
    }
}

/// A sink that shows what it was given only when told to: two-phase commit with the engine's
/// checkpoints (or, where there are none, with its batches) as the coordinator.
///
/// Per transaction: `write`…, then `prepare` once, then `commit` of the handle that `prepare`
/// returned. The handle is stored inside the checkpoint; `commit` is called when the checkpoint is
/// complete, and again after a restart from it, so it must be idempotent. Between `prepare` and
/// `commit` of one transaction the `write`s of the next may come.
///
/// After `setup` the engine commits every handle that the checkpoint holds, then calls `rewind` and
/// `abort_unfinished`. Source: Carbone et al., "State Management in Apache Flink", VLDB 2017, §4.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a transactional sink",
    note = "implement `streamwork::TransactionalSink`: `type In`, `type Handle`, `write`, `prepare`, `commit`, `abort_unfinished`"
)]
pub trait TransactionalSink: 'static {
    /// The events it takes.
    type In: Event;
    /// What finds a prepared transaction again, also in another process.
    type Handle: State + Clone;

    /// Opens what it writes to. Called once, before anything else.
    ///
    /// # Errors
    /// An error counts as a failure of the instance and is tried again by the restart policy.
    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        let _ = instance;
        Ok(())
    }

    /// Takes one event into the open transaction.
    ///
    /// # Errors
    /// An error fails this event.
    fn write(&mut self, event: Self::In) -> Result<(), BoxError>;

    // The engine's loop. Without `#[inline]`: so it is made next to `write`, which becomes part of it.
    #[doc(hidden)]
    fn write_each(&mut self, events: &mut Drain<'_, Self::In>) -> Pass {
        write_each(events, |event| self.write(event))
    }

    /// Makes everything since the last call durable but invisible, and says how to find it. `None`
    /// if nothing was written.
    ///
    /// A name or number that finds the transaction must never have been given before, also in runs
    /// that have ended. Do not take it from what is visible outside, where consumers take things
    /// away: let [`newest`](TransactionalSink::newest) tell it to the checkpoint, and
    /// [`rewind`](TransactionalSink::rewind) to the next start.
    ///
    /// # Errors
    /// An error fails what was written since the last call.
    fn prepare(&mut self, transaction: Transaction) -> Result<Option<Self::Handle>, BoxError>;

    /// Makes a prepared transaction visible. Doing so again changes nothing, also when a consumer
    /// has taken away by then what was visible. It must not replace anything that is visible already.
    ///
    /// # Errors
    /// An error makes the job go back to the checkpoint that holds the handle, and commit again.
    fn commit(&mut self, handle: Self::Handle) -> Result<(), BoxError>;

    /// The handle of the newest transaction so far, for [`rewind`](TransactionalSink::rewind); or any
    /// other that tells where the sink stands. Stored with every checkpoint. By default none.
    fn newest(&self) -> Option<Self::Handle> {
        None
    }

    /// Takes back what was committed after that transaction, if it can. The newest checkpoint was
    /// damaged, and the job goes on from an older one: what has been shown since will come again.
    /// Called after each start from a checkpoint, when its handles have been committed, with what
    /// [`newest`](TransactionalSink::newest) said then; most of the time there is nothing to take
    /// back. By default nothing is, and readers see those events twice. A start without a checkpoint,
    /// and one under a guarantee that keeps no state of sinks, does not call it.
    ///
    /// # Errors
    /// As `setup`.
    fn rewind(&mut self, newest: Self::Handle) -> Result<(), BoxError> {
        let _ = newest;
        Ok(())
    }

    /// Discards everything of this instance that was begun or prepared and not committed. Called
    /// after every start, when all handles of the checkpoint have been committed.
    ///
    /// # Errors
    /// As `setup`.
    fn abort_unfinished(&mut self) -> Result<(), BoxError>;
}
