//! [`named`]: a call of the user's code within another callback. A failure of it is reported under its own
//! name.

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{BoxError, Cause};

/// The failure of one callback, while it passes through another.
#[derive(Debug)]
struct NamedFailure {
    callback: &'static str,
    cause: Cause,
}

impl fmt::Display for NamedFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed in {}: {}", self.callback, self.cause)
    }
}

impl Error for NamedFailure {}

/// Makes the call; an error or a panic of it becomes an error that names the callback.
///
/// # Errors
/// If the call returns one, or panics.
pub(crate) fn named<R>(
    callback: &'static str,
    call: impl FnOnce() -> Result<R, BoxError>,
) -> Result<R, BoxError> {
    let cause = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) => Cause::error(error),
        Err(payload) => Cause::panic(payload),
    };
    Err(NamedFailure { callback, cause }.into())
}

/// Whether a callback has panicked, so that its component may be broken.
pub(crate) fn is_panic(error: &BoxError) -> bool {
    let named = error.downcast_ref::<NamedFailure>();
    named.is_some_and(|named| matches!(named.cause, Cause::Panic(_)))
}

/// The callback that failed within `outer`, or `outer` itself, and why.
pub(crate) fn laid_to(outer: &'static str, error: BoxError) -> (&'static str, Cause) {
    match error.downcast::<NamedFailure>() {
        Ok(named) => (named.callback, named.cause),
        Err(error) => (outer, Cause::error(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::panic::resume_unwind;

    use super::*;
    use crate::error::Permanent;

    #[test]
    fn a_failure_is_laid_to_the_inner_callback_and_any_other_to_the_outer_one() {
        let inner = named::<()>("add", || Err("broken".into())).expect_err("it fails");
        assert!(!is_panic(&inner));
        let (callback, cause) = laid_to("setup", inner);
        assert_eq!((callback, cause.to_string()), ("add", "broken".to_owned()));
        let (callback, cause) = laid_to("setup", "itself".into());
        assert_eq!((callback, cause.to_string()), ("setup", "itself".to_owned()));
    }

    #[test]
    fn a_panic_is_known_as_one_and_a_permanent_error_stays_permanent() {
        let panic = named::<()>("discover", || resume_unwind(Box::new("boom")));
        let panic = panic.expect_err("it panics");
        assert!(is_panic(&panic));
        assert_eq!(laid_to("get_events", panic).1.to_string(), "panicked: boom");
        let lost = || Err(Permanent::new("gone for good").into());
        let lost = named::<()>("add", lost).expect_err("it fails");
        assert!(laid_to("setup", lost).1.is_permanent());
    }
}
