//! [`Splits`]: which split of a source belongs to which of its instances. One value for all instances of an execution.
//!
//! What a checkpoint has is dealt out as [`restore`](crate::checkpoint::restore) says, in turn by name. What is found later
//! goes to the instance that has the fewest, and stays there: a split that went from one running instance to another
//! between their barriers would be in the checkpoint twice, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::Timestamp;

/// The splits of one source.
#[derive(Debug, Default)]
pub(crate) struct Splits {
    instances: usize,
    /// The instance that has each.
    of: BTreeMap<String, Dealt>,
    /// What has been gone in this execution: if it comes back, it is another split of that name.
    gone: BTreeSet<String>,
    /// What was found at first, once that is known.
    at_the_start: Option<BTreeSet<String>>,
    next_look: Option<Timestamp>,
    /// Instances that have said that their input is over.
    closed: BTreeSet<usize>,
    /// Grows with every change.
    version: u64,
}

/// To whom a split belongs, and since which version: one that was gone and has come back is another one.
#[derive(Clone, Copy, Debug)]
struct Dealt {
    instance: usize,
    since: u64,
}

impl Splits {
    /// Those of a checkpoint, in turn.
    pub(crate) fn restored(instances: usize, names: impl IntoIterator<Item = String>) -> Self {
        let names: BTreeSet<String> = names.into_iter().collect();
        let dealt = (0..instances).cycle().map(|instance| Dealt { instance, since: 0 });
        Self { instances, of: names.into_iter().zip(dealt).collect(), ..Self::default() }
    }

    /// Whether somebody has to look for splits before an instance can begin.
    pub(crate) fn is_discovered(&self) -> bool {
        self.at_the_start.is_some()
    }

    /// Whether it is time to look again; whoever is told so does it.
    pub(crate) fn is_due(&mut self, now: Timestamp, every: Duration) -> bool {
        let due = self.next_look.is_some_and(|at| at <= now);
        if due || self.next_look.is_none() {
            self.next_look = Some(now.after(every));
        }
        due
    }

    /// All splits that there are now.
    pub(crate) fn found(&mut self, names: Vec<String>) {
        let names: BTreeSet<String> = names.into_iter().collect();
        self.at_the_start.get_or_insert_with(|| names.clone());
        let next = self.version + 1;
        let gone: Vec<String> =
            self.of.keys().filter(|name| !names.contains(*name)).cloned().collect();
        self.of.retain(|name, _| names.contains(name));
        let mut changed = !gone.is_empty();
        self.gone.extend(gone);
        let mut counts = self.counts();
        for name in names {
            self.of.entry(name).or_insert_with(|| {
                let instance = fewest(&counts, &self.closed);
                counts[instance] += 1;
                changed = true;
                Dealt { instance, since: next }
            });
        }
        self.version += u64::from(changed);
    }

    /// Whether the split, of which there may be one, is another one than that of the checkpoint.
    pub(crate) fn was_gone(&self, split: &str) -> bool {
        self.gone.contains(split)
    }

    /// Whether the split was there when the execution began.
    pub(crate) fn was_at_the_start(&self, split: &str) -> bool {
        self.at_the_start.as_ref().is_some_and(|names| names.contains(split))
    }

    /// Changes whenever the splits of some instance do.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The input of this instance is over: it gets no more splits.
    pub(crate) fn close(&mut self, instance: usize) {
        self.closed.insert(instance);
    }

    fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.instances];
        self.of.values().for_each(|dealt| counts[dealt.instance] += 1);
        counts
    }

    /// The splits of an instance, by name, and since which version it has each.
    pub(crate) fn of(&self, instance: usize) -> BTreeMap<String, u64> {
        let its = self.of.iter().filter(|(_, dealt)| dealt.instance == instance);
        its.map(|(name, dealt)| (name.clone(), dealt.since)).collect()
    }
}

/// The instance that has the fewest splits, among those whose input is not over.
fn fewest(counts: &[usize], closed: &BTreeSet<usize>) -> usize {
    let open = (0..counts.len()).filter(|instance| !closed.contains(instance));
    open.min_by_key(|instance| counts[*instance]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// What every instance has.
    fn dealt(splits: &Splits) -> String {
        let of = |instance| splits.of(instance).into_keys().collect::<Vec<_>>().join(" ");
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
    fn a_split_that_was_gone_is_another_one_when_it_comes_back() {
        let mut splits = Splits::restored(1, names("a b"));
        splits.found(names("a b"));
        let before = splits.of(0);
        splits.found(names("b"));
        splits.found(names("a b"));
        assert!(splits.was_gone("a") && !splits.was_gone("b"));
        let after = splits.of(0);
        assert_eq!(before["b"], after["b"]);
        assert_ne!(
            before["a"], after["a"],
            "an instance that has not heard of it in between sees it"
        );
    }

    #[test]
    fn an_instance_whose_input_is_over_gets_no_more() {
        let mut splits = Splits::restored(2, []);
        splits.found(names("a b"));
        let version = splits.version();
        splits.close(0);
        splits.found(names("a b"));
        assert_eq!(splits.version(), version, "nothing has changed");
        splits.found(names("a b c d"));
        assert_eq!(dealt(&splits), "a | b c d");
        assert_ne!(splits.version(), version);
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
