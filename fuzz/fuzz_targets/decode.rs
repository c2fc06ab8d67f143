//! State of several shapes. What is decoded takes no more than the bytes it was decoded from.

#![no_main]

use std::collections::{BTreeMap, VecDeque};

use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use streamwork::checkpoint::{decode, encode};
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
    if let Ok(value) = decode::<T>(bytes) {
        assert!(encode(&value).expect("it can be encoded").len() <= bytes.len());
    }
}
