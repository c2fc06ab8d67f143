//! [`HeldEvents`]: whether an operator's events can be stored while it holds them.

use std::fmt;

use crate::api::state::State;

/// Whether the events that an operator holds are stored in checkpoints.
///
/// An operator that defers an event and has not answered it when a checkpoint is taken *holds* it. By
/// checkpoints nothing before the barrier comes again, so the checkpoint has to hold the event too: the engine
/// keeps it, and after a restart gives it to `apply` again, before any other. That needs events which serde can
/// write and read; the operator says so:
///
/// ```
/// use streamwork::{BoxError, Collector, HeldEvents, Operator, Token};
///
/// #[derive(Default)]
/// struct Pairs { first: Option<(u64, Token)> }
///
/// impl Operator for Pairs {
///     type In = u64;
///     type Out = (u64, u64);
///     const HELD_EVENTS: HeldEvents<u64> = HeldEvents::stored();
///     fn apply(&mut self, second: u64, out: &mut Collector<(u64, u64)>) -> Result<(), BoxError> {
///         let token = out.defer();
///         match self.first.take() {
///             None => self.first = Some((second, token)),
///             Some((first, other)) => out.emit_anchored((first, second), [other, token]),
///         }
///         Ok(())
///     }
/// }
/// ```
///
/// Without it, a checkpoint that meets a held event ends the job and names the operator. Under the
/// acknowledger and without a store nothing has to be stored, and this means nothing.
///
/// A stored event is cloned before `apply`, one event at a time, so an operator that says `stored` is slower
/// than one that does not defer.
pub struct HeldEvents<E> {
    tell: Option<fn(&mut dyn Storable<E>)>,
}

/// Is told that events can be stored, where that is known of their type.
pub(crate) trait Storable<E> {
    fn storable(&mut self)
    where
        E: State;
}

impl<E> HeldEvents<E> {
    /// They are stored.
    pub const fn stored() -> Self
    where
        E: State,
    {
        Self { tell: Some(|to| to.storable()) }
    }

    /// They are not stored: where a checkpoint would have to hold one, the job ends and names the operator.
    pub const fn not_stored() -> Self {
        Self { tell: None }
    }

    /// Tells whoever asks, if they are stored.
    pub(crate) fn tell(&self, to: &mut dyn Storable<E>) {
        if let Some(tell) = self.tell {
            tell(to);
        }
    }
}

impl<E> Clone for HeldEvents<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for HeldEvents<E> {}

impl<E> fmt::Debug for HeldEvents<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tell.is_some() {
            "HeldEvents::stored"
        } else {
            "HeldEvents::not_stored"
        })
    }
}
