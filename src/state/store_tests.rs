//! The store against a plain map: what a save holds is what the map held when it began.

use std::collections::BTreeMap;

use super::*;
use crate::checkpoint::StateCodec;
use crate::testkit::random::Random;

type Store = KeyedStore<u64, Vec<u64>>;
type Model = BTreeMap<u64, Vec<u64>>;

fn begin() -> SaveBegin {
    SaveBegin { component: "counts".into(), watermark: None, at: Timestamp(7) }
}

fn store() -> Store {
    KeyedStore::new(HashRange::ALL, StateCodec::POSITIONAL)
}

/// What parts hold, read into a store of this range.
fn loaded(parts: Vec<Part>, range: HashRange) -> Model {
    let mut store: Store = KeyedStore::new(range, StateCodec::POSITIONAL);
    for part in parts {
        let block = part.state.encode().expect("encoded");
        store.load(&block, |_, _, at| assert_eq!(at, Timestamp(7))).expect("decoded");
    }
    contents(&store)
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

fn each_save_is_what_was_there(seed: u64) {
    let mut random = Random::new(seed);
    let (mut store, mut model) = (store(), Model::new());
    let keys = 1 << random.below(14);
    for _ in 0..random.below(2 * keys) {
        change(&mut store, &mut model, &mut random, keys);
    }
    for _ in 0..12 {
        store.begin_save(begin());
        let (cut, mut parts) = (model.clone(), Vec::new());
        // New keys too, so that tables grow under the scan.
        let growing = keys << random.below(3);
        let (pace, gives_up) = (1 << random.below(12), random.below(4) == 0);
        loop {
            for _ in 0..random.below(20) {
                change(&mut store, &mut model, &mut random, growing);
            }
            if store.go_on(pace, &mut parts) || (gives_up && random.below(5) == 0) {
                break;
            }
        }
        if store.saving.is_none() {
            assert_eq!(loaded(parts, HashRange::ALL), cut, "seed {seed}");
        }
        assert_eq!(contents(&store), model);
        assert_eq!(store.len(), model.len());
    }
}

#[test]
fn each_save_holds_what_was_there_when_it_began_whatever_changes_grows_and_is_given_up_meanwhile() {
    (0..120).for_each(each_save_is_what_was_there);
}

#[test]
fn ranges_of_any_number_of_instances_share_out_what_was_saved() {
    let (mut store, mut model) = (store(), Model::new());
    for key in 0..20_000 {
        store.upsert(hash_key(&key), key, || vec![key]);
        model.insert(key, vec![key]);
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
        (KeyedStore::new(HashRange::ALL, StateCodec::POSITIONAL), Vec::new());
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
        let mut store = KeyedStore::new(HashRange::ALL, StateCodec::POSITIONAL);
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
    let mut whole = block::begin(Timestamp(7));
    block::put(&1_u64, &vec![2_u64], codec, &mut whole).expect("encoded");
    let read = |bytes: &[u8]| {
        let mut store = store();
        store
            .load(&EncodedState { codec, bytes: bytes.to_vec() }, |_, _, _| {})
            .map(|()| store.len())
    };
    assert_eq!(read(&whole).expect("a block"), 1);
    for length in (0..whole.len()).filter(|length| *length != 9) {
        assert!(read(&whole[..length]).is_err(), "{length} bytes");
    }
    whole[0] = 2;
    assert!(read(&whole).is_err(), "a later version");
}
