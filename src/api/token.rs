//! [`Token`]: the right to answer for an event after `apply` has returned; and [`Deferred`], which the
//! tokens of one event share.

use std::sync::{Arc, Weak};

use crate::error::{BoxError, Cause, Failure};
use crate::id::{InstanceName, Root};
use crate::metrics::Counters;
use crate::sync::Mutex;

/// Receives the answers of tokens. The guarantee decides what an answer means.
pub(crate) trait Answers: Send + Sync {
    /// The number of deliveries outstanding under `root` changes by `delta`.
    fn change(&self, root: Root, delta: i64);
    /// The event under `root` failed.
    fn fail(&self, root: Root, failure: Failure) -> Fate;
    /// One outstanding delivery of `root` is now in a token.
    fn hold(&self, root: Root);
    /// One delivery of `root` has left its token, answered or anchored.
    fn unhold(&self, root: Root);
    /// Whether answers still count: `false` once the execution is over.
    fn are_wanted(&self) -> bool;
    /// A new root for an output that stands for all `members`: one delivery of each is done when the
    /// new root is, and each fails when it fails. It starts with `copies` outstanding deliveries.
    fn group(&self, members: Vec<Root>, copies: u32) -> Root;
}

/// Keeps deferred events until they are answered.
pub(crate) trait Holder: Send + Sync {
    /// The event at hand is deferred. Returns the number under which it is kept.
    fn hold(&self, deferred: Weak<Deferred>) -> u64;
    /// The event of this number is answered or has failed.
    fn release(&self, number: u64);
}

/// What becomes of an event whose token failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is given up.
    Dropped,
    /// It comes again: it is replayed, or the job rolls back.
    ComesAgain,
}

/// The right and duty to answer for one event, taken by
/// [`Collector::defer`](crate::Collector::defer).
///
/// A token cannot be cloned, so it is answered at most once. Dropping it without an answer fails the event.
/// It may be sent to another thread. The guarantee decides what a failure means: the event is dropped and
/// counted, it is replayed, or the job rolls back to its last checkpoint.
///
/// **A held event has not happened yet.** From `defer` until its last token is answered the operator holds
/// the event. If the process ends before that, the event is given to `apply` again. Under the acknowledger its
/// source emits it again. With checkpoints its source does so only if the event came after the last checkpoint;
/// otherwise that checkpoint has stored it ([`HeldEvents`](crate::HeldEvents)), and stored events are applied in
/// the order in which they were deferred, before any other event. Under at-most-once only the checkpoint of a stop
/// stores held events. So change the state when an event is answered, not when it is deferred. A stop with a
/// store does not wait for answers. The end of the input and a drain wait for all of them; `answer_within`, an
/// option of every guarantee, limits how long. `Metrics` counts the events that each instance holds (`deferred`).
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
///     // Checkpoints store the events that are held.
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
///     // The input is over: without this, the job would wait for the one or two events that are left.
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
    /// Acknowledges the event.
    pub fn ack(mut self) {
        self.release();
        let deferred = &self.deferred;
        deferred.answers.change(deferred.root, -1);
        deferred.answer(Answer::Done);
    }

    /// Fails the event with this error.
    pub fn fail(mut self, error: impl Into<BoxError>) {
        self.fail_with(Cause::error(error));
    }

    /// Gives the token up without an answer: an output will stand for the event.
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

/// An event that was deferred, and the worst answer for it so far. It is counted once, as delivered or as
/// failed, when `apply` has returned and its last token is answered.
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

/// The answers that are missing, and those that have come.
struct Open {
    /// Missing answers: one for each token, and one for `apply` while it runs.
    answers: usize,
    /// The worst answer so far.
    answer: Answer,
    /// Whether `apply` has not returned yet.
    applying: bool,
    /// Why a token failed while `apply` ran. If `apply` fails as well, only its own error is reported: the
    /// token failed because `apply` dropped it.
    failed: Option<Cause>,
}

/// An answer for an event, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Done,
    /// The output that stood for it was discarded; it comes again.
    TakenBack,
    /// The output that stood for it was discarded, and it is given up.
    Lost,
    /// It failed, and comes again.
    Failed,
    /// It failed, and is given up.
    Dropped,
    /// `apply` itself failed: the event has failed, whatever its tokens say.
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
        // A token counts as a delivery. Otherwise an answer within the same `apply` could finish the event
        // before its outputs are counted.
        self.answers.change(self.root, 1);
        self.answers.hold(self.root);
        self.open.lock().answers += 1;
        Token { deferred: Arc::clone(self), answered: false }
    }

    /// `apply` has returned `Ok`.
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

    /// `apply` failed on the event: it is no longer held, even if it has tokens.
    pub(crate) fn void(&self) {
        self.holder.release(self.number);
        self.answer(Answer::Void);
    }

    /// Fails the event without its missing answers. From now on answers are ignored.
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

    /// Leaves the event to the next process. From now on answers are ignored.
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

    /// The output that was to stand for the event is discarded, since another event failed.
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
            // It has expired, or is left to the next process.
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
        // An answer that comes after the end of its execution changes nothing.
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
