//! Foreign files in the directory of a store, and files of the store that cannot be read.

use std::{
    fs,
    path::{Path, PathBuf},
};

use streamwork::checkpoint::{
    CheckpointStore, Condition, DirectoryStore, Manifest, PartName, StoreError,
};
use tempfile::TempDir;

use crate::fixture::{complete, directory};

/// A directory with these checkpoints, and no process that uses it.
fn store_with(checkpoints: std::ops::RangeInclusive<u64>) -> (TempDir, Vec<Manifest>) {
    let dir = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(dir.path()).unwrap();
    let execution = store.begin_execution().unwrap();
    let manifests = checkpoints.map(|checkpoint| complete(&store, execution, checkpoint)).collect();
    (dir, manifests)
}

fn path(dir: &TempDir, manifest: &Manifest) -> PathBuf {
    dir.path().join(directory(manifest))
}

fn numbers(store: &DirectoryStore) -> Vec<u64> {
    store.list().unwrap().iter().map(|manifest| manifest.checkpoint.0).collect()
}

#[cfg(unix)]
fn link(to: impl AsRef<Path>, from: &Path) {
    std::os::unix::fs::symlink(to, from).unwrap();
}

/// fault F20: because of one directory in an old checkpoint, no checkpoint was removed any more.
#[test]
fn what_others_put_into_a_checkpoint_is_left_and_all_else_is_cleaned() {
    let (dir, manifests) = store_with(1..=15);
    let old = [0, 3, 4].map(|nth: usize| path(&dir, &manifests[nth]));
    let mut foreign = vec![old[0].join("mine"), old[1].join("notes.txt"), old[2].join("0.part")];
    fs::create_dir(&foreign[0]).unwrap();
    fs::write(&foreign[1], "mine").unwrap();
    fs::create_dir(&foreign[2]).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        foreign.push(old[1].join("link"));
        link("nowhere", &foreign[3]);
        fs::write(old[1].join(std::ffi::OsStr::from_bytes(b"\xff")), "mine").unwrap();
    }
    let store = DirectoryStore::open(dir.path()).unwrap();
    let execution = store.begin_execution().unwrap();
    assert_eq!(store.retain(2, None).unwrap().len(), 13);
    assert_eq!(numbers(&store), [15, 14]);
    for entry in &foreign {
        assert!(entry.symlink_metadata().is_ok(), "{} is gone", entry.display());
        let left =
            fs::read_dir(entry.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        let ours = left.filter(|path| path.ends_with("MANIFEST") || path.is_file());
        let ours: Vec<_> = ours.filter(|path| !path.ends_with("notes.txt")).collect();
        assert!(ours.iter().all(|path| path.to_str().is_none()), "{ours:?} was left behind");
    }
    let survey = store.survey().unwrap();
    for entry in &foreign {
        assert!(survey.foreign.contains(entry), "{} is not listed", entry.display());
    }
    complete(&store, execution, 16);
    assert_eq!(store.retain(2, None).unwrap().len(), 1);
    // When the others have taken their things away, the rest goes too.
    fs::remove_dir(&foreign[0]).unwrap();
    store.retain(2, None).unwrap();
    assert!(!old[0].exists());
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_left_and_all_others_are_cleaned() {
    let (dir, manifests) = store_with(1..=8);
    let unreadable = path(&dir, &manifests[2]).join("MANIFEST");
    fs::remove_file(&unreadable).unwrap();
    fs::create_dir(&unreadable).unwrap();
    let store = DirectoryStore::open(dir.path()).unwrap();
    store.begin_execution().unwrap();
    assert_eq!(store.retain(2, None).unwrap().len(), 5);
    assert!(unreadable.is_dir());
    let survey = store.survey().unwrap();
    let told = survey.checkpoints.iter().map(|one| &one.condition);
    assert_eq!(told.filter(|one| matches!(one, Condition::Unreadable(_))).count(), 1);
}

/// fault F20: checkpoints that had been moved to a larger disk, with links in their place, were not found.
#[cfg(unix)]
#[test]
fn a_checkpoint_behind_a_symbolic_link_is_used_and_removed_like_any_other() {
    let (dir, manifests) = store_with(1..=3);
    let elsewhere = tempfile::tempdir().unwrap();
    for manifest in &manifests {
        let (from, to) = (path(&dir, manifest), elsewhere.path().join(directory(manifest)));
        fs::rename(&from, &to).unwrap();
        link(&to, &from);
    }
    let store = DirectoryStore::open(dir.path()).unwrap();
    let execution = store.begin_execution().unwrap();
    let latest = store.latest().unwrap().expect("there are checkpoints");
    assert_eq!(latest.manifest, manifests[2]);
    let part = store.read_part(&latest.manifest, &PartName::new("counter", 0)).unwrap();
    assert!(part.is_some());
    for checkpoint in 4..=6 {
        complete(&store, execution, checkpoint);
    }
    assert_eq!(store.retain(2, None).unwrap().len(), 4);
    assert!(manifests.iter().all(|manifest| path(&dir, manifest).symlink_metadata().is_err()));
    assert_eq!(numbers(&store), [6, 5]);
}

/// Unreadable files are refused by name, and do not count as absent.
#[cfg(unix)]
#[test]
fn what_is_behind_a_link_to_nothing_is_refused_by_name_and_never_none() {
    let refused = |dir: &Path| -> StoreError {
        let store = match DirectoryStore::open(dir) {
            Ok(store) => store,
            Err(error) => return error,
        };
        match store.begin_execution() {
            Err(error) => error,
            Ok(_) => store.latest().expect_err("this is not an empty store"),
        }
    };
    let checkpoint = directory(&store_with(1..=1).1[0]);
    for name in [checkpoint.as_str(), "EXECUTION"] {
        let (dir, _) = store_with(1..=1);
        fs::rename(dir.path().join(name), dir.path().join("away")).unwrap();
        link("nowhere", &dir.path().join(name));
        let error = refused(dir.path());
        assert!(error.to_string().contains(name), "{name}: {error}");
        assert!(matches!(error, StoreError::Io { .. }), "{name}: {error:?}");
        fs::remove_file(dir.path().join(name)).unwrap();
        fs::rename(dir.path().join("away"), dir.path().join(name)).unwrap();
        let store = DirectoryStore::open(dir.path()).unwrap();
        assert!(store.latest().unwrap().is_some(), "{name} is back");
    }
    // A manifest, the directory of positions, and the store itself.
    let (dir, manifests) = store_with(1..=2);
    let manifest = path(&dir, &manifests[1]).join("MANIFEST");
    fs::remove_file(&manifest).unwrap();
    link("nowhere", &manifest);
    assert!(refused(dir.path()).to_string().contains("MANIFEST"));

    let (dir, _) = store_with(1..=1);
    link("nowhere", &dir.path().join("positions"));
    let store = DirectoryStore::open(dir.path()).unwrap();
    let error = store.read_position(&PartName::new("source", 0)).expect_err("nobody can tell");
    assert!(error.to_string().contains("positions"), "{error}");

    let store = dir.path().join("store");
    link("nowhere", &store);
    assert!(refused(&store).to_string().contains("store"));
}

#[test]
fn a_file_in_the_place_of_a_checkpoint_is_damage_and_the_one_before_is_used() {
    let (dir, manifests) = store_with(1..=2);
    let newest = path(&dir, &manifests[1]);
    fs::remove_dir_all(&newest).unwrap();
    fs::write(&newest, "a file").unwrap();
    let store = DirectoryStore::open(dir.path()).unwrap();
    store.begin_execution().unwrap();
    let latest = store.latest().unwrap().expect("the one before");
    assert_eq!(latest.manifest, manifests[0]);
    assert_eq!(latest.set_aside.len(), 1);
    assert!(!newest.exists());
    let survey = store.survey().unwrap();
    assert!(
        survey.checkpoints.iter().any(|one| matches!(one.condition, Condition::SetAside(Some(_))))
    );

    fs::remove_dir_all(path(&dir, &manifests[0])).unwrap();
    let store = DirectoryStore::open(dir.path()).unwrap();
    assert!(matches!(store.latest(), Err(StoreError::NoneUsable { .. })));
}

#[test]
fn what_lies_beside_the_checkpoints_is_listed_and_left() {
    let (dir, _) = store_with(1..=4);
    fs::create_dir_all(dir.path().join("positions/mine")).unwrap();
    let foreign = ["chk-7-x0", "notes.txt", "positions/mine", "positions/notes"];
    for name in foreign.iter().filter(|name| **name != "positions/mine") {
        fs::write(dir.path().join(name), "mine").unwrap();
    }
    let store = DirectoryStore::open(dir.path()).unwrap();
    store.begin_execution().unwrap();
    store.retain(2, None).unwrap();
    assert_eq!(store.survey().unwrap().foreign, foreign.map(|name| dir.path().join(name)));
    store.stored_bytes().unwrap();
}
