//! One writer, and what happens to it when its lock file is removed.

use super::*;

/// Lets a second writer in although the first lives, as a script that removes "old" lock files does.
fn take_over(dir: &Path) -> EventLog<String> {
    fs::remove_file(dir.join("LOCK")).expect("the lock is a file");
    open(dir, LogOptions { segment_bytes: 2_000, ..LogOptions::default() })
}

type Attempt = (&'static str, LogOptions, fn(&mut EventLog<String>) -> Result<(), LogError>);

/// Everything by which a writer changes what is on disk.
fn attempts() -> Vec<Attempt> {
    let append = |log: &mut EventLog<String>| log.append(0, 0, &"late".to_owned()).map(|_| ());
    vec![
        ("sync", one_partition(), |log| log.sync()),
        ("flush", one_partition(), |log| log.flush()),
        ("retention", one_partition(), |log| log.apply_retention().map(|_| ())),
        ("a full buffer", LogOptions { buffer_bytes: 1, ..one_partition() }, append),
        ("a full segment", LogOptions { segment_bytes: 40, ..one_partition() }, append),
        ("fsync always", LogOptions { fsync: Fsync::Always, ..one_partition() }, append),
        ("fsync by bytes", LogOptions { fsync: Fsync::EveryBytes(1), ..one_partition() }, append),
        (
            "never fsync",
            LogOptions { fsync: Fsync::Never, buffer_bytes: 1, ..one_partition() },
            append,
        ),
    ]
}

/// fault F31: removing the lock file let a second writer in, and the first overwrote its synced records.
#[test]
fn a_writer_whose_lock_was_removed_is_fenced_before_it_changes_anything() {
    for (what, options, attempt) in attempts() {
        let dir = tempdir().expect("a temporary directory");
        let mut first =
            open(dir.path(), LogOptions { fsync: Fsync::GroupCommit, ..options.clone() });
        append(&mut first, 0..1);
        first.close().expect("closed");
        let mut first = open(dir.path(), options);
        let mut second = take_over(dir.path());
        append(&mut second, 1..500);
        second.sync().expect("the second writer is the one");

        let refused = attempt(&mut first).expect_err("the first writer has been replaced");
        assert!(matches!(refused, LogError::Fenced { .. }), "{what}: {refused:?}");
        assert!(matches!(first.sync(), Err(LogError::Poisoned { .. })), "{what}");
        drop(first);
        assert_eq!(read_all(dir.path()), expected(0..500), "{what}");
        append(&mut second, 500..600);
        second.close().expect("closed");
        assert_eq!(read_all(dir.path()), expected(0..600), "{what}");
        assert_eq!(open(dir.path(), LogOptions::default()).repairs(), [], "{what}");
    }
}

#[test]
fn what_a_fenced_writer_had_buffered_is_neither_claimed_nor_written() {
    let dir = tempdir().expect("a temporary directory");
    let mut first = open(dir.path(), one_partition());
    append(&mut first, 0..10);
    first.sync().expect("synced");
    append(&mut first, 10..20);
    let mut second = take_over(dir.path());
    assert_eq!(second.end(0).expect("known"), Offset::new(10));
    append(&mut second, 10..15);
    assert!(matches!(first.close(), Err(LogError::Fenced { .. })));
    second.close().expect("closed");
    assert_eq!(read_all(dir.path()), expected(0..15));
}

#[test]
fn a_writer_that_is_dropped_after_it_was_fenced_changes_nothing() {
    let dir = tempdir().expect("a temporary directory");
    let mut first = open(dir.path(), one_partition());
    append(&mut first, 0..10);
    let mut second = take_over(dir.path());
    append(&mut second, 0..5);
    drop(first);
    second.close().expect("closed");
    assert_eq!(read_all(dir.path()), expected(0..5));
}

#[test]
fn a_writer_of_a_log_that_was_removed_or_made_again_claims_nothing() {
    let dir = tempdir().expect("a temporary directory");
    let path = dir.path().join("log");
    for made_again in [false, true] {
        let mut first = open(&path, one_partition());
        append(&mut first, 0..10);
        fs::rename(&path, dir.path().join(format!("moved-{made_again}"))).expect("moved");
        if made_again {
            open(&path, one_partition()).close().expect("made again");
        }
        assert!(matches!(first.sync(), Err(LogError::Fenced { .. })));
    }
    assert_eq!(read_all(&path), []);
}

#[test]
fn a_word_of_the_writer_that_is_damaged_or_missing_keeps_nobody_out() {
    let dir = closed_log(10, 200);
    let word = dir.path().join("WRITER");
    for damage in ["", "rubbish"] {
        fs::write(&word, damage).expect("written");
        drop(open(dir.path(), LogOptions::default()));
    }
    fs::remove_file(&word).expect("removed");
    drop(open(dir.path(), LogOptions::default()));
    assert_eq!(read_all(dir.path()), expected(0..10));
}
