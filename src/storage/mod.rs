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
//! Reading order: the operations of a disk (`disk`), the machine's disk (`real_disk`), work that takes several operations
//! (`directories`), unique numbers (`unique`), how values become bytes (`codec`), and how a file is verified (`envelope`).
//!
//! It does not know what a checkpoint or a record is, and has no protocol: the floors above decide what must be durable before
//! what.

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
