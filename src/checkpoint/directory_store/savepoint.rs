//! A copy of a checkpoint, with everything that it refers to, in a directory of its own.

use std::io::ErrorKind;
use std::path::Path;

use super::{
    super::{manifest::Manifest, store_error::StoreError},
    files::{self, Files},
    layout::{self, Attempt},
};

/// So much is copied at once.
const PIECE_BYTES: u64 = 1 << 20;

/// Copies a complete checkpoint into a directory that is empty. It is durable on return; the manifest comes last.
pub(super) fn copy(files: &Files, manifest: &Manifest, to: &Files) -> Result<(), StoreError> {
    if !to.list(to.root())?.is_empty() {
        return Err(StoreError::NotEmpty { path: to.root().to_owned() });
    }
    let copied = write(files, manifest, to);
    if copied.is_err() {
        // A second call is not to be refused for what the first one has left. The error counts.
        let _ = clear(to);
    }
    copied
}

fn write(files: &Files, manifest: &Manifest, to: &Files) -> Result<(), StoreError> {
    let own = Attempt::of(manifest);
    let mut needed = layout::files_of(manifest);
    needed.entry(own).or_default();
    for (attempt, names) in needed {
        let (from, directory) = (attempt.path(files.root()), attempt.path(to.root()));
        to.create_dir(&directory)?;
        for name in names {
            copy_file(files, &from.join(name), to, &directory.join(name))?;
        }
        if attempt != own {
            to.write_synced(&directory.join(layout::REFERENCED), &[])?;
        }
        to.sync_dir(&directory)?;
    }
    let (from, directory) = (own.path(files.root()), own.path(to.root()));
    let path = directory.join(layout::MANIFEST);
    let temporary = layout::temporary(&path);
    copy_file(files, &from.join(layout::MANIFEST), to, &temporary)?;
    to.sync_dir(to.root())?;
    to.rename(&temporary, &path)?;
    to.sync_dir(&directory)
}

fn copy_file(files: &Files, from: &Path, to: &Files, path: &Path) -> Result<(), StoreError> {
    let copy = to.create(path)?;
    let mut at = 0;
    loop {
        let missing = || files::failed("read", from)(ErrorKind::NotFound.into());
        let bytes = files.read_range(from, at..at + PIECE_BYTES)?.ok_or_else(missing)?;
        if bytes.is_empty() {
            return to.sync(&*copy, path);
        }
        at += bytes.len() as u64;
        to.append(&*copy, path, &bytes)?;
    }
}

fn clear(to: &Files) -> Result<(), StoreError> {
    for entry in to.list(to.root())? {
        let directory = to.root().join(&entry.name);
        for file in to.list(&directory)? {
            to.remove_file(&directory.join(&file.name))?;
        }
        to.remove_dir(&directory)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::DirectoryStore;
    use super::*;
    use crate::checkpoint::CheckpointStore;
    use crate::id::CheckpointId;

    #[test]
    fn a_checkpoint_that_is_being_copied_stays_however_old_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = DirectoryStore::open(directory.path()).expect("opened");
        let execution = store.begin_execution().expect("begun");
        for checkpoint in 1..=5 {
            let manifest = Manifest::new(execution, CheckpointId(checkpoint), "numbers");
            store.commit(&manifest).expect("committed");
            let attempt = Attempt { execution, checkpoint: CheckpointId(1) };
            match checkpoint {
                1 => drop(store.copied.lock().insert(attempt)),
                5 => drop(store.copied.lock().remove(&attempt)),
                _ => {}
            }
            store.retain(2, None).expect("retained");
            let kept = store.list().expect("listed").into_iter().map(|kept| kept.checkpoint.0);
            let expected: &[u64] = match checkpoint {
                1 => &[1],
                2 => &[2, 1],
                3 => &[3, 2, 1],
                4 => &[4, 3, 1],
                _ => &[5, 4],
            };
            assert_eq!(kept.collect::<Vec<_>>(), expected);
        }
    }
}
