//! The store against a plain map: what a save holds is what the map held when it began.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::checkpoint::{Part, PartKind, StateCodec, Unit};
use crate::id::CheckpointId;
use crate::state::SaveBegin;
use crate::state::segment::SAVES_MAX;
use crate::testkit::random::Random;
use crate::time::EventTime;

type Store = KeyedStore<u64, Vec<u64>>;
type Model = BTreeMap<u64, Vec<u64>>;

/// The moment of the cut is that of the part.
const RESTORE: Restore = Restore { now: Timestamp(0), cut_at: None };

fn begin() -> SaveBegin {
    of(1)
}

fn of(checkpoint: u64) -> SaveBegin {
    let checkpoint = CheckpointId(checkpoint);
    SaveBegin { component: "counts".into(), checkpoint, watermark: None, at: Timestamp(7) }
}

fn store() -> Store {
    KeyedStore::new(HashRange::ALL, StateCodec::POSITIONAL, 0)
}

/// A part as it is stored: what it has, and its range.
type Stored = (EncodedState, HashRange);

fn stored(parts: Vec<Part>) -> Vec<Stored> {
    let stored = |part: Part| match part.name.unit {
        Unit::Range(range) => {
            let kind = part.kind;
            let state = part.state.encode().expect("encoded");
            assert!(block::is_whole(&state) == (kind == PartKind::Whole));
            (state, range)
        }
        unit => panic!("{unit:?}"),
    };
    parts.into_iter().map(stored).collect()
}

/// What parts hold in their order, read into a store of this range.
fn read(parts: &[Stored], range: HashRange) -> Model {
    let mut store: Store = KeyedStore::new(range, StateCodec::POSITIONAL, 0);
    for (state, of) in parts {
        store.load(state, *of, RESTORE, |_, _, at| assert_eq!(at, Timestamp(7))).expect("decoded");
    }
    contents(&store)
}

fn loaded(parts: Vec<Part>, range: HashRange) -> Model {
    read(&stored(parts), range)
}

fn contents(store: &Store) -> Model {
    let (mut all, mut next) = (Model::new(), Some((0, 0)));
    while let Some(from) = next {
        next = store.visit(from, |key, value| {
            assert!(all.insert(*key, value.clone()).is_none(), "{key} is there twice");
        });
    }
    all
}

/// Changes the store and the map in the same way.
fn change(store: &mut Store, model: &mut Model, random: &mut Random, keys: usize) {
    let key = random.below(keys) as u64;
    let hash = hash_key(&key);
    match random.below(5) {
        0 => {
            let removed = store.find(hash, &key).and_then(|found| store.remove(found));
            assert_eq!(removed, model.remove(&key));
        }
        1 => {
            let there = store.find(hash, &key);
            assert_eq!(there.and_then(|found| store.at(found)), model.get(&key));
            if let Some(value) = there.and_then(|found| store.at_mut(found)) {
                value.push(1);
                model.entry(key).or_default().push(1);
            }
        }
        _ => {
            let (found, value) = store.upsert(hash, key, Vec::new);
            assert_eq!(*found, key);
            value.push(2);
            model.entry(key).or_default().push(2);
        }
    }
}

/// What the saves of one history were made of.
#[derive(Debug, Default)]
struct Seen {
    wholes: u32,
    deltas: u32,
    empty: u32,
    removed_and_come_again: u32,
}

