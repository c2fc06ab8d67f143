//! Floor 6: sources and sinks that come with the crate.

pub(crate) mod bad_record;
pub(crate) mod channel;
pub(crate) mod event_log;
pub(crate) mod file_names;
pub(crate) mod files;
pub(crate) mod iterator;
pub(crate) mod lines;
pub(crate) mod lost_position;

mod trail;
