//! Reads everything in the directory, for a person. Never takes the lock, never changes anything.
//!
//! The owner may be working meanwhile. Entries that were removed since they were listed are left out. If
//! nothing usable is left then, the directory is listed again: the owner removes a checkpoint only when newer
//! ones are complete.

use std::{
    cmp::Reverse,
    path::{Path, PathBuf},
};

use super::{
    super::{
        store_error::StoreError,
        survey::{Condition, Survey, SurveyedCheckpoint, SurveyedPosition},
    },
    admission,
    files::Files,
    layout::{self, Attempt},
    positions, recovery,
    retention::References,
};
use crate::storage::DiskEntry;
use crate::storage::envelope::FormatError;

/// The content of the store.
pub(super) fn survey(files: &Files) -> Result<Survey, StoreError> {
    let execution = match admission::read_execution(files) {
        Err(error @ StoreError::Io { .. }) => return Err(error),
        known => known,
    };
    let (checkpoints, positions) = (checkpoints(files)?, positions(files)?);
    let foreign = foreign(files, &checkpoints)?;
    Ok(Survey { execution, checkpoints, positions, foreign })
}

/// Entries of the directory, of those of checkpoints and of that of positions, with names that the store does
/// not give.
fn foreign(files: &Files, checkpoints: &[SurveyedCheckpoint]) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    let mut look = |directory: PathBuf, is_ours: &dyn Fn(&DiskEntry) -> bool| {
        let entries = files.list_if_any(&directory)?;
        let foreign = entries.iter().filter(|entry| !is_ours(entry));
        found.extend(foreign.map(|entry| directory.join(&entry.name)));
        Ok::<_, StoreError>(())
    };
    look(files.root().to_owned(), &|entry| layout::is_of_a_store(&entry.name))?;
    for one in checkpoints {
        let is_ours = |entry: &DiskEntry| !entry.is_dir && layout::is_of_a_checkpoint(&entry.name);
        match look(files.root().join(&one.directory), &is_ours) {
            // It is reported as a checkpoint that cannot be used.
            Err(StoreError::Io { .. }) => {}
            looked => looked?,
        }
    }
    let is_ours = |entry: &DiskEntry| !entry.is_dir && layout::is_of_positions(&entry.name);
    look(files.root().join(layout::POSITIONS), &is_ours)?;
    found.sort_unstable();
    Ok(found)
}

fn checkpoints(files: &Files) -> Result<Vec<SurveyedCheckpoint>, StoreError> {
    loop {
        let listed = recovery::attempts(files)?;
        let mut found = Vec::new();
        for attempt in &listed {
            found.extend(look(files, *attempt, &attempt.to_string())?);
        }
        let manifests = found.iter().filter_map(|one| match &one.condition {
            Condition::Complete(manifest) => Some(manifest),
            _ => None,
        });
        let references = References::of(manifests);
        let is_referenced = |one: &&mut SurveyedCheckpoint| {
            let attempt = Attempt { execution: one.execution, checkpoint: one.checkpoint };
            matches!(one.condition, Condition::Unfinished) && references.reach(attempt)
        };
        found
            .iter_mut()
            .filter(is_referenced)
            .for_each(|one| one.condition = Condition::Referenced);
        let usable = found.iter().any(|one| matches!(one.condition, Condition::Complete(_)));
        if usable || recovery::attempts(files)? == listed {
            found.extend(set_aside(files)?);
            return Ok(found);
        }
    }
}

fn set_aside(files: &Files) -> Result<Vec<SurveyedCheckpoint>, StoreError> {
    let mut found = Vec::new();
    for entry in &files.list(files.root())? {
        let Some(attempt) = Attempt::parse_set_aside(&entry.name) else { continue };
        let Some(mut one) = look(files, attempt, &entry.name)? else { continue };
        one.condition = Condition::SetAside(match one.condition {
            Condition::Damaged(error)
            | Condition::UnknownFormat(error)
            | Condition::Unreadable(error) => Some(error),
            Condition::Unfinished => Some(StoreError::Damaged {
                path: manifest_path(files, &entry.name),
                source: FormatError::Missing { expected: "manifest".to_owned() },
            }),
            _ => None,
        });
        found.push(one);
    }
    found.sort_by_key(|one| Reverse((one.execution, one.checkpoint)));
    Ok(found)
}

/// One attempt in a directory of this name, or `None` if it is no longer there.
fn look(
    files: &Files,
    attempt: Attempt,
    name: &str,
) -> Result<Option<SurveyedCheckpoint>, StoreError> {
    let directory = files.root().join(name);
    let condition = match recovery::verify_in(files, &directory, attempt) {
        Ok(None) => Condition::Unfinished,
        Ok(Some(Ok(manifest))) => Condition::Complete(manifest),
        Ok(Some(Err(source))) => {
            Condition::Damaged(StoreError::Damaged { path: manifest_path(files, name), source })
        }
        Err(error @ StoreError::UnknownFormat { .. }) => Condition::UnknownFormat(error),
        Err(error) => Condition::Unreadable(error),
    };
    if !is_there(files, name)? {
        return Ok(None);
    }
    // An entry that is no directory or cannot be read has no content to list.
    let bytes = files.bytes_below(&directory).unwrap_or_default();
    let Attempt { execution, checkpoint } = attempt;
    let directory = name.to_owned();
    Ok(Some(SurveyedCheckpoint { execution, checkpoint, directory, bytes, condition }))
}

fn manifest_path(files: &Files, directory: &str) -> PathBuf {
    files.root().join(directory).join(layout::MANIFEST)
}

fn is_there(files: &Files, name: &str) -> Result<bool, StoreError> {
    Ok(files.list(files.root())?.iter().any(|entry| entry.name == name))
}

fn positions(files: &Files) -> Result<Vec<SurveyedPosition>, StoreError> {
    let directory = files.root().join(layout::POSITIONS);
    let mut found = Vec::new();
    for DiskEntry { name: file, is_dir, .. } in files.list_if_any(&directory)? {
        let path = directory.join(&file);
        if is_dir || path.extension().is_none_or(|extension| extension != "pos") {
            continue;
        }
        let Some(content) = files.read(&path)? else { continue };
        let newest = positions::newest_of_any(&content)
            .and_then(|(name, position)| match layout::position_file(&name) {
                expected if expected == file => Ok((name, position)),
                _ => Err(FormatError::Misplaced {
                    expected: file.clone(),
                    found: format!("positions of {name}"),
                }),
            })
            .map_err(|source| StoreError::unreadable(Path::to_owned(&path), source));
        found.push(SurveyedPosition { file, bytes: content.len() as u64, newest });
    }
    found.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(found)
}
