//! The output as a reader sees it, and the verdict on it: lost, duplicated, altered or invented events.

use std::collections::BTreeMap;
use std::path::Path;

use crate::child;

/// How many times each event was seen, and the count that the operator's state had reached.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) times: BTreeMap<u64, u64>,
    pub(crate) highest_count: u64,
    events: u64,
}

/// A stamp beside an event's number, so that an altered event is detected.
pub(crate) fn stamp(event: u64) -> u64 {
    (event + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

impl Seen {
    /// Reads all visible output: committed files, complete lines. Events are `0..events`.
    ///
    /// # Panics
    /// If a line was altered, or tells of an event that no source emitted.
    pub(crate) fn read(out: &Path, events: u64) -> Self {
        let mut seen = Self { times: BTreeMap::new(), highest_count: 0, events };
        for entry in std::fs::read_dir(out).expect("something was written") {
            let path = entry.expect("a directory entry").path();
            if path.extension().is_some_and(|extension| extension == "pending") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a file of lines");
            for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
                let numbers: Vec<u64> =
                    line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
                let [event, count, mark] = numbers[..] else {
                    panic!("{}: an altered line: {line:?}", path.display());
                };
                assert_eq!(mark, stamp(event), "{}: altered: {line:?}", path.display());
                assert!(event < events, "{}: invented: {line:?}", path.display());
                *seen.times.entry(event).or_default() += 1;
                seen.highest_count = seen.highest_count.max(count);
            }
        }
        seen
    }

    pub(crate) fn lost(&self) -> u64 {
        self.events - self.times.len() as u64
    }

    pub(crate) fn repeated(&self) -> u64 {
        self.times.values().map(|times| times - 1).sum()
    }

    /// Compares output and state with the promise of a guarantee.
    ///
    /// # Panics
    /// If the promise is broken.
    pub(crate) fn assert_kept(&self, semantics: &str, context: &str) {
        let (lost, repeated) = (self.lost(), self.repeated());
        let (count, events) = (self.highest_count, self.events);
        let kept = match child::guarantee_of(semantics) {
            "at-most-once" => repeated == 0 && count <= events,
            "exactly-once" => (lost, repeated, count) == (0, 0, events),
            _ => lost == 0 && count >= events,
        };
        assert!(
            kept,
            "{semantics}, {context}: {lost} lost, {repeated} repeated, counted {count} of {events}"
        );
    }
}
