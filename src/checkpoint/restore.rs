//! Which instance reads which part of a checkpoint: a pure function of the manifest and of how many instances
//! there are now.
//!
//! Keys are distributed by ranges of their hash, so a range that several instances share is read by each of
//! them, and an instance may read several. Splits are distributed in turn, in the order of their names. State
//! of a single instance goes to the instance of that number, and cannot be restored at another parallelism.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

use super::manifest::{Manifest, PartRecord};
use super::unit::{HashRange, Unit};

/// What an instance takes over of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reads<'a> {
    pub(crate) part: &'a PartRecord,
    /// The keys in it that belong to the instance; all if the part is not a range of keys.
    pub(crate) of: HashRange,
}

/// One of the instances of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reader {
    pub(crate) instance: usize,
    /// How many there are.
    pub(crate) instances: usize,
    /// Its keys.
    pub(crate) keys: HashRange,
}

/// What an instance of a component reads, in the order of the manifest.
pub(crate) fn reads<'a>(manifest: &'a Manifest, component: &str, reader: Reader) -> Vec<Reads<'a>> {
    let parts = || manifest.parts.iter().filter(|part| part.name.component == component);
    // Only an instance with splits needs to know all of them.
    let dealt = LazyCell::new(|| dealt_in_turn(splits_of(manifest, component), reader.instances));
    let takes = |part: &'a PartRecord| {
        let of = match &part.name.unit {
            Unit::Range(range) => range.and(reader.keys)?,
            Unit::Instance(of) if *of == reader.instance as u64 => HashRange::ALL,
            Unit::Instance(_) => return None,
            Unit::Split(split) => {
                (dealt.get(&**split) == Some(&reader.instance)).then_some(HashRange::ALL)?
            }
        };
        Some(Reads { part, of })
    };
    parts().filter_map(takes).collect()
}

/// The splits of which a component has positions.
pub(crate) fn splits_of<'a>(
    manifest: &'a Manifest,
    component: &str,
) -> impl Iterator<Item = &'a str> {
    let parts = manifest.parts.iter().filter(move |part| part.name.component == component);
    parts.filter_map(split_of)
}

/// The instance of each split: in turn, in the order of their names.
pub(crate) fn dealt_in_turn<S: Ord>(
    splits: impl IntoIterator<Item = S>,
    instances: usize,
) -> BTreeMap<S, usize> {
    let splits: BTreeSet<S> = splits.into_iter().collect();
    splits.into_iter().zip((0..instances).cycle()).collect()
}

fn split_of(part: &PartRecord) -> Option<&str> {
    match &part.name.unit {
        Unit::Split(split) => Some(split),
        Unit::Range(_) | Unit::Instance(_) => None,
    }
}

