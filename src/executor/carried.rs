//! [`Carried`]: what a manifest takes over from the one before it, so that a checkpoint has to write only what has
//! changed.
//!
//! ```text
//!   manifest 7   whole a..h                    of checkpoint 7
//!   manifest 8   whole a..h, delta a..h        of 7, 8
//!   manifest 9   whole a..h, delta a..h, delta c..h, whole a..b      of 7, 8, 9, 9
//! ```
//! Parts count in their order: a whole one instead of everything before it in its range, a delta on top of it. A part
//! whose range is whole again further behind is left out. So that there are not more and more deltas, a new one absorbs
//! those before it that are not much larger, as the levels of a log-structured merge tree do (O'Neil et al., 1996).
//!
//! This is a value: it reads and writes nothing.

use std::collections::BTreeMap;

use crate::channel::key::instance_of;
use crate::checkpoint::{HashRange, Location, Manifest, PartKind, PartName, PartRecord, Unit};
use crate::time::EventTime;

/// So many deltas of an instance are left as they are.
const DELTAS: usize = 8;

/// A delta absorbs one that is at most this many times as large as all that it has absorbed by then.
const LARGER: u64 = 2;

/// The bytes of deltas that one absorbs at most.
const ABSORBED_BYTES: u64 = 32 << 20;

/// The parts of keys in the newest complete checkpoint of this execution.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// In the order of their manifest.
    parts: Vec<PartRecord>,
}

impl Carried {
    /// A checkpoint with these parts is complete.
    pub(crate) fn committed(&mut self, manifest: &Manifest) {
        let of_keys = manifest.parts.iter().filter(|part| range_of(&part.name).is_some());
        self.parts = of_keys.cloned().collect();
    }

    /// The deltas that a new one of this name absorbs, in their order; `parallelism` is that of the component.
    pub(crate) fn absorbed_by(&self, name: &PartName, parallelism: usize) -> Vec<&PartRecord> {
        let Some(range) = range_of(name) else { return Vec::new() };
        let instance = instance_of(range.first, parallelism);
        let is_beside = |part: &&PartRecord| {
            let of_instance = |range: HashRange| instance_of(range.first, parallelism) == instance;
            is_of_same_state(&part.name, name) && range_of(&part.name).is_some_and(of_instance)
        };
        let beside: Vec<&PartRecord> = self.parts.iter().filter(is_beside).collect();
        // What was whole since counts instead of deltas before it.
        let after = beside.iter().rposition(|part| part.kind == PartKind::Whole);
        let deltas = &beside[after.map_or(0, |at| at + 1)..];
        let steps: Vec<&[&PartRecord]> =
            deltas.chunk_by(|a, b| checkpoint_of(a) == checkpoint_of(b)).collect();
        if steps.len() < DELTAS {
            return Vec::new();
        }
        let (mut from, mut bytes) = (deltas.len(), 0);
        for step in steps.iter().rev() {
            let more: u64 = step.iter().map(|part| part.bytes).sum();
            if (bytes > 0 && more > LARGER * bytes) || bytes + more > ABSORBED_BYTES {
                break;
            }
            from -= step.len();
            bytes += more;
        }
        deltas[from..].to_vec()
    }

    /// The parts of the next manifest, in their order: those taken over, and the new ones.
    pub(crate) fn with(&self, new: Vec<PartRecord>, absorbed: &[Location]) -> Vec<PartRecord> {
        let (mut all, new): (Vec<_>, Vec<_>) =
            new.into_iter().partition(|part| range_of(&part.name).is_none());
        let (wholes, deltas): (Vec<_>, Vec<_>) =
            new.into_iter().partition(|part| part.kind == PartKind::Whole);
        let cuts = Cuts::of(deltas.iter().chain(&wholes));
        let old = self.parts.iter().filter(|part| !absorbed.contains(&part.at));
        let at_the_cut = |part: &PartRecord| {
            let Some(Cut { watermark, cut_at, .. }) = cuts.at(&part.name) else {
                return part.clone();
            };
            PartRecord { watermark, cut_at, ..part.clone() }
        };
        let old: Vec<PartRecord> = old.map(at_the_cut).collect();
        // What a new delta has absorbed may be of a range that is whole now.
        let deltas = deltas.into_iter().filter(|part| part.bytes > 0);
        let mut of_keys: Vec<PartRecord> = old.into_iter().chain(deltas).chain(wholes).collect();
        leave_out_what_is_whole_again(&mut of_keys);
        all.append(&mut of_keys);
        all
    }
}

