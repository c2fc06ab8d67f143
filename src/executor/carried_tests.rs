//! Manifests of random checkpoints: what their parts hold in their order is what was there at the cut.

use std::collections::{BTreeSet, HashMap};

use super::*;
use crate::checkpoint::StateCodec;
use crate::id::{CheckpointId, ExecutionId};
use crate::testkit::random::Random;

const INSTANCES: usize = 2;
const KEYS: u64 = 32;

type State = BTreeMap<u64, u64>;

/// What a part does to a state, in this order.
#[derive(Clone, Debug)]
enum Step {
    Clear(HashRange),
    Put(u64, u64),
    Remove(u64),
}

fn apply(steps: &[Step], state: &mut State) {
    for step in steps {
        match step {
            Step::Clear(HashRange { first, last }) => {
                state.retain(|key, _| !(first..=last).contains(&&hash(*key)));
            }
            Step::Put(key, value) => drop(state.insert(*key, *value)),
            Step::Remove(key) => drop(state.remove(key)),
        }
    }
}

fn hash(key: u64) -> u64 {
    key << (64 - KEYS.ilog2())
}

fn range(keys: std::ops::Range<u64>) -> HashRange {
    HashRange { first: hash(keys.start), last: hash(keys.end).wrapping_sub(1) }
}

struct World {
    random: Random,
    state: State,
    changed: BTreeSet<u64>,
    carried: Carried,
    stored: HashMap<Location, Vec<Step>>,
    absorbed_ever: usize,
}

impl World {
    fn change(&mut self, how_many: usize, value: u64) {
        for _ in 0..how_many {
            let key = self.random.below(KEYS as usize) as u64;
            match self.random.below(3) {
                0 => drop(self.state.remove(&key)),
                _ => drop(self.state.insert(key, value)),
            }
            self.changed.insert(key);
        }
    }

    /// The parts of one instance, each of some of its keys, and what was absorbed.
    fn parts_of(&mut self, instance: u64, checkpoint: u64) -> (Vec<PartRecord>, Vec<Location>) {
        let (mut from, end) = (instance * KEYS / 2, (instance + 1) * KEYS / 2);
        let (mut parts, mut absorbed) = (Vec::new(), Vec::new());
        while from < end {
            let to = match self.random.below(3) {
                0 => (from + 1 + self.random.below(8) as u64).min(end),
                _ => end,
            };
            let is_whole = checkpoint == 1 || self.random.below(12) == 0;
            let mut name = PartName::of("counts", "", Unit::Range(range(from..to)));
            let mut steps = Vec::new();
            if is_whole {
                steps.push(Step::Clear(range(from..to)));
                steps
                    .extend(self.state.range(from..to).map(|(key, value)| Step::Put(*key, *value)));
            } else {
                if absorbed.is_empty() {
                    for part in self.carried.absorbed_by(&name, INSTANCES) {
                        steps.extend(self.stored[&part.at].iter().cloned());
                        name = hull(&name, part);
                        absorbed.push(part.at.clone());
                    }
                }
                steps.extend(self.changed.range(from..to).map(|key| match self.state.get(key) {
                    Some(value) => Step::Put(*key, *value),
                    None => Step::Remove(*key),
                }));
            }
            let at = Location::new(ExecutionId(1), CheckpointId(checkpoint), name.to_string());
            parts.push(PartRecord {
                bytes: steps.len() as u64,
                at: at.clone(),
                codec: StateCodec::POSITIONAL,
                watermark: Some(EventTime::from_unix_ms((10 * checkpoint + instance) as i64)),
                cut_at: Some(100 * checkpoint + instance),
                kind: if is_whole { PartKind::Whole } else { PartKind::Delta },
                ..PartRecord::named(name)
            });
            self.stored.insert(at, steps);
            from = to;
        }
        self.absorbed_ever += absorbed.len();
        (parts, absorbed)
    }
}

