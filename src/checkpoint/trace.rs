//! [`trace`]: a hash of the calls that a value makes to serde. Values that differ in a storable way have
//! different traces.
//!
//! A codec may write two values as the same bytes (`Some(None)` and `None` in most self-describing codecs),
//! so bytes that are read back and written again prove nothing. The trace sees every call that `Serialize`
//! makes. It does not depend on the order of a set's or map's entries, which may change when it is read.

use std::fmt::{self, Display};

use serde::ser::{
    self, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// The trace of a value.
///
/// # Errors
/// An error of its `Serialize`.
pub(super) fn trace<T: Serialize + ?Sized>(value: &T) -> Result<u64, Refused> {
    trace_within(value, usize::MAX)
}

/// The trace of a value that is nested at most this deep.
///
/// # Errors
/// An error of its `Serialize`, or that it is nested deeper.
pub(super) fn trace_within<T: Serialize + ?Sized>(
    value: &T,
    levels: usize,
) -> Result<u64, Refused> {
    value.serialize(Tracer { levels })
}

/// Why a value cannot be traced: its `Serialize` fails.
#[derive(Debug)]
pub(super) struct Refused(String);

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

struct Tracer {
    /// How much deeper the value may be nested.
    levels: usize,
}

impl Tracer {
    /// A collection one level further in.
    fn enter(self, kind: u64, ordered: bool) -> Result<Entries, Refused> {
        let levels = self.levels.checked_sub(1);
        let levels =
            levels.ok_or_else(|| Refused("too many values inside each other".to_owned()))?;
        Ok(Entries { kind, sum: 0, count: 0, ordered, key: 0, levels })
    }
}

/// A collection that is being traced: its entries are summed up, each with its index if the order counts.
struct Entries {
    kind: u64,
    sum: u64,
    count: u64,
    ordered: bool,
    key: u64,
    levels: usize,
}

fn mixed(a: u64, b: u64) -> u64 {
    let mut hash = a.rotate_left(23) ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^ (hash >> 32)
}

fn bytes(kind: u64, bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(mixed(kind, bytes.len() as u64), |hash, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mixed(hash, u64::from_le_bytes(word))
    })
}

impl Entries {
    /// The trace of something in it.
    fn trace<T: Serialize + ?Sized>(&self, value: &T) -> Result<u64, Refused> {
        trace_within(value, self.levels)
    }

    fn add(&mut self, entry: u64) {
        let place = if self.ordered { self.count } else { 0 };
        self.sum = self.sum.wrapping_add(mixed(entry, place));
        self.count += 1;
    }

    fn finish(&self) -> u64 {
        mixed(mixed(self.kind, self.count), self.sum)
    }
}

/// Numbers are the same whatever their width: a codec may choose one.
macro_rules! numbers {
    ($($name:ident: $type:ty),*) => {
        $(fn $name(self, value: $type) -> Result<u64, Refused> {
            Ok(bytes(1, &i128::from(value).to_le_bytes()))
        })*
    };
}

impl Serializer for Tracer {
    type Ok = u64;
    type Error = Refused;
    type SerializeSeq = Entries;
    type SerializeTuple = Entries;
    type SerializeTupleStruct = Entries;
    type SerializeTupleVariant = Entries;
    type SerializeMap = Entries;
    type SerializeStruct = Entries;
    type SerializeStructVariant = Entries;

