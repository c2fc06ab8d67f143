//! A custom source that continues where it stopped.
//!
//! `Tail` follows a text file that another program writes. It adds two functions to a plain source:
//! `state` returns its position (a byte offset), and `setup` starts from there. The job is stopped,
//! more lines are written while nothing runs, and the next start reads exactly those: the offset was
//! stored in the directory that the guarantee was given.
//!
//! ```sh
//! cargo run --release --example custom_source
//! ```
//!
//! Expected output:
//!
//! ```text
//! first run
//!   reading from byte 0
//!   Ada boarded
//!   Grace boarded
//! stopped; meanwhile two more lines are written
//! second run
//!   reading from byte 26
//!   Edsger boarded
//!   Barbara boarded
//! stopped
//! ```

mod course;

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use streamwork::{BoxError, ExactlyOnce, Instance, Job, Next, SourceOutput, StatefulSource};

struct Tail {
    path: PathBuf,
    file: Option<BufReader<File>>,
    offset: u64,
}

impl StatefulSource for Tail {
    type Out = String;
    type State = u64;

    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.offset = state.unwrap_or(0);
        println!("  reading from byte {}", self.offset);
        self.file = Some(BufReader::new(File::open(&self.path)?));
        Ok(())
    }

    fn get_events(&mut self, out: &mut SourceOutput<String>) -> Result<Next, BoxError> {
        let file = self.file.as_mut().ok_or("setup comes first")?;
        file.seek(SeekFrom::Start(self.offset))?;
        while out.room() > 0 {
            let mut line = String::new();
            let bytes = file.read_line(&mut line)?;
            if !line.ends_with('\n') {
                // The end, or half a line: read again soon, from the beginning of that line.
                return Ok(Next::After(Duration::from_millis(10)));
            }
            self.offset += bytes as u64;
            out.emit(line.trim_end().to_owned());
        }
        Ok(Next::Now)
    }

    fn state(&self) -> u64 {
        self.offset
    }
}

/// Follows the file until two lines have come, then stops.
fn follow(path: &Path, checkpoints: &Path) -> Result<(), BoxError> {
    let (lines, printed) = mpsc::channel();
    let path = path.to_owned();
    let job = Job::new("tail");
    job.stateful_source("tail", move || Tail { path: path.clone(), file: None, offset: 0 })
        .try_for_each(move |line| Ok(lines.send(line)?));
    let handle = job.start(ExactlyOnce::checkpoints_in(checkpoints))?;
    for _ in 0..2 {
        println!("  {}", printed.recv_timeout(Duration::from_secs(10))?);
    }
    handle.stop_within(Duration::from_secs(10))?;
    Ok(())
}

fn main() -> Result<(), BoxError> {
    course::help(include_str!("custom_source.rs"));
    let directory = tempfile::tempdir()?;
    let (path, checkpoints) = (directory.path().join("gate.txt"), directory.path().join("store"));
    let mut writer = OpenOptions::new().create(true).append(true).open(&path)?;

    println!("first run");
    writer.write_all(b"Ada boarded\nGrace boarded\n")?;
    follow(&path, &checkpoints)?;
    println!("stopped; meanwhile two more lines are written");
    writer.write_all(b"Edsger boarded\nBarbara boarded\n")?;
    println!("second run");
    follow(&path, &checkpoints)?;
    println!("stopped");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamwork::testkit::check_source;

    #[test]
    fn a_tail_goes_on_at_any_line_and_leaves_half_a_line_alone() -> Result<(), BoxError> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("gate.txt");
        std::fs::write(&path, "Ada\nGrace\nEdsger\nBarb")?;
        let read = check_source(|| Tail { path: path.clone(), file: None, offset: 0 }, 1)?;
        assert_eq!(read, [["Ada", "Grace", "Edsger"]]);
        Ok(())
    }
}
