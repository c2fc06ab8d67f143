//! [`Source`] and [`StatefulSource`]: where events come from.

use std::time::Duration;

use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::source_output::SourceOutput;
use crate::api::state::State;
use crate::api::weight::heap_bytes;
use crate::checkpoint::Stored;
use crate::error::BoxError;

/// When the engine shall call `get_events` again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// There is (or may be) more right now.
    Now,
    /// After this much time, or earlier if the instance is woken.
    After(Duration),
    /// When [`Waker::wake`](crate::Waker::wake) is called, however long that takes.
    WhenWoken,
    /// Never: the input is over.
    End,
}

/// What a source does when its job is stopped or drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnStop {
    /// It emits nothing more.
    End,
    /// It still has events that it has accepted from elsewhere: [`get_events`](Source::get_events) is
    /// called until it returns [`Next::End`].
    EmitRest,
}

/// A source whose input cannot be read twice: a socket, a clock, a queue that removes what was read.
///
/// All calls are made on the instance's own thread, one at a time: `setup` once after the factory
/// has built the value, then [`get_events`](Source::get_events) until it returns [`Next::End`] or the
/// job stops, then the value is dropped. After a panic or an `Err` the factory builds the instance
/// again, if the guarantee allows it; events emitted before the failure count as emitted.
///
/// Such a source is refused under guarantees that roll back. To be rewindable, implement
/// [`StatefulSource`].
///
/// ```
/// use streamwork::{BoxError, Guarantee, Job, Next, Source, SourceOutput};
///
/// struct Countdown(u32);
///
/// impl Source for Countdown {
///     type Out = u32;
///     fn get_events(&mut self, out: &mut SourceOutput<u32>) -> Result<Next, BoxError> {
///         while self.0 > 0 && out.room() > 0 {
///             out.emit(self.0);
///             self.0 -= 1;
///         }
///         Ok(if self.0 == 0 { Next::End } else { Next::Now })
///     }
/// }
///
/// let job = Job::new("countdown");
/// job.source("countdown", || Countdown(3)).for_each(|n| println!("{n}"));
/// job.run(Guarantee::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a source",
    note = "implement `streamwork::Source` (`type Out`, `fn get_events`), or `StatefulSource` if it can be rewound"
)]
pub trait Source: 'static {
    /// The events it emits.
    type Out: Event;

    /// Opens what it reads. Called once, before the first `get_events`.
    ///
    /// # Errors
    /// An error counts as a failure of the instance and is tried again by the restart policy.
    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        let _ = instance;
        Ok(())
    }

    /// Emits the available events, up to about [`SourceOutput::room`], without waiting, and returns when
    /// it is to be called again.
    ///
    /// # Errors
    /// An error means that the source is broken: the instance is rebuilt.
    fn get_events(&mut self, out: &mut SourceOutput<Self::Out>) -> Result<Next, BoxError>;

    /// The job is stopped or drained. By default the source ends here. A source that has accepted
    /// events from elsewhere (an answer was sent, a call has returned) must accept no more and return
    /// [`OnStop::EmitRest`], so that the accepted events are not lost. They must be emitted within the
    /// deadline of the stop.
    fn on_stop(&mut self) -> OnStop {
        OnStop::End
    }

    /// Bytes that one event occupies, for the bounds in bytes of the replay buffer and of one call of
    /// `get_events`. By default the size of the type, plus the content of a `String`, `Vec<u8>`, `Box<str>`
    /// or `Box<[u8]>`; override it if events own other memory on the heap.
    fn event_bytes(event: &Self::Out) -> usize {
        size_of_val(event).saturating_add(heap_bytes(event))
    }
}

/// A source that can be rewound: a file, an event log, anything with offsets.
///
/// As [`Source`], with two more functions: [`state`](StatefulSource::state) returns the position (a
/// small value: offsets), and `setup` starts from such a value. From the same state the same events
/// must follow; that makes a source *rewindable*.
///
/// After a panic or `Err` in `get_events` the events of that call are discarded and the new value
/// starts from the state before the call.
///
/// ```
/// use streamwork::{BoxError, Guarantee, Instance, Job, Next, SourceOutput, StatefulSource};
///
/// struct Numbers { next: u64 }
///
/// impl StatefulSource for Numbers {
///     type Out = u64;
///     type State = u64;
///     fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
///         self.next = state.unwrap_or(0);
///         Ok(())
///     }
///     fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
///         while self.next < 10 && out.room() > 0 {
///             out.emit(self.next);
///             self.next += 1;
///         }
///         Ok(if self.next == 10 { Next::End } else { Next::Now })
///     }
///     fn state(&self) -> u64 { self.next }
/// }
///
/// let job = Job::new("numbers");
/// job.stateful_source("numbers", || Numbers { next: 0 }).for_each(|n| println!("{n}"));
/// job.run(Guarantee::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a stateful source",
    note = "implement `streamwork::StatefulSource`: `type Out`, `type State`, `setup`, `get_events` and `state`"
)]
pub trait StatefulSource: 'static {
    /// The events it emits.
    type Out: Event;
    /// Where it is: offsets, a count, a cursor.
    type State: State;

    /// The version in which its state is stored, and how states of earlier versions are read; see [`Stored`] (state
    /// P1). Under at-most-once with a store positions are written ahead, without a version: there another version is
    /// refused.
    ///
    /// ```
    /// use streamwork::Stored;
    ///
    /// /// A position of today; in version 1 it was the line alone.
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Position {
    ///     file: String,
    ///     line: u64,
    /// }
    ///
    /// fn stored() -> Stored<Position> {
    ///     Stored::version(2).migrate_from(1, |line: u64| Position { file: "input".into(), line })
    /// }
    /// # stored();
    /// ```
    fn stored() -> Stored<Self::State> {
        Stored::default()
    }

    /// Opens what it reads, at `state` if there is one. Called once, before the first
    /// `get_events`.
    ///
    /// # Errors
    /// An error counts as a failure of the instance and is tried again by the restart policy.
    fn setup(&mut self, instance: &Instance, state: Option<Self::State>) -> Result<(), BoxError>;

    /// Emits the available events, up to about [`SourceOutput::room`], without waiting, and returns when
    /// it is to be called again.
    ///
    /// # Errors
    /// An error means that the source is broken: the instance is rebuilt, or the job rolls back.
    fn get_events(&mut self, out: &mut SourceOutput<Self::Out>) -> Result<Next, BoxError>;

    /// The position after the last event that was emitted. Called between `get_events`, often: keep
    /// it cheap.
    fn state(&self) -> Self::State;

    /// This state has become durable: nothing before it will be requested again, so the source may send an
    /// acknowledgement or advance a replication slot. Called on the instance's thread some time after the
    /// checkpoint is complete. It may be skipped for a checkpoint if a later one follows, and is not called
    /// after a crash. Under at-most-once with a store it is called when a position has been written ahead.
    ///
    /// # Errors
    /// An error is logged as a warning; the checkpoint stays valid.
    fn checkpointed(&mut self, state: &Self::State) -> Result<(), BoxError> {
        let _ = state;
        Ok(())
    }

    /// Bytes that one event occupies, for the bounds in bytes of the replay buffer and of one call of
    /// `get_events`. By default the size of the type, plus the content of a `String`, `Vec<u8>`, `Box<str>`
    /// or `Box<[u8]>`; override it if events own other memory on the heap.
    fn event_bytes(event: &Self::Out) -> usize {
        size_of_val(event).saturating_add(heap_bytes(event))
    }
}