    numbers! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64
    }

    fn serialize_u128(self, value: u128) -> Result<u64, Refused> {
        Ok(bytes(1, &value.to_le_bytes()))
    }
    fn serialize_bool(self, value: bool) -> Result<u64, Refused> {
        Ok(mixed(2, u64::from(value)))
    }
    fn serialize_f32(self, value: f32) -> Result<u64, Refused> {
        self.serialize_f64(f64::from(value))
    }
    fn serialize_f64(self, value: f64) -> Result<u64, Refused> {
        Ok(mixed(3, if value.is_nan() { 0 } else { value.to_bits() }))
    }
    fn serialize_char(self, value: char) -> Result<u64, Refused> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, value: &str) -> Result<u64, Refused> {
        Ok(bytes(4, value.as_bytes()))
    }
    fn serialize_bytes(self, value: &[u8]) -> Result<u64, Refused> {
        Ok(bytes(5, value))
    }
    fn serialize_none(self) -> Result<u64, Refused> {
        Ok(mixed(6, 0))
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<u64, Refused> {
        Ok(mixed(7, trace_within(value, self.levels)?))
    }
    fn serialize_unit(self) -> Result<u64, Refused> {
        Ok(mixed(8, 0))
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<u64, Refused> {
        self.serialize_unit()
    }
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<u64, Refused> {
        Ok(bytes(9, variant.as_bytes()))
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<u64, Refused> {
        trace_within(value, self.levels)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<u64, Refused> {
        let of = self.enter(10, true)?;
        Ok(mixed(bytes(10, variant.as_bytes()), of.trace(value)?))
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Entries, Refused> {
        // It may be a set.
        self.enter(11, false)
    }
    fn serialize_tuple(self, _: usize) -> Result<Entries, Refused> {
        self.enter(11, true)
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Entries, Refused> {
        self.enter(11, true)
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Entries, Refused> {
        self.enter(bytes(12, variant.as_bytes()), true)
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Entries, Refused> {
        self.enter(13, false)
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Entries, Refused> {
        self.enter(13, false)
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Entries, Refused> {
        self.enter(bytes(14, variant.as_bytes()), false)
    }
    fn is_human_readable(&self) -> bool {
        false
    }
}

impl SerializeMap for Entries {
    type Ok = u64;
    type Error = Refused;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.key = self.trace(key)?;
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        let value = self.trace(value)?;
        self.add(mixed(self.key, value));
        Ok(())
    }
    fn end(self) -> Result<u64, Refused> {
        Ok(self.finish())
    }
}

macro_rules! places {
    ($($trait:ident: $method:ident),*) => {
        $(impl $trait for Entries {
            type Ok = u64;
            type Error = Refused;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                self.add(self.trace(value)?);
                Ok(())
            }
            fn end(self) -> Result<u64, Refused> {
                Ok(self.finish())
            }
        })*
    };
}

places! {
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
}

macro_rules! fields {
    ($($trait:ident),*) => {
        $(impl $trait for Entries {
            type Ok = u64;
            type Error = Refused;
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Refused> {
                self.add(mixed(bytes(4, name.as_bytes()), self.trace(value)?));
                Ok(())
            }
            fn end(self) -> Result<u64, Refused> {
                Ok(self.finish())
            }
        })*
    };
}

fields!(SerializeStruct, SerializeStructVariant);

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap, HashSet};

    use super::*;

    fn of(value: impl Serialize) -> u64 {
        trace(&value).expect("it can be traced")
    }

    #[test]
    fn values_that_many_codecs_write_alike_have_different_traces() {
        assert_ne!(of(Some(None::<u8>)), of(None::<Option<u8>>));
        assert_ne!(of(Some(())), of(None::<()>));
        assert_ne!(of(Some(7)), of(7));
        assert_ne!(of("7"), of(7));
        assert_ne!(of(7.0_f64), of(7));
        assert_ne!(of((1, 2)), of((2, 1)));
        assert_ne!(of([1, 1]), of([1]));
        assert_ne!(of("ab"), of("a\u{b}"));
        assert_ne!(of(BTreeMap::from([(1, 2)])), of(BTreeMap::from([(2, 1)])));
        assert_ne!(of(BTreeMap::from([(1, 2), (3, 4)])), of(BTreeMap::from([(1, 4), (3, 2)])));
    }

    #[test]
    fn what_a_codec_may_change_without_harm_leaves_the_trace() {
        assert_eq!(of(7_u8), of(7_i64), "the width of a number");
        assert_eq!(of(0.5_f32), of(0.5_f64));
        assert_eq!(of('x'), of("x"));
        let numbers: Vec<u32> = (0..100).collect();
        let backwards: HashSet<u32> = numbers.iter().rev().copied().collect();
        assert_eq!(of(&numbers), of(&backwards), "the order of a set");
        let map: HashMap<u32, u32> = numbers.iter().map(|n| (*n, n * n)).collect();
        let sorted: BTreeMap<u32, u32> = map.iter().map(|(key, value)| (*key, *value)).collect();
        assert_eq!(of(map), of(sorted));
    }
}