fn each_save_is_what_was_there(seed: u64, seen: &mut Seen) {
    let mut random = Random::new(seed);
    let (mut store, mut model) = (store(), Model::new());
    let keys = 1 << random.below(14);
    for _ in 0..random.below(2 * keys) {
        change(&mut store, &mut model, &mut random, keys);
    }
    // The parts of the newest complete checkpoint, and one whose completion the store has not heard of.
    let (mut complete, mut unheard) = (Vec::<Stored>::new(), None);
    // Between two saves much changes, or little.
    let much = [keys, 8][random.below(2)];
    for checkpoint in 1..=20 {
        for _ in 0..random.below(much) {
            change(&mut store, &mut model, &mut random, keys);
        }
        if let Some(late) = unheard.take() {
            store.complete(late);
        }
        store.begin_save(of(checkpoint));
        let (cut, mut parts) = (model.clone(), Vec::new());
        // New keys too, so that tables grow under the scan.
        let growing = keys << random.below(3);
        let (pace, gives_up) = (1 << random.below(12), random.below(4) == 0);
        for step in 0.. {
            assert!(step < 100_000, "seed {seed}: a save that comes to no end");
            for _ in 0..random.below(20) {
                change(&mut store, &mut model, &mut random, growing);
            }
            if store.go_on(pace, &mut parts) || (gives_up && random.below(5) == 0) {
                break;
            }
        }
        assert_eq!(contents(&store), model);
        assert_eq!(store.len(), model.len());
        if store.is_saving() {
            continue;
        }
        let deltas = parts.iter().filter(|part| part.kind == PartKind::Delta).count();
        let new = stored(parts);
        seen.wholes += (new.len() - deltas) as u32;
        seen.deltas += deltas as u32;
        seen.empty += new.iter().filter(|(state, _)| state.bytes.is_empty()).count() as u32;
        seen.removed_and_come_again += new.iter().map(come_again).sum::<u32>();
        let all = if deltas == 0 { new } else { [complete.clone(), new].concat() };
        assert_eq!(read(&all, HashRange::ALL), cut, "seed {seed}, checkpoint {checkpoint}");
        let checkpoint = CheckpointId(checkpoint);
        match random.below(6) {
            // It fails elsewhere.
            0 => {}
            // It is complete, and the store does not hear of it, or late.
            1 => (complete, unheard) = (all, Some(checkpoint).filter(|_| random.below(2) == 0)),
            _ => {
                complete = all;
                for _ in 0..random.below(3) {
                    change(&mut store, &mut model, &mut random, keys);
                }
                store.complete(checkpoint);
            }
        }
    }
}

/// How many keys a part has as removed and as an entry.
fn come_again((state, _): &Stored) -> u32 {
    let (mut removed, mut again) = (BTreeSet::new(), 0);
    block::read(state, decode_from, |record: Record<u64, Vec<u64>>, _| match record {
        Record::Removed(key) => drop(removed.insert(key)),
        Record::Entry(key, ..) => again += u32::from(removed.contains(&key)),
    })
    .expect("a part");
    again
}

#[test]
fn each_save_holds_what_was_there_when_it_began_whatever_changes_grows_and_is_given_up_meanwhile() {
    let mut seen = Seen::default();
    (0..80).for_each(|seed| each_save_is_what_was_there(seed, &mut seen));
    let Seen { wholes, deltas, empty, removed_and_come_again } = seen;
    assert!(wholes > 500 && deltas > 500 && empty > 10, "{seen:?}");
    assert!(removed_and_come_again > 100, "{seen:?}");
}

#[test]
fn a_save_of_changes_costs_what_has_changed() {
    let mut store = store();
    for key in 0..100_000 {
        store.upsert(hash_key(&key), key, || vec![key]);
    }
    let mut save = |checkpoint, changes: u64| {
        for key in 0..changes {
            store.upsert(hash_key(&key), key, Vec::new).1.push(1);
        }
        store.begin_save(of(checkpoint));
        let mut parts = Vec::new();
        let visits = (1..).find(|_| store.go_on(64, &mut parts)).expect("it ends");
        store.complete(CheckpointId(checkpoint));
        (visits, stored(parts).iter().map(|(state, _)| state.bytes.len()).sum::<usize>())
    };
    let (whole, all) = save(1, 0);
    assert!(whole > 1_500 && all > 2_000_000, "{whole} {all}");
    save(2, 0);
    let (visits, bytes) = save(3, 1_000);
    assert!(visits < 50, "{visits} visits for 1,000 changes");
    assert!((28_000..80_000).contains(&bytes), "{bytes} bytes for 1,000 changes");
    assert_eq!(save(4, 0).1, 0);
}

