//! [`KeyPanic`]: what follows when a key function panics. It is a callback like `apply`: the event at hand
//! fails, and no other. The function has no state that would have to be rebuilt.

use std::sync::Arc;

use crate::channel::push::Context;
use crate::channel::routing::OnKeyPanic;
use crate::delivery::terms::{DropHook, Verdict};
use crate::error::{Cause, Failure};
use crate::executor::drop_hook::tell;
use crate::id::{InstanceName, Root};
use crate::metrics::Counters;

/// The consequences on one edge.
pub(crate) struct KeyPanic {
    /// The instance whose stream is distributed.
    pub(crate) instance: InstanceName,
    pub(crate) verdict: Verdict,
    pub(crate) on_drop: Option<DropHook>,
    pub(crate) counters: Arc<Counters>,
    /// The counters of the first receiver, where events are counted that never arrive.
    pub(crate) receiver: Arc<Counters>,
}

impl OnKeyPanic for KeyPanic {
    fn on_key_panic(&self, root: Root, cause: Cause, context: &mut Context) {
        let failure = Failure { instance: self.instance.clone(), callback: "key", cause };
        self.counters.failed_calls.add(1);
        match self.verdict {
            Verdict::Fail if !root.is_none() => {
                self.receiver.taken_back_on_the_way.add(1);
                context.ledger.fail(root, failure);
            }
            Verdict::Drop | Verdict::Fail => {
                self.receiver.dropped_on_the_way.add(1);
                tracing::debug!(%failure, "dropped");
                tell(self.on_drop.as_ref(), &failure, 1);
            }
            Verdict::RollBack => context.fail(failure),
        }
    }
}