fn every_manifest_holds_what_was_there(seed: u64) -> usize {
    let random = Random::new(seed);
    let mut world = World {
        random,
        state: State::new(),
        changed: BTreeSet::new(),
        carried: Carried::default(),
        stored: HashMap::new(),
        absorbed_ever: 0,
    };
    for checkpoint in 1..60 {
        let changes = world.random.below(4);
        world.change(changes, checkpoint);
        let (mut new, mut absorbed) = (Vec::new(), Vec::new());
        for instance in 0..2 {
            let (mut parts, mut more) = world.parts_of(instance, checkpoint);
            new.append(&mut parts);
            absorbed.append(&mut more);
        }
        let mut manifest = Manifest::new(ExecutionId(1), CheckpointId(checkpoint), "counts");
        manifest.parts = world.carried.with(new, &absorbed);
        let mut state = State::new();
        for part in &manifest.parts {
            apply(&world.stored[&part.at], &mut state);
            let HashRange { first, .. } = range_of(&part.name).expect("of keys");
            let instance = instance_of(first, INSTANCES) as u64;
            let at_the_cut = EventTime::from_unix_ms((10 * checkpoint + instance) as i64);
            assert_eq!(part.watermark, Some(at_the_cut), "seed {seed}, {checkpoint}");
            assert_eq!(part.cut_at, Some(100 * checkpoint + instance), "seed {seed}, {checkpoint}");
        }
        assert_eq!(state, world.state, "seed {seed}, checkpoint {checkpoint}");
        let steps: BTreeSet<_> = manifest.parts.iter().map(|part| part.at.checkpoint).collect();
        assert!(steps.len() <= 40, "seed {seed}: parts of {} checkpoints", steps.len());
        // Some checkpoints fail.
        if world.random.below(5) > 0 || checkpoint == 1 {
            world.carried.committed(&manifest);
            world.changed.clear();
        }
    }
    world.absorbed_ever
}

#[test]
fn every_manifest_holds_what_was_there_at_its_cut() {
    let absorbed: usize = (0..500).map(every_manifest_holds_what_was_there).sum();
    assert!(absorbed > 10_000, "{absorbed}");
}

/// The sizes of the deltas after each of so many checkpoints with a change of this size.
#[test]
fn deltas_without_a_new_base_stay_few_and_each_is_written_few_times() {
    let whole = PartName::of("counts", "", Unit::Range(HashRange::ALL));
    let record = |name: PartName, kind, checkpoint, bytes| PartRecord {
        bytes,
        kind,
        at: Location::new(ExecutionId(1), CheckpointId(checkpoint), ""),
        ..PartRecord::named(name)
    };
    let (mut carried, mut manifest) =
        (Carried::default(), Manifest::new(ExecutionId(1), CheckpointId(1), ""));
    manifest.parts = vec![record(whole.clone(), PartKind::Whole, 1, 1 << 40)];
    carried.committed(&manifest);
    let (mut written, mut most) = (0, 0);
    for checkpoint in 2..5_002 {
        let absorbed = carried.absorbed_by(&whole, 1);
        let bytes = 1_000 + absorbed.iter().map(|part| part.bytes).sum::<u64>();
        let absorbed: Vec<Location> = absorbed.iter().map(|part| part.at.clone()).collect();
        let new = record(whole.clone(), PartKind::Delta, checkpoint, bytes);
        manifest.parts = carried.with(vec![new], &absorbed);
        carried.committed(&manifest);
        written += bytes;
        most = most.max(manifest.parts.len());
    }
    assert!(most <= 20, "{most} parts");
    assert!(written < 8 * 5_000 * 1_000, "{written} bytes written for 5,000,000");
}

#[test]
fn ranges_cover_what_was_added_and_nothing_else() {
    let of = |first, last| HashRange { first, last };
    for seed in 0..200 {
        let (mut random, mut ranges) = (Random::new(seed), Ranges::default());
        let mut covered = [false; 64];
        for _ in 0..12 {
            let (a, b) = (random.below(64), random.below(64));
            let (first, last) = (a.min(b), a.max(b));
            let expected = covered[first..=last].iter().all(|covered| *covered);
            assert_eq!(ranges.cover(of(first as u64, last as u64)), expected, "seed {seed}");
            let last = last.min(first + 9);
            ranges.add(of(first as u64, last as u64));
            covered[first..=last].fill(true);
        }
    }
    let mut ranges = Ranges::default();
    ranges.add(of(0, 9));
    ranges.add(of(10, u64::MAX));
    assert!(ranges.cover(HashRange::ALL));
}
