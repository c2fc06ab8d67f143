//! Shared by the small examples: `--help` shows the head of their source files, and a closed output ends them
//! quietly.

use clap::Command;

#[path = "../pipe/mod.rs"]
mod pipe;

/// Answers `--help` with the head of an example's own source, and refuses other arguments.
pub(crate) fn help(source: &'static str) {
    pipe::ends_quietly();
    let head = source.lines().map_while(|line| line.strip_prefix("//!"));
    let lines: Vec<_> = head.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    Command::new(env!("CARGO_CRATE_NAME")).about(lines.join("\n")).get_matches();
}
