//! [`Splits`]: which split of a source belongs to which of its instances. One value for all instances of an execution.
//!
//! The splits of a checkpoint are distributed as [`restore`](crate::checkpoint::restore) says, in turn by
//! name. A split that is found later goes to the instance that has the fewest, and stays there: if it moved
//! from one running instance to another between their barriers, it would be in the checkpoint twice, or not
//! at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::checkpoint::restore::dealt_in_turn;
use crate::clock::Timestamp;

/// The splits of one source.
#[derive(Debug, Default)]
pub(crate) struct Splits {
    instances: usize,
    /// The instance that has each.
    of: BTreeMap<String, usize>,
    /// The last instance of each split that is gone.
    gone: BTreeMap<String, usize>,
    /// The version with which a split that was gone has come back.
    back: BTreeMap<String, u64>,
    /// The splits that were found first, once they are known, and have existed ever since.
    at_the_start: Option<BTreeSet<String>>,
    next_look: Option<Timestamp>,
    /// Instances whose input is over.
    closed: BTreeSet<usize>,
    /// Grows with every change.
    version: u64,
}

impl Splits {
    /// Those of a checkpoint, in turn.
    pub(crate) fn restored(instances: usize, names: impl IntoIterator<Item = String>) -> Self {
        Self { instances, of: dealt_in_turn(names, instances), ..Self::default() }
    }

    /// Whether `discover` has to be called before an instance can begin.
    pub(crate) fn is_discovered(&self) -> bool {
        self.at_the_start.is_some()
    }

    /// Whether it is time to discover again; the caller that gets `true` does it.
    pub(crate) fn is_due(&mut self, now: Timestamp, every: Duration) -> bool {
        let due = self.next_look.is_some_and(|at| at <= now);
        if due || self.next_look.is_none() {
            self.next_look = Some(now.after(every));
        }
        due
    }

    /// Takes the names of all existing splits.
    pub(crate) fn found(&mut self, names: Vec<String>) {
        let names: BTreeSet<String> = names.into_iter().collect();
        self.at_the_start.get_or_insert_with(|| names.clone());
        let before = self.of.len();
        for (name, instance) in self.of.iter().filter(|(name, _)| !names.contains(*name)) {
            self.gone.insert(name.clone(), *instance);
        }
        self.of.retain(|name, _| names.contains(name));
        let mut changed = self.of.len() != before;
        self.at_the_start.iter_mut().for_each(|first| first.retain(|name| names.contains(name)));
        for name in names {
            if !self.of.contains_key(&name) {
                // Its last instance may not have removed it yet; a different one would read it at the same
                // time.
                let had = self.gone.get(&name).copied();
                if had.is_some() {
                    self.back.insert(name.clone(), self.version + 1);
                }
                let open = had.filter(|instance| !self.closed.contains(instance));
                let instance = open.unwrap_or_else(|| self.fewest());
                self.of.insert(name, instance);
                changed = true;
            }
        }
        self.version += u64::from(changed);
    }

    /// Whether the split was there when the execution began.
    pub(crate) fn was_at_the_start(&self, split: &str) -> bool {
        self.at_the_start.as_ref().is_some_and(|names| names.contains(split))
    }

    /// Whether the split was gone for a while, so that its position in the checkpoint is dropped.
    pub(crate) fn has_been_gone(&self, split: &str) -> bool {
        self.gone.contains_key(split)
    }

    /// Whether the split was removed and has appeared again since this version: then it is a new one of that
    /// name.
    pub(crate) fn has_come_back(&self, split: &str, since: u64) -> bool {
        self.back.get(split).is_some_and(|back| *back > since)
    }

    /// A number that changes whenever the splits of an instance do.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The input of this instance is over: it gets no more splits. Refused if there was a change since the
    /// version that it knows, since that may have given it another split.
    pub(crate) fn close(&mut self, instance: usize, version: u64) -> bool {
        let over = self.version == version;
        if over {
            self.closed.insert(instance);
        }
        over
    }

    /// This instance is rebuilt, and has not said that its input is over.
    pub(crate) fn reopen(&mut self, instance: usize) {
        self.closed.remove(&instance);
    }

