//! What is deleted, and in which order: first what makes a checkpoint complete, then the rest. A crash in between leaves an
//! orphan, never a complete checkpoint with parts missing.

use super::{
    super::store_error::StoreError,
    files::Files,
    layout::{self, Attempt},
    recovery,
};
use crate::id::CheckpointId;

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
    for orphan in orphans.iter().filter(|orphan| *orphan < newest) {
        remove(files, *orphan)?;
    }
    let mut deleted = Vec::new();
    for old in complete.iter().skip(keep.max(KEPT_AT_LEAST)).rev() {
        if in_use != Some(old.checkpoint) {
            remove(files, *old)?;
            deleted.push(old.checkpoint);
        }
    }
    Ok(deleted)
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
            Err(error) => return Err(error),
        }
    }
    Ok(census)
}

fn remove(files: &Files, attempt: Attempt) -> Result<(), StoreError> {
    let directory = attempt.path(files.root());
    let entries = files.list_if_any(&directory)?;
    if entries.is_empty() {
        return files.remove_dir(&directory);
    }
    // Durably, also if it is gone already: the process that removed it may have died before the removal was safe, and a
    // power failure must not bring it back alone.
    files.remove_file(&directory.join(layout::MANIFEST))?;
    files.sync_dir(&directory)?;
    for entry in entries.iter().filter(|e| e.name != layout::MANIFEST) {
        files.remove_file(&directory.join(&entry.name))?;
    }
    files.remove_dir(&directory)
}

/// One to use, and one to fall back to when that one is damaged.
const KEPT_AT_LEAST: usize = 2;
