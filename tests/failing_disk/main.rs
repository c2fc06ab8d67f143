//! A disk that fails under a running job: each operation is refused, once or for a while; and
//! directories that were damaged between two runs.

mod damage;
mod faults;

#[path = "../checkpoint_store/memory_disk.rs"]
mod memory_disk;

#[path = "../tier/mod.rs"]
mod tier;

#[path = "../callbacks/world.rs"]
#[expect(dead_code, reason = "here no callback fails")]
mod world;
