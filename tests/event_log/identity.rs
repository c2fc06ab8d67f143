//! The identity of a log: it stays the same whatever happens to the log, and another log has another one.

use super::*;

fn id(dir: &Path) -> LogId {
    LogReader::<String>::open(dir).expect("opens").id()
}

#[test]
fn a_log_keeps_its_identity_when_it_is_opened_copied_moved_and_repaired() {
    let dir = tempdir().expect("a temporary directory");
    let path = dir.path().join("log");
    let mut log = open(&path, one_partition());
    let first = log.id();
    append(&mut log, 0..10);
    log.close().expect("closed");
    assert_eq!(open(&path, LogOptions::default()).id(), first);
    assert_eq!(id(copy_of(&path).path()), first);
    let moved = dir.path().join("moved");
    fs::rename(&path, &moved).expect("moved");
    cut(&last_segment(&moved), places(10)[9] + 3);
    fs::remove_file(mark(&moved)).expect("removed");
    assert_eq!(open(&moved, LogOptions::default()).id(), first);
    assert_eq!(LogSurvey::of(&moved).expect("looked at").id, first);
}

#[test]
fn a_log_that_is_made_again_is_another() {
    let dir = tempdir().expect("a temporary directory");
    let path = dir.path().join("log");
    let mut seen = std::collections::HashSet::new();
    for _ in 0..20 {
        open(&path, one_partition()).close().expect("closed");
        assert!(seen.insert(id(&path)), "an identity was given twice");
        let reader = LogReader::<String>::open(&path).expect("opens");
        reader.check().expect("it is there");
        fs::remove_dir_all(&path).expect("removed");
        assert!(matches!(reader.check(), Err(LogError::NotALog { .. })));
        open(&path, one_partition()).close().expect("closed");
        let refused = reader.check().expect_err("another log is there");
        assert!(matches!(refused, LogError::MadeAnew { .. }), "{refused:?}");
        assert!(seen.insert(id(&path)), "an identity was given twice");
        fs::remove_dir_all(&path).expect("removed");
    }
}

#[test]
fn a_reader_and_a_writer_of_a_relative_path_do_not_follow_the_working_directory() {
    // Of the path alone: a test cannot change the working directory of all others.
    let dir = tempfile::Builder::new().prefix("log-").tempdir_in(".").expect("a directory here");
    let relative = Path::new(".").join(dir.path().file_name().expect("it has a name"));
    assert!(relative.is_relative());
    let log = open(&relative, one_partition());
    assert!(log.dir().is_absolute(), "{:?}", log.dir());
    let reader = LogReader::<String>::open(&relative).expect("opens");
    assert!(reader.dir().is_absolute(), "{:?}", reader.dir());
}
