//! The disk fails at every single operation, in every way; the process dies at every single operation; power fails there.

use crate::memory_disk::Outside as _;
use streamwork::{
    CheckpointId, ExecutionId,
    checkpoint::{CheckpointStore, DirectoryStore, Manifest, PartName, StoreError},
};

use crate::{
    fixture::*,
    memory_disk::{MemoryDisk, Random},
};
use streamwork::testkit::{DiskFailures, DiskFault};

/// Lets operation `at`, counted from 0, fail; later ones work, unless the process is gone.
fn fail(disk: &MemoryDisk, fault: DiskFault, at: u64) {
    disk.fail(DiskFailures { after: at, times: 1, fault, ..DiskFailures::default() });
}

/// The results that callers got, which must hold whatever happens.
#[derive(Clone, Debug, Default)]
struct Told {
    execution: ExecutionId,
    /// The newest checkpoint whose commit returned `Ok`.
    committed: Option<Manifest>,
    /// Later checkpoints whose commit did not return, or returned that it does not know.
    perhaps: Vec<Manifest>,
    /// The newest position whose write returned `Ok`, and the newest that was tried.
    position: u64,
    position_tried: u64,
}

fn source() -> PartName {
    PartName::new("transactions", 0)
}

/// Two executions in one process: a few checkpoints each, with retention, and positions in between.
fn live(store: &DirectoryStore, told: &mut Told, is_crash: bool) {
    let mut checkpoint = 100 * (told.execution.0 + 1);
    for _ in 0..2 {
        let Ok(execution) = store.begin_execution() else {
            continue;
        };
        assert!(execution > told.execution, "execution ids went back");
        told.execution = execution;
        if let Ok(found) = store.latest() {
            let found = found.map(|found| found.manifest);
            assert_holds(store, found.clone(), told);
            // An execution that has begun from it must not lose it.
            told.committed = found;
            told.perhaps.clear();
        }
        for _ in 0..4 {
            checkpoint += 1;
            take_checkpoint(store, execution, checkpoint, told, is_crash);
            told.position_tried += 1;
            let position = told.position_tried.to_le_bytes();
            if store.write_position(execution, &source(), &(&position).into()).is_ok() {
                told.position = told.position_tried;
            }
        }
    }
}

fn take_checkpoint(
    store: &DirectoryStore,
    execution: ExecutionId,
    checkpoint: u64,
    told: &mut Told,
    is_crash: bool,
) {
    let id = CheckpointId(checkpoint);
    // In turn each by itself and all together.
    let write = if checkpoint.is_multiple_of(2) { write_parts } else { write_parts_together };
    let Ok(manifest) = write(store, execution, checkpoint) else {
        let _ = store.abandon(execution, id);
        return;
    };
    match store.commit(&manifest) {
        Ok(()) => {
            told.perhaps.clear();
            told.committed = Some(manifest);
            let _ = store.retain(2, None);
        }
        Err(StoreError::InDoubt { .. }) => told.perhaps.push(manifest),
        // In a crash no caller gets an answer.
        Err(_) if is_crash => told.perhaps.push(manifest),
        Err(_) => {
            let _ = store.abandon(execution, id);
        }
    }
}

/// The checkpoint found is the one that was reported, or a later one that was being written; and it is complete.
fn assert_holds(store: &DirectoryStore, found: Option<Manifest>, told: &Told) {
    let possible = told.perhaps.iter().map(Some).chain([told.committed.as_ref()]);
    let matches = possible.into_iter().any(|manifest| manifest == found.as_ref());
    assert!(matches, "found {found:?}, but was told {told:#?}");
    // A read may be the operation that fails; a result must be right.
    for name in names() {
        if let Some(manifest) = &found
            && let Ok(state) = store.read_part(manifest, &name)
        {
            let expected = crate::fixture::state(manifest.execution, manifest.checkpoint.0, &name);
            assert_eq!(state, Some(expected.into()));
        }
    }
}

/// A new process on a disk that works again: all that was confirmed is there, nothing is damaged, and the store can
/// be used.
fn assert_recovers(disk: &MemoryDisk, told: &Told) {
    let store = open(disk);
    let execution = store.begin_execution().unwrap();
    assert!(execution > told.execution, "execution ids went back");
    let recovered = store.latest().unwrap();
    if let Some(recovered) = &recovered {
        assert!(recovered.set_aside.is_empty(), "{recovered:#?}");
        assert_parts_hold(&store, &recovered.manifest);
    }
    assert_holds(&store, recovered.map(|recovered| recovered.manifest), told);
    for complete in store.list().unwrap() {
        assert_parts_hold(&store, &complete);
    }
    assert_position_holds(&store, told);
    store.write_position(execution, &source(), &b"on".into()).unwrap();
    assert_eq!(store.read_position(&source()).unwrap().unwrap().bytes, b"on");
    let newer = complete(&store, execution, 1_000_000);
    assert_eq!(store.latest().unwrap().unwrap().manifest, newer);
    store.retain(2, None).unwrap();
    let attempts = disk.names_in(ROOT).into_iter().filter(|name| name.starts_with("chk-"));
    assert!(attempts.count() <= 2, "orphans remain: {:?}", disk.names_in(ROOT));
}

fn assert_position_holds(store: &DirectoryStore, told: &Told) {
    let found = match store.read_position(&source()).unwrap() {
        Some(position) => u64::from_le_bytes(position.bytes.try_into().unwrap()),
        None => 0,
    };
    let possible = told.position..=told.position_tried;
    assert!(possible.contains(&found), "found {found}, but was told {told:#?}");
}