#[test]
fn numbers_of_saves_that_come_round_leave_no_change_out() {
    for left in 0..4 {
        let mut store = store();
        store.set_number_of_saves(SAVES_MAX - 1 - left);
        let (mut complete, mut model) = (Vec::new(), Model::new());
        for checkpoint in 1..8 {
            for key in 0..1_000 + checkpoint {
                if key % 97 == checkpoint || checkpoint == 1 {
                    store.upsert(hash_key(&key), key, Vec::new).1.push(checkpoint);
                    model.entry(key).or_default().push(checkpoint);
                }
            }
            store.begin_save(of(checkpoint));
            let mut parts = Vec::new();
            while !store.go_on(100, &mut parts) {}
            complete.append(&mut stored(parts));
            assert_eq!(read(&complete, HashRange::ALL), model, "{left} left, {checkpoint}");
            store.complete(CheckpointId(checkpoint));
        }
    }
}

#[test]
fn ranges_of_any_number_of_instances_share_out_what_was_saved() {
    let (mut store, mut model) = (store(), Model::new());
    for key in 0..20_000 {
        store.upsert(hash_key(&key), key, || vec![key; 8]);
        model.insert(key, vec![key; 8]);
    }
    for instances in [1, 2, 3, 5, 8] {
        let (mut all, mut read) = (Model::new(), 0);
        for instance in 0..instances {
            store.begin_save(begin());
            let mut parts = Vec::new();
            assert!(store.go_on(usize::MAX, &mut parts));
            assert!(parts.len() > 1, "large state is in several parts");
            let range = crate::channel::key::hashes_of(instance, instances);
            let mine = loaded(parts, range);
            assert!(mine.len() > 20_000 / instances / 2);
            read += mine.len();
            all.extend(mine);
        }
        assert_eq!(read, 20_000, "each key belongs to one instance");
        assert_eq!(all, model);
    }
}

#[test]
fn saves_that_are_given_up_hundreds_of_times_leave_no_entry_out() {
    // The number of the last save is that of the entries, if numbers come round.
    for given_up in [199, 200, 201, 254, 255, 256, 511, 767] {
        let mut store = store();
        for key in 0..1_000 {
            store.upsert(hash_key(&key), key, Vec::new);
        }
        for _ in 0..given_up {
            store.begin_save(begin());
            store.go_on(1, &mut Vec::new());
        }
        store.begin_save(begin());
        let mut parts = Vec::new();
        let through = (0..10_000).any(|_| store.go_on(100, &mut parts));
        assert!(through, "after {given_up}");
        assert_eq!(loaded(parts, HashRange::ALL).len(), 1_000, "after {given_up}");
    }
}

#[test]
fn an_empty_store_has_a_part_that_says_so() {
    let (mut store, mut parts) = (store(), Vec::new());
    store.begin_save(SaveBegin { watermark: None, ..begin() });
    assert!(store.go_on(1_000, &mut parts));
    assert_eq!(parts.len(), 1);
    assert!(loaded(parts, HashRange::ALL).is_empty());
}

#[test]
fn while_the_writer_is_behind_the_store_is_full() {
    let (mut store, mut parts) =
        (KeyedStore::new(HashRange::ALL, StateCodec::POSITIONAL, 0), Vec::new());
    for key in 0..300_u64 {
        store.upsert(hash_key(&key), key, || vec![0_u64; 10_000]);
    }
    store.begin_save(begin());
    while !store.go_on(50, &mut parts) && !store.is_full() {}
    assert!(store.is_full());
    parts.clear();
    assert!(!store.is_full());
}

#[test]
fn a_value_that_cannot_be_encoded_fails_the_checkpoint_and_not_the_event() {
    #[derive(serde::Deserialize)]
    struct Refuses(bool);
    impl serde::Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            assert!(!self.0, "it panics");
            Err(serde::ser::Error::custom("it refuses"))
        }
    }
    for panics in [false, true] {
        let mut store = KeyedStore::new(HashRange::ALL, StateCodec::POSITIONAL, 0);
        store.upsert(hash_key(&1_u64), 1_u64, || Refuses(panics));
        store.begin_save(begin());
        store.upsert(hash_key(&1_u64), 1_u64, || Refuses(panics)).1.0 = panics;
        let mut parts = Vec::new();
        assert!(store.go_on(1_000, &mut parts));
        let failed = parts.pop().expect("a part").state.encode().expect_err("refused");
        assert!(
            failed.to_string().contains(if panics { "it panics" } else { "it refuses" }),
            "{failed}"
        );
    }
}

