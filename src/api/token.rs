//! [`Token`]: an event whose acknowledgement comes later.

use std::sync::Arc;

use crate::error::{BoxError, Cause, Failure};
use crate::id::{InstanceName, Root};
use crate::metrics::Counters;

/// Where answers go. The guarantee decides what they mean; a token only carries them there.
pub(crate) trait Answers: Send + Sync {
    /// This many more (or fewer) deliveries are outstanding under `root`.
    fn change(&self, root: Root, delta: i64);
    /// The event under `root` failed.
    fn fail(&self, root: Root, failure: Failure) -> Fate;
    /// One outstanding delivery of `root` is now in a token.
    fn hold(&self, root: Root);
    /// One delivery of `root` left its token, answered or anchored.
    fn unhold(&self, root: Root);
    /// A root of its own for an output that stands for all `members`: they are released when it
    /// is done and fail when it fails. `copies` deliveries are outstanding from the start.
    fn group(&self, members: Vec<Root>, copies: u32) -> Root;
}

/// What becomes of an event whose token failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is given up.
    Dropped,
    /// It comes again, by itself or because the job goes back.
    ComesAgain,
}

/// The right and duty to answer for one event, taken by
/// [`Collector::defer`](crate::Collector::defer).
///
/// Move-only: it can be answered once. Dropped without an answer it is a failure. It may be sent
/// to another thread. Under a guarantee by checkpoints, what an operator still holds at a barrier
/// must be in its state: the event is not emitted again. What a failure means is the guarantee's to say: the event is counted as
/// dropped, replayed, or the job goes back to its last checkpoint.
///
/// ```
/// use streamwork::{BoxError, Collector, Operator, Token};
///
/// /// Collects events and writes them three at a time.
/// struct Batcher { held: Vec<(u64, Token)> }
///
/// impl Operator for Batcher {
///     type In = u64;
///     type Out = u64;
///     fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
///         self.held.push((event, out.defer()));
///         if self.held.len() == 3 {
///             let (events, tokens): (Vec<_>, Vec<_>) = self.held.drain(..).unzip();
///             out.emit_anchored(events.iter().sum(), tokens);
///         }
///         Ok(())
///     }
/// }
/// ```
#[must_use = "a token that is dropped fails its event"]
pub struct Token {
    pub(crate) root: Root,
    answers: Option<Arc<dyn Answers>>,
    counters: Arc<Counters>,
    instance: InstanceName,
}

impl Token {
    pub(crate) fn new(
        root: Root,
        answers: Arc<dyn Answers>,
        counters: Arc<Counters>,
        instance: InstanceName,
    ) -> Self {
        // A delivery of its own: so an answer within the same `apply` cannot finish the event
        // before what it emits is counted.
        answers.change(root, 1);
        answers.hold(root);
        Self { root, answers: Some(answers), counters, instance }
    }

    /// The event is done.
    pub fn ack(mut self) {
        let answers = self.release();
        self.counters.delivered.add(1);
        answers.change(self.root, -1);
    }

    /// The event failed, and this is why.
    pub fn fail(mut self, error: impl Into<BoxError>) {
        self.fail_with(Cause::error(error));
    }

    /// Lets go of the event without an answer, since an output now stands for it.
    pub(crate) fn anchor(mut self) -> Root {
        self.release();
        self.counters.delivered.add(1);
        self.root
    }

    fn release(&mut self) -> Arc<dyn Answers> {
        let answers = self.answers.take().expect("only taken by what consumes the token");
        answers.unhold(self.root);
        answers
    }

    fn fail_with(&mut self, cause: Cause) {
        let answers = self.release();
        self.counters.failed.add(1);
        let failure = Failure { instance: self.instance.clone(), callback: "token", cause };
        if answers.fail(self.root, failure) == Fate::Dropped {
            self.counters.dropped.add(1);
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if self.answers.is_some() {
            self.fail_with(Cause::error("token dropped without an answer"));
        }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("instance", &self.instance).finish_non_exhaustive()
    }
}
