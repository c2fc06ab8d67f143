//! The four semantics: how each is switched on, and what each promises about the totals.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use streamwork::{AtLeastOnce, AtMostOnce, ExactlyOnce, Guarantee, Restarts};

use crate::job::Usage;

/// What happens to a transaction when something fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Semantics {
    /// It is lost, and counted as lost.
    AtMostOnce,
    /// It is emitted again, until all that came of it is acknowledged.
    AtLeastOnce,
    /// The job goes back to a checkpoint that may hold a little more than its sources say.
    AtLeastOnceCheckpoint,
    /// The job goes back to a consistent checkpoint.
    ExactlyOnce,
}

/// Restarts beyond those that failing lookups cause.
const RESTARTS: u32 = 5;

impl Semantics {
    /// The word on the command line, which also names the directory.
    pub fn word(self) -> &'static str {
        match self {
            Self::AtMostOnce => "at-most-once",
            Self::AtLeastOnce => "at-least-once",
            Self::AtLeastOnceCheckpoint => "at-least-once-checkpoint",
            Self::ExactlyOnce => "exactly-once",
        }
    }

    /// The guarantee, kept in this directory. Nothing else in the program depends on the semantics.
    pub fn guarantee(self, store: &Path, every: Duration, failing: u32) -> Guarantee {
        // With checkpoints each lookup that fails costs a restart of the job.
        let restarts = Restarts {
            limit: failing.saturating_add(RESTARTS),
            backoff: Duration::from_millis(1),
            backoff_max: Duration::from_millis(10),
            ..Restarts::default()
        };
        match self {
            Self::AtMostOnce => AtMostOnce::new().store_in(store).every(every).into(),
            Self::AtLeastOnce => AtLeastOnce::new().store_in(store).every(every).into(),
            Self::AtLeastOnceCheckpoint => {
                AtLeastOnce::checkpoints_in(store).every(every).restarts(restarts).into()
            }
            Self::ExactlyOnce => {
                ExactlyOnce::checkpoints_in(store).every(every).restarts(restarts).into()
            }
        }
    }

    /// Whether totals are what was promised.
    pub fn keeps_its_promise(self, found: Usage, truth: Usage) -> bool {
        let (transactions, frauds) = (found.transactions, found.frauds);
        match self {
            Self::AtMostOnce => transactions <= truth.transactions && frauds <= truth.frauds,
            Self::AtLeastOnce | Self::AtLeastOnceCheckpoint => {
                transactions >= truth.transactions && frauds >= truth.frauds
            }
            Self::ExactlyOnce => found == truth,
        }
    }
}
