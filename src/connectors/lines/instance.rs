//! The one instance of a source of lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use super::error::LinesError;
use super::position::{self, Place, Position};
use super::{LinesSource, OnBadRecord, OnLostPosition};
use crate::api::instance::Instance;
use crate::api::source::{Next, StatefulSource};
use crate::api::source_output::SourceOutput;
use crate::connectors::lost_position::LostPosition;
use crate::connectors::trail::Trail;
use crate::error::{BoxError, Permanent};

/// How much is read from the file at once.
const READ_BYTES: usize = 1 << 18;
/// Bytes of a bad line that its dead letter and its error show.
const SHOWN_BYTES: usize = 256;
/// With so many bytes of lines the checksums are brought up to date.
const LINES_BYTES: usize = 1 << 16;

pub(super) struct LinesInstance {
    source: LinesSource,
    file: Option<BufReader<File>>,
    trail: Trail,
    /// The last line had no end. It was the last of the file, so nothing is read any more.
    in_a_line: bool,
    /// Lines that were read and are not in the trail yet.
    lines: Vec<u8>,
}

impl LinesInstance {
    pub(super) fn new(source: LinesSource) -> Self {
        let (trail, lines) = (Trail::default(), Vec::new());
        Self { source, file: None, trail, in_a_line: false, lines }
    }

    fn io(&self, action: &'static str) -> impl FnOnce(io::Error) -> LinesError + use<> {
        let path = self.source.path.clone();
        move |source| LinesError::Io { action, path, source }
    }

    /// Where to begin in a file that had been read before.
    fn resume(&mut self, file: &mut File, position: &Position) -> Result<(), BoxError> {
        let loss = match position::find(file, position).map_err(self.io("read"))? {
            Place::Found(trail) => {
                // Still so if the file ends there: it may go on within that line until the next start.
                self.in_a_line = position.in_a_line && trail.offset() == position.trail.offset;
                self.trail = trail;
                return Ok(());
            }
            Place::Lost(loss) => loss,
        };
        let path = &self.source.path;
        let policy = self.source.on_lost_position;
        let lost = LostPosition::in_file(path, position.trail.offset, loss);
        let offset = match policy {
            OnLostPosition::Fail => return Err(Permanent::new(lost).into()),
            OnLostPosition::Earliest => 0,
            OnLostPosition::Latest => file.metadata().map_err(self.io("measure"))?.len(),
        };
        tracing::warn!(%lost, ?policy, offset, "the file is read from another place");
        self.in_a_line = position::is_in_a_line(file, offset).map_err(self.io("read"))?;
        self.trail = Trail::at(file, offset).map_err(self.io("read"))?;
        Ok(())
    }

    /// Reads a line with its end into `lines`, at most a byte more than it may have; where it begins there, or `None` at the end
    /// of the file.
    fn read_line(&mut self) -> Result<Option<usize>, LinesError> {
        let bytes_max = self.source.line_bytes_max;
        let begin = self.lines.len();
        let failed = self.io("read");
        let Some(file) = &mut self.file else {
            return Err(failed(io::Error::other("it is not open")));
        };
        let one_more = (bytes_max as u64).saturating_add(1);
        let read = file.take(one_more).read_until(b'\n', &mut self.lines).map_err(failed)?;
        if read <= bytes_max {
            self.in_a_line |= read > 0 && self.lines.last() != Some(&b'\n');
        }
        Ok((read > 0).then_some(begin))
    }

    /// Goes on behind a line of which only the beginning was read, a piece at a time.
    fn pass_over_line(&mut self) -> Result<(), LinesError> {
        while self.lines.last() != Some(&b'\n') {
            self.settle();
            let failed = self.io("read");
            let Some(file) = &mut self.file else { return Ok(()) };
            let piece = file.take(READ_BYTES as u64).read_until(b'\n', &mut self.lines);
            if piece.map_err(failed)? == 0 {
                self.in_a_line = true;
                break;
            }
        }
        Ok(())
    }

    /// Emits a line, or lets it take the course of a bad record.
    fn emit(&mut self, begin: usize, out: &mut SourceOutput<String>) -> Result<(), LinesError> {
        let error = match self.decode(begin) {
            Ok(event) => {
                out.emit(event);
                return Ok(());
            }
            Err(error) => error,
        };
        let line = without_end(&self.lines[begin..]);
        let shown = String::from_utf8_lossy(&line[..line.len().min(SHOWN_BYTES)]).into_owned();
        if matches!(error, LinesError::TooLong { .. }) {
            self.pass_over_line()?;
        }
        match self.source.on_bad_record {
            OnBadRecord::Fail => out.reject(shown, error),
            OnBadRecord::Skip => out.skip(error),
        }
        Ok(())
    }

    /// The event of a line.
    fn decode(&self, begin: usize) -> Result<String, LinesError> {
        let offset = self.trail.offset() + begin as u64;
        let (path, bytes_max) = (|| self.source.path.clone(), self.source.line_bytes_max);
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

    /// Brings the trail to the end of what was read.
    fn settle(&mut self) {
        self.trail.extend(&self.lines);
        self.lines.clear();
        // One long line must not hold its memory for ever.
        self.lines.shrink_to(4 * LINES_BYTES);
    }
}

impl StatefulSource for LinesInstance {
    type Out = String;
    type State = Position;

    fn setup(&mut self, instance: &Instance, state: Option<Position>) -> Result<(), BoxError> {
        if instance.parallelism() > 1 {
            let parallelism = instance.parallelism();
            return Err(Permanent::new(LinesError::Parallelism { parallelism }).into());
        }
        let opened = File::open(&self.source.path).map_err(self.io("open"));
        let mut file = opened.map_err(|error| match &error {
            LinesError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Permanent::new(error).into()
            }
            _ => BoxError::from(error),
        })?;
        if let Some(position) = state {
            self.resume(&mut file, &position)?;
        }
        file.seek(SeekFrom::Start(self.trail.offset())).map_err(self.io("seek in"))?;
        self.file = Some(BufReader::with_capacity(READ_BYTES, file));
        Ok(())
    }

    fn get_events(&mut self, out: &mut SourceOutput<String>) -> Result<Next, BoxError> {
        for _ in 0..out.room() {
            let begin = match self.in_a_line {
                true => None,
                false => self.read_line()?,
            };
            let Some(begin) = begin else {
                self.settle();
                return Ok(Next::End);
            };
            self.emit(begin, out)?;
            if self.lines.len() >= LINES_BYTES {
                self.settle();
            }
        }
        self.settle();
        Ok(Next::Now)
    }

    fn state(&self) -> Position {
        Position { trail: self.trail.mark(), in_a_line: self.in_a_line }
    }

    fn event_bytes(line: &String) -> usize {
        size_of::<String>() + line.len()
    }
}

/// A line without `\n` or `\r\n`, and without any more `\r` before it.
fn without_end(line: &[u8]) -> &[u8] {
    let kept = line.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n'));
    &line[..kept.map_or(0, |last| last + 1)]
}
