//! Floor 7: for tests of jobs, ours and yours: a seeded simulation with faults and crashes, a disk
//! that loses what was not synchronized, sinks that keep their events, and checks of single components.

pub mod collected;
pub mod harness;
pub mod idempotence;
pub mod published;
pub(crate) mod random;
pub mod simulated_disk;
pub mod simulation;
mod watermarks;

pub use collected::Collected;
pub use harness::{
    KeyedHarness, OperatorHarness, StateLeft, check_source, check_split_source,
    check_transactional_sink,
};
pub use idempotence::assert_idempotent;
pub use published::Published;
pub use simulated_disk::{DiskFailures, DiskFault, DiskOperations, SimulatedDisk};
pub use simulation::{Ended, Fault, Faults, History, Simulation, explore};
pub use watermarks::{EventWatermarks, InputWatermarks, WatermarkStep};
