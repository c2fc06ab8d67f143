//! [`check_transactional_sink`]: the life of transactions, with crashes in between.

use std::fmt::Debug;

use crate::api::sink::{Transaction, TransactionalSink};
use crate::error::BoxError;
use crate::id::{CheckpointId, ExecutionId};
use crate::testkit::harness::{instance, through_the_store};

/// Does everything to a sink that the engine may do: transactions that overlap, crashes before and
/// after each step (the value is dropped and a new one set up), repeated commits, transactions that
/// are never committed. `observe` returns the visible output; the final output is returned.
///
/// ```
/// use streamwork::testkit::{Published, check_transactional_sink};
///
/// let shown = Published::new();
/// let seen = check_transactional_sink(shown.factory(), &[1, 2, 3, 4], || shown.events())?;
/// assert_eq!(seen, [1, 2, 3, 4]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # Errors
/// An error of a callback.
///
/// # Panics
/// If an event is visible too early, not at all, or twice; or if there are fewer than two events.
pub fn check_transactional_sink<S: TransactionalSink, V: PartialEq + Debug>(
    factory: impl Fn() -> S,
    events: &[S::In],
    mut observe: impl FnMut() -> V,
) -> Result<V, BoxError> {
    assert!(events.len() >= 2, "two transactions need two events");
    let (first, second) = events.split_at(events.len() / 2);
    let start = || {
        let mut sink = factory();
        sink.setup(&instance("sink", 0, 1))?;
        Ok::<_, BoxError>(sink)
    };
    let write = |sink: &mut S, events: &[S::In]| {
        events.iter().try_for_each(|event| sink.write(event.clone()))
    };
    let prepare = |sink: &mut S, checkpoint| {
        let handle = sink.prepare(transaction(checkpoint))?;
        let handle = handle.ok_or("`prepare` has no handle for what was written")?;
        Ok::<_, BoxError>(through_the_store(&handle)?)
    };
    // As the engine does after each start from a checkpoint, when its handles have been committed.
    let rewind = |sink: &mut S, newest: &Option<S::Handle>| match newest {
        Some(newest) => sink.rewind(through_the_store(newest)?),
        None => Ok::<_, BoxError>(()),
    };
    let nothing = observe();

    let mut sink = start()?;
    sink.abort_unfinished()?;
    write(&mut sink, first)?;
    assert_eq!(observe(), nothing, "what is written is seen before it is prepared");
    let first_handle = prepare(&mut sink, 1)?;
    let handle = first_handle.clone();
    let newest = sink.newest();
    write(&mut sink, second)?;
    assert_eq!(observe(), nothing, "what is prepared is seen before it is committed");
    sink.commit(handle.clone())?;
    let half = observe();
    assert_ne!(half, nothing, "what is committed is not seen");
    drop(sink);

    // The process died after the commit: the checkpoint still holds the handle.
    let mut sink = start()?;
    sink.commit(handle)?;
    assert_eq!(observe(), half, "a commit that is repeated changes what is seen");
    rewind(&mut sink, &newest)?;
    assert_eq!(observe(), half, "`rewind` changes what is seen although nothing came later");
    sink.abort_unfinished()?;
    assert_eq!(observe(), half, "an abort changes what is committed");
    write(&mut sink, second)?;
    let handle = prepare(&mut sink, 2)?;
    let second_newest = sink.newest();
    drop(sink);

    // It died after the checkpoint was complete, before the commit.
    let mut sink = start()?;
    sink.commit(handle.clone())?;
    rewind(&mut sink, &second_newest)?;
    sink.abort_unfinished()?;
    let whole = observe();
    assert_ne!(whole, half, "what a new process commits is not seen");
    write(&mut sink, first)?;
    prepare(&mut sink, 3)?;
    drop(sink);

    // It died before that checkpoint was complete: nobody has the handle.
    let mut sink = start()?;
    sink.commit(handle)?;
    rewind(&mut sink, &second_newest)?;
    sink.abort_unfinished()?;
    assert_eq!(observe(), whole, "what nobody committed is seen");
    assert!(
        sink.prepare(transaction(4))?.is_none(),
        "`prepare` has a handle though nothing was written"
    );
    drop(sink);

    // The newest checkpoint is damaged: the job starts from the one before.
    if newest.is_none() {
        return Ok(whole);
    }
    let mut sink = start()?;
    sink.commit(first_handle)?;
    rewind(&mut sink, &newest)?;
    sink.abort_unfinished()?;
    assert_eq!(observe(), half, "`rewind` leaves what was committed later, or takes too much");
    write(&mut sink, second)?;
    let handle = prepare(&mut sink, 2)?;
    sink.commit(handle)?;
    Ok(observe())
}

fn transaction(checkpoint: u64) -> Transaction {
    Transaction::new(ExecutionId(1), CheckpointId(checkpoint))
}
