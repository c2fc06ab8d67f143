//! Looks at a directory of checkpoints or an event log: what is there, whether it is sound, and what
//! a start would do with it.
//!
//! Everything is read and verified; no lock is taken and nothing is changed, so it can be pointed at
//! the directory of a running job. A checkpoint that the job has just begun looks unfinished.
//!
//! ```sh
//! cargo run --example inspect -- checkpoints DIR
//! cargo run --example inspect -- checkpoints DIR --dump 'counter[0]'
//! cargo run --example inspect -- checkpoints DIR --remove-set-aside        # lists
//! cargo run --example inspect -- checkpoints DIR --remove-set-aside --yes  # removes
//! cargo run --example inspect -- log DIR
//! ```
//!
//! It ends with 0 if all is sound, with 1 if damage was found (checkpoints that were set aside count
//! as damage until they are removed), and with 2 if something could not be read: it is not there, it
//! may not be read, or another version of the library wrote it.

mod checkpoints;
mod dump;
mod event_log;
#[path = "../pipe/mod.rs"]
mod pipe;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use streamwork::BoxError;

/// Looks at a directory of checkpoints or an event log, verifies everything in it, changes nothing.
///
/// Exit codes: 0 sound, 1 damage found, 2 cannot be read.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    at: Place,
}

#[derive(Subcommand)]
enum Place {
    /// A directory of checkpoints.
    Checkpoints(checkpoints::Question),
    /// The directory of an event log.
    Log {
        /// The directory.
        dir: PathBuf,
    },
}

/// What an inspection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Sound,
    Damaged,
    Unreadable,
}

fn main() -> ExitCode {
    pipe::ends_quietly();
    let verdict = match Arguments::parse().at {
        Place::Checkpoints(question) => checkpoints::inspect(&question),
        Place::Log { dir } => event_log::inspect(&dir),
    };
    match verdict {
        Ok(Verdict::Sound) => ExitCode::SUCCESS,
        Ok(Verdict::Damaged) => ExitCode::from(1),
        Ok(Verdict::Unreadable) => ExitCode::from(2),
        Err(error) => {
            eprintln!("cannot be read: {}", words::with_causes(&*error));
            ExitCode::from(2)
        }
    }
}

/// Refuses what is no directory: opening a store there would make one.
fn must_be_a_directory(dir: &std::path::Path) -> Result<(), BoxError> {
    if dir.is_dir() { Ok(()) } else { Err(format!("{} is no directory", dir.display()).into()) }
}
