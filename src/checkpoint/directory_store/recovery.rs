//! How the newest complete checkpoint is found again.
//!
//! Three answers are never confused: *there is none* (`None`), *it is damaged* (it is set aside, and the one
//! before is used), and *it cannot be read* (an error, since the disk may work again later).

use std::{io::ErrorKind, path::Path, sync::Arc};

use super::{
    super::{
        manifest::Manifest,
        store::{Recovered, SetAside},
        store_error::StoreError,
    },
    files::Files,
    known::Known,
    layout::{self, Attempt},
    part::{self, Beside},
};
use crate::storage::envelope::FormatError;

/// The newest checkpoint that verifies, for the owner: damaged ones are renamed, and the checkpoint returned
/// is durable.
pub(super) fn latest_for_owner(files: &Files) -> Result<Option<Recovered>, StoreError> {
    let recovered = latest(files)?;
    if let Some(recovered) = &recovered {
        // Its commit may have been cut off before the name of the manifest was durable. The checkpoint that a
        // new execution restores must survive a power failure.
        files.sync_dir(&Attempt::of(&recovered.manifest).path(files.root()))?;
        set_aside(files, &recovered.set_aside)?;
    }
    Ok(recovered)
}

/// The newest checkpoint that verifies. Changes nothing.
pub(super) fn latest(files: &Files) -> Result<Option<Recovered>, StoreError> {
    loop {
        let listed = attempts(files)?;
        let mut damaged = Vec::new();
        for attempt in &listed {
            match verify(files, *attempt)? {
                None => {}
                Some(Err(reason)) => damaged.push(described(*attempt, &reason)),
                Some(Ok(manifest)) => {
                    return Ok(Some(Recovered { manifest, set_aside: damaged }));
                }
            }
        }
        // The owner may have overtaken this reader: it removes old checkpoints when newer ones are complete.
        if attempts(files)? != listed {
            continue;
        }
        // Checkpoints that were set aside before count as well: a store with them is not a new one.
        damaged.extend(set_aside_before(files)?);
        let none = damaged.is_empty();
        return if none { Ok(None) } else { Err(StoreError::NoneUsable { reasons: damaged }) };
    }
}

/// All manifests that verify, newest first.
pub(super) fn list(files: &Files) -> Result<Vec<Manifest>, StoreError> {
    let mut manifests = Vec::new();
    for attempt in attempts(files)? {
        if let Some(Ok(manifest)) = read_manifest(files, attempt)? {
            manifests.push(manifest);
        }
    }
    Ok(manifests)
}

/// All attempts, newest first, complete or not. The name is enough: an entry with such a name is never
/// treated as absent, even if it is no directory.
pub(super) fn attempts(files: &Files) -> Result<Vec<Attempt>, StoreError> {
    let mut attempts: Vec<Attempt> =
        files.list(files.root())?.iter().filter_map(|entry| Attempt::parse(&entry.name)).collect();
    attempts.sort_unstable_by(|a, b| b.cmp(a));
    Ok(attempts)
}

/// The manifest of an attempt: `None` if it is not complete, the inner error if it is damaged, the outer one
/// if it cannot be read.
pub(super) fn read_manifest(
    files: &Files,
    attempt: Attempt,
) -> Result<Option<Result<Manifest, FormatError>>, StoreError> {
    read_manifest_in(files, &attempt.path(files.root()), attempt)
}

/// As [`read_manifest`], without decoding again what this execution has committed.
pub(super) fn read_known_manifest(
    files: &Files,
    attempt: Attempt,
    known: &Known,
) -> Result<Option<Result<Arc<Manifest>, FormatError>>, StoreError> {
    let directory = attempt.path(files.root());
    let decoded = |bytes: &[u8]| match known.manifest(attempt, bytes) {
        Some(manifest) => Ok(manifest),
        None => Manifest::from_bytes(bytes).and_then(|read| in_place(attempt, read)).map(Arc::new),
    };
    read_manifest_as(files, &directory, attempt, decoded)
}

fn read_manifest_in(
    files: &Files,
    directory: &Path,
    attempt: Attempt,
) -> Result<Option<Result<Manifest, FormatError>>, StoreError> {
    let decoded =
        |bytes: &[u8]| Manifest::from_bytes(bytes).and_then(|read| in_place(attempt, read));
    read_manifest_as(files, directory, attempt, decoded)
}

