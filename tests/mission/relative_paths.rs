//! Relative paths, in a program that changes its working directory while its job exists: a separate process, since all
//! threads share that directory.

use std::fs;
use std::path::Path;
use std::process::Command;

use streamwork::log::{EventLog, LogOptions};
use streamwork::{EventLogSource, ExactlyOnce, Job, LinesSource, TransactionalFiles};

const DIRECTORY_VARIABLE: &str = "STREAMWORK_RELATIVE_PATHS";

/// fault F33: parts of checkpoints, output and log landed where the program happened to be.
#[test]
fn a_program_that_changes_its_working_directory_finds_and_leaves_everything_where_it_began() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["begin", "elsewhere"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "relative_paths::runs_when_it_is_told_to", "--nocapture"])
        .env(DIRECTORY_VARIABLE, directory.path())
        .output()
        .expect("this test can be started again");
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let entries = |of: &str| {
        let entries = fs::read_dir(directory.path().join(of)).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(entries("elsewhere"), Vec::<String>::new());
    assert_eq!(entries("begin"), ["lines", "log", "out", "store"]);
    assert_eq!(entries("begin/out").len(), 2, "one file of each sink");
    assert!(entries("begin/store").iter().any(|name| name.starts_with("chk-")));
}

#[test]
fn runs_when_it_is_told_to() {
    let Ok(directory) = std::env::var(DIRECTORY_VARIABLE) else { return };
    let directory = Path::new(&directory);
    std::env::set_current_dir(directory.join("begin")).unwrap();
    fs::write("lines", "1\n2\n").unwrap();
    let options = LogOptions { partitions: Some(1), segment_bytes: 100, ..LogOptions::default() };
    let mut log = EventLog::create_or_open("log", options).unwrap();
    log.append(0, 0, &"a record".to_owned()).unwrap();
    log.sync().unwrap();

    let line = |line: &String, file: &mut Vec<u8>| file.extend_from_slice(line.as_bytes());
    let job = Job::new("relative");
    let lines = job.lines("lines", LinesSource::new("lines"));
    let records = job.event_log("log", EventLogSource::open("log").unwrap().until_end());
    lines.transactional_sink("written", TransactionalFiles::factory("out", line));
    records.transactional_sink("copied", TransactionalFiles::factory("out", line));
    let guarantee = ExactlyOnce::checkpoints_in("store");

    std::env::set_current_dir(directory.join("elsewhere")).unwrap();
    for number in 0..20 {
        log.append(0, 0, &format!("record {number}, of which a segment holds few")).unwrap();
    }
    log.close().unwrap();
    job.run(guarantee).expect("the job runs");
}
