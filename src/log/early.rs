//! Starts the disk on what the next sync would otherwise wait for.
//!
//! ```text
//!   writer   append … append … append … append … sync: waits for what is left
//!                  │              │
//!   a thread       └─ fdatasync   └─ fdatasync
//! ```
//!
//! Owns what was started so, one sync at a time for the whole log; the disk has the thread. Without it the disk is idle while records are appended, and the writer
//! is idle while the disk works. Never makes a promise: what it has brought to disk counts as durable, and is shown to readers,
//! only when the writer's own sync has returned. Never loses an error either: the system reports a failed write of a file once,
//! so whoever syncs the file must first have heard how the one before went.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::LogError;
use crate::storage::{DiskFile, StartedSync};

/// This many bytes of a partition must have been written since its last sync: below that the disk is as quick
/// without.
pub(super) const EARLY_SYNC_BYTES: u64 = 2 << 20;

/// The sync that is under way, if there is one.
#[derive(Debug, Default)]
pub(super) struct EarlySync {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    path: PathBuf,
    sync: StartedSync,
}

impl EarlySync {
    /// Whether one is under way; then no other one is started.
    pub(super) fn is_running(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.sync.has_ended())
    }

    /// Starts to bring the file's bytes to disk, after the one before has ended. The error is that of the one before.
    pub(super) fn start(
        &mut self,
        file: &Arc<dyn DiskFile>,
        path: PathBuf,
    ) -> Result<(), LogError> {
        self.finish()?;
        // Where nothing was begun, the writer's own sync does it all.
        self.running = Arc::clone(file).start_sync().map(|sync| Running { path, sync });
        Ok(())
    }

    /// Returns when none is under way any more, with the error of the last one.
    pub(super) fn finish(&mut self) -> Result<(), LogError> {
        let Some(Running { path, sync }) = self.running.take() else {
            return Ok(());
        };
        sync.wait().map_err(LogError::io("sync", &path))
    }
}

impl Drop for EarlySync {
    fn drop(&mut self) {
        // Nobody may find the log unlocked while a thread of this writer is at its files. An error is met here only after one
        // that has ended the writer: any other end goes through `finish`.
        let _ = self.finish();
    }
}
