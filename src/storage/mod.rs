//! Floor 1: how bytes reach a disk and come back, for checkpoints and for event logs.
//!
//! ```text
//!   checkpoint            log, connectors/files
//!       │ │                  │ │
//!       │ └──────┬───────────┘ │
//!       │        ▼             │
//!       │   dyn Disk ──────────┼──▶ RealDisk     the machine's
//!       │   dyn DiskFile       │    a test's     loses, tears, fails
//!       ▼                      ▼
//!   envelope               the log's own formats
//!       └──────▶ codec ◀───────┘                 one configuration, one number for it
//! ```
//!
//! Reading order: what a disk can do (`disk`), the one of the machine (`real_disk`), what is done with several of its
//! operations (`directories`), numbers that never come twice (`unique`), how values become bytes (`codec`), and how a file
//! proves itself (`envelope`).
//!
//! Never knows what a checkpoint or a record is, and keeps no protocol: what has to be durable before what is decided above.

mod directories;
mod disk;
mod real_disk;
mod unique;

pub(crate) mod codec;
pub(crate) mod envelope;

#[cfg(test)]
mod contract_tests;

pub(crate) use directories::{create_dir_all, create_dir_durably, is_there, unless_not_ours};
pub use disk::{Disk, DiskEntry, DiskFile, DiskLock, StartedSync};
pub use real_disk::RealDisk;
