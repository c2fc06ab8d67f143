//! Runs a test of this binary in a separate process, if it must not disturb the other tests or be disturbed by them:
//! hangs, aborts, a full memory, the processor time of a whole process.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Kilobytes of addresses that a process may use; each of its threads takes some ten thousand.
const ADDRESSES_KB: u64 = 8_000_000;

/// Runs one test of this binary in a process, and returns its standard output.
///
/// # Errors
/// How it failed or that it hangs, with all that it said.
pub(crate) fn run(
    test: &str,
    variables: &[(&str, &str)],
    within: Duration,
) -> Result<String, String> {
    let mut child = Command::new("sh")
        .args(["-c", &format!("ulimit -v {ADDRESSES_KB}; exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().expect("this test is a file"))
        .args(["--exact", test, "--nocapture"])
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test can be started again");
    let said = reader(child.stdout.take().expect("it is a pipe"));
    let complained = reader(child.stderr.take().expect("it is a pipe"));
    let deadline = Instant::now() + within;
    let runs = |child: &mut Child| child.try_wait().expect("the child can be asked").is_none();
    while runs(&mut child) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    let hangs = runs(&mut child);
    if hangs {
        child.kill().expect("the child can be killed");
    }
    let status = child.wait().expect("the child can be waited for");
    let said = said.join().expect("its output is read");
    let complained = complained.join().expect("its errors are read");
    // A name that no test has is a process that tries nothing.
    let well = status.success() && said.contains("running 1 test");
    match (hangs, well) {
        (true, _) => Err(format!("hangs: {said}\n{complained}")),
        (false, false) => Err(format!("{status}: {said}\n{complained}")),
        (false, true) => Ok(said),
    }
}

fn reader(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is what there is to show.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
