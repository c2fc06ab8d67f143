//! Floor 7: for tests of jobs, ours and yours: a sink that remembers, and a promise that can be
//! checked.

pub mod collected;
pub mod idempotence;

pub use collected::Collected;
pub use idempotence::assert_idempotent;
