//! The sink by itself: names, what is never replaced, what a failing disk leaves.

use super::*;
use crate::api::waker::Waker;
use crate::id::{CheckpointId, InstanceName};
use crate::testkit::{DiskFailures, SimulatedDisk};

fn instance(execution: u64) -> Instance {
    Instance {
        name: InstanceName::new("files", 0),
        parallelism: 1,
        execution: ExecutionId(execution),
        waker: Waker::default(),
    }
}

/// A sink as an execution sets it up.
fn sink(directory: &Path, execution: u64) -> TransactionalFiles<u64> {
    let encode = |n: &u64, file: &mut Vec<u8>| file.extend(format!("{n}\n").into_bytes());
    let mut sink = TransactionalFiles::factory(directory, encode)();
    sink.setup(&instance(execution)).unwrap();
    sink
}

/// The same, from a checkpoint that knows of no transaction after `newest`.
fn sink_from(directory: &Path, execution: u64, newest: FileTransaction) -> TransactionalFiles<u64> {
    let mut sink = sink(directory, execution);
    sink.rewind(newest).unwrap();
    sink
}

fn prepared(sink: &mut TransactionalFiles<u64>, event: u64) -> FileTransaction {
    sink.write(event).unwrap();
    sink.prepare(Transaction::new(ExecutionId(1), CheckpointId(1))).unwrap().unwrap()
}

#[test]
fn an_execution_that_was_replaced_does_not_touch_the_pending_files_of_its_successor() {
    let directory = tempfile::tempdir().unwrap();
    let mut replaced = sink(directory.path(), 1);
    let known = replaced.newest().unwrap();
    let mut successor = sink_from(directory.path(), 2, known);
    let handle = prepared(&mut successor, 2);
    let late = prepared(&mut replaced, 1);
    assert_ne!(late, handle);
    successor.commit(handle).unwrap();
    let shown = std::fs::read_to_string(successor.committed(&handle)).unwrap();
    assert_eq!(shown, "2\n");
    sink_from(directory.path(), 3, successor.newest().unwrap()).abort_unfinished().unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_commit_replaces_no_file_of_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = sink(directory.path(), 1);
    let handle = prepared(&mut sink, 1);
    let file = sink.committed(&handle);
    std::fs::write(&file, "something else").unwrap();
    let refused = sink.commit(handle).unwrap_err().to_string();
    assert!(refused.contains(file.to_str().unwrap()), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "something else");
    std::fs::remove_file(&file).unwrap();
    sink.commit(handle).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1\n");
}

#[test]
fn a_rename_that_left_both_names_is_brought_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = sink(directory.path(), 1);
    let handle = prepared(&mut sink, 1);
    std::fs::hard_link(sink.pending(&handle), sink.committed(&handle)).unwrap();
    sink.commit(handle).unwrap();
    assert_eq!(std::fs::read_to_string(sink.committed(&handle)).unwrap(), "1\n");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_transaction_that_a_consumer_took_away_is_committed_again_to_no_effect() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = sink(directory.path(), 1);
    let handle = prepared(&mut sink, 1);
    sink.commit(handle).unwrap();
    std::fs::remove_file(sink.committed(&handle)).unwrap();
    sink.commit(handle).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    assert_eq!(prepared(&mut sink_from(directory.path(), 2, handle), 2).number, 2);
}

#[test]
fn a_number_is_known_from_the_state_where_the_last_checkpoint_had_nothing_to_commit() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = sink(directory.path(), 1);
    let handle = prepared(&mut first, 1);
    first.commit(handle).unwrap();
    assert_eq!(first.prepare(Transaction::new(ExecutionId(1), CheckpointId(2))).unwrap(), None);
    std::fs::remove_file(first.committed(&handle)).unwrap();
    let mut second = sink_from(directory.path(), 1, first.newest().unwrap());
    assert_ne!(prepared(&mut second, 2), handle);
}

#[test]
fn what_is_taken_back_twice_is_kept_twice() {
    let directory = tempfile::tempdir().unwrap();
    let none = sink(directory.path(), 1).newest().unwrap();
    for execution in [1, 1, 2] {
        let mut sink = sink_from(directory.path(), execution, none);
        let handle = prepared(&mut sink, 1);
        sink.commit(handle).unwrap();
    }
    let names =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let aside = names.filter(|name| name.to_str().unwrap().ends_with(TAKEN_BACK)).count();
    assert_eq!(aside, 2);
}

fn sink_on(disk: &SimulatedDisk, directory: &str) -> TransactionalFiles<u64> {
    let encode = |n: &u64, file: &mut Vec<u8>| file.extend(format!("{n}\n").into_bytes());
    let mut sink = TransactionalFiles::factory_on(Arc::new(disk.clone()), directory, encode)();
    sink.setup(&instance(1)).unwrap();
    sink
}

/// fault F32: a directory was made whose name a power failure could take away again.
#[test]
fn every_directory_that_is_made_is_there_after_a_power_failure() {
    for seed in 0..100 {
        let disk = SimulatedDisk::new();
        sink_on(&disk, "/a/b/c");
        disk.lose_power(seed);
        assert_eq!(disk.list(Path::new("/a/b/c")).unwrap(), [], "seed {seed}");
    }
}

#[test]
fn events_of_a_transaction_that_could_not_be_prepared_do_not_go_out_with_the_next() {
    let disk = SimulatedDisk::new();
    let mut sink = sink_on(&disk, "/out");
    disk.fail(DiskFailures { times: 1, ..DiskFailures::default() });
    sink.write(1).unwrap();
    sink.prepare(Transaction::new(ExecutionId(1), CheckpointId(1))).unwrap_err();
    let handle = prepared(&mut sink, 2);
    sink.commit(handle).unwrap();
    assert_eq!(disk.read(&sink.committed(&handle)).unwrap(), b"2\n");
    assert_eq!(disk.list(Path::new("/out")).unwrap().len(), 1);
}

/// Each event is more than a transaction holds in memory, so its file is written event by event.
#[test]
fn a_large_transaction_is_written_as_it_comes_and_an_event_that_failed_is_not_in_it() {
    let event_bytes = IN_MEMORY + 10;
    let mut shown = Vec::new();
    for healthy in 0..10 {
        let disk = SimulatedDisk::new();
        let encode = move |n: &u8, file: &mut Vec<u8>| file.extend(vec![*n; event_bytes]);
        let mut sink = TransactionalFiles::factory_on(Arc::new(disk.clone()), "/out", encode)();
        sink.setup(&instance(1)).unwrap();
        disk.fail(DiskFailures { after: healthy, times: 1, ..DiskFailures::default() });
        let taken: Vec<u8> = (0..4).filter(|n| sink.write(*n).is_ok()).collect();
        assert!(sink.open.len() < IN_MEMORY + event_bytes);
        let prepared = sink.prepare(Transaction::new(ExecutionId(1), CheckpointId(1)));
        disk.fail(DiskFailures { times: 0, ..DiskFailures::default() });
        match prepared {
            Ok(handle) => {
                let handle = handle.unwrap();
                sink.commit(handle).unwrap();
                let bytes = disk.read(&sink.committed(&handle)).unwrap();
                let expected: Vec<_> = taken.iter().map(|n| vec![*n; event_bytes]).collect();
                assert!(bytes == expected.concat(), "{healthy}: {} events", taken.len());
                shown.push(taken.len());
            }
            Err(_) => assert_eq!(disk.list(Path::new("/out")).unwrap(), [], "{healthy}"),
        }
    }
    assert!(shown.contains(&3) && shown.contains(&4), "{shown:?}");
}
