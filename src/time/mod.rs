//! Floor 0: event time and timers. [`EventTime`] is the time that an event carries, [`generator`] makes
//! watermarks out of such times, [`watermarks`] has the watermarks of the inputs of an instance, [`timers`] says what is due. Processing time is read from the
//! [`clock`](crate).

pub(crate) mod event_time;
pub(crate) mod generator;
pub(crate) mod replayable;
pub(crate) mod timers;
pub(crate) mod watermarks;

pub use event_time::EventTime;
