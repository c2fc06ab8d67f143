//! What the small examples share: `--help` shows what their source files open with.

use clap::Command;

/// Answers `--help` with the head of an example's own source, and refuses other arguments.
pub(crate) fn help(source: &'static str) {
    let head = source.lines().map_while(|line| line.strip_prefix("//!"));
    let lines: Vec<_> = head.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    Command::new(env!("CARGO_CRATE_NAME")).about(lines.join("\n")).get_matches();
}
