//! What is deleted, and in which order: first the manifest, which makes a checkpoint complete, then the rest.
//! A crash in between leaves an orphan, never a complete checkpoint with missing parts. A file stays as long
//! as a manifest refers to it, whichever checkpoint it was written for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{
    super::{manifest::Manifest, store_error::StoreError},
    files::Files,
    known::Known,
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
    remove(files, attempt, &References::default()).map(drop)
}

/// What a caller wants to stay.
pub(super) struct Stay<'a> {
    /// So many of the newest; at least two do.
    pub(super) keep: usize,
    pub(super) in_use: Option<CheckpointId>,
    /// Those that are being copied.
    pub(super) copied: &'a BTreeSet<Attempt>,
}

/// Removes old checkpoints and orphans. Returns the checkpoints, oldest first.
pub(super) fn retain(
    files: &Files,
    stay: &Stay<'_>,
    known: &mut Known,
) -> Result<Vec<CheckpointId>, StoreError> {
    let Census { complete, orphans, unread } = census(files, known)?;
    let Some(newest) = complete.first().map(|manifest| Attempt::of(manifest)) else {
        return Ok(Vec::new());
    };
    let fallbacks = fallbacks(&complete);
    let stays = |(place, manifest): &(usize, &Arc<Manifest>)| {
        *place < stay.keep.max(KEPT_AT_LEAST)
            || stay.in_use == Some(manifest.checkpoint)
            || stay.copied.contains(&Attempt::of(manifest))
            || fallbacks.contains(&Attempt::of(manifest))
    };
    let (kept, old): (Vec<_>, Vec<_>) = complete.iter().enumerate().partition(stays);
    let kept = kept.into_iter().map(|(_, manifest)| &**manifest);
    let references = References { unread, ..References::of(kept) };
    let mut deleted = Vec::new();
    // If one cannot be removed, the others are removed nevertheless.
    let mut failed = Ok(());
    for orphan in orphans.iter().filter(|orphan| **orphan < newest) {
        if known.left.get(orphan).is_some_and(|left| Some(left) == references.files.get(orphan)) {
            continue;
        }
        match remove(files, *orphan, &references) {
            Ok(Removal::Done) => note_left(*orphan, &references, known),
            Ok(Removal::Unsafe) => {}
            Err(error) => failed = failed.and(Err(error)),
        }
    }
    for old in old.iter().rev().map(|(_, manifest)| Attempt::of(manifest)) {
        match remove(files, old, &references) {
            Ok(Removal::Done) => {
                known.removed(old);
                note_left(old, &references, known);
                deleted.push(old.checkpoint);
            }
            Ok(Removal::Unsafe) => {}
            Err(error) => failed = failed.and(Err(error)),
        }
    }
    failed.map(|()| deleted)
}

fn note_left(removed: Attempt, references: &References, known: &mut Known) {
    match references.files.get(&removed) {
        Some(left) => drop(known.left.insert(removed, left.clone())),
        None => {
            known.left.remove(&removed);
            known.marked.remove(&removed);
        }
    }
}

/// The checkpoints that stay though they are old, so that whichever file is damaged, some checkpoint can be read: the
/// newest of those that share no file with the newest of all, and, since that one grows old, the oldest of the others,
/// which will be the next of this kind. Checkpoints that refer to no others have theirs among those that are kept
/// anyway.
fn fallbacks(newest_first: &[Arc<Manifest>]) -> BTreeSet<Attempt> {
    let Some(newest) = newest_first.first() else { return BTreeSet::new() };
    let of = |manifest: &Manifest| {
        let parts = manifest.parts.iter().map(|part| Attempt::of_location(&part.at));
        parts.chain([Attempt::of(manifest)]).min()
    };
    // Nothing that the newest needs was written before this one.
    let oldest = of(newest).unwrap_or(Attempt::of(newest));
    let all = || newest_first.iter().map(|manifest| Attempt::of(manifest));
    let is_newer = |attempt: &Attempt| *attempt >= oldest;
    let next = all().take_while(is_newer).last();
    let independent = all().find(|attempt| !is_newer(attempt));
    next.into_iter().chain(independent).collect()
}

/// The files of other checkpoints that manifests refer to.
#[derive(Debug, Default)]
pub(super) struct References {
    files: BTreeMap<Attempt, BTreeSet<String>>,
    /// The newest checkpoint whose manifest exists but cannot be read, so that its references are unknown.
    unread: Option<Attempt>,
}

