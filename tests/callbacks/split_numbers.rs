//! The source of the matrix in splits: one with every event, one that is removed before an event of it is read, and
//! one that appears. The promises do not depend on the split of an event.

use std::collections::BTreeMap;
use std::time::Duration;

use streamwork::{BoxError, EventTime, Instance, Next, SourceOutput, SplitSource, SplitStart};

use super::{Numbers, StoredNumber};
use crate::EVENTS;

pub(crate) struct SplitNumbers {
    numbers: Numbers,
    next: BTreeMap<String, u64>,
}

impl SplitNumbers {
    pub(crate) fn of(numbers: Numbers) -> Self {
        Self { numbers, next: BTreeMap::new() }
    }

    /// Where it is in the split that has the events.
    fn at(&mut self) -> Option<&mut u64> {
        self.next.get_mut("all")
    }
}

impl SplitSource for SplitNumbers {
    type Out = u64;
    type Position = StoredNumber;

    fn setup(&mut self, _: &Instance) -> Result<(), BoxError> {
        self.numbers.world.strike("source", "setup")
    }
    fn discover(&mut self) -> Result<Vec<String>, BoxError> {
        self.numbers.world.strike("source", "discover")?;
        // It comes and goes.
        let (looked, names) = (&mut self.numbers.next, ["all", "some"]);
        *looked += 1;
        Ok(names.into_iter().take(1 + (*looked % 2) as usize).map(str::to_owned).collect())
    }
    fn discover_every(&self) -> Option<Duration> {
        Some(Duration::from_millis(1))
    }
    fn add(&mut self, split: &str, start: SplitStart<StoredNumber>) -> Result<(), BoxError> {
        self.numbers.world.strike("source", "add")?;
        let next = start.position().map_or(0, |stored| stored.value());
        self.next.insert(split.to_owned(), next);
        Ok(())
    }
    fn remove(&mut self, split: &str) -> Result<(), BoxError> {
        self.next.remove(split);
        self.numbers.world.strike("source", "remove")
    }
    fn position(&self, split: &str) -> StoredNumber {
        self.numbers.world.panic_if_struck("source", "position");
        StoredNumber::of_source(&self.numbers.world, self.next[split])
    }
    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        let Some(next) = self.at() else { return Err("boom: the split is not there".into()) };
        let until = (*next + 10).min(EVENTS);
        while *next < until && out.room() > 0 {
            out.emit(*next);
            *next += 1;
        }
        let reached = *next;
        self.numbers.world.strike("source", "get_events")?;
        out.advance_watermark(EventTime::from_unix_ms(reached as i64));
        let pause = Duration::from_micros(500);
        Ok(if reached < EVENTS { Next::After(pause) } else { Next::End })
    }
    fn checkpointed(&mut self, _: &str, _: &StoredNumber) -> Result<(), BoxError> {
        self.numbers.world.strike("source", "checkpointed")
    }
}
