//! The source of the killed process in splits: number `n` is in split `n % 3`. Every process reads them at another
//! parallelism.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use streamwork::{BoxError, Job, Next, SourceOutput, SplitSource, SplitStart, Stream};

use crate::child::{Count, Counted, Phase, leave};
use crate::oracle::stamp;

const SPLITS: u64 = 3;

pub(crate) struct SplitNumbers {
    next: BTreeMap<u64, u64>,
    end: u64,
    /// Where to note that events flow; `None` once that is noted.
    flow: Option<PathBuf>,
}

impl SplitNumbers {
    /// Counted, as they are without splits.
    pub(crate) fn counted(job: &Job, end: u64, directory: &Path) -> Stream<Counted> {
        let files = std::fs::read_dir(directory).expect("the test's directory");
        let names = files.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let processes = names.filter(|name| name.starts_with("Starting-")).count();
        let directory = directory.to_owned();
        let numbers = move || Self { next: BTreeMap::new(), end, flow: Some(directory.clone()) };
        job.split_source("numbers", numbers)
            .parallelism(1 + processes % 3)
            .global()
            .stateful("count", Count::default)
    }
}

impl SplitSource for SplitNumbers {
    type Out = (u64, u64);
    type Position = u64;

    fn discover(&mut self) -> Result<Vec<String>, BoxError> {
        Ok((0..SPLITS).map(|split| split.to_string()).collect())
    }
    fn add(&mut self, split: &str, start: SplitStart<u64>) -> Result<(), BoxError> {
        let split = split.parse()?;
        self.next.insert(split, start.position().unwrap_or(split));
        Ok(())
    }
    fn remove(&mut self, _: &str) -> Result<(), BoxError> {
        Err("no split of this source goes".into())
    }
    fn position(&self, split: &str) -> u64 {
        split.parse().map_or(0, |split: u64| self.next[&split])
    }
    fn get_events(&mut self, out: &mut SourceOutput<(u64, u64)>) -> Result<Next, BoxError> {
        if let Some(directory) = self.flow.take() {
            leave(&directory, Phase::Flowing);
        }
        for next in self.next.values_mut() {
            for _ in 0..7.min(out.room()) {
                if *next < self.end {
                    out.emit((*next, stamp(*next)));
                    *next += SPLITS;
                }
            }
        }
        let done = self.next.values().all(|next| *next >= self.end);
        Ok(if done { Next::End } else { Next::After(Duration::from_micros(300)) })
    }
}
