//! [`Columns`]: what the engine knows of events beside the events themselves, one column for each kind. A column
//! has one entry per event, or none at all where it is not used.
//!
//! Whatever moves events moves the entries of all columns through this type, so a new column is added here.

use std::ops::Range;

use crate::id::Root;
use crate::time::EventTime;

/// The columns beside the events of a batch.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    /// The root of each event where events are tracked.
    pub(crate) roots: Vec<Root>,
    /// The time of each event on a stream with event time.
    pub(crate) times: Vec<EventTime>,
}

/// The entries of one event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) root: Option<Root>,
    pub(crate) time: Option<EventTime>,
}

impl Columns {
    /// Whether no column is used.
    #[inline]
    pub(crate) fn are_empty(&self) -> bool {
        self.roots.is_empty() && self.times.is_empty()
    }

    /// The number of events that the used columns have entries for.
    #[inline]
    pub(crate) fn rows(&self) -> usize {
        self.roots.len().max(self.times.len())
    }

    pub(crate) fn clear(&mut self) {
        self.roots.clear();
        self.times.clear();
    }

    pub(crate) fn row(&self, at: usize) -> Row {
        Row { root: self.roots.get(at).copied(), time: self.times.get(at).copied() }
    }

    /// The root of the event at this place, if events are tracked.
    pub(crate) fn root(&self, at: usize) -> Root {
        self.roots.get(at).copied().unwrap_or(Root::NONE)
    }

    /// The roots of these events; none where events are not tracked.
    pub(crate) fn roots(&self, of: Range<usize>) -> &[Root] {
        part(&self.roots, of)
    }

    #[inline]
    pub(crate) fn push(&mut self, row: Row) {
        self.roots.extend(row.root);
        self.times.extend(row.time);
    }

    /// Copies the entries of these events to the end.
    pub(crate) fn extend_from(&mut self, other: &Self, of: Range<usize>) {
        self.roots.extend_from_slice(part(&other.roots, of.clone()));
        self.times.extend_from_slice(part(&other.times, of));
    }

    /// Adds entries that are equal to this row, up to this number of events.
    pub(crate) fn fill(&mut self, rows: usize, with: Row) {
        if let Some(root) = with.root {
            self.roots.resize(rows, root);
        }
        if let Some(time) = with.time {
            self.times.resize(rows, time);
        }
    }

    /// Moves all entries to the end of these columns.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.roots.append(&mut other.roots);
        self.times.append(&mut other.times);
    }

    /// Takes off the entries of everything after the first `events`.
    pub(crate) fn split_off(&mut self, events: usize) -> Self {
        Self {
            roots: self.roots.split_off(events.min(self.roots.len())),
            times: self.times.split_off(events.min(self.times.len())),
        }
    }

    /// Removes the entries of these events.
    pub(crate) fn remove(&mut self, of: Range<usize>) {
        remove(&mut self.roots, of.clone());
        remove(&mut self.times, of);
    }

    /// Keeps the entries of the first `events`.
    pub(crate) fn truncate(&mut self, events: usize) {
        self.roots.truncate(events);
        self.times.truncate(events);
    }

    /// Copies the entries of one event to those of an earlier one.
    #[inline]
    pub(crate) fn move_down(&mut self, from: usize, to: usize) {
        move_down(&mut self.roots, from, to);
        move_down(&mut self.times, from, to);
    }
}

fn part<T>(column: &[T], of: Range<usize>) -> &[T] {
    if column.is_empty() { &[] } else { &column[of] }
}

fn remove<T>(column: &mut Vec<T>, of: Range<usize>) {
    if !column.is_empty() {
        column.drain(of);
    }
}

#[inline]
fn move_down<T: Copy>(column: &mut [T], from: usize, to: usize) {
    if !column.is_empty() {
        column[to] = column[from];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns of this many events, with the roots and times that are used.
    fn columns(events: u64, roots: bool, times: bool) -> Columns {
        let all = 0..events;
        Columns {
            roots: all.clone().filter(|_| roots).map(|n| Root::new(0, n)).collect(),
            times: all.filter(|_| times).map(|n| EventTime::from_unix_ms(n as i64)).collect(),
        }
    }

    /// The events that the entries are of, where a column is used.
    fn of(columns: &Columns) -> Vec<u64> {
        let roots: Vec<u64> = columns.roots.iter().map(|root| root.sequence()).collect();
        let times: Vec<u64> = columns.times.iter().map(|time| time.unix_ms() as u64).collect();
        assert!(roots.is_empty() || times.is_empty() || roots == times, "{columns:?}");
        if roots.is_empty() { times } else { roots }
    }

    #[test]
    fn whatever_moves_the_entries_moves_those_of_all_columns_that_are_used() {
        for (roots, times) in [(true, true), (true, false), (false, true), (false, false)] {
            let used = |rows: &[u64]| if roots || times { rows.to_vec() } else { Vec::new() };
            let five = || columns(5, roots, times);
            assert_eq!(
                (five().rows(), five().are_empty()),
                (used(&[0; 5]).len(), !roots && !times)
            );

            let mut first = five();
            let mut rest = first.split_off(2);
            assert_eq!((of(&first), of(&rest)), (used(&[0, 1]), used(&[2, 3, 4])));
            rest.append(&mut first);
            assert_eq!((of(&rest), first.are_empty()), (used(&[2, 3, 4, 0, 1]), true));
            rest.extend_from(&five(), 3..5);
            assert_eq!(of(&rest), used(&[2, 3, 4, 0, 1, 3, 4]));
            rest.push(five().row(2));
            rest.remove(1..4);
            assert_eq!(of(&rest), used(&[2, 1, 3, 4, 2]));
            rest.fill(7, five().row(4));
            assert_eq!(of(&rest), used(&[2, 1, 3, 4, 2, 4, 4]));
            rest.move_down(3, 0);
            rest.truncate(2);
            assert_eq!(of(&rest), used(&[4, 1]));
            rest.clear();
            assert!(rest.are_empty());
        }
    }
}
