//! [`Output`]: what an operator emits into.
//!
//! Emitting is a push into a vector. Which event an output came from is in its [`Accounts`].

use std::any::type_name;
use std::fmt;
use std::time::Duration;

use crate::api::accounts::{Accounts, InstanceContext};
use crate::api::columns::Row;
use crate::api::dead_letter::DeadLetter;
use crate::api::event::Event;
use crate::api::side_output::{DeclaredOutput, STAYS, SideEvents, SideOutput};
use crate::api::token::Token;
use crate::error::Cause;
use crate::time::EventTime;

/// What an operator emits into: in `on_timer`, `on_watermark` and `finish`, and, as part of a
/// [`Collector`](crate::Collector), in `apply`.
///
/// ```
/// use std::time::Duration;
/// use streamwork::{BoxError, Collector, Guarantee, Job, Operator, Output};
///
/// /// Emits what it was given in the last second as one sum.
/// #[derive(Default)]
/// struct PerSecond(u64);
///
/// impl PerSecond {
///     fn emit_sum(&mut self, out: &mut Output<u64>) {
///         out.emit(std::mem::take(&mut self.0));
///     }
/// }
///
/// impl Operator for PerSecond {
///     type In = u64;
///     type Out = u64;
///     fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
///         if self.0 == 0 {
///             out.set_timer(Duration::from_secs(1), 0);
///         }
///         self.0 += n;
///         Ok(())
///     }
///     fn on_timer(&mut self, _: u64, out: &mut Output<u64>) -> Result<(), BoxError> {
///         self.emit_sum(out);
///         Ok(())
///     }
///     fn finish(&mut self, out: &mut Output<u64>) -> Result<(), BoxError> {
///         self.emit_sum(out);
///         Ok(())
///     }
/// }
///
/// let job = Job::new("sums");
/// job.from_iter("numbers", || 0..9_u64).operator("per second", PerSecond::default).for_each(|n| println!("{n}"));
/// job.run(Guarantee::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Output<T> {
    pub(crate) events: Vec<T>,
    pub(crate) sides: Vec<Box<dyn SideEvents>>,
    /// The side outputs that the operator has, read or not.
    declared: &'static [DeclaredOutput],
    pub(crate) timers: Vec<TimerRequest>,
    pub(crate) room: usize,
    pub(crate) accounts: Accounts,
}

/// A request of an operator to its timers. Carried out when its outputs are handed on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TimerRequest {
    /// Call `on_timer` with this tag after this much processing time.
    Set(Duration, u64),
    /// Cancel the timers of this tag that have been set so far.
    Cancel(u64),
}

impl<T> Output<T> {
    pub(crate) fn new(
        context: InstanceContext,
        copies: u32,
        declared: &'static [DeclaredOutput],
        sides: Vec<Box<dyn SideEvents>>,
    ) -> Self {
        Self {
            events: Vec::new(),
            sides,
            declared,
            timers: Vec::new(),
            room: 0,
            accounts: Accounts::new(context, copies),
        }
    }

    /// Emits an event on the main output. Never waits: events that the next queue cannot take are kept, and
    /// the instance gets no more input until they are gone.
    #[inline]
    pub fn emit(&mut self, event: T) {
        self.events.push(event);
    }

    /// Emits all of these on the main output, like [`emit`](Output::emit) for each. If the iterator knows its
    /// length, memory is reserved once.
    #[inline]
    pub fn emit_all(&mut self, events: impl IntoIterator<Item = T>) {
        self.events.extend(events);
    }

    /// Emits an event on the main output with this time, instead of the time that it would have; see
    /// [`Stream::event_time`](crate::Stream::event_time). The watermark is not changed by it: an event that is older
    /// than the watermark is behind it for those who read it. On a stream without event time this is
    /// [`emit`](Output::emit).
    #[inline]
    pub fn emit_at(&mut self, time: EventTime, event: T) {
        self.accounts.stamp(self.events.len(), time);
        self.events.push(event);
    }

    /// Emits an event on a side output. If the job does not read that output, the event is discarded.
    ///
    /// # Panics
    /// If the operator has not declared a side output of this name and type. The panic fails the event at hand
    /// as any other in `apply` does.
    pub fn emit_to<E: Event>(&mut self, output: SideOutput<E>, event: E) {
        let ordinal = self.accounts.begin_side_effects(self.timers.len());
        let read = self.sides.iter_mut().find(|side| side.name() == output.name);
        let batch = read.and_then(|side| side.batch_of::<E>());
        match batch {
            Some(batch) => {
                let row = self.accounts.emit_aside(batch.copies);
                batch.push(event, row, ordinal);
            }
            None => assert_declared(output, self.declared),
        }
    }

    /// How many more events should be emitted before the call returns. A hint: more are kept too.
    #[inline]
    pub fn room(&self) -> usize {
        self.room.saturating_sub(self.events.len())
    }

    /// Emits an event that stands for all these tokens: their events are done when it is done, and
    /// fail when it fails.
    pub fn emit_anchored(&mut self, event: T, tokens: impl IntoIterator<Item = Token>) {
        self.accounts.begin_side_effects(self.timers.len());
        self.accounts.anchor(self.events.len(), tokens.into_iter().map(Token::anchor));
        self.events.push(event);
    }

