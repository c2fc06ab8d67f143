//! A record as numbered fields, so that a later version can add some and an earlier one still read the rest.
//!
//! ```text
//!   number   length   bytes          once per field, in any order
//!   u16      u32      as encoded
//! ```
//! A field whose number has its highest bit set may be left out by who does not know it; any other unknown
//! field means that a later version wrote something which must not be ignored.

use std::collections::BTreeMap;

use crate::storage::codec::{self, CodecError};
use crate::storage::envelope::FormatError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Fields with this bit may be ignored.
const IGNORABLE: u16 = 1 << 15;

/// Fields on their way into a record.
#[derive(Default)]
pub(super) struct FieldsOut(Vec<u8>);

impl FieldsOut {
    pub(super) fn put<T: Serialize>(mut self, number: u16, value: &T) -> Result<Self, CodecError> {
        let bytes = codec::encode(value)?;
        let length = u32::try_from(bytes.len()).map_err(|error| CodecError::Encode {
            type_name: std::any::type_name::<T>(),
            source: error.into(),
        })?;
        self.0.extend_from_slice(&number.to_le_bytes());
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(&bytes);
        Ok(self)
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

    /// A field that must be there.
    pub(super) fn take<T: DeserializeOwned>(&mut self, number: u16) -> Result<T, FormatError> {
        self.find(number)?.ok_or(FormatError::MissingField { what: self.what, field: number })
    }

    /// A field that may be there.
    pub(super) fn find<T: DeserializeOwned>(
        &mut self,
        number: u16,
    ) -> Result<Option<T>, FormatError> {
        Ok(self.fields.remove(&number).map(codec::decode).transpose()?)
    }

    /// Whether all that must be understood was.
    pub(super) fn end(self) -> Result<(), FormatError> {
        match self.fields.keys().find(|number| **number & IGNORABLE == 0) {
            None => Ok(()),
            Some(field) => Err(FormatError::UnknownField { what: self.what, field: *field }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
