//! [`LinesFile`]: one file of a source of lines, and the position up to which it was read. It is open only
//! while it is being read.

use std::fs::{self, File, Metadata};
use std::io::{BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::SystemTime;

use super::error::LinesError;
use super::position::{self, Place, Position};
use super::{LinesSource, OnLostPosition};
use crate::connectors::lost_position::LostPosition;
use crate::connectors::trail::Trail;
use crate::error::{BoxError, Permanent};

/// How much is read from a file at once.
pub(super) const READ_BYTES: usize = 1 << 16;

pub(super) struct LinesFile {
    pub(super) path: PathBuf,
    pub(super) trail: Trail,
    /// The last line had no end. It was the last of the file, so nothing is read any more.
    pub(super) in_a_line: bool,
    pub(super) reader: Option<BufReader<File>>,
    /// How many turns it has had since it was opened.
    pub(super) turns: u32,
    /// The look of the file when its last line had no end and was left for later.
    pub(super) held_back: Option<Look>,
    /// The look of the file when it had been read to its end; `None` while there may be more to read.
    at_end: Option<Look>,
}

/// Length and time of a file, by which a change is noticed without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Look {
    /// The look of a file that does not exist.
    const NOTHING: Self = Self { bytes: 0, modified: None };

    fn of(metadata: &Metadata) -> Self {
        Self { bytes: metadata.len(), modified: metadata.modified().ok() }
    }
}

impl LinesFile {
    /// A file that has not been read yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            trail: Trail::default(),
            in_a_line: false,
            reader: None,
            turns: 0,
            held_back: None,
            at_end: None,
        }
    }

    /// Opens the file to check that this is possible.
    pub(super) fn try_open(&self) -> Result<File, LinesError> {
        File::open(&self.path).map_err(LinesError::io("open", &self.path))
    }

    /// Continues where reading ended; returns whether the file has more lines now.
    pub(super) fn resume(
        &mut self,
        position: &Position,
        source: &LinesSource,
    ) -> Result<bool, BoxError> {
        let mut file = self.try_open().map_err(|error| missing(error, source))?;
        self.find(&mut file, position, source)?;
        let look = self.look(&file)?;
        let has_more = look.bytes != self.trail.offset();
        self.at_end = (!has_more).then_some(look);
        Ok(has_more)
    }

    /// Opens the file where it has been read to; `false` if it is gone, and may be.
    pub(super) fn open(&mut self, source: &LinesSource) -> Result<bool, BoxError> {
        let mut file = match self.try_open() {
            Ok(file) => file,
            Err(error) if error.is_not_found() && source.input.is_directory() => {
                self.at_end = Some(Look::NOTHING);
                return Ok(false);
            }
            Err(error) => return Err(missing(error, source)),
        };
        if self.trail.offset() > 0 {
            // It may have been replaced by another file since.
            self.find(&mut file, &self.position(), source)?;
        }
        let place = SeekFrom::Start(self.trail.offset());
        file.seek(place).map_err(LinesError::io("seek in", &self.path))?;
        self.reader = Some(BufReader::with_capacity(READ_BYTES, file));
        self.turns = 0;
        Ok(true)
    }

    /// Closes the file, which will have more turns.
    pub(super) fn pause(&mut self) {
        self.reader = None;
    }

    /// Closes the file, which has been read to its end.
    pub(super) fn finish(&mut self) -> Result<(), LinesError> {
        if let Some(reader) = self.reader.take() {
            self.at_end = Some(self.look(reader.get_ref())?);
        }
        Ok(())
    }

    /// Whether a file that had been read to its end has more to read now. A removed file has nothing.
    pub(super) fn has_changed(&mut self) -> Result<bool, LinesError> {
        let Some(at_end) = self.at_end else { return Ok(false) };
        let found = fs::metadata(&self.path).map_err(LinesError::io("look at", &self.path));
        let now = match found {
            Ok(metadata) => Look::of(&metadata),
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error),
        };
        // It may have grown after its last line was read and before this look.
        let is_read = at_end == now && now.bytes == self.trail.offset();
        let has_changed = !is_read || self.held_back.is_some();
        if has_changed {
            self.at_end = None;
        }
        Ok(has_changed)
    }

    pub(super) fn position(&self) -> Position {
        Position { trail: self.trail.mark(), in_a_line: self.in_a_line }
    }

    pub(super) fn look(&self, file: &File) -> Result<Look, LinesError> {
        let metadata = file.metadata().map_err(LinesError::io("measure", &self.path))?;
        Ok(Look::of(&metadata))
    }

    /// Finds the position in a file that was read before.
    fn find(
        &mut self,
        file: &mut File,
        position: &Position,
        source: &LinesSource,
    ) -> Result<(), BoxError> {
        let failed = |action| LinesError::io(action, &self.path);
        let loss = match position::find(file, position).map_err(failed("read"))? {
            Place::Found(trail) => {
                // Still so if the file ends there: it may go on within that line later.
                self.in_a_line = position.in_a_line && trail.offset() == position.trail.offset;
                self.trail = trail;
                return Ok(());
            }
            Place::Lost(loss) => loss,
        };
        let policy = source.on_lost_position;
        let lost = LostPosition::in_file(&self.path, position.trail.offset, loss);
        let offset = match policy {
            OnLostPosition::Fail => return Err(Permanent::new(lost).into()),
            OnLostPosition::Earliest => 0,
            OnLostPosition::Latest => self.look(file)?.bytes,
        };
        tracing::warn!(%lost, ?policy, offset, "the file is read from another place");
        self.in_a_line = position::is_in_a_line(file, offset).map_err(failed("read"))?;
        self.trail = Trail::at(file, offset).map_err(failed("read"))?;
        Ok(())
    }
}

/// A named file that does not exist: another attempt would not cure that.
pub(super) fn missing(error: LinesError, source: &LinesSource) -> BoxError {
    match error.is_not_found() && !source.input.is_directory() {
        true => Permanent::new(error).into(),
        false => error.into(),
    }
}
