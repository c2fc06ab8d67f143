//! [`HeldEvents`]: whether an operator's events can be stored while it holds them.

use std::fmt;

use crate::api::state::State;

/// Whether the events that an operator holds are stored in checkpoints.
///
/// An operator *holds* an event from `defer` until the last answer. With checkpoints by barriers no source
/// emits an event from before the barrier again, so the checkpoint has to store the events that are held: after
/// a restart the engine gives them to `apply` again, before any other event. For that, serde has to write and
/// read them. The operator declares it:
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
/// Without it, a checkpoint by barriers with a held event ends the job with an error that names the operator.
/// Under the acknowledger, and without a store, nothing has to be stored, and the constant has no effect.
///
/// Each event is cloned before `apply`, and events are applied one at a time, so an operator with
/// `HeldEvents::stored` is slower.
pub struct HeldEvents<E> {
    tell: Option<fn(&mut dyn Storable<E>)>,
}

/// Is called where it is known that events of this type can be stored.
pub(crate) trait Storable<E> {
    fn storable(&mut self)
    where
        E: State;
}

impl<E> HeldEvents<E> {
    /// Held events are stored.
    pub const fn stored() -> Self
    where
        E: State,
    {
        Self { tell: Some(|to| to.storable()) }
    }

    /// Held events are not stored: a checkpoint that would have to store one ends the job and names the operator.
    pub const fn not_stored() -> Self {
        Self { tell: None }
    }

    /// Calls `storable` if held events are stored.
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
