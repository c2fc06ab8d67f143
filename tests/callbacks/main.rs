//! Every callback of a user fails, in every way, under every guarantee; sinks lose their commits;
//! events are poison; times are extreme. The oracle is always the same: every event has a number, and
//! the output of each sink and the count of each state are compared with the promise of the guarantee.

mod commits;
mod matrix;
mod poison;
mod times;
mod verbs;
mod world;

/// Events of a run.
const EVENTS: u64 = 240;

/// Checkpoints that a source waits for before its last events.
const CHECKPOINTS: Option<u64> = None;

#[path = "../checkpoint_store/memory_disk.rs"]
mod memory_disk;

#[path = "../tier/mod.rs"]
mod tier;
