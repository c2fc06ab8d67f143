//! [`Token`]: an event whose acknowledgement comes later, and [`Deferred`], what the tokens of one
//! event share.

use std::sync::Arc;

use crate::error::{BoxError, Cause, Failure};
use crate::id::{InstanceName, Root};
use crate::metrics::Counters;
use crate::sync::Mutex;

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
    /// Whether answers still mean something: not once the execution is over.
    fn are_wanted(&self) -> bool;
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
    deferred: Arc<Deferred>,
    answered: bool,
}

impl Token {
    /// The event is done.
    pub fn ack(mut self) {
        self.release();
        let deferred = &self.deferred;
        deferred.answers.change(deferred.root, -1);
        deferred.answer(Answer::Done);
    }

    /// The event failed, and this is why.
    pub fn fail(mut self, error: impl Into<BoxError>) {
        self.fail_with(Cause::error(error));
    }

    /// Lets go of the event without an answer, since an output is to stand for it.
    pub(crate) fn anchor(mut self) -> Arc<Deferred> {
        self.release();
        Arc::clone(&self.deferred)
    }

    fn release(&mut self) {
        self.answered = true;
        self.deferred.answers.unhold(self.deferred.root);
    }

    fn fail_with(&mut self, cause: Cause) {
        self.release();
        self.deferred.fail(cause);
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if !self.answered {
            self.fail_with(Cause::error("token dropped without an answer"));
        }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("instance", &self.deferred.instance).finish_non_exhaustive()
    }
}

/// An event that was deferred: who answers for it, and what the answers come to. It counts once, as
/// delivered or as failed, when `apply` has returned and its last token is answered.
pub(crate) struct Deferred {
    pub(crate) root: Root,
    answers: Arc<dyn Answers>,
    counters: Arc<Counters>,
    instance: InstanceName,
    open: Mutex<Open>,
}

/// What is not answered yet.
struct Open {
    /// Tokens, and one for `apply` while it runs.
    answers: usize,
    /// The worst answer so far.
    answer: Answer,
}

/// An answer for an event, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Done,
    /// The output that stood for it was taken back; it comes again.
    TakenBack,
    /// The output that stood for it was taken back, and it is given up.
    Lost,
    /// It failed, and comes again.
    Failed,
    /// It failed, and is given up.
    Dropped,
    /// `apply` failed itself: whatever its tokens say, the event counts as that.
    Void,
}

impl Deferred {
    pub(crate) fn new(
        root: Root,
        answers: Arc<dyn Answers>,
        counters: Arc<Counters>,
        instance: InstanceName,
    ) -> Arc<Self> {
        let open = Mutex::new(Open { answers: 1, answer: Answer::Done });
        Arc::new(Self { root, answers, counters, instance, open })
    }

    /// One more token for the event.
    pub(crate) fn token(self: &Arc<Self>) -> Token {
        // A delivery of its own: so an answer within the same `apply` cannot finish the event
        // before what it emits is counted.
        self.answers.change(self.root, 1);
        self.answers.hold(self.root);
        self.open.lock().answers += 1;
        Token { deferred: Arc::clone(self), answered: false }
    }

    /// `apply` has returned, or the output that stands for the event is emitted.
    pub(crate) fn done(&self) {
        self.answer(Answer::Done);
    }

    /// `apply` failed on the event itself.
    pub(crate) fn void(&self) {
        self.answer(Answer::Void);
    }

    /// A token failed.
    fn fail(&self, cause: Cause) {
        self.answer(match self.report("token", cause) {
            Fate::Dropped => Answer::Dropped,
            Fate::ComesAgain => Answer::Failed,
        });
    }

    /// The output that was to stand for the event is taken back, since another event failed.
    pub(crate) fn take_back(&self, cause: Cause) {
        self.answer(match self.report("apply", cause) {
            Fate::Dropped => Answer::Lost,
            Fate::ComesAgain => Answer::TakenBack,
        });
    }

    fn report(&self, callback: &'static str, cause: Cause) -> Fate {
        let failure = Failure { instance: self.instance.clone(), callback, cause };
        self.answers.fail(self.root, failure)
    }

    fn answer(&self, answer: Answer) {
        let mut open = self.open.lock();
        open.answers -= 1;
        open.answer = open.answer.max(answer);
        // A late answer, of an execution that is over, changes nothing.
        if open.answers > 0 || !self.answers.are_wanted() {
            return;
        }
        match open.answer {
            Answer::Done => self.counters.delivered.add(1),
            Answer::TakenBack => self.counters.taken_back.add(1),
            Answer::Lost => self.counters.lost.add(1),
            Answer::Failed => self.counters.failed.add(1),
            Answer::Dropped => {
                self.counters.failed.add(1);
                self.counters.dropped.add(1);
            }
            Answer::Void => {}
        }
    }
}
