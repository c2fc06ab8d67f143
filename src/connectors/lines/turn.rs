//! [`Turn`]: some lines of one file, read and emitted.

use std::io::{self, BufRead, Read};

use super::error::LinesError;
use super::file::{LinesFile, READ_BYTES};
use super::{LinesSource, OnBadRecord};
use crate::api::bad_record::RawRecord;
use crate::api::source_output::SourceOutput;

/// Bytes of a bad line that its dead letter and its error show.
const SHOWN_BYTES: usize = 256;
/// The number of bytes after which the checksums are brought up to date.
const LINES_BYTES: usize = 1 << 16;

/// One turn of a file that is open.
pub(super) struct Turn<'a> {
    file: &'a mut LinesFile,
    source: &'a LinesSource,
    /// Lines that were read and are not in the trail yet.
    lines: &'a mut Vec<u8>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(
        file: &'a mut LinesFile,
        source: &'a LinesSource,
        lines: &'a mut Vec<u8>,
    ) -> Self {
        lines.clear();
        Self { file, source, lines }
    }

    /// Emits at most this many lines, and returns their number. It is smaller only at the end of the file.
    pub(super) fn read(
        mut self,
        wanted: usize,
        out: &mut SourceOutput<String>,
    ) -> Result<usize, LinesError> {
        let mut found = 0;
        while found < wanted && out.room() > 0 && !self.file.in_a_line {
            let Some(begin) = self.read_line()? else { break };
            self.emit(begin, out)?;
            found += 1;
            if self.lines.len() >= LINES_BYTES {
                self.settle();
            }
        }
        self.settle();
        Ok(found)
    }

    /// Reads a line with its end into `lines`, at most one byte more than its maximum. Returns where it
    /// begins there, or `None` at the end of the file.
    fn read_line(&mut self) -> Result<Option<usize>, LinesError> {
        let bytes_max = self.source.line_bytes_max;
        let begin = self.lines.len();
        let read = self.read_until_end((bytes_max as u64).saturating_add(1))?;
        if read == 0 {
            self.file.held_back = None;
            return Ok(None);
        }
        if read <= bytes_max && !self.lines.ends_with(b"\n") {
            if self.is_held_back()? {
                self.lines.truncate(begin);
                return Ok(None);
            }
            self.file.in_a_line = true;
        }
        self.file.held_back = None;
        Ok(Some(begin))
    }

    /// Reads up to the end of the line, at most this many bytes, and returns their number.
    fn read_until_end(&mut self, bytes_max: u64) -> Result<usize, LinesError> {
        let failed = LinesError::io("read", &self.file.path);
        let Some(reader) = &mut self.file.reader else {
            return Err(failed(io::Error::other("it is not open")));
        };
        reader.take(bytes_max).read_until(b'\n', self.lines).map_err(failed)
    }

    /// Whether a last line without an end is left for later: if files are followed, its writer may be about
    /// to continue it.
    fn is_held_back(&mut self) -> Result<bool, LinesError> {
        let Some(reader) = &self.file.reader else { return Ok(false) };
        if self.source.input.discover_every().is_none() {
            return Ok(false);
        }
        let now = self.file.look(reader.get_ref())?;
        Ok(self.file.held_back.replace(now) != Some(now))
    }

    /// Skips the rest of a line of which only the beginning was read, a piece at a time.
    fn pass_over_line(&mut self) -> Result<(), LinesError> {
        while !self.lines.ends_with(b"\n") {
            self.settle();
            if self.read_until_end(READ_BYTES as u64)? == 0 {
                self.file.in_a_line = true;
                break;
            }
        }
        Ok(())
    }

    /// Emits a line, or treats it as a bad record.
    fn emit(&mut self, begin: usize, out: &mut SourceOutput<String>) -> Result<(), LinesError> {
        let error = match self.decode(begin) {
            Ok(event) => {
                let bytes = event.len();
                out.emit_weighing(event, bytes);
                return Ok(());
            }
            Err(error) => error,
        };
        let record = self.raw_record(begin);
        if matches!(error, LinesError::TooLong { .. }) {
            self.pass_over_line()?;
        }
        match self.source.on_bad_record {
            OnBadRecord::Fail => {
                let first = &record.bytes[..record.bytes.len().min(SHOWN_BYTES)];
                let shown = String::from_utf8_lossy(first).into_owned();
                out.reject_record(record, Some(shown), error);
            }
            OnBadRecord::Skip => out.skip(error),
        }
        Ok(())
    }

    /// A bad line; of a line that is too long, as many bytes as the maximum.
    fn raw_record(&self, begin: usize) -> RawRecord {
        let line = without_end(&self.lines[begin..]);
        RawRecord {
            split: self.file.path.display().to_string(),
            offset: self.offset_of(begin),
            bytes: line[..line.len().min(self.source.line_bytes_max)].to_vec(),
        }
    }

    /// The position in the file of a line that begins here in `lines`.
    fn offset_of(&self, begin: usize) -> u64 {
        self.file.trail.offset() + begin as u64
    }

    /// The event of a line.
    fn decode(&self, begin: usize) -> Result<String, LinesError> {
        let offset = self.offset_of(begin);
        let (path, bytes_max) = (|| self.file.path.clone(), self.source.line_bytes_max);
        if self.lines.len() - begin > bytes_max {
            return Err(LinesError::TooLong { path: path(), offset, bytes_max });
        }
        let line = without_end(&self.lines[begin..]);
        let text = std::str::from_utf8(line).map_err(|source| {
            let bytes = line[..line.len().min(SHOWN_BYTES)].escape_ascii().to_string();
            LinesError::NotUtf8 { path: path(), offset, bytes, source }
        })?;
        Ok(text.to_owned())
    }

    /// Brings the trail up to the end of what was read.
    fn settle(&mut self) {
        self.file.trail.extend(self.lines);
        self.lines.clear();
        // The memory of one long line must not be kept for ever.
        self.lines.shrink_to(4 * LINES_BYTES);
    }
}

/// A line without `\n` or `\r\n`, and without any more `\r` before it.
fn without_end(line: &[u8]) -> &[u8] {
    let kept = line.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n'));
    &line[..kept.map_or(0, |last| last + 1)]
}
