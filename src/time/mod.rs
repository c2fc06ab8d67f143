//! Floor 0: when events happened, and when something is to happen. [`EventTime`] is a moment that an event
//! carries, [`watermarks`] says how far event time has come on the inputs of an instance, [`timers`] what is
//! due. Processing time is the [`clock`](crate)'s.

pub(crate) mod event_time;
pub(crate) mod timers;
pub(crate) mod watermarks;

pub use event_time::EventTime;
