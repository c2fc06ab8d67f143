//! What types look like to a positional codec.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::*;

#[track_caller]
fn shape<T: DeserializeOwned>(expected: &str) {
    let found = Shape::of::<T>().map(|shape| shape.to_string());
    assert_eq!(found.as_deref(), Some(expected));
}

#[test]
fn the_shape_of_a_type_names_its_fields_and_variants_in_order() {
    #[derive(Deserialize)]
    struct Cents(#[expect(dead_code)] i64);
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Balance {
        cents: Cents,
        last: Option<u64>,
        names: Vec<String>,
    }
    #[derive(Deserialize)]
    #[expect(dead_code)]
    enum Event {
        Nothing,
        One(u8),
        Two(u8, bool),
        Named { at: f64, who: Balance },
    }
    shape::<Balance>("{cents: i64, last: option(u64), names: list(str)}");
    shape::<Event>(
        "one of Nothing | One(u8) | Two((u8, bool)) | Named({at: f64, who: {cents: i64, last: option(u64), names: list(str)}})",
    );
    shape::<HashMap<(u32, char), Vec<Event>>>(
        "map((u32, char), list(one of Nothing | One(u8) | Two((u8, bool)) | Named({at: f64, who: {cents: i64, last: option(u64), names: list(str)}})))",
    );
    shape::<()>("unit");
    shape::<[u16; 3]>("(u16, u16, u16)");
    shape::<BTreeSet<u8>>("list(u8)");
}

#[test]
fn enums_within_enums_are_seen_in_full() {
    #[derive(Deserialize)]
    #[expect(dead_code)]
    enum Inner {
        A,
        B(u8),
    }
    #[derive(Deserialize)]
    #[expect(dead_code)]
    enum Outer {
        X(Inner, Inner),
        Y { inner: Option<Inner> },
        Z,
    }
    shape::<(Outer, Inner)>(
        "(one of X((one of A | B(u8), one of A | B(u8))) | Y({inner: option(one of A | B(u8))}) | Z, one of A | B(u8))",
    );
}

#[test]
fn types_that_accept_only_some_values_have_a_shape() {
    shape::<NonZeroU32>("u32");
    shape::<(NonZeroU32, String, NonZeroU32)>("(u32, str, u32)");
    shape::<IpAddr>(
        "one of V4((u8, u8, u8, u8)) | V6((u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8))",
    );
    assert!(Shape::of::<SocketAddr>().is_some());
    assert!(Shape::of::<SystemTime>().is_some());
    assert!(Shape::of::<Duration>().is_some());
    /// Twelve, as text or as a number.
    #[derive(Deserialize)]
    #[serde(try_from = "(u8, String)")]
    struct Twelve;
    impl TryFrom<(u8, String)> for Twelve {
        type Error = String;
        fn try_from((number, text): (u8, String)) -> Result<Self, String> {
            if number == 12 && text.is_empty() { Ok(Self) } else { Err("not twelve".to_owned()) }
        }
    }
    assert!(Shape::of::<Twelve>().is_none(), "two leaves decide together: given up, not guessed");
}

#[test]
fn types_that_hold_themselves_end_where_they_begin_again() {
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Tree {
        value: u64,
        children: Vec<Tree>,
        parent: Option<Box<Tree>>,
    }
    #[derive(Deserialize)]
    #[expect(dead_code)]
    enum Term {
        Sum(Box<Term>, Box<Term>),
        Number(i64),
    }
    let tree = Shape::of::<Tree>().expect("it ends").to_string();
    assert!(
        tree.starts_with("{value: u64, children: list({value: u64, children: list(again)"),
        "{tree}"
    );
    assert!(Shape::of::<Term>().is_some());
}

#[test]
fn types_that_ask_for_data_that_describes_itself_have_no_shape() {
    #[derive(Deserialize)]
    #[serde(untagged)]
    #[expect(dead_code)]
    enum Untagged {
        Number(u64),
        Text(String),
    }
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Flat {
        #[serde(flatten)]
        rest: HashMap<String, u64>,
    }
    assert!(Shape::of::<Untagged>().is_none());
    assert!(Shape::of::<Flat>().is_none());
    assert!(Shape::of::<serde_json::Value>().is_none());
    assert!(Shape::of::<(u8, serde_json::Value)>().is_none());
}

#[test]
fn what_is_read_differently_has_another_shape_and_what_is_read_alike_the_same() {
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct One {
        a: u64,
        b: u64,
    }
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Swapped {
        b: u64,
        a: u64,
    }
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Renamed {
        a: u64,
        b: u64,
    }
    assert_ne!(Shape::of::<One>(), Shape::of::<Swapped>());
    assert_ne!(Shape::of::<u64>(), Shape::of::<f64>());
    assert_eq!(Shape::of::<One>(), Shape::of::<Renamed>(), "the name of a type may change");
    assert_eq!(Shape::of::<Vec<u8>>(), Shape::of::<std::collections::VecDeque<u8>>());
}
