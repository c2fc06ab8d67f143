//! [`Timers`]: the timers that are set, with or without a key, in processing time or in event time. A value:
//! it reads no clock and no watermark; its owner asks which timers are due.
//!
//! A timer is identified by its identity and its time. The identity is the tag that an operator gave; where
//! timers belong to keys, the key and its hash come before it. Timers are stored by time and by identity, so
//! that the timers of a range of identities are found without looking at others.
//!
//! Source of the rules: Flink's timer service (set twice they fire once; those of one time have an order).
//! One rule differs: timers that are set while others fire come after all that are due, so that a due timer
//! fires before those that it causes.
//!
//! With `n` timers, setting, clearing and firing one take `O(log n)` steps, clearing those of a range of
//! identities as many for each of them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::clock::Timestamp;
use crate::time::EventTime;

/// A point in processing time or in event time.
pub(crate) trait Moment: Copy + Ord {
    /// No moment is before this one.
    const FIRST: Self;
}

impl Moment for Timestamp {
    const FIRST: Self = Self(0);
}

impl Moment for EventTime {
    const FIRST: Self = Self::MIN;
}

/// The position of a timer in the order: the time at which it can fire, and when it was set.
type Place<At> = (At, u64);

/// The timers that have been set and have neither fired nor been cleared.
#[derive(Debug)]
pub(crate) struct Timers<At, Id> {
    /// In the order in which they fire.
    due: BTreeMap<Place<At>, (At, Id)>,
    /// The position of each.
    places: BTreeMap<(Id, At), Place<At>>,
    /// How many have been set so far.
    set: u64,
    /// While timers fire: up to which time.
    firing: Option<At>,
}

impl<At, Id> Default for Timers<At, Id> {
    fn default() -> Self {
        Self { due: BTreeMap::new(), places: BTreeMap::new(), set: 0, firing: None }
    }
}

impl<At: Moment, Id: Clone + Ord> Timers<At, Id> {
    /// Sets a timer. If it is set already it stays where it is.
    pub(crate) fn set(&mut self, at: At, id: Id) {
        // A timer that becomes due while others fire has to wait for those that are due already.
        let place = (self.firing.map_or(at, |until| until.max(at)), self.set);
        if let Entry::Vacant(free) = self.places.entry((id.clone(), at)) {
            free.insert(place);
            self.due.insert(place, (at, id));
            self.set += 1;
        }
    }

    /// Cancels a timer. If it is not set nothing happens.
    pub(crate) fn clear(&mut self, at: At, id: &Id) {
        if let Some(place) = self.places.remove(&(id.clone(), at)) {
            self.due.remove(&place);
        }
    }

    /// Cancels all timers whose identities lie between these two, which are included.
    pub(crate) fn clear_all(&mut self, first: &Id, last: &Id) {
        while let Some((id, at)) = self.first_of(first, last) {
            self.clear(at, &id);
        }
    }

    fn first_of(&self, first: &Id, last: &Id) -> Option<(Id, At)> {
        let ((id, at), _) = self.places.range((first.clone(), At::FIRST)..).next()?;
        (id <= last).then(|| (id.clone(), *at))
    }

    /// Takes out the next timer that is not after this time. Timers taken until there is none are one round:
    /// a timer that is set meanwhile and is due as well belongs to the round, and comes last.
    ///
    /// A watermark says that no older event follows, so an event-time timer is due once the watermark has
    /// passed it: call this with the last time before the watermark.
    pub(crate) fn pop_due(&mut self, until: At) -> Option<Id> {
        let next = self.due.first_entry().filter(|next| next.key().0 <= until);
        self.firing = next.as_ref().map(|_| until);
        let (at, id) = next?.remove();
        self.places.remove(&(id.clone(), at));
        Some(id)
    }

