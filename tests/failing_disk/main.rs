//! A disk that fails under a running job: each operation is refused, once or for a while; and
//! directories that were damaged between two runs.

mod damage;
mod faults;

/// Events of a run.
const EVENTS: u64 = 60;

/// Checkpoints that a source waits for before its last events. From the third on, with which the first is removed,
/// each does the same to the disk; more of them would only be the same operations again.
const CHECKPOINTS: Option<u64> = Some(5);

#[path = "../checkpoint_store/memory_disk.rs"]
mod memory_disk;

#[path = "../tier/mod.rs"]
mod tier;

#[path = "../callbacks/world.rs"]
#[expect(dead_code, reason = "here no callback fails")]
mod world;
