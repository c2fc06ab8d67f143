//! State of several shapes. What is decoded takes no more than the bytes it was decoded from.

#![no_main]

use std::collections::{BTreeMap, VecDeque};

use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use streamwork::checkpoint::{EncodedState, StateCodec};
use streamwork::log::Offset;

#[derive(Debug, Deserialize, Serialize)]
enum Shape {
    Nothing,
    Text(String),
    Pair(char, Option<Box<Shape>>),
    Many { bytes: Vec<u8>, deep: Vec<Vec<u16>> },
}

fuzz_target!(|bytes: &[u8]| {
    check::<Vec<Shape>>(bytes);
    check::<String>(bytes);
    check::<(Option<BTreeMap<String, u64>>, Vec<(u64, u64)>)>(bytes);
    check::<VecDeque<Vec<Vec<i128>>>>(bytes);
    check::<Vec<(u32, Offset)>>(bytes);
});

fn check<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    for codec in [StateCodec::POSITIONAL, StateCodec::SELF_DESCRIBING] {
        let Ok(value) = (EncodedState { codec, bytes: bytes.to_vec() }).decode::<T>() else { continue };
        let again = EncodedState::of(&value, codec).expect("it can be encoded");
        // What describes itself may leave out the names.
        assert!(codec != StateCodec::POSITIONAL || again.bytes.len() <= bytes.len());
    }
}