/// Runs a process that meets the fault at operation `at`; `None` once `at` is beyond its end.
fn run(disk: &MemoryDisk, told: &mut Told, fault: DiskFault, at: u64) -> Option<()> {
    fail(disk, fault, at);
    if let Ok(store) = try_open(disk) {
        live(&store, told, fault == DiskFault::Crash);
    }
    disk.lose_process();
    (disk.failures() > 0).then_some(())
}

fn at_every_operation(mut check: impl FnMut(u64) -> Option<()>) {
    let operations = (0..).take_while(|at| check(*at).is_some()).count();
    assert!(operations > 100, "only {operations} operations were tried");
}

#[test]
fn an_operation_that_fails_loses_nothing_and_breaks_nothing() {
    for fault in [DiskFault::Refuse, DiskFault::Deny] {
        at_every_operation(|at| {
            let (disk, mut told) = (MemoryDisk::new(), Told::default());
            let reached = run(&disk, &mut told, fault, at);
            assert_recovers(&disk, &told);
            reached
        });
    }
}

#[test]
fn a_process_killed_at_any_operation_leaves_the_old_or_the_new_checkpoint() {
    at_every_operation(|at| {
        let (disk, mut told) = (MemoryDisk::new(), Told::default());
        let reached = run(&disk, &mut told, DiskFault::Crash, at);
        assert_recovers(&disk, &told);
        reached
    });
}

#[test]
fn a_process_killed_again_while_it_recovers_leaves_the_old_or_the_new_checkpoint() {
    at_every_operation(|first| {
        let (disk, mut told) = (MemoryDisk::new(), Told::default());
        let reached = run(&disk, &mut told, DiskFault::Crash, first);
        for second in 0..40 {
            let (disk, mut told) = (disk.fork(), told.clone());
            run(&disk, &mut told, DiskFault::Crash, second);
            assert_recovers(&disk, &told);
        }
        reached
    });
}

/// Give `STREAMWORK_SEED` to run one history again.
#[test]
fn a_power_failure_at_any_operation_loses_nothing_that_was_told() {
    let seeds = match std::env::var("STREAMWORK_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (0..16).collect::<Vec<u64>>(),
    };
    for seed in seeds {
        at_every_operation(|at| {
            println!("STREAMWORK_SEED={seed}, operation {at}");
            let mut random = Random(seed << 32 | at);
            let (disk, mut told) = (MemoryDisk::new(), Told::default());
            let reached = run(&disk, &mut told, DiskFault::Crash, at);
            // The first time it may be the process alone that dies, so that the second builds upon what is not safe yet.
            let disk = match random.below(2) {
                0 => disk.fork(),
                _ => disk.after_power_failure(&mut random),
            };
            let second = random.below(120) as u64;
            run(&disk, &mut told, DiskFault::Crash, second);
            assert_recovers(&disk.after_power_failure(&mut random), &told);
            reached
        });
    }
}

#[test]
fn an_unreadable_file_is_an_error_and_never_an_empty_store() {
    let (disk, manifests) = disk_with([1, 2]);
    for at in 0.. {
        fail(&disk, DiskFault::Refuse, at);
        let found = try_open(&disk).and_then(|store| store.latest());
        if disk.failures() == 0 {
            assert_eq!(found.unwrap().unwrap().manifest, manifests[1]);
            break;
        }
        assert!(matches!(found, Err(StoreError::Io { .. })), "operation {at}: {found:?}");
    }
}

#[test]
fn a_file_of_several_parts_that_fails_at_any_operation_is_written_as_a_whole_or_an_error() {
    let (disk, _) = disk_with([1]);
    for fault in [DiskFault::Refuse, DiskFault::Deny, DiskFault::Crash] {
        let (mut written, mut failed) = (0, 0);
        for at in 0..60 {
            let disk = disk.fork();
            fail(&disk, fault, at);
            let Ok(store) = try_open(&disk) else { continue };
            let Ok(execution) = store.begin_execution() else { continue };
            let Ok(manifest) = write_parts_together(&store, execution, 2) else {
                failed += 1;
                continue;
            };
            written += 1;
            drop(store);
            disk.lose_process();
            // Only the names are not durable yet, and the manifest is not there.
            assert_eq!(open(&disk).latest().unwrap().unwrap().manifest.checkpoint, CheckpointId(1));
            assert_parts_hold(&open(&disk), &manifest);
        }
        // Creating the directory and the file, writing it, synchronizing it.
        assert!(failed >= 3, "{fault:?}: {failed} operations failed");
        assert!(written > 0, "{fault:?}");
    }
}

#[test]
fn a_commit_whose_end_is_unknown_says_so_and_recovery_finds_out() {
    let (disk, _) = disk_with([1]);
    let mut in_doubt = 0;
    for at in 0..60 {
        let disk = disk.fork();
        // The process lives on, but its disk does not.
        fail(&disk, DiskFault::Crash, at);
        let Ok(store) = try_open(&disk) else {
            continue;
        };
        let Ok(execution) = store.begin_execution() else {
            continue;
        };
        let Ok(manifest) = write_parts(&store, execution, 2) else {
            continue;
        };
        let Err(StoreError::InDoubt { checkpoint, .. }) = store.commit(&manifest) else {
            continue;
        };
        in_doubt += 1;
        assert_eq!(checkpoint, CheckpointId(2));
        drop(store);
        disk.lose_process();
        let found = open(&disk).latest().unwrap().unwrap().manifest;
        assert!(found == manifest || found.checkpoint == CheckpointId(1));
    }
    assert!(in_doubt > 0, "the case never came up");
}
