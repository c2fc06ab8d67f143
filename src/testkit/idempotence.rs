//! [`assert_idempotent`]: tests the promise of an [`IdempotentSink`].

use std::fmt::Debug;

use crate::api::instance::Instance;
use crate::api::sink::IdempotentSink;
use crate::api::waker::Waker;
use crate::error::BoxError;
use crate::id::{ExecutionId, InstanceName};

/// Writes the events once, then again: all of them, and from every event on, as a job does after a
/// rollback. What a reader of the output sees (`observe`) must not change.
///
/// # Errors
/// An error of a callback of the sink.
///
/// # Panics
/// If the observed output changes.
///
/// ```
/// use std::cell::RefCell;
/// use std::collections::BTreeMap;
/// use std::rc::Rc;
/// use streamwork::testkit::assert_idempotent;
/// use streamwork::{BoxError, IdempotentSink, Sink};
///
/// #[derive(Clone, Default)]
/// struct Table(Rc<RefCell<BTreeMap<u32, i64>>>);
///
/// impl Sink for Table {
///     type In = (u32, i64);
///     fn write(&mut self, (key, value): (u32, i64)) -> Result<(), BoxError> {
///         self.0.borrow_mut().insert(key, value);
///         Ok(())
///     }
/// }
/// impl IdempotentSink for Table {}
///
/// let table = Table::default();
/// let seen = table.clone();
/// assert_idempotent(move || table.clone(), &[(1, 10), (2, 20)], || seen.0.borrow().clone())?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub fn assert_idempotent<S: IdempotentSink, V: PartialEq + Debug>(
    factory: impl Fn() -> S,
    events: &[S::In],
    mut observe: impl FnMut() -> V,
) -> Result<(), BoxError> {
    let instance = Instance {
        name: InstanceName::new("sink", 0),
        parallelism: 1,
        execution: ExecutionId(1),
        waker: Waker::default(),
    };
    let write = |from: usize| {
        let mut sink = factory();
        sink.setup(&instance)?;
        for event in &events[from..] {
            sink.write(event.clone())?;
        }
        sink.flush()
    };
    write(0)?;
    let once = observe();
    for from in 0..events.len() {
        write(from)?;
        assert_eq!(observe(), once, "writing again from event {from} changed what is seen");
    }
    Ok(())
}