impl References {
    pub(super) fn of<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> Self {
        let mut files = BTreeMap::<Attempt, BTreeSet<String>>::new();
        for manifest in manifests {
            let mut named = layout::files_of(manifest);
            named.remove(&Attempt::of(manifest));
            for (attempt, names) in named {
                files.entry(attempt).or_default().extend(names.into_iter().map(str::to_owned));
            }
        }
        Self { files, unread: None }
    }

    fn has(&self, attempt: Attempt, file: &str) -> bool {
        self.files.get(&attempt).is_some_and(|files| files.contains(file))
    }

    /// Whether one of the files was written for this attempt.
    pub(super) fn reach(&self, attempt: Attempt) -> bool {
        self.files.contains_key(&attempt)
    }
}

/// The checkpoints of the store, newest first. Damaged ones are in neither list.
struct Census {
    complete: Vec<Arc<Manifest>>,
    orphans: Vec<Attempt>,
    /// The newest checkpoint whose manifest exists but cannot be read: because of the disk, or of a later
    /// version.
    unread: Option<Attempt>,
}

fn census(files: &Files, known: &Known) -> Result<Census, StoreError> {
    let mut census = Census { complete: Vec::new(), orphans: Vec::new(), unread: None };
    for attempt in recovery::attempts(files)? {
        match recovery::read_known_manifest(files, attempt, known) {
            Ok(None) => census.orphans.push(attempt),
            Ok(Some(Ok(manifest))) => census.complete.push(manifest),
            Ok(Some(Err(_))) => {}
            Err(StoreError::UnknownFormat { .. }) => {
                census.unread.get_or_insert(attempt);
            }
            Err(error @ StoreError::Io { .. }) => {
                tracing::warn!(%attempt, %error, "what cannot be read is left alone, with what it may refer to");
                census.unread.get_or_insert(attempt);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(census)
}

/// The result of a removal.
enum Removal {
    /// It was removed, except for files that other manifests refer to.
    Done,
    /// Nothing was removed: a checkpoint whose manifest cannot be read now may refer to it.
    Unsafe,
}

fn remove(files: &Files, attempt: Attempt, references: &References) -> Result<Removal, StoreError> {
    let directory = attempt.path(files.root());
    let entries = files.list_if_any(&directory)?;
    let is_ours = |entry: &&DiskEntry| !entry.is_dir && layout::is_of_a_checkpoint(&entry.name);
    let (ours, foreign): (Vec<&DiskEntry>, Vec<&DiskEntry>) = entries.iter().partition(is_ours);
    let is_referenced = ours.iter().any(|entry| entry.name == layout::REFERENCED);
    if is_referenced && references.unread.is_some_and(|unread| unread > attempt) {
        return Ok(Removal::Unsafe);
    }
    let reached = references.reach(attempt);
    let stays = |entry: &&DiskEntry| {
        references.has(attempt, &entry.name) || (reached && entry.name == layout::REFERENCED)
    };
    let (needed, ours): (Vec<&DiskEntry>, Vec<&DiskEntry>) = ours.into_iter().partition(stays);
    if ours.is_empty() {
        // Foreign entries were reported when the checkpoint was removed.
        if foreign.is_empty() && needed.is_empty() {
            files.remove_dir(&directory)?;
        }
        return Ok(Removal::Done);
    }
    // Durably, also if it is gone already: the process that removed it may have been killed before the
    // removal was durable, and a power failure must not bring the manifest back without its parts.
    files.remove_file(&directory.join(layout::MANIFEST))?;
    files.sync_dir(&directory)?;
    for entry in ours.iter().filter(|e| e.name != layout::MANIFEST) {
        files.remove_file(&directory.join(&entry.name))?;
    }
    if foreign.is_empty() && needed.is_empty() {
        files.remove_dir(&directory)?;
    }
    if !foreign.is_empty() {
        let foreign: Vec<&str> = foreign.iter().map(|entry| entry.name.as_str()).collect();
        tracing::warn!(%attempt, ?foreign, "a removed checkpoint leaves what is not of it");
    }
    Ok(Removal::Done)
}

/// One to restore, and one to fall back to if that one is damaged.
const KEPT_AT_LEAST: usize = 2;
