//! Tells the user of events that were dropped after a failure, however often that hook panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::delivery::terms::{DropHook, Dropped};
use crate::error::{Cause, Failure};

/// Calls the hook, if there is one, once for each of this many events.
pub(crate) fn tell(hook: Option<&DropHook>, failure: &Failure, events: u64) {
    let Some(DropHook(hook)) = hook else { return };
    for _ in 0..events {
        let told = catch_unwind(AssertUnwindSafe(|| hook(&Dropped { failure: failure.clone() })));
        if let Err(payload) = told {
            let cause = Cause::panic(payload);
            tracing::error!(instance = %failure.instance, %cause, "the drop hook panicked");
        }
    }
}