fn read_manifest_as<M>(
    files: &Files,
    directory: &Path,
    attempt: Attempt,
    decoded: impl FnOnce(&[u8]) -> Result<M, FormatError>,
) -> Result<Option<Result<M, FormatError>>, StoreError> {
    let path = directory.join(layout::MANIFEST);
    let bytes = match files.read(&path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotADirectory => {
            let (expected, found) = (format!("directory {attempt}"), "a file".to_owned());
            return Ok(Some(Err(FormatError::Misplaced { expected, found })));
        }
        Err(error) => return Err(error),
    };
    known(&path, decoded(&bytes)).map(Some)
}

/// Whether an attempt has a manifest, in any condition.
pub(super) fn is_complete(files: &Files, attempt: Attempt) -> Result<bool, StoreError> {
    let entries = files.list_if_any(&attempt.path(files.root()))?;
    Ok(entries.iter().any(|entry| entry.name == layout::MANIFEST))
}

fn verify(
    files: &Files,
    attempt: Attempt,
) -> Result<Option<Result<Manifest, FormatError>>, StoreError> {
    verify_in(files, &attempt.path(files.root()), attempt)
}

/// The manifest of an attempt in this directory, if it and all parts verify; `None` if it is not complete.
pub(super) fn verify_in(
    files: &Files,
    directory: &Path,
    attempt: Attempt,
) -> Result<Option<Result<Manifest, FormatError>>, StoreError> {
    let manifest = match read_manifest_in(files, directory, attempt)? {
        Some(Ok(manifest)) => manifest,
        other => return Ok(other),
    };
    let beside = Beside { root: files.root(), own: (attempt, directory) };
    for record in &manifest.parts {
        let path = beside.path(record);
        if let Err(reason) = known(&path, part::read(files, beside, record)?)? {
            // The owner removes a manifest before its parts. If it has done so meanwhile, no part is missing.
            let manifest = files.list_if_any(directory)?;
            let removed = !manifest.iter().any(|entry| entry.name == layout::MANIFEST);
            return Ok(Some(Err(reason)).filter(|_| !removed));
        }
    }
    Ok(Some(Ok(manifest)))
}

/// A file of another version is not damaged: if it were set aside, a newer library's checkpoint would be
/// lost.
fn known<T>(
    path: &Path,
    result: Result<T, FormatError>,
) -> Result<Result<T, FormatError>, StoreError> {
    match result {
        Err(error) if error.is_unknown_format() => {
            Err(StoreError::unreadable(path.to_owned(), error))
        }
        result => Ok(result),
    }
}

fn in_place(attempt: Attempt, manifest: Manifest) -> Result<Manifest, FormatError> {
    let found = Attempt::of(&manifest);
    if found == attempt {
        return Ok(manifest);
    }
    Err(FormatError::Misplaced {
        expected: format!("manifest of {attempt}"),
        found: format!("manifest of {found}"),
    })
}

fn set_aside(files: &Files, damaged: &[SetAside]) -> Result<(), StoreError> {
    if damaged.is_empty() {
        return Ok(());
    }
    let taken = files.list(files.root())?;
    for one in damaged {
        tracing::warn!(checkpoint = %one.checkpoint, execution = %one.execution, reason = one.reason, "damaged checkpoint set aside");
        let attempt = Attempt { execution: one.execution, checkpoint: one.checkpoint };
        let name = (1..)
            .map(|nth| attempt.set_aside_name(nth))
            .find(|name| taken.iter().all(|entry| entry.name != *name))
            .expect("a directory has fewer entries than there are numbers");
        files.rename(&attempt.path(files.root()), &files.root().join(name))?;
    }
    files.sync_dir(files.root())
}

fn set_aside_before(files: &Files) -> Result<Vec<SetAside>, StoreError> {
    let entries = files.list(files.root())?;
    Ok(entries
        .iter()
        .filter_map(|entry| {
            let attempt = Attempt::parse_set_aside(&entry.name)?;
            Some(SetAside {
                execution: attempt.execution,
                checkpoint: attempt.checkpoint,
                reason: format!("set aside before as {}", entry.name),
            })
        })
        .collect())
}

fn described(attempt: Attempt, reason: &FormatError) -> SetAside {
    SetAside {
        execution: attempt.execution,
        checkpoint: attempt.checkpoint,
        reason: reason.to_string(),
    }
}
