//! [`Operator`] and [`StatefulOperator`]: what happens to events.

use std::vec::Drain;

use crate::api::apply_loop::{Pass, apply_each};
use crate::api::collector::Collector;
use crate::api::event::Event;
use crate::api::held_events::HeldEvents;
use crate::api::instance::Instance;
use crate::api::output::Output;
use crate::api::side_output::DeclaredOutput;
use crate::api::state::State;
use crate::checkpoint::Stored;
use crate::error::BoxError;
use crate::time::EventTime;

/// What happens to an event, when nothing has to be remembered across a failure.
///
/// All calls are made on the instance's own thread, one at a time: `setup` once after the factory
/// has built the value, then `apply` per event, `on_timer` per timer, `finish` when the input is
/// over, then the value is dropped. It need not be `Send`.
///
/// `Ok(())` from `apply` acknowledges the event, `Err` fails it: what `apply` emitted for that event is
/// discarded, and the guarantee decides what follows (drop and count, replay, roll back to a checkpoint),
/// unless the component makes dead letters ([`Stream::on_error`](crate::Stream::on_error)). A panic is a
/// failure too; after it the value is dropped, and the factory builds a new one.
///
/// ```
/// use streamwork::{BoxError, Collector, Guarantee, Job, Operator};
///
/// struct Words;
///
/// impl Operator for Words {
///     type In = String;
///     type Out = String;
///     fn apply(&mut self, line: String, out: &mut Collector<String>) -> Result<(), BoxError> {
///         for word in line.split_whitespace() {
///             out.emit(word.to_lowercase());
///         }
///         Ok(())
///     }
/// }
///
/// let job = Job::new("words");
/// job.from_iter("lines", || ["To be", "or not to be"].map(String::from))
///     .operator("words", || Words)
///     .for_each(|word| println!("{word}"));
/// job.run(Guarantee::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an operator",
    note = "implement `streamwork::Operator`: `type In`, `type Out` and `fn apply`"
)]
pub trait Operator: 'static {
    /// The events it takes.
    type In: Event;
    /// The events it emits.
    type Out: Event;
    /// Its outputs beside the main one; see [`SideOutput`](crate::SideOutput).
    const SIDE_OUTPUTS: &'static [DeclaredOutput] = &[];
    /// Whether the events it holds in [tokens](crate::Token) are stored in checkpoints; see
    /// [`HeldEvents`].
    const HELD_EVENTS: HeldEvents<Self::In> = HeldEvents::not_stored();
    /// Whether it needs the time of each event ([`Collector::time`]). If so, a job is refused in which it reads a
    /// stream without event time; see [`Stream::event_time`](crate::Stream::event_time).
    const NEEDS_EVENT_TIME: bool = false;

    /// Opens what it needs. Called once, before the first event.
    ///
    /// # Errors
    /// An error counts as a failure of the instance and is tried again by the restart policy.
    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        let _ = instance;
        Ok(())
    }

    /// Handles one event.
    ///
    /// # Errors
    /// An error fails this event, and this event only.
    fn apply(&mut self, event: Self::In, out: &mut Collector<Self::Out>) -> Result<(), BoxError>;

    // The engine's loop. Without `#[inline]`, so that it is compiled next to `apply`, which is inlined into it.
    #[doc(hidden)]
    fn apply_each(
        &mut self,
        events: &mut Drain<'_, Self::In>,
        out: &mut Collector<Self::Out>,
        tracked: bool,
    ) -> Pass {
        apply_each(events, out, tracked, |event, out| self.apply(event, out))
    }

    /// A timer set by [`Output::set_timer`] is due.
    ///
    /// # Errors
    /// An error counts as a failed call; with checkpoints it rolls the job back.
    fn on_timer(&mut self, tag: u64, out: &mut Output<Self::Out>) -> Result<(), BoxError> {
        let _ = (tag, out);
        Ok(())
    }

    /// No event older than this will come. The watermark never falls, even if that of an input does. A job that
    /// starts over continues from the watermarks of its checkpoint, so an operator without state may be called
    /// with one again, before its first event.
    ///
    /// # Errors
    /// As [`on_timer`](Operator::on_timer).
    fn on_watermark(
        &mut self,
        watermark: EventTime,
        out: &mut Output<Self::Out>,
    ) -> Result<(), BoxError> {
        let _ = (watermark, out);
        Ok(())
    }

    /// The input is over: emit what the operator still keeps. Called again if events come after it, which
    /// happens when failed events are replayed. Not called on a stop that will be resumed from a
    /// store.
    ///
    /// # Errors
    /// As [`on_timer`](Operator::on_timer). Under the acknowledger an error also starts the job over, since held
    /// events would never be answered.
    fn finish(&mut self, out: &mut Output<Self::Out>) -> Result<(), BoxError> {
        let _ = out;
        Ok(())
    }
}

