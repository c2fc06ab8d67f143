//! The commit point: the rename that makes a checkpoint complete, with everything before it durable before it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{
    super::{manifest::Manifest, store_error::StoreError},
    files::Files,
    known::Known,
    layout::{self, Attempt},
    part,
};

/// Makes a checkpoint complete. `fence` says whether the execution still has the store. It is called again
/// when everything else is done: a takeover between that answer and the commit point cannot be noticed.
pub(super) fn commit(
    files: &Files,
    manifest: &Manifest,
    known: &mut Known,
    fence: impl FnOnce() -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let attempt = Attempt::of(manifest);
    let directory = attempt.path(files.root());
    files.create_dir(&directory)?;
    check_parts_written(files, attempt, manifest, known)?;
    mark_referenced(files, attempt, manifest, known)?;

    let path = directory.join(layout::MANIFEST);
    let temporary = layout::temporary(&path);
    let bytes = manifest.to_bytes()?;
    files.write_synced(&temporary, &[&bytes])?;
    // The names of the parts, and of the directory itself, must be durable before the manifest can be seen.
    files.sync_dir(&directory)?;
    files.sync_dir(files.root())?;

    fence()?;
    files
        .rename(&temporary, &path)
        .and_then(|()| files.sync_dir(&directory))
        .map_err(|error| undo(files, &directory, manifest, error))?;
    known.committed(manifest, &bytes);
    Ok(())
}

fn check_parts_written(
    files: &Files,
    attempt: Attempt,
    manifest: &Manifest,
    known: &Known,
) -> Result<(), StoreError> {
    let mut listed = BTreeMap::new();
    for record in manifest.parts.iter().filter(|record| !known.parts.contains(&record.at)) {
        let of = Attempt::of_location(&record.at);
        let entries = match listed.entry(of) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(files.list_if_any(&of.path(files.root()))?),
        };
        if of > attempt || !part::is_among(entries, record)? {
            return Err(StoreError::PartNotWritten {
                checkpoint: manifest.checkpoint,
                part: record.name.clone(),
            });
        }
    }
    Ok(())
}

/// Puts a mark beside the parts of earlier checkpoints before a manifest refers to them: they may be removed
/// only by an owner that can read all manifests.
fn mark_referenced(
    files: &Files,
    attempt: Attempt,
    manifest: &Manifest,
    known: &mut Known,
) -> Result<(), StoreError> {
    let of = manifest.parts.iter().map(|part| Attempt::of_location(&part.at));
    let unmarked = |of: &Attempt| *of != attempt && !known.marked.contains(of);
    let earlier: BTreeSet<Attempt> = of.filter(unmarked).collect();
    for of in earlier {
        let directory = of.path(files.root());
        if !files.list(&directory)?.iter().any(|entry| entry.name == layout::REFERENCED) {
            files.write_synced(&directory.join(layout::REFERENCED), &[])?;
            files.sync_dir(&directory)?;
        }
        known.marked.insert(of);
    }
    Ok(())
}

/// After a failure at the commit point: removes the manifest again, durably, so that the commit has certainly
/// failed. If that fails too, the outcome is unknown.
fn undo(files: &Files, directory: &Path, manifest: &Manifest, error: StoreError) -> StoreError {
    let undone = files
        .remove_file(&directory.join(layout::MANIFEST))
        .and_then(|()| files.sync_dir(directory));
    match undone {
        Ok(()) => error,
        Err(_) => StoreError::InDoubt { checkpoint: manifest.checkpoint, source: Box::new(error) },
    }
}
