//! One instance of the source: its partitions, in turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::position::{self, Position};
use super::{EventLogSource, Reach, Start};
use crate::api::bad_record::RawRecord;
use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::source::Next;
use crate::api::source_output::{BYTES_MAX, SourceOutput};
use crate::api::split_source::{SplitSource, SplitStart};
use crate::connectors::bad_record::OnBadRecord;
use crate::connectors::lost_position::{Loss, LostPosition, OnLostPosition};
use crate::error::{BoxError, Permanent};
use crate::log::{Limit, LogError, LogReader, Offset, Record};

/// Records taken from one partition before the next one has its turn.
const TURN: usize = 256;
/// The shortest pause of a source that is held back by [`EventLogSource::per_second_max`].
const PACE: Duration = Duration::from_millis(1);

/// One instance of the source.
pub(super) struct LogInstance<T> {
    source: EventLogSource<T>,
    reader: Option<LogReader<T>>,
    lanes: Vec<Lane>,
    /// The lane whose turn it is.
    turn: usize,
    records: Vec<Record<T>>,
    started: Instant,
    emitted: u64,
}

/// One partition of this instance.
struct Lane {
    position: Position,
    /// Where it ends, if it does.
    end: Option<Offset>,
}

impl Lane {
    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| self.position.next >= end)
    }

    /// How many records may be read at once.
    fn room(&self, wanted: usize) -> usize {
        let left =
            self.end.map_or(u64::MAX, |end| end.get().saturating_sub(self.position.next.get()));
        wanted.min(TURN).min(usize::try_from(left).unwrap_or(usize::MAX))
    }
}

impl<T: Event + DeserializeOwned> LogInstance<T> {
    pub(super) fn new(source: EventLogSource<T>) -> Self {
        Self {
            source,
            reader: None,
            lanes: Vec::new(),
            turn: 0,
            records: Vec::new(),
            started: Instant::now(),
            emitted: 0,
        }
    }

    /// The number of events that may be emitted now, and when to ask again if it is 0.
    fn allowance(&self, room: usize) -> (usize, Duration) {
        let Some(per_second) = self.source.per_second_max else { return (room, PACE) };
        let due = (self.started.elapsed().as_secs_f64() * per_second) as u64;
        let allowed = usize::try_from(due.saturating_sub(self.emitted)).unwrap_or(usize::MAX);
        (room.min(allowed), Duration::from_secs_f64(1.0 / per_second).max(PACE))
    }

    /// Opens the log. Partitions that are being read continue where they stopped, if possible.
    fn open(&mut self) -> Result<(), BoxError> {
        let mut reader = LogReader::open_on(Arc::clone(&self.source.disk), &self.source.directory)?;
        for number in 0..self.lanes.len() {
            let position = self.lanes[number].position;
            self.lanes[number] = self.lane(&mut reader, position.partition, Some(position))?;
        }
        self.reader = Some(reader);
        Ok(())
    }

    /// A partition from its position, or from the start.
    fn lane(
        &self,
        reader: &mut LogReader<T>,
        partition: u32,
        known: Option<Position>,
    ) -> Result<Lane, BoxError> {
        let position = match known {
            Some(position) => match position::loss(reader, &position)? {
                None => position,
                Some(loss) => self.source.elsewhere(reader, &position, loss)?,
            },
            None => {
                let next = match self.source.start {
                    Start::Earliest => reader.earliest(partition)?,
                    Start::Time { unix_ms } => reader.seek_to_time(partition, unix_ms)?,
                };
                Position { log: reader.id(), partition, next, before: None }
            }
        };
        let end = match self.source.reach {
            Reach::End => Some(reader.end(partition)?),
            Reach::Forever => None,
        };
        Ok(Lane { position, end })
    }

    fn reader(&mut self) -> Result<&mut LogReader<T>, BoxError> {
        self.reader.as_mut().ok_or_else(|| "the event log is not open".into())
    }

