//! A source of numbers in splits, one of which appears while the job runs. It checks the durable positions that it is
//! told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use streamwork::{BoxError, Event, Next, SourceOutput, SplitSource, SplitStart};

/// The outside system: number `n` is in split `n % splits`. It survives the simulated process.
#[derive(Clone, Debug)]
pub(crate) struct Outside {
    end: u64,
    splits: u64,
    noted: Arc<Mutex<Noted>>,
}

#[derive(Debug, Default)]
struct Noted {
    /// How often splits were looked for. The last one is there from the second time on.
    looked: u64,
    last_is_read: bool,
    /// By split, the durable position that the source was told.
    durable: BTreeMap<u64, u64>,
    broken_promises: Vec<String>,
}

impl Outside {
    pub(crate) fn with(end: u64, splits: u64) -> Self {
        Self { end, splits, noted: Arc::default() }
    }

    /// Splits that were begun before a position that the source was told is durable.
    pub(crate) fn broken_promises(&self) -> Vec<String> {
        self.noted.lock().broken_promises.clone()
    }

    /// Splits of which the source was told a position.
    pub(crate) fn told(&self) -> usize {
        self.noted.lock().durable.len()
    }
}

/// Reads them.
pub(crate) struct SplitNumbers<T> {
    outside: Outside,
    make: Box<dyn Fn(u64) -> T>,
    next: BTreeMap<u64, u64>,
    polls: u64,
}

impl<T> SplitNumbers<T> {
    pub(crate) fn of(outside: &Outside, make: impl Fn(u64) -> T + 'static) -> Self {
        let (outside, make) = (outside.clone(), Box::new(make));
        Self { outside, make, next: BTreeMap::new(), polls: 0 }
    }
}

impl<T: Event> SplitSource for SplitNumbers<T> {
    type Out = T;
    type Position = u64;

    fn discover(&mut self) -> Result<Vec<String>, BoxError> {
        let mut noted = self.outside.noted.lock();
        noted.looked += 1;
        let hidden = u64::from(noted.looked < 2);
        Ok((0..self.outside.splits - hidden).map(|split| split.to_string()).collect())
    }

    fn discover_every(&self) -> Option<Duration> {
        Some(Duration::from_micros(100))
    }

    fn add(&mut self, split: &str, start: SplitStart<u64>) -> Result<(), BoxError> {
        let number: u64 = split.parse()?;
        let mut noted = self.outside.noted.lock();
        noted.last_is_read |= number + 1 == self.outside.splits;
        let next = start.clone().position().unwrap_or(number);
        if noted.durable.get(&number).is_some_and(|durable| next < *durable) {
            let broken = format!("{split} begins at {start:?}, {:?} are durable", noted.durable);
            noted.broken_promises.push(broken);
        }
        self.next.insert(number, next);
        Ok(())
    }

    fn remove(&mut self, split: &str) -> Result<(), BoxError> {
        self.next.remove(&split.parse()?);
        Ok(())
    }

    fn position(&self, split: &str) -> u64 {
        split.parse().map_or(0, |number: u64| self.next[&number])
    }

    /// Some events of some splits at a time.
    fn get_events(&mut self, out: &mut SourceOutput<T>) -> Result<Next, BoxError> {
        self.polls += 1;
        let Outside { end, splits, .. } = self.outside;
        for (split, next) in &mut self.next {
            if (self.polls + split).is_multiple_of(3) || *next >= end {
                continue;
            }
            out.emit((self.make)(*next));
            *next += splits;
        }
        let done = self.next.values().all(|next| *next >= end);
        Ok(match done && self.outside.noted.lock().last_is_read {
            true => Next::End,
            false if done => Next::WhenWoken,
            false => Next::Now,
        })
    }

    fn checkpointed(&mut self, split: &str, position: &u64) -> Result<(), BoxError> {
        let mut noted = self.outside.noted.lock();
        let durable = noted.durable.entry(split.parse()?).or_default();
        *durable = (*durable).max(*position);
        Ok(())
    }
}
