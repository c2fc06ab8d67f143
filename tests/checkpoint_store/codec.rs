//! Values as bytes.

use std::{collections::BTreeMap, error::Error};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use streamwork::checkpoint::{CodecError, Manifest, decode, encode, snapshot};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Number(i128),
    Pair(char, Option<String>),
    Named { bytes: Vec<u8>, deep: Vec<Vec<u16>> },
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Nothing),
        any::<i128>().prop_map(Shape::Number),
        any::<(char, Option<String>)>().prop_map(|(a, b)| Shape::Pair(a, b)),
        any::<(Vec<u8>, Vec<Vec<u16>>)>().prop_map(|(bytes, deep)| Shape::Named { bytes, deep }),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_comes_back_equal(
        shapes in proptest::collection::vec(shapes(), 0..8),
        map in any::<BTreeMap<String, (bool, f32, usize)>>(),
        unit in any::<()>(),
    ) {
        let value = (shapes, map, unit);
        let bytes = encode(&value).unwrap();
        prop_assert_eq!(decode::<(Vec<Shape>, BTreeMap<String, (bool, f32, usize)>, ())>(&bytes).unwrap(), value);
    }

    #[test]
    fn a_byte_more_or_less_is_an_error(shape in shapes(), extra in any::<u8>()) {
        let mut bytes = encode(&shape).unwrap();
        prop_assert!(decode::<Shape>(&bytes[..bytes.len() - 1]).is_err());
        bytes.push(extra);
        let is_refused = matches!(decode::<Shape>(&bytes), Err(CodecError::TrailingBytes { .. }));
        prop_assert!(is_refused);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in any::<Vec<u8>>()) {
        let _ = decode::<Vec<Shape>>(&bytes);
        let _ = decode::<BTreeMap<String, Shape>>(&bytes);
        let _ = Manifest::from_bytes(&bytes);
    }
}

#[test]
fn a_short_input_that_claims_a_huge_value_is_refused_before_it_is_allocated() {
    // 73 bytes; the first eight claim 8 GB, or so much that asking for it would end the process.
    for claimed in [8_u64 << 30, 1 << 46] {
        let mut bytes = [0; 73];
        bytes[..8].copy_from_slice(&claimed.to_le_bytes());
        let error = decode::<String>(&bytes).unwrap_err();
        let cause = error.source().expect("the codec's own error").to_string();
        assert!(cause.contains("LimitExceeded"), "{cause}");
        assert!(decode::<Vec<u64>>(&bytes).is_err());
        assert!(decode::<Vec<String>>(&bytes).is_err());
        assert!(decode::<BTreeMap<u64, u64>>(&bytes).is_err());
    }
}

#[test]
fn an_error_names_the_type() {
    let error = decode::<u64>(&[1]).unwrap_err();
    let message = error.to_string();
    let cause = error.source().expect("the codec's own error").to_string();
    assert_eq!(message, format!("cannot decode a u64: {cause}"));
}

#[test]
fn a_state_that_cannot_be_encoded_is_an_error_and_not_a_panic() {
    #[derive(Debug)]
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }
    let error = snapshot(Refuses).encode().unwrap_err();
    assert!(matches!(error, CodecError::Encode { .. }), "{error}");
    assert!(error.source().unwrap().to_string().contains("not today"));
}