    /// Emits records of one partition, at most this many, and returns their number.
    fn read(
        &mut self,
        lane: usize,
        wanted: usize,
        out: &mut SourceOutput<T>,
    ) -> Result<usize, BoxError> {
        let reader = self.reader.as_mut().ok_or("the event log is not open")?;
        let lane = &mut self.lanes[lane];
        let Position { partition, next, .. } = lane.position;
        let wanted = lane.room(wanted);
        if wanted > 0 {
            let most = Limit { records: wanted, bytes: BYTES_MAX };
            match reader.read_some(partition, next, most, &mut self.records) {
                Ok((next, bytes)) => {
                    lane.position.next = next;
                    // A decoded event takes about as many bytes as its encoded form.
                    out.weigh(bytes);
                }
                Err(LogError::OffsetGone { earliest, .. }) => {
                    let loss = Loss::Retained { earliest };
                    lane.position = self.source.elsewhere(reader, &lane.position, loss)?;
                    return Ok(0);
                }
                Err(error @ LogError::Decode { offset, .. }) => {
                    lane.position.next = offset.next();
                    lane.position.before = None;
                    self.emitted += 1;
                    self.reject(error, out);
                    return Ok(1);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let found = self.records.len();
        if found > 0 {
            lane.position.before = reader.last_checksum(partition);
        }
        self.records.drain(..).for_each(|record| out.emit(record.event));
        self.emitted += found as u64;
        Ok(found)
    }

    /// Treats a record that cannot be decoded as a bad record.
    fn reject(&self, error: LogError, out: &mut SourceOutput<T>) {
        match (self.source.on_bad_record, &error) {
            (OnBadRecord::Skip, _) => out.skip(error),
            (OnBadRecord::Fail, LogError::Decode { partition, offset, bytes, .. }) => {
                let (split, bytes) = (partition.to_string(), bytes.clone());
                let record = RawRecord { split, offset: offset.get(), bytes };
                out.reject_record(record, None, error);
            }
            (OnBadRecord::Fail, _) => out.fail_record(error),
        }
    }

    /// Emits records of the partitions, in turn. Returns whether the last read of each of them found nothing.
    fn read_in_turn(
        &mut self,
        mut room: usize,
        out: &mut SourceOutput<T>,
    ) -> Result<bool, BoxError> {
        let mut empty_handed = 0;
        while room > 0 && out.room() > 0 && empty_handed < self.lanes.len() {
            let lane = self.turn;
            self.turn = (self.turn + 1) % self.lanes.len();
            let found = self.read(lane, room, out)?;
            room -= found;
            empty_handed = if found == 0 { empty_handed + 1 } else { 0 };
        }
        Ok(empty_handed > 0)
    }

    /// The log that was read no longer exists: no more records will come from the open files.
    fn reopen(&mut self, loss: Loss) -> Result<(), BoxError> {
        if self.source.on_lost_position == OnLostPosition::Fail {
            let first = self.lanes.first().map(|lane| lane.position);
            let (partition, next) = first.map_or((0, Offset::ZERO), |p| (p.partition, p.next));
            let lost = LostPosition::in_log(&self.source.directory, partition, next, loss);
            return Err(Permanent::new(lost).into());
        }
        match self.open() {
            // A new one may follow: the process that removed it may not have created the next one yet.
            Err(error) if error.downcast_ref().is_some_and(is_not_a_log) => Ok(()),
            opened => opened,
        }
    }
}

impl<T> EventLogSource<T> {
    /// Where to continue instead, as the user has chosen.
    fn elsewhere(
        &self,
        reader: &mut LogReader<T>,
        lost: &Position,
        loss: Loss,
    ) -> Result<Position, BoxError> {
        let Position { partition, next, .. } = *lost;
        let error = LostPosition::in_log(&self.directory, partition, next, loss);
        let policy = self.on_lost_position;
        let next = match policy {
            OnLostPosition::Fail => return Err(Permanent::new(error).into()),
            OnLostPosition::Earliest => reader.earliest(partition)?,
            OnLostPosition::Latest => reader.end(partition)?,
        };
        tracing::warn!(%error, ?policy, %next, "the event log is read from another place");
        Ok(Position { log: reader.id(), partition, next, before: None })
    }
}

impl<T: Event + DeserializeOwned> SplitSource for LogInstance<T> {
    type Out = T;
    type Position = Position;

    fn setup(&mut self, _: &Instance) -> Result<(), BoxError> {
        self.lanes.clear();
        self.turn = 0;
        self.open()?;
        self.started = Instant::now();
        Ok(())
    }

    fn discover(&mut self) -> Result<Vec<String>, BoxError> {
        let partitions = self.reader()?.partitions();
        Ok((0..partitions).map(split_of).collect())
    }

    fn add(&mut self, split: &str, start: SplitStart<Position>) -> Result<(), BoxError> {
        let partition = partition_of(split)?;
        let mut reader = self.reader.take().ok_or("the event log is not open")?;
        let lane = self.lane(&mut reader, partition, start.position());
        self.reader = Some(reader);
        self.lanes.push(lane?);
        self.lanes.sort_by_key(|lane| lane.position.partition);
        Ok(())
    }

    fn remove(&mut self, split: &str) -> Result<(), BoxError> {
        let partition = partition_of(split)?;
        self.lanes.retain(|lane| lane.position.partition != partition);
        self.turn = 0;
        Ok(())
    }

    fn position(&self, split: &str) -> Position {
        let lane = self.lanes.iter().find(|lane| split_of(lane.position.partition) == split);
        lane.expect("only partitions that were added are asked for").position
    }

    fn get_events(&mut self, out: &mut SourceOutput<T>) -> Result<Next, BoxError> {
        let (room, pace) = self.allowance(out.room());
        if room == 0 && !self.lanes.iter().all(Lane::is_over) {
            return Ok(Next::After(pace));
        }
        let nothing = match self.read_in_turn(room, out) {
            Ok(nothing) => nothing,
            Err(error) => {
                self.reopen(replaced(error)?)?;
                return Ok(Next::After(self.source.poll_every));
            }
        };
        if self.lanes.iter().all(Lane::is_over) {
            return Ok(Next::End);
        }
        if !nothing {
            return Ok(Next::Now);
        }
        if let Some(Err(error)) = self.reader.as_ref().map(LogReader::check) {
            self.reopen(replaced(error.into())?)?;
        }
        Ok(Next::After(self.source.poll_every))
    }
}

/// The name of a partition as a split.
fn split_of(partition: u32) -> String {
    // So that the order of names is that of numbers.
    format!("{partition:05}")
}

fn partition_of(split: &str) -> Result<u32, BoxError> {
    split.parse().map_err(|_| format!("\"{split}\" is no partition of an event log").into())
}

/// The loss that an error of the whole log means; any other error is returned.
fn replaced(error: BoxError) -> Result<Loss, BoxError> {
    match error.downcast_ref() {
        Some(LogError::NotALog { dir }) => Ok(Loss::Removed { log: dir.clone() }),
        Some(LogError::MadeAnew { opened, found, .. }) => {
            Ok(Loss::MadeAnew { read: *opened, found: *found })
        }
        _ => Err(error),
    }
}

fn is_not_a_log(error: &LogError) -> bool {
    matches!(error, LogError::NotALog { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{EventLog, LogOptions};
    use crate::testkit::check_split_source;

    #[test]
    fn a_log_is_read_on_from_any_offset_in_each_partition() {
        let directory = tempfile::tempdir().expect("a directory");
        let options = LogOptions { partitions: Some(2), ..LogOptions::default() };
        let mut log = EventLog::create_or_open(directory.path(), options).expect("a new log");
        for n in 0..300_u32 {
            log.append(n % 2, i64::from(n), &n).expect("a record is taken");
        }
        log.close().expect("the log is closed");
        let source = EventLogSource::<u32>::open(directory.path()).expect("the log is there");
        let source = source.until_end();
        let read =
            check_split_source(move || LogInstance::new(source.clone())).expect("it is read");
        let every_other = |from| (from..300).step_by(2).collect::<Vec<u32>>();
        let expected = [("00000".to_owned(), every_other(0)), ("00001".to_owned(), every_other(1))];
        assert_eq!(read, expected.into());
    }
}
