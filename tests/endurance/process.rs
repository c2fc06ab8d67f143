//! A test in a separate process, and the resources of that process.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ALONE: &str = "STREAMWORK_ALONE";

/// Runs the body in a process that does nothing else, so that the body uses all resources of the process.
/// `path` is the test's own, with its module.
///
/// # Panics
/// If the body did.
pub(crate) fn alone(path: &str, body: impl FnOnce()) {
    start(Command::new(test_binary()), path, body);
}

/// As [`alone`], in a process that may use this many kilobytes of address space.
///
/// # Panics
/// If the body did.
pub(crate) fn alone_within(addresses_kb: u64, path: &str, body: impl FnOnce()) {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -v {addresses_kb}; exec \"$0\" \"$@\"")]);
    shell.arg(test_binary());
    start(shell, path, body);
}

fn test_binary() -> PathBuf {
    std::env::current_exe().expect("this test is a file")
}

fn start(mut command: Command, path: &str, body: impl FnOnce()) {
    if std::env::var(ALONE).is_ok_and(|name| name == path) {
        return body();
    }
    let child = command
        .args(["--exact", path, "--nocapture"])
        .env(ALONE, path)
        .stderr(Stdio::inherit())
        .output()
        .expect("this test can be started again");
    let said = String::from_utf8_lossy(&child.stdout);
    print!("{said}");
    assert!(child.status.success(), "{path}: {}", child.status);
    assert!(said.contains("1 passed"), "there is no test {path}");
}

/// The resources that the process uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Footprint {
    pub(crate) resident_kib: u64,
    pub(crate) threads: usize,
    pub(crate) files: usize,
}

impl Footprint {
    pub(crate) fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux says");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        let entries = |path| std::fs::read_dir(path).expect("Linux says").count();
        Self {
            resident_kib: resident.expect("a number of kibibytes"),
            threads: entries("/proc/self/task"),
            files: entries("/proc/self/fd"),
        }
    }
}

/// Waits for a condition; panics with `what` if it does not come true in thirty seconds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}