    /// The time at which the next one can fire.
    pub(crate) fn next_due(&self) -> Option<At> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// All timers with their times, in the order in which they fire. If they are set again in this order, all
    /// together or in groups by identity, they fire in it again.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (At, &Id)> {
        self.due.values().map(|(at, id)| (*at, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One step of a script and what it gives: the timers that fire, or all in their order.
    fn step(timers: &mut Timers<EventTime, String>, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ms = |word: &str| EventTime::from_unix_ms(word.parse().expect("milliseconds"));
        match words[..] {
            ["set", at, id] => timers.set(ms(at), id.to_owned()),
            ["clear", at, id] => timers.clear(ms(at), &id.to_owned()),
            ["clear-all", from, to] => timers.clear_all(&from.to_owned(), &to.to_owned()),
            ["next", until] => return timers.pop_due(ms(until)).into_iter().collect(),
            ["round", until] => {
                return std::iter::from_fn(|| timers.pop_due(ms(until))).collect();
            }
            ["when"] => return timers.next_due().into_iter().map(|at| at.to_string()).collect(),
            ["all"] => return timers.iter().map(|(at, id)| format!("{at}{id}")).collect(),
            _ => panic!("no step {line}"),
        }
        Vec::new()
    }

    /// Runs a script: one line per step, and what it gives.
    fn script(lines: &[&str]) -> Timers<EventTime, String> {
        let mut timers = Timers::default();
        for line in lines {
            let (of, expected) = line.split_once("->").unwrap_or((line, ""));
            assert_eq!(step(&mut timers, of).join(" "), expected.trim(), "{line}");
        }
        assert_eq!(timers.due.len(), timers.places.len());
        timers
    }

    /// State O4.
    #[test]
    fn a_timer_set_twice_fires_once_and_for_each_of_its_moments() {
        script(&["set 5 a", "set 5 a", "set 7 a", "set 5 b", "round 9 -> a b a", "round 9 ->"]);
        script(&["set 5 a", "next 5 -> a", "set 5 a", "next 5 -> a", "when ->"]);
    }

    /// State O4.
    #[test]
    fn a_timer_that_is_cleared_does_not_fire_and_one_that_is_not_set_may_be_cleared() {
        script(&["set 5 a", "set 6 a", "clear 5 a", "clear 7 a", "clear 5 b", "round 9 -> a"]);
        script(&["clear-all a c", "set 5 a", "clear 5 a", "set 5 a", "all -> 5a", "round 9 -> a"]);
        script(&["set 5 a", "set 6 b", "set 9 a", "set 4 a", "clear-all a a", "all -> 6b"]);
        script(&["set 5 a", "set 5 aa", "set 5 b", "clear-all a a", "all -> 5aa 5b"]);
    }

    /// State O6, O8.
    #[test]
    fn timers_fire_by_moment_and_then_as_they_were_set_and_none_early() {
        script(&[
            "set 7 a",
            "set 5 c",
            "set 7 b",
            "set -3 d",
            "set 5 a",
            "when -> -3",
            "all -> -3d 5c 5a 7a 7b",
            "round 4 -> d",
            "round 5 -> c a",
            "next 6 ->",
            "when -> 7",
            "round 7 -> a b",
        ]);
        // To set it again does not make it a later one.
        script(&["set 5 a", "set 5 b", "set 5 a", "round 5 -> a b"]);
    }

    /// State O7.
    #[test]
    fn what_is_set_while_others_fire_fires_in_the_same_round_after_those_that_are_due() {
        script(&["set 5 a", "set 8 b", "next 9 -> a", "set 6 c", "set 4 d", "round 9 -> b c d"]);
        script(&["set 5 a", "next 9 -> a", "set 10 b", "set 9 c", "round 9 -> c", "all -> 10b"]);
        // It can be taken back like any other.
        script(&["set 5 a", "set 8 b", "next 9 -> a", "set 6 c", "clear 6 c", "round 9 -> b"]);
        // Between two rounds the moment alone counts.
        script(&["set 5 a", "round 9 -> a", "set 8 b", "set 6 c", "round 9 -> c b"]);
    }

    #[test]
    fn the_moments_at_both_ends_are_moments_like_any_other() {
        let mut timers = Timers::default();
        timers.set(EventTime::MAX, 1);
        timers.set(EventTime::MIN, 1);
        assert_eq!(timers.pop_due(EventTime::MIN), Some(1));
        timers.clear_all(&0, &2);
        assert_eq!(timers.pop_due(EventTime::MAX), None);
    }

    /// State B4.2: timers live with the keys that they belong to.
    #[test]
    fn timers_saved_by_ranges_of_their_keys_fire_in_order_wherever_each_range_goes() {
        let mut before = Timers::default();
        for hash in [9_u64, 3, 7, 1] {
            before.set(EventTime::from_unix_ms(5), (hash, "last"));
            before.set(EventTime::from_unix_ms(4), (hash, "first"));
        }
        let piece = |of: std::ops::Range<u64>| {
            let of = before.iter().filter(move |(_, (hash, _))| of.contains(hash));
            of.map(|(at, id)| (at, *id)).collect::<Vec<_>>()
        };
        let fired = |pieces: &[Vec<(EventTime, (u64, &'static str))>]| {
            let mut after = Timers::default();
            pieces.iter().flatten().for_each(|(at, id)| after.set(*at, *id));
            std::iter::from_fn(|| after.pop_due(EventTime::MAX)).collect::<Vec<_>>()
        };
        let first = [9, 3, 7, 1].map(|hash| (hash, "first"));
        let last = [9, 3, 7, 1].map(|hash| (hash, "last"));
        assert_eq!(fired(&[piece(0..10)]), [first, last].concat());
        let high = [(9, "first"), (7, "first"), (9, "last"), (7, "last")];
        assert_eq!(fired(&[piece(5..10)]), high);
        let merged = [9, 7, 3, 1].map(|hash| (hash, "first")).to_vec();
        assert_eq!(fired(&[piece(5..10), piece(0..5)])[..4], merged);
    }
}
