//! A record as numbered fields, so that a later version can add some and an earlier one still read the rest.
//!
//! ```text
//!   number   length   bytes          once per field, in any order
//!   u16      u32      as encoded
//! ```
//! A reader may ignore an unknown field if the highest bit of its number is set. Any other unknown field
//! means that a later version wrote something that must not be ignored.

use std::collections::BTreeMap;

use crate::storage::codec::{self, CodecError};
use crate::storage::envelope::FormatError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Fields with this bit may be ignored.
const IGNORABLE: u16 = 1 << 15;

/// A record that is being written.
#[derive(Default)]
pub(super) struct FieldsOut(Vec<u8>);

impl FieldsOut {
    pub(super) fn put<T: Serialize>(mut self, number: u16, value: &T) -> Result<Self, CodecError> {
        let bytes = codec::encode(value)?;
        self.begin(number, bytes.len())?;
        self.0.extend_from_slice(&bytes);
        Ok(self)
    }

    /// Bytes, as the codec writes them: their number, and then the bytes. The codec would write each one
    /// separately.
    pub(super) fn put_bytes(mut self, number: u16, bytes: &[u8]) -> Result<Self, CodecError> {
        self.begin(number, LENGTH_BYTES + bytes.len())?;
        self.push_bytes(bytes);
        Ok(self)
    }

    /// A list of bytes, after their number.
    pub(super) fn put_list(mut self, number: u16, list: &[Vec<u8>]) -> Result<Self, CodecError> {
        let bytes: usize = list.iter().map(|bytes| LENGTH_BYTES + bytes.len()).sum();
        self.begin(number, LENGTH_BYTES + bytes)?;
        self.0.extend_from_slice(&(list.len() as u64).to_le_bytes());
        list.iter().for_each(|bytes| self.push_bytes(bytes));
        Ok(self)
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn begin(&mut self, number: u16, bytes: usize) -> Result<(), CodecError> {
        let length = u32::try_from(bytes)
            .map_err(|error| CodecError::Encode { type_name: "field", source: error.into() })?;
        self.0.extend_from_slice(&number.to_le_bytes());
        self.0.extend_from_slice(&length.to_le_bytes());
        Ok(())
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Fields of a record.
pub(super) struct Fields<'a> {
    what: &'static str,
    fields: BTreeMap<u16, &'a [u8]>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(what: &'static str, mut bytes: &'a [u8]) -> Result<Self, FormatError> {
        let mut fields = BTreeMap::new();
        let length = || FormatError::Length { what };
        while !bytes.is_empty() {
            let (number, rest) = bytes.split_first_chunk::<2>().ok_or_else(length)?;
            let (size, rest) = rest.split_first_chunk::<4>().ok_or_else(length)?;
            let size = usize::try_from(u32::from_le_bytes(*size)).map_err(|_| length())?;
            let (field, rest) = rest.split_at_checked(size).ok_or_else(length)?;
            if fields.insert(u16::from_le_bytes(*number), field).is_some() {
                return Err(length());
            }
            bytes = rest;
        }
        Ok(Self { what, fields })
    }

    /// A required field.
    pub(super) fn take<T: DeserializeOwned>(&mut self, number: u16) -> Result<T, FormatError> {
        self.find(number)?.ok_or(FormatError::MissingField { what: self.what, field: number })
    }

    /// An optional field.
    pub(super) fn find<T: DeserializeOwned>(
        &mut self,
        number: u16,
    ) -> Result<Option<T>, FormatError> {
        Ok(self.fields.remove(&number).map(codec::decode).transpose()?)
    }

    /// Required bytes; see [`FieldsOut::put_bytes`].
    pub(super) fn take_bytes(&mut self, number: u16) -> Result<&'a [u8], FormatError> {
        let missing = FormatError::MissingField { what: self.what, field: number };
        let field = self.fields.remove(&number).ok_or(missing)?;
        match split_bytes(field) {
            Some((bytes, [])) => Ok(bytes),
            _ => Err(FormatError::Length { what: self.what }),
        }
    }

    /// An optional list of bytes; see [`FieldsOut::put_list`].
    pub(super) fn find_list(&mut self, number: u16) -> Result<Option<Vec<&'a [u8]>>, FormatError> {
        let Some(field) = self.fields.remove(&number) else { return Ok(None) };
        let length = || FormatError::Length { what: self.what };
        let (count, mut rest) = field.split_first_chunk::<LENGTH_BYTES>().ok_or_else(length)?;
        let mut list = Vec::new();
        for _ in 0..u64::from_le_bytes(*count) {
            let (bytes, after) = split_bytes(rest).ok_or_else(length)?;
            list.push(bytes);
            rest = after;
        }
        if rest.is_empty() { Ok(Some(list)) } else { Err(length()) }
    }

    /// Whether all fields were read that must not be ignored.
    pub(super) fn end(self) -> Result<(), FormatError> {
        match self.fields.keys().find(|number| **number & IGNORABLE == 0) {
            None => Ok(()),
            Some(field) => Err(FormatError::UnknownField { what: self.what, field: *field }),
        }
    }
}

/// The bytes after their number, and what follows them.
fn split_bytes(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = field.split_first_chunk::<LENGTH_BYTES>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

const LENGTH_BYTES: usize = size_of::<u64>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_lists_of_them_are_written_as_the_codec_writes_them_and_cut_nowhere() {
        let list = vec![b"one".to_vec(), Vec::new(), vec![7; 300]];
        let by_codec = FieldsOut::default().put(1, &list).and_then(|out| out.put(2, &list[0]));
        let by_hand =
            FieldsOut::default().put_list(1, &list).and_then(|out| out.put_bytes(2, &list[0]));
        let bytes = by_hand.expect("encoded").into_bytes();
        assert_eq!(bytes, by_codec.expect("encoded").into_bytes());
        let mut fields = Fields::of("record", &bytes).expect("two fields");
        assert_eq!(fields.find_list(1).expect("read").expect("there"), list);
        assert_eq!(fields.take_bytes(2).expect("there"), b"one");
        assert!(fields.find_list(3).expect("none").is_none() && fields.take_bytes(3).is_err());
        // A list that claims to be longer than its field.
        let list = &bytes[6..bytes.len() - 17];
        for cut in 0..list.len() {
            let mut record = vec![1, 0];
            record.extend_from_slice(&(cut as u32).to_le_bytes());
            record.extend_from_slice(&list[..cut]);
            let mut fields = Fields::of("record", &record).expect("one field");
            assert!(fields.find_list(1).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_field_of_a_later_version_is_ignored_only_if_it_may_be() {
        let record = |number| {
            let fields = FieldsOut::default().put(1, &7_u64).and_then(|out| out.put(number, &"x"));
            fields.expect("encoded").into_bytes()
        };
        let read = |bytes: &[u8]| {
            let mut fields = Fields::of("record", bytes)?;
            let seven: u64 = fields.take(1)?;
            fields.end().map(|()| seven)
        };
        assert_eq!(read(&record(IGNORABLE | 9)).expect("it may be ignored"), 7);
        let refused = read(&record(9)).expect_err("it may not");
        assert!(refused.is_unknown_format(), "{refused}");
        assert!(read(&record(1)).is_err(), "a field that is there twice");
        assert!(read(&[]).is_err(), "a field that is missing");
        let whole = record(IGNORABLE | 9);
        let cuts = (1..whole.len()).filter(|cut| read(&whole[..*cut]).is_ok()).count();
        assert_eq!(cuts, 1, "only the cut between two fields leaves a record");
    }
}
