//! The codec: state of several shapes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Debug;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use streamwork::checkpoint::{CodecId, EncodedState, Manifest, StateCodec};
use streamwork::log::Offset;

use crate::memory_disk::Random;
use crate::mutate::mutated;
use crate::{tier, within_bounds};

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Tree {
    Leaf(String),
    Numbers { of: Vec<i128>, at: Option<Duration> },
    Node(Vec<Tree>),
}

/// Decodes the damaged bytes of a value; a decoded value must be the one that its bytes encode.
fn check<T>(value: &T, random: &mut Random, what: &str)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    for codec in [StateCodec::POSITIONAL, StateCodec::SELF_DESCRIBING] {
        check_with(codec, value, random, what);
    }
}

fn check_with<T>(codec: CodecId, value: &T, random: &mut Random, what: &str)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let whole = EncodedState::of(value, codec).expect("it can be encoded");
    let bytes = whole.bytes;
    let input = mutated(&bytes, random);
    let state = EncodedState { codec, bytes: input.clone() };
    let decoded = within_bounds(what, input.len(), || state.decode::<T>());
    match decoded {
        Ok(found) if input == bytes => assert_eq!(found, *value, "{what}"),
        // Other bytes may stand for another value, but all of them for that and no other.
        Ok(found) => {
            let again = EncodedState::of(&found, codec).expect("it can be encoded").bytes;
            // What describes itself may leave out the names.
            let most = if codec == StateCodec::POSITIONAL { input.len() } else { usize::MAX };
            assert!(again.len() <= most, "{what}: more than the input held");
        }
        Err(error) => {
            assert!(input != bytes, "{what}: what was written is refused: {error}");
            assert!(!error.to_string().is_empty());
        }
    }
}

type Timers = (Option<BTreeMap<u64, char>>, Vec<(u64, u64)>);

/// Values of several shapes.
pub(crate) struct Values {
    tree: Tree,
    counts: BTreeMap<String, u64>,
    account: Option<(i64, Vec<u8>)>,
    timers: Timers,
    offsets: Vec<(u32, Offset)>,
    nested: VecDeque<Vec<Vec<u16>>>,
    names: Vec<(String, usize)>,
}

impl Values {
    /// How many are damaged in a round: nine, each with two codecs.
    const A_ROUND: u64 = 18;

    pub(crate) fn new() -> Self {
        let leaf = |text: &str| Tree::Leaf(text.to_owned());
        let numbers =
            Tree::Numbers { of: vec![1, -1, i128::MAX], at: Some(Duration::from_secs(3)) };
        Self {
            tree: Tree::Node(vec![leaf("a"), Tree::Node(vec![numbers, leaf("späte Zahlung")])]),
            counts: (0..30).map(|n| (format!("word {n}"), n)).collect(),
            account: Some((-9, vec![7; 50])),
            timers: (Some(BTreeMap::from([(1, 'x')])), vec![(u64::MAX, 7); 20]),
            offsets: (0..8).map(|n| (n, Offset::new(41))).collect(),
            nested: VecDeque::from([vec![vec![1, 2], vec![]], vec![]]),
            names: vec![("counter".to_owned(), 3), (String::new(), usize::MAX)],
        }
    }

    /// Damages each of them.
    pub(crate) fn damage(&self, random: &mut Random, what: &str) {
        check(&self.tree, random, what);
        check(&self.counts, random, what);
        check(&self.account, random, what);
        check(&self.timers, random, what);
        check(&self.offsets, random, what);
        check(&self.nested, random, what);
        check(&self.names, random, what);
        check(&"text".repeat(20), random, what);
        check(&vec![0_u64; 40], random, what);
    }
}

#[test]
fn damaged_state_of_any_shape_is_refused_or_a_value_within_the_bounds_of_the_input() {
    let test = "damaged_state_of_any_shape_is_refused_or_a_value_within_the_bounds_of_the_input";
    let (seed, started) = (tier::seed(test), Instant::now());
    let values = Values::new();
    let cases = tier::times(40_000, 10_000_000);
    for case in 0..cases {
        let random = &mut Random(seed << 24 ^ case);
        values.damage(random, &format!("STREAMWORK_SEED={seed}, case {case}"));
    }
    let damaged = Values::A_ROUND * cases;
    tier::report(21, test, damaged, "damaged values", seed, started.elapsed());
}

/// Bytes that claim to be long, deep or numerous, and are not.
#[test]
fn lengths_and_depths_that_the_input_does_not_hold_are_refused_within_its_bounds() {
    let long = [
        vec![0xdb, 0xff, 0xff, 0xff, 0xff],
        vec![0xc6, 0xff, 0xff, 0xff, 0xff],
        vec![0xdd, 0xff, 0xff, 0xff, 0xff],
        vec![0xdf, 0xff, 0xff, 0xff, 0xff],
        vec![0xc9, 0xff, 0xff, 0xff, 0xff, 1],
        vec![0x91; 1_000_000],
        vec![0x81; 1_000_000],
    ];
    for bytes in long {
        let state = EncodedState { codec: StateCodec::SELF_DESCRIBING, bytes };
        let bytes = state.bytes.len();
        let what = format!("{:02x}", state.bytes[0]);
        within_bounds(&what, bytes, || {
            state.decode::<String>().expect_err(&what);
            state.decode::<Vec<String>>().expect_err(&what);
            state.decode::<HashMap<String, u64>>().expect_err(&what);
            state.decode::<serde_json::Value>().expect_err(&what);
        });
    }
    let unknown = EncodedState { codec: CodecId(77), bytes: vec![1] };
    let refused = unknown.decode::<u64>().expect_err("no codec has that number");
    assert!(refused.to_string().contains("77"), "{refused}");
}

#[test]
fn bytes_that_were_never_a_manifest_are_refused() {
    let test = "bytes_that_were_never_a_manifest_are_refused";
    let (seed, started) = (tier::seed(test), Instant::now());
    let cases = tier::times(100_000, 100_000_000);
    let mut random = Random(seed);
    for case in 0..cases {
        let mut bytes: Vec<u8> = (0..random.below(200)).map(|_| random.next() as u8).collect();
        if random.below(2) == 0 && bytes.len() > 19 {
            bytes[..8].copy_from_slice(b"STRWMANI");
            bytes[8..11].copy_from_slice(&[1, 0, 1]);
            let body = (bytes.len() - 19).saturating_sub(4) as u64;
            bytes[11..19].copy_from_slice(&body.to_le_bytes());
            crate::mutate::reseal(&mut bytes);
        }
        let what = format!("STREAMWORK_SEED={seed}, case {case}");
        let _ = within_bounds(&what, bytes.len(), || Manifest::from_bytes(&bytes));
    }
    tier::report(21, test, cases, "inputs", seed, started.elapsed());
}