#[test]
fn tables_of_one_segment_are_not_crowded_by_what_its_hashes_have_in_common() {
    let mut tags = BTreeMap::<u64, u32>::new();
    let mut places = BTreeMap::<u64, u32>::new();
    let of_one_segment =
        (0..10_000_000_u64).map(|key| hash_key(&key)).filter(|hash| hash >> 56 == 7);
    for hash in of_one_segment.take(16_384) {
        *tags.entry(remixed(hash) >> 57).or_default() += 1;
        *places.entry(remixed(hash) & 0x3ff).or_default() += 1;
    }
    assert_eq!((tags.len(), places.len()), (128, 1024));
    assert!(tags.values().all(|n| *n < 256), "{tags:?}");
    assert!(places.values().all(|n| *n < 64), "{places:?}");
}

#[test]
fn what_is_no_block_is_refused() {
    let codec = StateCodec::POSITIONAL;
    let put = |to: &mut Vec<u8>| {
        block::put(&1_u64, &vec![2_u64], None, codec, to).expect("encoded");
        block::put_removed(&3_u64, codec, to).expect("encoded");
    };
    let load = |bytes: &[u8]| {
        let mut store = store();
        let part = EncodedState { codec, bytes: bytes.to_vec() };
        store.load(&part, HashRange::ALL, RESTORE, |_, _, _| {}).map(|()| store.len())
    };
    let mut whole = block::head(PartKind::Whole, None, Timestamp(7), 0);
    block::put(&1_u64, &vec![2_u64], None, codec, &mut whole).expect("encoded");
    assert_eq!(load(&whole).expect("a part"), 1);
    for length in (1..whole.len()).filter(|length| *length != 9) {
        assert!(load(&whole[..length]).is_err(), "{length} bytes");
    }
    let mut records = Vec::new();
    put(&mut records);
    let delta = [block::head(PartKind::Delta, None, Timestamp(7), records.len()), records].concat();
    // For ever: kind, moment, length; length, key, number of values and value; length with the mark of what was removed,
    // and its key.
    let words =
        |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let golden = [
        &[2][..],
        &words(&[7, 40]),
        &[24, 0, 0, 0],
        &words(&[1, 1, 2]),
        &[8, 0, 0, 0x80],
        &words(&[3]),
    ];
    assert_eq!(delta, golden.concat());
    let two = [&delta[..], &delta].concat();
    assert_eq!(load(&two).expect("two deltas"), 1);
    for length in (1..two.len()).filter(|length| *length != delta.len()) {
        assert!(load(&two[..length]).is_err(), "{length} bytes");
    }
    whole[0] = 3;
    assert!(load(&whole).is_err(), "a later version");
}

/// The bytes that a store of so many entries says it has, and those that were allocated for it.
fn said_and_allocated<V: State>(entries: u64, value: impl Fn(u64) -> V) -> (f64, f64) {
    let mut store = None;
    let allocated = allocation_counter::measure(|| {
        let mut filled = KeyedStore::new(HashRange::ALL, StateCodec::POSITIONAL, 0);
        for key in 0..entries {
            filled.upsert(hash_key(&key), key, || value(key));
        }
        store = Some(filled);
    });
    let size = store.as_mut().expect("filled").size();
    assert_eq!(size.entries, entries);
    (size.bytes as f64, allocated.bytes_current as f64)
}

#[test]
fn the_size_of_a_store_is_what_was_allocated_for_it() {
    // state B6.1
    let all = [
        said_and_allocated(50_000, |key| key),
        said_and_allocated(50_000, |key| format!("{key:0>100}")),
        said_and_allocated(50_000, |key| "x".repeat(key as usize % 300)),
        said_and_allocated(5_000, |key| vec![key; 40]),
        said_and_allocated(20_000, |key| (key, format!("{key:0>60}"), key)),
    ];
    for (said, allocated) in all {
        assert!((said / allocated - 1.0).abs() < 0.2, "{said} of {allocated}");
    }
}

/// Entries live for 100 ms, by the clock; a value that is a multiple of three leaves something behind.
fn living(in_event_time: bool) -> KeyedStore<u64, u64> {
    let ttl = TimeToLive::since_write(Duration::from_millis(100));
    let ttl = if in_event_time { ttl.in_event_time() } else { ttl };
    let store = KeyedStore::new(HashRange::ALL, StateCodec::POSITIONAL, 0);
    store.with_time_to_live(Some(ttl), |value| {
        *value = 1_000;
        true
    })
}