/// Whether a component has parts, and all of them can be restored at any parallelism.
pub(crate) fn can_be_shared_out<'a>(parts: impl Iterator<Item = &'a PartRecord>) -> bool {
    let mut parts = parts.peekable();
    parts.peek().is_some() && parts.all(|part| !matches!(part.name.unit, Unit::Instance(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::PartName;
    use crate::id::{CheckpointId, ExecutionId};

    /// Ten hashes, distributed to this many instances.
    fn tenths(instances: u64) -> Vec<HashRange> {
        let first = |instance: u64| (instance * 10).div_ceil(instances);
        (0..instances).map(|i| HashRange { first: first(i), last: first(i + 1) - 1 }).collect()
    }

    fn reader(instance: usize, ranges: &[HashRange]) -> Reader {
        Reader { instance, instances: ranges.len(), keys: ranges[instance] }
    }

    fn manifest(units: impl IntoIterator<Item = Unit>) -> Manifest {
        let mut manifest = Manifest::new(ExecutionId(1), CheckpointId(1), "job");
        let names = units.into_iter().map(|unit| PartName::of("c", "", unit));
        manifest.parts = names.map(PartRecord::named).collect();
        let other = PartName::of("other", "", Unit::Range(HashRange::ALL));
        manifest.parts.push(PartRecord::named(other));
        manifest
    }

    /// What each instance reads, as text: one line per instance.
    fn script(manifest: &Manifest, ranges: &[HashRange]) -> String {
        let line = |instance| {
            let reads = reads(manifest, "c", reader(instance, ranges));
            let reads = reads.iter().map(|read| match &read.part.name.unit {
                Unit::Range(of) => {
                    format!("{}-{} of {}-{}", read.of.first, read.of.last, of.first, of.last)
                }
                Unit::Instance(of) => format!("instance {of}"),
                Unit::Split(split) => format!("split {split}"),
            });
            format!("{instance}: {}", reads.collect::<Vec<_>>().join(", "))
        };
        (0..ranges.len()).map(line).collect::<Vec<_>>().join("\n")
    }

    fn ranges_of(instances: u64) -> Manifest {
        manifest(tenths(instances).into_iter().map(Unit::Range))
    }

    #[test]
    fn one_range_is_split_between_three_instances() {
        let expected = "0: 0-3 of 0-9\n1: 4-6 of 0-9\n2: 7-9 of 0-9";
        assert_eq!(script(&ranges_of(1), &tenths(3)), expected);
    }

    #[test]
    fn three_ranges_are_merged_into_two_instances() {
        let expected = "0: 0-3 of 0-3, 4-4 of 4-6\n1: 5-6 of 4-6, 7-9 of 7-9";
        assert_eq!(script(&ranges_of(3), &tenths(2)), expected);
    }

    #[test]
    fn as_many_ranges_as_instances_stay_where_they_are() {
        let expected = "0: 0-3 of 0-3\n1: 4-6 of 4-6\n2: 7-9 of 7-9";
        assert_eq!(script(&ranges_of(3), &tenths(3)), expected);
    }

    #[test]
    fn every_key_of_every_part_is_read_by_exactly_one_instance_from_any_to_any_parallelism() {
        for before in 1..=10 {
            for after in 1..=10 {
                let (manifest, now) = (ranges_of(before), tenths(after));
                let mut read = vec![0; 10];
                for instance in 0..now.len() {
                    for Reads { of, .. } in reads(&manifest, "c", reader(instance, &now)) {
                        (of.first..=of.last).for_each(|hash| read[hash as usize] += 1);
                    }
                }
                assert_eq!(read, [1; 10], "{before} to {after}");
            }
        }
    }

    #[test]
    fn splits_are_dealt_out_in_turn_by_name_and_none_is_left_out() {
        let manifest = manifest(["d", "a", "c", "b"].map(|name| Unit::Split(name.to_owned())));
        let expected = "0: split a, split c\n1: split d, split b";
        let sorted = |text: String| {
            let line = |line: &str| {
                let (instance, splits) = line.split_once(": ").unwrap_or((line, ""));
                let mut splits: Vec<&str> = splits.split(", ").collect();
                splits.sort_unstable();
                format!("{instance}: {}", splits.join(", "))
            };
            text.lines().map(line).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(sorted(script(&manifest, &tenths(2))), sorted(expected.to_owned()));
        assert_eq!(script(&manifest, &tenths(1)), "0: split d, split a, split c, split b");
        let five = script(&manifest, &tenths(5));
        assert!(five.ends_with("4: "), "the fifth instance has none: {five}");
    }

    #[test]
    fn what_an_instance_keeps_for_itself_goes_to_that_instance() {
        let manifest = manifest([Unit::Instance(1), Unit::Instance(0)]);
        assert_eq!(script(&manifest, &tenths(2)), "0: instance 0\n1: instance 1");
        assert!(!can_be_shared_out(manifest.parts.iter()));
        assert!(can_be_shared_out(ranges_of(3).parts.iter()));
        assert!(!can_be_shared_out([].iter()), "nothing is known of a component without parts");
    }
}