/// The range of two names of parts of keys.
pub(crate) fn hull(of: &PartName, with: &PartRecord) -> PartName {
    let both = range_of(of)
        .zip(range_of(&with.name))
        .map(|(a, b)| HashRange { first: a.first.min(b.first), last: a.last.max(b.last) });
    PartName { unit: both.map_or_else(|| of.unit.clone(), Unit::Range), ..of.clone() }
}

fn range_of(name: &PartName) -> Option<HashRange> {
    match name.unit {
        Unit::Range(range) => Some(range),
        Unit::Instance(_) | Unit::Split(_) => None,
    }
}

fn is_of_same_state(one: &PartName, other: &PartName) -> bool {
    one.component == other.component && one.state == other.state
}

fn checkpoint_of(part: &PartRecord) -> (u64, u64) {
    (part.at.execution.0, part.at.checkpoint.0)
}

/// Removes the parts whose range is covered by whole parts that come after them.
fn leave_out_what_is_whole_again(parts: &mut Vec<PartRecord>) {
    let mut whole: BTreeMap<(&str, &str), Ranges> = BTreeMap::new();
    let mut stays = vec![true; parts.len()];
    for (part, stays) in parts.iter().zip(&mut stays).rev() {
        let Some(range) = range_of(&part.name) else { continue };
        let whole = whole.entry((&part.name.component, &part.name.state)).or_default();
        *stays = !whole.cover(range);
        if part.kind == PartKind::Whole {
            whole.add(range);
        }
    }
    let mut stays = stays.into_iter();
    parts.retain(|_| stays.next().unwrap_or(true));
}

/// Ranges that do not touch one another: the last hash of each by its first.
#[derive(Default)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    fn cover(&self, range: HashRange) -> bool {
        let before = self.0.range(..=range.first).next_back();
        before.is_some_and(|(_, last)| *last >= range.last)
    }

    fn add(&mut self, range: HashRange) {
        let HashRange { mut first, mut last } = range;
        // Those that meet it, or end right before it.
        let until = last.saturating_add(1);
        while let Some((&begin, &end)) = self.0.range(..=until).next_back() {
            if end.saturating_add(1) < first {
                break;
            }
            (first, last) = (first.min(begin), last.max(end));
            self.0.remove(&begin);
        }
        self.0.insert(first, last);
    }
}

/// What new parts say of their cut, by their state and first hash.
struct Cuts<'a>(BTreeMap<(&'a str, &'a str, u64), Cut>);

#[derive(Clone, Copy)]
struct Cut {
    /// The last hash of the part.
    until: u64,
    watermark: Option<EventTime>,
    cut_at: Option<u64>,
}

impl<'a> Cuts<'a> {
    fn of(parts: impl Iterator<Item = &'a PartRecord>) -> Self {
        let mut all = BTreeMap::new();
        for part in parts {
            let Some(HashRange { first, last }) = range_of(&part.name) else { continue };
            let at = (&*part.name.component, &*part.name.state, first);
            // One that has absorbed others may begin where another does.
            let PartRecord { watermark, cut_at, .. } = *part;
            let cut = all.entry(at).or_insert(Cut { until: last, watermark, cut_at });
            cut.until = last.max(cut.until);
        }
        Self(all)
    }

    /// That of the instance whose keys these are: all its parts say the same. None if it has no new part.
    fn at(&self, name: &PartName) -> Option<Cut> {
        let HashRange { first, last } = range_of(name)?;
        let (component, state) = (&*name.component, &*name.state);
        let of_state = self.0.range((component, state, 0)..=(component, state, last));
        of_state.rev().map(|(_, cut)| *cut).find(|cut| cut.until >= first)
    }
}

#[cfg(test)]
#[path = "carried_tests.rs"]
mod tests;