    fn fewest(&self) -> usize {
        let mut counts = vec![0_usize; self.instances];
        self.of.values().for_each(|instance| counts[*instance] += 1);
        let open = (0..self.instances).filter(|instance| !self.closed.contains(instance));
        open.min_by_key(|instance| counts[*instance]).unwrap_or_default()
    }

    /// The splits of an instance, by name.
    pub(crate) fn of(&self, instance: usize) -> Vec<String> {
        let its = self.of.iter().filter(|(_, of)| **of == instance);
        its.map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// What every instance has.
    fn dealt(splits: &Splits) -> String {
        let of = |instance| splits.of(instance).join(" ");
        (0..splits.instances).map(of).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn what_a_checkpoint_has_is_dealt_out_in_turn_by_name_and_the_rest_evened_out() {
        let mut splits = Splits::restored(3, names("d a c b"));
        assert_eq!(dealt(&splits), "a d | b | c");
        assert!(!splits.is_discovered());
        splits.found(names("f e a b c d"));
        assert_eq!(dealt(&splits), "a d | b e | c f");
    }

    #[test]
    fn a_split_that_appears_moves_no_other_and_one_that_is_gone_is_taken_away() {
        let mut splits = Splits::restored(2, []);
        splits.found(names("a b c"));
        assert_eq!(dealt(&splits), "a c | b");
        splits.found(names("a b c aa"));
        assert_eq!(dealt(&splits), "a c | aa b");
        assert!(splits.was_at_the_start("c") && !splits.was_at_the_start("aa"));
        splits.found(names("b c aa d"));
        assert_eq!(dealt(&splits), "c d | aa b");
        splits.found(Vec::new());
        assert_eq!(dealt(&splits), " | ");
    }

    #[test]
    fn a_split_that_comes_back_is_another_one_for_who_has_not_heard_that_it_was_gone() {
        let mut splits = Splits::restored(1, names("a b"));
        splits.found(names("a b"));
        let heard = splits.version();
        splits.found(names("b"));
        splits.found(names("a b"));
        assert!(splits.has_come_back("a", heard) && !splits.has_come_back("b", heard));
        assert!(!splits.has_come_back("a", splits.version()), "it is known by now");
    }

    #[test]
    fn an_instance_whose_input_is_over_gets_no_more() {
        let mut splits = Splits::restored(2, []);
        splits.found(names("a b"));
        let version = splits.version();
        assert!(splits.close(0, version));
        splits.found(names("a b"));
        assert_eq!(splits.version(), version, "nothing has changed");
        splits.found(names("a b c d"));
        assert_eq!(dealt(&splits), "a | b c d");
        assert_ne!(splits.version(), version);
        splits.reopen(0);
        splits.found(names("a b c d e"));
        assert_eq!(dealt(&splits), "a e | b c d", "it has been built anew");
    }

    #[test]
    fn an_instance_that_has_just_been_given_a_split_is_not_over() {
        let mut splits = Splits::restored(2, []);
        splits.found(names("a b"));
        let before = splits.version();
        splits.found(names("a b c"));
        assert!(!splits.close(0, before), "`c` is its, and it does not know yet");
        assert!(splits.close(0, splits.version()));
    }

    #[test]
    fn a_split_that_comes_back_is_known_as_one_that_was_gone_and_goes_to_whoever_had_it() {
        let mut splits = Splits::restored(2, names("a b c"));
        splits.found(names("a b"));
        assert!(splits.has_been_gone("c") && !splits.has_been_gone("a"));
        splits.found(names("a"));
        splits.found(names("a b c d"));
        assert_eq!(dealt(&splits), "a c | b d");
        assert!(splits.was_at_the_start("a") && !splits.was_at_the_start("b"));
    }

    #[test]
    fn one_instance_looks_again_when_the_time_has_come() {
        let mut splits = Splits::restored(2, []);
        let (second, at) =
            (Duration::from_secs(1), |ms| Timestamp(0).after(Duration::from_millis(ms)));
        assert!(!splits.is_due(at(0), second), "all have just begun");
        assert!(!splits.is_due(at(999), second));
        assert!(splits.is_due(at(1_000), second));
        assert!(!splits.is_due(at(1_000), second), "another one does it");
        assert!(splits.is_due(at(2_500), second));
    }
}
