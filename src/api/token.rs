//! [`Token`]: an event whose acknowledgement comes later, and [`Deferred`], what the tokens of one
//! event share.

use std::sync::{Arc, Weak};

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

/// Who keeps the events that are deferred, from then until they are answered.
pub(crate) trait Holder: Send + Sync {
    /// The event at hand is deferred. The number it is kept under.
    fn hold(&self, deferred: Weak<Deferred>) -> u64;
    /// The event of this number is answered, or counts as failed.
    fn release(&self, number: u64);
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
/// to another thread. What a failure means is the guarantee's to say: the event is counted as
/// dropped, replayed, or the job goes back to its last checkpoint.
///
/// **A held event has not happened yet.** From `defer` until its last token is answered the operator holds
/// the event, and whatever ends the process in between, the event is given to `apply` again: by its source
/// under the acknowledger, by the checkpoint otherwise ([`HeldEvents`](crate::HeldEvents)), in the order in which
/// the events were deferred and before any other event. So change the state when an event is answered, not when it
/// is deferred. A stop with a store waits for no answer. The end of the input and a drain wait for all of them;
/// `answer_within`, an option of every guarantee, limits how long. `Metrics` says who holds how many.
///
/// ```
/// use streamwork::{BoxError, Collector, HeldEvents, Operator, Output, Token};
///
/// /// Collects events and passes on the sum of every three.
/// #[derive(Default)]
/// struct Batcher { held: Vec<(u64, Token)> }
///
/// impl Batcher {
///     fn emit_sum(&mut self, out: &mut Output<u64>) {
///         let (events, tokens): (Vec<_>, Vec<_>) = self.held.drain(..).unzip();
///         if !tokens.is_empty() {
///             out.emit_anchored(events.iter().sum(), tokens);
///         }
///     }
/// }
///
/// impl Operator for Batcher {
///     type In = u64;
///     type Out = u64;
///     // A checkpoint stores what is held.
///     const HELD_EVENTS: HeldEvents<u64> = HeldEvents::stored();
///
///     fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
///         self.held.push((event, out.defer()));
///         if self.held.len() == 3 {
///             self.emit_sum(out);
///         }
///         Ok(())
///     }
///
///     // The input is over: without this, the one or two that are left would be waited for.
///     fn finish(&mut self, out: &mut Output<u64>) -> Result<(), BoxError> {
///         self.emit_sum(out);
///         Ok(())
///     }
/// }
///
/// let sums = streamwork::testkit::OperatorHarness::stateless(Batcher::default).events(1..=8).check()?;
/// assert_eq!(sums, [6, 15, 15]);
/// # Ok::<(), BoxError>(())
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
    holder: Arc<dyn Holder>,
    /// The number that the holder keeps the event under.
    number: u64,
    open: Mutex<Open>,
}

/// What is not answered yet.
struct Open {
    /// Tokens, and one for `apply` while it runs.
    answers: usize,
    /// The worst answer so far.
    answer: Answer,
    /// Whether `apply` has not returned yet.
    applying: bool,
    /// Why a token failed before that. If `apply` fails too, that is the reason, and this its consequence.
    failed: Option<Cause>,
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
        holder: Arc<dyn Holder>,
    ) -> Arc<Self> {
        let open = Open { answers: 1, answer: Answer::Done, applying: true, failed: None };
        let open = Mutex::new(open);
        Arc::new_cyclic(|deferred| {
            // Held before there is a token that could be answered.
            let number = holder.hold(Weak::clone(deferred));
            Self { root, answers, counters, instance, holder, number, open }
        })
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

    /// `apply` has returned, and all was well with the event itself.
    pub(crate) fn returned(&self) {
        let mut open = self.open.lock();
        open.applying = false;
        let failed = open.failed.take();
        drop(open);
        match failed {
            Some(cause) => self.fail_with(cause),
            None => self.answer(Answer::Done),
        }
    }

    /// The output that stands for the event is emitted.
    pub(crate) fn done(&self) {
        self.answer(Answer::Done);
    }

    /// `apply` failed on the event itself: it is not held, whatever tokens there are.
    pub(crate) fn void(&self) {
        self.holder.release(self.number);
        self.answer(Answer::Void);
    }

    /// The event was not answered in time, and fails. What its tokens say later means nothing.
    pub(crate) fn expire(&self, cause: Cause) {
        let mut open = self.open.lock();
        if open.answers == 0 || open.answer == Answer::Void {
            return;
        }
        open.answers = 0;
        drop(open);
        match self.report("token", cause) {
            Fate::Dropped => self.count(Answer::Dropped),
            Fate::ComesAgain => self.count(Answer::Failed),
        }
    }

    /// The event is the next process's: what its tokens say means nothing any more.
    pub(crate) fn leave(&self) {
        self.open.lock().answers = 0;
    }

    /// A token failed.
    fn fail(&self, cause: Cause) {
        let mut open = self.open.lock();
        if open.answers == 0 {
            return;
        }
        if open.applying {
            open.answers -= 1;
            open.failed.get_or_insert(cause);
            return;
        }
        drop(open);
        self.fail_with(cause);
    }

    fn fail_with(&self, cause: Cause) {
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
        if open.answers == 0 {
            // It has failed for want of an answer, or is the next process's.
            return;
        }
        open.answers -= 1;
        open.answer = open.answer.max(answer);
        if open.answers == 0 {
            let answer = open.answer;
            drop(open);
            self.count(answer);
        }
    }

    /// Counts the event, once.
    fn count(&self, answer: Answer) {
        // A late answer, of an execution that is over, changes nothing.
        if !self.answers.are_wanted() {
            return;
        }
        match answer {
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
        self.holder.release(self.number);
    }
}
