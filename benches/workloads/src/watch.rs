//! Waits for the process of a run, and notices when somebody stops it (SIGSTOP) and lets it go on: on a shared machine others make
//! themselves room that way. Such a run says nothing, however good its figures look.
//!
//! Never touches the process itself.

use std::fs;
use std::process::{Child, Output};
use std::thread;
use std::time::{Duration, Instant};

use streamwork::BoxError;

/// Between two looks at the process.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Two looks that are farther apart than this are taken for a stop of this process, and of the run with it.
const APART_MAX: Duration = Duration::from_secs(1);

/// Whether a run went on all the time.
pub enum Ran {
    Through(Output),
    Stopped,
}

/// Waits until the process has ended. What it says has to fit into a pipe.
///
/// # Errors
/// The process cannot be waited for.
pub fn to_the_end(mut child: Child) -> Result<Ran, BoxError> {
    let stat = format!("/proc/{}/stat", child.id());
    let (mut stopped, mut looked) = (false, Instant::now());
    while child.try_wait()?.is_none() {
        thread::sleep(LOOK_EVERY);
        stopped |= looked.elapsed() > APART_MAX || is_stopped(&stat);
        looked = Instant::now();
    }
    let output = child.wait_with_output()?;
    Ok(if stopped { Ran::Stopped } else { Ran::Through(output) })
}

/// The state is behind the name in parentheses. A process that has just gone has none.
fn is_stopped(stat: &str) -> bool {
    let stat = fs::read_to_string(stat).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('T'))
}
