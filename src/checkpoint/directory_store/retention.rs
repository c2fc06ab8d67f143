//! What is deleted, and in which order: first what makes a checkpoint complete, then the rest. A crash in between leaves an
//! orphan, never a complete checkpoint with parts missing.

use super::{
    super::store_error::StoreError,
    files::Files,
    layout::{self, Attempt},
    recovery,
};
use crate::id::CheckpointId;
use crate::storage::DiskEntry;

/// Removes an attempt, unless it was committed.
pub(super) fn abandon(files: &Files, attempt: Attempt) -> Result<(), StoreError> {
    if recovery::is_complete(files, attempt)? {
        return Ok(());
    }
    remove(files, attempt)
}

/// Removes old checkpoints and orphans. Returns the checkpoints, oldest first.
pub(super) fn retain(
    files: &Files,
    keep: usize,
    in_use: Option<CheckpointId>,
) -> Result<Vec<CheckpointId>, StoreError> {
    let Census { complete, orphans } = census(files)?;
    let Some(newest) = complete.first() else {
        return Ok(Vec::new());
    };
    let mut deleted = Vec::new();
    // One that cannot be removed is no reason to keep the others.
    let mut failed = Ok(());
    for orphan in orphans.iter().filter(|orphan| *orphan < newest) {
        failed = failed.and(remove(files, *orphan));
    }
    for old in complete.iter().skip(keep.max(KEPT_AT_LEAST)).rev() {
        if in_use != Some(old.checkpoint) {
            match remove(files, *old) {
                Ok(()) => deleted.push(old.checkpoint),
                error => failed = failed.and(error),
            }
        }
    }
    failed.map(|()| deleted)
}

/// What there is, newest first. Damaged and unknown ones are in neither list.
struct Census {
    complete: Vec<Attempt>,
    orphans: Vec<Attempt>,
}

fn census(files: &Files) -> Result<Census, StoreError> {
    let mut census = Census { complete: Vec::new(), orphans: Vec::new() };
    for attempt in recovery::attempts(files)? {
        match recovery::read_manifest(files, attempt) {
            Ok(None) => census.orphans.push(attempt),
            Ok(Some(Ok(_))) => census.complete.push(attempt),
            Ok(Some(Err(_))) | Err(StoreError::UnknownFormat { .. }) => {}
            Err(error @ StoreError::Io { .. }) => {
                tracing::warn!(%attempt, %error, "what cannot be read is left alone");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(census)
}

fn remove(files: &Files, attempt: Attempt) -> Result<(), StoreError> {
    let directory = attempt.path(files.root());
    let entries = files.list_if_any(&directory)?;
    let is_ours = |entry: &&DiskEntry| !entry.is_dir && layout::is_of_a_checkpoint(&entry.name);
    let (ours, foreign): (Vec<&DiskEntry>, Vec<&DiskEntry>) = entries.iter().partition(is_ours);
    if ours.is_empty() {
        // What others have put there was told of when the checkpoint was removed.
        return if foreign.is_empty() { files.remove_dir(&directory) } else { Ok(()) };
    }
    // Durably, also if it is gone already: the process that removed it may have died before the removal was safe, and a
    // power failure must not bring it back alone.
    files.remove_file(&directory.join(layout::MANIFEST))?;
    files.sync_dir(&directory)?;
    for entry in ours.iter().filter(|e| e.name != layout::MANIFEST) {
        files.remove_file(&directory.join(&entry.name))?;
    }
    if foreign.is_empty() {
        return files.remove_dir(&directory);
    }
    let foreign: Vec<&str> = foreign.iter().map(|entry| entry.name.as_str()).collect();
    tracing::warn!(%attempt, ?foreign, "a removed checkpoint leaves what is not of it");
    Ok(())
}

/// One to use, and one to fall back to when that one is damaged.
const KEPT_AT_LEAST: usize = 2;
