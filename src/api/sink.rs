//! [`Sink`], [`IdempotentSink`] and [`TransactionalSink`]: where events leave the job.
//!
//! Exactly-once *state* is not yet exactly-once *output*. What a reader of the output sees after a
//! failure depends on the kind of sink:
//!
//! | kind | after a rollback |
//! |---|---|
//! | plain | events since the last checkpoint are written again |
//! | idempotent | the same, to no effect: the same key gets the same value |
//! | transactional | transactions that were not committed are discarded, the others are not repeated |

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

/// A [`Sink`] where writing an event twice has the effect of writing it once: an upsert under a key
/// from the event, a file named by its content.
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
    /// The execution of the job in which it was written; 0 without a store.
    pub execution: ExecutionId,
    /// The checkpoint that is to hold its handle. If transactions end with each batch, an increasing number.
    pub checkpoint: CheckpointId,
}

impl Transaction {
    /// One of this checkpoint; for tests of a sink.
    pub fn new(execution: ExecutionId, checkpoint: CheckpointId) -> Self {
        Self { execution, checkpoint }
    }
}

/// A sink whose events become visible at a commit: two-phase commit with the engine's checkpoints
/// (or, without checkpoints, its batches) as the coordinator.
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
    /// The handle by which a prepared transaction is found, also in another process.
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

    /// Makes everything since the last call durable but not visible, and returns a handle to it.
    /// `None` if nothing was written.
    ///
    /// The name or number of a transaction must never have been used before, also in earlier runs. Do
    /// not derive it from visible output, since consumers may remove that: let
    /// [`newest`](TransactionalSink::newest) save it in the checkpoint, and
    /// [`rewind`](TransactionalSink::rewind) restore it.
    ///
    /// # Errors
    /// An error fails what was written since the last call.
    fn prepare(&mut self, transaction: Transaction) -> Result<Option<Self::Handle>, BoxError>;

    /// Makes a prepared transaction visible. A second call must change nothing, even if a consumer has
    /// removed the visible output by then. It must not replace anything that is visible already.
    ///
    /// # Errors
    /// After an error the job rolls back to the checkpoint that holds the handle, and commits again.
    fn commit(&mut self, handle: Self::Handle) -> Result<(), BoxError>;

    /// The handle of the newest transaction so far, for [`rewind`](TransactionalSink::rewind); or another
    /// handle that identifies the position of the sink. Stored with every checkpoint. By default none.
    fn newest(&self) -> Option<Self::Handle> {
        None
    }

    /// Withdraws what was committed after that transaction, if it can. This is for a damaged newest
    /// checkpoint: the job restores an older one, and produces again what it has shown since. Called
    /// after each start from a checkpoint, when its handles have been committed, with the value that
    /// [`newest`](TransactionalSink::newest) returned then; most of the time there is nothing to
    /// withdraw. By default it does nothing, and readers see those events twice. A start without a
    /// checkpoint, or under a guarantee that keeps no state of sinks, does not call it.
    ///
    /// # Errors
    /// As `setup`.
    fn rewind(&mut self, newest: Self::Handle) -> Result<(), BoxError> {
        let _ = newest;
        Ok(())
    }

    /// Discards every transaction of this instance that was begun or prepared but not committed. Called
    /// after every start, when all handles of the checkpoint have been committed.
    ///
    /// # Errors
    /// As `setup`.
    fn abort_unfinished(&mut self) -> Result<(), BoxError>;
}