    /// Calls `on_timer(tag)` on this instance after this much processing time, never before. Several
    /// timers may have the same tag. Each fires, even if they are due at the same moment, since only the division
    /// into batches decides which events see the same moment. Timers of one moment fire in the order in which they
    /// were set; a timer that is set while others fire, and is due at once, fires after them. Timers that are not
    /// due when the input ends do not fire: `finish` is called instead.
    ///
    /// The timers of a [`StatefulOperator`](crate::StatefulOperator) are part of its state: after a restart each
    /// waits for the rest of its time. Setting and cancelling a timer are effects of the event at hand: if it
    /// fails, they are discarded.
    pub fn set_timer(&mut self, after: Duration, tag: u64) {
        self.accounts.begin_side_effects(self.timers.len());
        self.timers.push(TimerRequest::Set(after, tag));
    }

    /// Cancels all timers of this tag that have not fired, if there are any. Timers that are set afterwards,
    /// even in the same call, are not cancelled.
    ///
    /// ```
    /// use std::time::Duration;
    /// use streamwork::testkit::OperatorHarness;
    /// use streamwork::{BoxError, Collector, Instance, Output, StatefulOperator};
    ///
    /// /// Emits the number of a sensor that has said nothing for a minute.
    /// struct Silent;
    ///
    /// impl StatefulOperator for Silent {
    ///     type In = u64;
    ///     type Out = u64;
    ///     type State = ();
    ///     fn setup(&mut self, _: &Instance, _: Option<()>) -> Result<(), BoxError> {
    ///         Ok(())
    ///     }
    ///     fn apply(&mut self, sensor: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
    ///         out.cancel_timers(sensor);
    ///         out.set_timer(Duration::from_secs(60), sensor);
    ///         Ok(())
    ///     }
    ///     fn on_timer(&mut self, sensor: u64, out: &mut Output<u64>) -> Result<(), BoxError> {
    ///         out.emit(sensor);
    ///         Ok(())
    ///     }
    ///     fn state(&self) {}
    /// }
    ///
    /// let harness = OperatorHarness::stateful(|| Silent).events([7, 8]);
    /// let harness = harness.pause(Duration::from_secs(50)).event(7);
    /// assert_eq!(harness.pause(Duration::from_secs(30)).check()?, [8]);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn cancel_timers(&mut self, tag: u64) {
        self.accounts.begin_side_effects(self.timers.len());
        self.timers.push(TimerRequest::Cancel(tag));
    }

    /// Emits the dead letter of an event whose outputs have been discarded. Returns its number of deliveries.
    pub(crate) fn emit_dead_letter<E: Event>(&mut self, letter: DeadLetter<E>, of: Row) -> u32 {
        let output = self.sides.iter_mut().find(|side| side.name() == DeadLetter::<E>::OUTPUT.name);
        let batch = output
            .and_then(|side| side.batch_of::<DeadLetter<E>>())
            .expect("the plan refuses dead letters that nothing reads as what they are");
        batch.push(letter, self.accounts.used(of), STAYS);
        batch.copies
    }

    /// How many events on the main output have been emitted and not yet handed on.
    pub(crate) fn emitted(&self) -> usize {
        self.events.len()
    }

    /// Whether the outputs must be handed on before the next event is taken in.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.events.len() >= self.room
    }

    /// Opens the account of the next event.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.accounts.begin(self.events.len());
    }

    /// Closes the account of an event that did not fail.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.accounts.end();
    }

    /// Called after [`end`](Self::end) where events are tracked.
    #[inline]
    pub(crate) fn end_tracked(&mut self) {
        self.accounts.end_tracked(self.events.len());
    }

    /// Discards the outputs and timers of the event at hand. Returns whether the event was deferred.
    pub(crate) fn take_back(&mut self, cause: &Cause) -> bool {
        let taken_back = self.accounts.take_back(cause);
        self.events.truncate(taken_back.first_output);
        if let Some((ordinal, first_timer)) = taken_back.more {
            self.sides.iter_mut().for_each(|side| side.take_back(ordinal));
            self.timers.truncate(first_timer);
        }
        taken_back.deferred
    }
}

/// Called if nothing reads the side output, which is fine as long as it is declared.
#[cold]
fn assert_declared<E: Event>(output: SideOutput<E>, declared: &[DeclaredOutput]) {
    let (event, emitted) = output.declared().event_type();
    let name = output.name;
    match declared.iter().find(|declared| declared.name == name).map(DeclaredOutput::event_type) {
        Some((expected, _)) if expected == event => {}
        Some((_, expected)) => {
            panic!(
                "side output \"{name}\" is declared as one of {expected}, and this is a {emitted}"
            )
        }
        None => panic!("side output \"{name}\" is not declared: list it in `SIDE_OUTPUTS`"),
    }
}

impl<T> fmt::Debug for Output<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let emitted = self.events.len();
        let event = type_name::<T>();
        f.debug_struct("Output")
            .field("event", &event)
            .field("emitted", &emitted)
            .finish_non_exhaustive()
    }
}
