//! [`Injected`]: makes callbacks fail in a simulation. In production it is empty, and is read once per
//! batch or per rarer callback, never per event.

use std::panic::resume_unwind;
use std::sync::Arc;

use crate::error::BoxError;
use crate::id::InstanceName;

/// A failure that is to happen around one call of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Strike {
    /// After the call has had its effect; otherwise the call is not made.
    pub(crate) after: bool,
    /// A panic; otherwise an error.
    pub(crate) panic: bool,
}

/// Decides which calls fail.
pub(crate) trait Faults: Send + Sync {
    /// Whether this call fails, and how.
    fn strike(&self, instance: &InstanceName, callback: &'static str) -> Option<Strike>;

    /// How many of these events are taken in one go before it is asked again; at least 1.
    fn piece(&self, events: usize) -> usize;

    /// Whether the step at hand is to end now, as if it had taken long.
    fn time_is_up(&self) -> bool;
}

/// What is injected: nothing, or what a simulation decides.
#[derive(Clone, Default)]
pub(crate) struct Injected(Option<Arc<dyn Faults>>);

impl Injected {
    pub(crate) fn new(faults: Arc<dyn Faults>) -> Self {
        Self(Some(faults))
    }

    pub(crate) fn faults(&self) -> Option<&dyn Faults> {
        self.0.as_deref()
    }

    /// How many of these events are taken in one go.
    pub(crate) fn piece(&self, events: usize) -> usize {
        self.faults().map_or(events, |faults| faults.piece(events))
    }

    /// Makes a call, or what is injected in its place.
    pub(crate) fn call<R>(
        &self,
        instance: &InstanceName,
        callback: &'static str,
        call: impl FnOnce() -> Result<R, BoxError>,
    ) -> Result<R, BoxError> {
        match self.faults().and_then(|faults| faults.strike(instance, callback)) {
            None => call(),
            Some(strike) => strike.around(call),
        }
    }
}

impl Strike {
    /// Makes the call if the failure comes after it, and fails.
    pub(crate) fn around<R>(
        self,
        call: impl FnOnce() -> Result<R, BoxError>,
    ) -> Result<R, BoxError> {
        if self.after {
            drop(call()?);
        }
        Err(self.fail())
    }

    /// Panics, or an error.
    pub(crate) fn fail(self) -> BoxError {
        if self.panic {
            // Not `panic!`: the hook would print a page for each of thousands.
            resume_unwind(Box::new("injected panic"));
        }
        "injected error".into()
    }
}