fn ms(ms: u64) -> Timestamp {
    Timestamp(ms * 1_000_000)
}

fn count(store: &mut KeyedStore<u64, u64>, key: u64) -> u64 {
    *store.update(hash_key(&key), key, (), |()| 1, |value, ()| *value += 1).1
}

#[test]
fn what_is_over_is_not_seen_and_its_memory_is_freed_within_as_long_again() {
    // state O12, B9
    let mut store = living(false);
    for at in 0..1_000 {
        store.expiry().expect("it expires").clock(ms(at));
        store.clean_up(ms(at));
        // Key 0 is written in time again and again, each other key once.
        assert_eq!(count(&mut store, 0), at + 1);
        assert_eq!(count(&mut store, at + 1), 1);
        assert!(store.len() <= 202, "{} entries at {at} ms", store.len());
    }
    store.expiry().expect("it expires").clock(ms(1_100));
    assert_eq!(count(&mut store, 0), 1, "it is over, and begins anew");
}

#[test]
fn times_are_part_of_saves_and_count_on_by_another_clock_though_a_part_is_old() {
    // state B9.3
    for in_event_time in [false, true] {
        let mut store = living(in_event_time);
        let set = |store: &mut KeyedStore<u64, u64>, at: u64| {
            let expiry = store.expiry().expect("it expires");
            expiry.clock(ms(at));
            expiry.watermark(EventTime::from_unix_ms(at as i64));
        };
        let mut parts = Vec::new();
        for (checkpoint, at) in [(1, 1_000), (2, 1_020), (3, 1_060)] {
            set(&mut store, at);
            for key in 0..3_000 {
                if checkpoint == 1 || key % 100 == checkpoint {
                    count(&mut store, key);
                }
            }
            store.begin_save(of(checkpoint));
            let mut new = Vec::new();
            while !store.go_on(1_000, &mut new) {}
            store.complete(CheckpointId(checkpoint));
            parts.append(&mut stored(new));
        }
        // Cut at 1,060, restored at 5 by another clock.
        let mut restored = living(in_event_time);
        let at = Restore { now: ms(5), cut_at: Some(ms(1_060)) };
        for (part, of) in &parts {
            restored.load(part, *of, at, |_, _, _| {}).expect("decoded");
        }
        assert_eq!(restored.len(), 3_000);
        let later = |by: u64| if in_event_time { 1_060 + by } else { 5 + by };
        set(&mut restored, later(39));
        assert_eq!(count(&mut restored, 0), 2, "40 ms were left at the cut");
        set(&mut restored, later(41));
        assert_eq!(count(&mut restored, 4), 1, "it is over");
        assert_eq!(count(&mut restored, 2), 3, "60 ms were left");
        assert_eq!(count(&mut restored, 3), 3, "100 ms were left");
        set(&mut restored, later(61));
        assert_eq!(count(&mut restored, 102), 1);
        assert_eq!(count(&mut restored, 103), 3);
    }
}

#[test]
fn what_expires_is_removed_in_a_save_of_changes_and_restored_by_none() {
    let mut store = living(false);
    let mut parts = Vec::new();
    for checkpoint in 1..=6 {
        let at = 60 * checkpoint;
        store.expiry().expect("it expires").clock(ms(at));
        for step in 0..70 {
            store.clean_up(ms(at + step));
        }
        store.expiry().expect("it expires").clock(ms(at));
        for n in 0..500 {
            count(&mut store, 500 * checkpoint + n);
        }
        store.begin_save(of(checkpoint));
        let mut new = Vec::new();
        while !store.go_on(1_000, &mut new) {}
        store.complete(CheckpointId(checkpoint));
        parts.append(&mut stored(new));
        let mut restored = living(false);
        let at = Restore { now: ms(at), cut_at: Some(ms(at)) };
        for (part, of) in &parts {
            restored.load(part, *of, at, |_, _, _| {}).expect("decoded");
        }
        assert_eq!(restored.len(), store.len(), "{checkpoint}");
        assert!(store.len() <= 1_500, "{}", store.len());
    }
}
