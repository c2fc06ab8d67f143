//! [`Collector`]: what `apply` emits into, and where it can defer the answer for the event at hand.

use std::ops::{Deref, DerefMut};

use crate::api::output::Output;
use crate::api::token::Token;

/// What [`apply`](crate::Operator::apply) emits into: an [`Output`], and the event at hand.
#[derive(Debug)]
pub struct Collector<T> {
    output: Output<T>,
}

impl<T> Collector<T> {
    pub(crate) fn new(output: Output<T>) -> Self {
        Self { output }
    }

    /// Defers the answer for the event at hand: it is acknowledged when `apply` has returned `Ok(())` and the
    /// token is acknowledged. An event that is deferred several times is done when all its tokens are answered.
    /// Until then the operator holds it; see [`Token`].
    pub fn defer(&mut self) -> Token {
        let output = &mut self.output;
        output.accounts.begin_side_effects(output.timers.len());
        output.accounts.defer().token()
    }
}

impl<T> Deref for Collector<T> {
    type Target = Output<T>;

    #[inline(always)]
    fn deref(&self) -> &Output<T> {
        &self.output
    }
}

impl<T> DerefMut for Collector<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Output<T> {
        &mut self.output
    }
}
