//! Foreign files in a log's directories, and files of the log that cannot be read.

use super::*;

/// fault F20: a directory that looked like a leftover kept the log from being opened.
#[test]
fn what_is_not_of_the_log_is_left_alone_and_listed() {
    let dir = closed_log(6, 200);
    let partition = dir.path().join("partition-00000");
    let mut foreign = vec![
        partition.join("0.tmp"),
        partition.join("00000000000000000009.index"),
        partition.join("notes"),
    ];
    foreign.iter().for_each(|path| fs::create_dir(path).expect("created"));
    let above = [dir.path().join("README"), dir.path().join("partition-00001")];
    above.iter().for_each(|path| fs::create_dir(path).expect("created"));
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let name = std::ffi::OsStr::from_bytes(b"\xff.notes");
        std::os::unix::fs::symlink("nowhere", partition.join(name)).expect("linked");
        foreign.push(partition.join(name));
    }
    foreign.retain(|path| path.extension().is_none_or(|end| end != "index"));
    fs::write(partition.join("00000000000000000000.log.tmp"), "unfinished").expect("written");

    let survey = LogSurvey::of(dir.path()).expect("looked at");
    assert_eq!(survey.foreign, above);
    assert_eq!(survey.partitions[0].foreign, foreign);
    assert_eq!(survey.partitions[0].leftovers, [partition.join("00000000000000000000.log.tmp")]);
    let mut log = open(dir.path(), LogOptions::default());
    append(&mut log, 6..8);
    log.close().expect("closed");
    assert_eq!(read_all(dir.path()), expected(0..8));
    assert!(!partition.join("00000000000000000000.log.tmp").exists());
    for path in foreign.iter().chain(&above) {
        assert!(path.symlink_metadata().is_ok(), "{}", path.display());
    }
}

/// A directory, or a broken link, where a file of the log should be: refused by its name, and never treated as absent.
#[test]
fn a_file_of_the_log_that_cannot_be_read_is_refused_by_name() {
    for file in ["meta", "partition-00000/00000000000000000000.log", "partition-00000/end"] {
        for link in [false, true] {
            let dir = closed_log(6, 200);
            let path = dir.path().join(file);
            fs::remove_file(&path).expect("removed");
            if link {
                #[cfg(unix)]
                std::os::unix::fs::symlink("nowhere", &path).expect("linked");
            } else {
                fs::create_dir(&path).expect("created");
            }
            let refusals = [refused(dir.path()), try_read_all(dir.path()).expect_err("refused")];
            for refusal in refusals {
                assert!(refusal.to_string().contains(file), "{file}: {refusal}");
                assert!(matches!(refusal, LogError::Io { .. }), "{file}: {refusal:?}");
            }
        }
    }
}
