//! One instance of a source of lines: its files, in turn.
//!
//! ```text
//!   added, grown ──▶ waiting ──▶ open (64 at most, in turn) ──▶ at its end: closed, its position is kept
//!                       ▲           │
//!                       └───────────┘  after many turns, where others wait
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::LinesSource;
use super::error::LinesError;
use super::file::{LinesFile, missing};
use super::position::Position;
use super::turn::Turn;
use crate::api::instance::Instance;
use crate::api::source::Next;
use crate::api::source_output::SourceOutput;
use crate::api::split_source::{SplitSource, SplitStart};
use crate::error::{BoxError, Permanent};

/// Files that are open at once, at most.
const OPEN_MAX: usize = 64;
/// Lines taken from one file before the next one has its turn.
const LINES_PER_TURN: usize = 1024;
/// Turns in one call, at most: files may be empty.
const TURNS_PER_CALL: usize = 64;
/// Turns of an open file, before it is closed for one that waits.
const TURNS_OPEN: u32 = 16;

pub(super) struct LinesInstance {
    source: LinesSource,
    files: BTreeMap<String, LinesFile>,
    /// Those that are open, in turn.
    open: VecDeque<String>,
    /// Those that are not open, and may have something to be read.
    waiting: VecDeque<String>,
    /// When files that had been read to their ends were last looked at.
    looked: Instant,
    /// The buffer of a turn.
    lines: Vec<u8>,
}

impl LinesInstance {
    pub(super) fn new(source: LinesSource) -> Self {
        Self {
            source,
            files: BTreeMap::new(),
            open: VecDeque::new(),
            waiting: VecDeque::new(),
            looked: Instant::now(),
            lines: Vec::new(),
        }
    }

    /// How many files are open.
    #[cfg(test)]
    pub(super) fn open_files(&self) -> usize {
        self.files.values().filter(|file| file.reader.is_some()).count()
    }

    /// Puts files that have grown among the waiting ones, if it is time to look for them.
    fn look(&mut self, every: Duration) -> Result<(), LinesError> {
        if self.looked.elapsed() < every {
            return Ok(());
        }
        for (name, file) in &mut self.files {
            if file.has_changed()? {
                self.waiting.push_back(name.clone());
            }
        }
        self.looked = Instant::now();
        Ok(())
    }

    /// The file whose turn it is: one that waits, as long as there is room.
    fn next(&mut self) -> Option<String> {
        let opened = if self.open.len() < OPEN_MAX { self.waiting.pop_front() } else { None };
        opened.or_else(|| self.open.pop_front())
    }

    /// Emits lines of a file, at most this many, and returns their number.
    fn take_turn(
        &mut self,
        name: String,
        room: usize,
        out: &mut SourceOutput<String>,
    ) -> Result<usize, BoxError> {
        let Some(file) = self.files.get_mut(&name) else { return Ok(0) };
        if file.reader.is_none() && !file.open(&self.source)? {
            return Ok(0);
        }
        let wanted = room.min(LINES_PER_TURN);
        let found = Turn::new(file, &self.source, &mut self.lines).read(wanted, out)?;
        file.turns += 1;
        if found < wanted {
            file.finish()?;
        } else if file.turns >= TURNS_OPEN && !self.waiting.is_empty() {
            file.pause();
            self.waiting.push_back(name);
        } else {
            self.open.push_back(name);
        }
        Ok(found)
    }
}

impl SplitSource for LinesInstance {
    type Out = String;
    type Position = Position;

    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        let parallelism = instance.parallelism();
        if parallelism > 1 && self.source.input.is_one_file() {
            return Err(Permanent::new(LinesError::Parallelism { parallelism }).into());
        }
        for path in self.source.input.named() {
            // If a file cannot be read, that is reported before a line of any file is emitted.
            let opened = LinesFile::new(path.clone()).try_open();
            opened.map_err(|error| missing(error, &self.source))?;
        }
        Ok(())
    }

    fn discover(&mut self) -> Result<Vec<String>, BoxError> {
        self.source.input.names().map_err(|error| match &error {
            LinesError::FileName { .. } => Permanent::new(error).into(),
            _ if error.is_not_found() => Permanent::new(error).into(),
            _ => error.into(),
        })
    }

    fn discover_every(&self) -> Option<Duration> {
        self.source.input.discover_every()
    }

    fn add(&mut self, split: &str, start: SplitStart<Position>) -> Result<(), BoxError> {
        let path = self.source.input.path_of(split);
        let path = path.ok_or_else(|| format!("\"{split}\" is no file of this source"))?;
        let mut file = LinesFile::new(path);
        let has_more = match start.position() {
            Some(position) => file.resume(&position, &self.source)?,
            None => true,
        };
        if has_more {
            self.waiting.push_back(split.to_owned());
        }
        self.files.insert(split.to_owned(), file);
        Ok(())
    }

    fn remove(&mut self, split: &str) -> Result<(), BoxError> {
        self.files.remove(split);
        self.open.retain(|name| name != split);
        self.waiting.retain(|name| name != split);
        Ok(())
    }

    fn position(&self, split: &str) -> Position {
        let file = self.files.get(split);
        file.expect("only files that were added are asked for").position()
    }

    fn get_events(&mut self, out: &mut SourceOutput<String>) -> Result<Next, BoxError> {
        let every = self.discover_every();
        if let Some(every) = every {
            self.look(every)?;
        }
        let mut room = out.room();
        for _ in 0..TURNS_PER_CALL {
            if room == 0 || out.room() == 0 {
                break;
            }
            let Some(name) = self.next() else { break };
            room -= self.take_turn(name, room, out)?;
        }
        if !self.open.is_empty() || !self.waiting.is_empty() {
            return Ok(Next::Now);
        }
        Ok(match every {
            Some(every) => Next::After(every.saturating_sub(self.looked.elapsed())),
            None => Next::End,
        })
    }

    fn event_bytes(line: &String) -> usize {
        size_of::<String>() + line.len()
    }
}