/// What happens to an event, when something has to be remembered across a failure.
///
/// Like [`Operator`], with two more functions: [`state`](StatefulOperator::state) returns the state by value,
/// and `setup` starts from it. Whatever `state` does not return is lost by a failure.
///
/// ```
/// use streamwork::{BoxError, Collector, Guarantee, Instance, Job, StatefulOperator};
///
/// /// Numbers the lines of an invoice.
/// #[derive(Default)]
/// struct Numbered { lines: u64 }
///
/// impl StatefulOperator for Numbered {
///     type In = String;
///     type Out = (u64, String);
///     type State = u64;
///
///     fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
///         self.lines = state.unwrap_or_default();
///         Ok(())
///     }
///     fn apply(&mut self, line: String, out: &mut Collector<(u64, String)>) -> Result<(), BoxError> {
///         self.lines += 1;
///         out.emit((self.lines, line));
///         Ok(())
///     }
///     fn state(&self) -> u64 { self.lines }
/// }
///
/// let job = Job::new("invoice");
/// job.from_iter("lines", || ["apples", "pears"].map(String::from))
///     .stateful("numbered", Numbered::default)
///     .for_each(|(number, line)| println!("{number} {line}"));
/// job.run(Guarantee::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A state for each key is better left to the engine: see [`KeyedOperator`](crate::KeyedOperator).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a stateful operator",
    note = "implement `streamwork::StatefulOperator`: `type In`, `type Out`, `type State`, `setup`, `apply` and `state`"
)]
pub trait StatefulOperator: 'static {
    /// The events it takes.
    type In: Event;
    /// The events it emits.
    type Out: Event;
    /// What it remembers.
    type State: State;
    /// Its outputs beside the main one; see [`SideOutput`](crate::SideOutput).
    const SIDE_OUTPUTS: &'static [DeclaredOutput] = &[];
    /// Whether the events it holds in [tokens](crate::Token) are stored in checkpoints; see
    /// [`HeldEvents`].
    const HELD_EVENTS: HeldEvents<Self::In> = HeldEvents::not_stored();
    /// Whether it needs the time of each event ([`Collector::time`]). If so, a job is refused in which it reads a
    /// stream without event time; see [`Stream::event_time`](crate::Stream::event_time).
    const NEEDS_EVENT_TIME: bool = false;

    /// The version in which its state is stored, and how states of earlier versions are read; see [`Stored`] (state
    /// P1).
    ///
    /// ```
    /// use streamwork::{BoxError, Collector, Instance, StatefulOperator, Stored};
    ///
    /// #[derive(Default)]
    /// struct Sum(u64);
    ///
    /// impl StatefulOperator for Sum {
    ///     type In = u64;
    ///     type Out = u64;
    ///     type State = u64;
    ///     fn stored() -> Stored<u64> {
    ///         Stored::version(2).migrate_from(1, |old: u32| old.into())
    ///     }
    ///     fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
    ///         self.0 = state.unwrap_or(0);
    ///         Ok(())
    ///     }
    ///     fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
    ///         self.0 += n;
    ///         out.emit(self.0);
    ///         Ok(())
    ///     }
    ///     fn state(&self) -> u64 {
    ///         self.0
    ///     }
    /// }
    /// ```
    fn stored() -> Stored<Self::State> {
        Stored::default()
    }

    /// Starts from `state`, or from nothing. Called once, before the first event.
    ///
    /// # Errors
    /// An error counts as a failure of the instance and is tried again by the restart policy.
    fn setup(&mut self, instance: &Instance, state: Option<Self::State>) -> Result<(), BoxError>;

    /// Handles one event.
    ///
    /// # Errors
    /// An error fails this event, and this event only. Leave the state as it was before: the event
    /// may come again.
    fn apply(&mut self, event: Self::In, out: &mut Collector<Self::Out>) -> Result<(), BoxError>;

    // The engine's loop. Without `#[inline]`: so it is made next to `apply`, which becomes part of it.
    #[doc(hidden)]
    fn apply_each(
        &mut self,
        events: &mut Drain<'_, Self::In>,
        out: &mut Collector<Self::Out>,
        tracked: bool,
    ) -> Pass {
        apply_each(events, out, tracked, |event, out| self.apply(event, out))
    }

    /// All that must survive a failure. Called between events, on the instance's thread; it is encoded on
    /// another one. Where a panic in `apply` does not roll the job back, it is called once more on the old
    /// value, and the new value starts from the result; so it should not panic.
    fn state(&self) -> Self::State;

    /// A timer set by [`Output::set_timer`] is due. Timers are part of the state: they survive
    /// a failure.
    ///
    /// # Errors
    /// An error counts as a failed call; with checkpoints it rolls the job back.
    fn on_timer(&mut self, tag: u64, out: &mut Output<Self::Out>) -> Result<(), BoxError> {
        let _ = (tag, out);
        Ok(())
    }

    /// No event older than this will come. The watermark never falls, even if that of an input does. The last
    /// one is part of the state: after a restart this is called only with later ones. Under at-least-once with
    /// the acknowledger it is not part of the state, since replayed events may be older.
    ///
    /// # Errors
    /// As [`on_timer`](StatefulOperator::on_timer).
    fn on_watermark(
        &mut self,
        watermark: EventTime,
        out: &mut Output<Self::Out>,
    ) -> Result<(), BoxError> {
        let _ = (watermark, out);
        Ok(())
    }

    /// The input is over: emit what the operator still keeps, and forget it, since the state is taken once
    /// more after this. Called again if events come after it. Not called on a stop that will be
    /// resumed from a store.
    ///
    /// # Errors
    /// As [`on_timer`](StatefulOperator::on_timer). Under the acknowledger an error also starts the job over, since held
    /// events would never be answered.
    fn finish(&mut self, out: &mut Output<Self::Out>) -> Result<(), BoxError> {
        let _ = out;
        Ok(())
    }
}
