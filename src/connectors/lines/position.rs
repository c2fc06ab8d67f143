//! The position of a source of lines, and how it is found again.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use serde::{Deserialize, Serialize};

use crate::connectors::lost_position::Loss;
use crate::connectors::trail::{Trail, TrailMark};

/// The state of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) trail: TrailMark,
    /// Whether the last event was a line without an end, as only the last of a file can be.
    pub(super) in_a_line: bool,
}

/// The place of a position in a file.
pub(super) enum Place {
    /// Reading continues here: after the end of the last line, if it had no end before and has one now.
    Found(Trail),
    Lost(Loss),
}

/// Checks that the file still holds what was read, and moves to where the next line begins.
pub(super) fn find(file: &mut File, position: &Position) -> io::Result<Place> {
    let end = file.metadata()?.len();
    let offset = position.trail.offset;
    if end < offset {
        return Ok(Place::Lost(Loss::Shorter { end }));
    }
    let Some(mut trail) = Trail::find(file, &position.trail)? else {
        return Ok(Place::Lost(Loss::Changed));
    };
    if position.in_a_line {
        let rest = line_end(file, offset)?;
        if rest.is_empty() && end > offset {
            return Ok(Place::Lost(Loss::LineGoesOn));
        }
        trail.extend(rest);
    }
    Ok(Place::Found(trail))
}

/// Whether the bytes before this position are not the end of a line.
pub(super) fn is_in_a_line(file: &mut File, offset: u64) -> io::Result<bool> {
    let Some(before) = offset.checked_sub(1) else { return Ok(false) };
    file.seek(SeekFrom::Start(before))?;
    let mut found = [0];
    file.read_exact(&mut found)?;
    Ok(found != *b"\n")
}

/// The end of a line at this position, if there is one.
fn line_end(file: &mut File, offset: u64) -> io::Result<&'static [u8]> {
    file.seek(SeekFrom::Start(offset))?;
    let mut found = Vec::new();
    file.take(2).read_to_end(&mut found)?;
    Ok(match found[..] {
        [b'\n', ..] => b"\n",
        [b'\r', b'\n'] => b"\r\n",
        _ => b"",
    })
}
