//! [`Unit`]: the units of state in a checkpoint. State belongs to keys or splits where it can, and not to an
//! instance, so that another number of instances can take it over.

use std::fmt;

use super::fields::{Fields, FieldsOut};
use crate::storage::codec::CodecError;
use crate::storage::envelope::FormatError;

/// What a part of a checkpoint holds the state of.
///
/// ```
/// use streamwork::checkpoint::{HashRange, PartName, Unit};
///
/// let of_keys = PartName::of("count", "words", Unit::Range(HashRange::ALL));
/// assert_eq!(of_keys.to_string(), "count/words[0000000000000000..=ffffffffffffffff]");
/// assert_eq!(PartName::of("orders", "position", Unit::Split("p3".into())).to_string(), "orders/position[\"p3\"]");
/// assert_eq!(PartName::new("count", 1).to_string(), "count[1]");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Unit {
    /// The keys whose routing hash lies in a range. Several instances may read parts of it.
    Range(HashRange),
    /// One instance, counted from 0. Its state is of no use to another instance, nor at another parallelism.
    Instance(u64),
    /// One split of a source: a partition, a file. The instance that reads the split takes it over.
    Split(String),
}

/// The routing hashes from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HashRange {
    /// The least of them.
    pub first: u64,
    /// The greatest of them; not less than `first`.
    pub last: u64,
}

impl HashRange {
    /// All hashes.
    pub const ALL: Self = Self { first: 0, last: u64::MAX };

    /// The hashes that are in both.
    ///
    /// ```
    /// use streamwork::checkpoint::HashRange;
    ///
    /// let low = HashRange { first: 0, last: 9 };
    /// assert_eq!(low.and(HashRange { first: 5, last: 20 }), Some(HashRange { first: 5, last: 9 }));
    /// assert_eq!(low.and(HashRange { first: 10, last: 20 }), None);
    /// ```
    #[must_use]
    pub fn and(self, other: Self) -> Option<Self> {
        let both = Self { first: self.first.max(other.first), last: self.last.min(other.last) };
        (both.first <= both.last).then_some(both)
    }
}

impl fmt::Display for HashRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}..={:016x}", self.first, self.last)
    }
}

/// The name of a part: the component, one of its states, and the unit of that state.
///
/// ```
/// use streamwork::checkpoint::PartName;
///
/// assert_eq!(PartName::new("usage analyzer", 1).to_string(), "usage analyzer[1]");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct PartName {
    /// The component's name, any text.
    pub component: String,
    /// The state's name within the component; empty for the one state of a component that has only one.
    pub state: String,
    /// The unit of the state.
    pub unit: Unit,
}

impl PartName {
    /// The one state of one instance.
    pub fn new(component: impl Into<String>, instance: usize) -> Self {
        Self::of(component, "", Unit::Instance(instance as u64))
    }

    /// A unit of a state that has a name.
    pub fn of(component: impl Into<String>, state: impl Into<String>, unit: Unit) -> Self {
        Self { component: component.into(), state: state.into(), unit }
    }

    /// The instance whose state it is, or the first one if the part belongs to no instance.
    pub(crate) fn instance(&self) -> usize {
        match self.unit {
            Unit::Instance(instance) => usize::try_from(instance).unwrap_or(usize::MAX),
            Unit::Range(_) | Unit::Split(_) => 0,
        }
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        let out = FieldsOut::default().put(1, &self.component)?.put(2, &self.state)?;
        let out = match &self.unit {
            Unit::Instance(instance) => out.put(3, instance)?,
            Unit::Range(HashRange { first, last }) => out.put(4, &(first, last))?,
            Unit::Split(split) => out.put(5, split)?,
        };
        Ok(out.into_bytes())
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::of("name of a part", bytes)?;
        let (component, state) = (fields.take(1)?, fields.take(2)?);
        let instance = fields.find(3)?.map(Unit::Instance);
        let range = fields.find(4)?.map(|(first, last)| Unit::Range(HashRange { first, last }));
        let split = fields.find(5)?.map(Unit::Split);
        fields.end()?;
        let mut units = instance.into_iter().chain(range).chain(split);
        match (units.next(), units.next()) {
            (Some(unit), None) => Ok(Self { component, state, unit }),
            _ => Err(FormatError::MissingField { what: "name of a part", field: 3 }),
        }
    }
}

/// As version 1 of all files wrote a name.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct NameOfVersion1 {
    component: String,
    instance: u64,
}

impl From<NameOfVersion1> for PartName {
    fn from(old: NameOfVersion1) -> Self {
        Self::of(old.component, "", Unit::Instance(old.instance))
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.component)?;
        if !self.state.is_empty() {
            write!(f, "/{}", self.state)?;
        }
        match &self.unit {
            Unit::Range(range) => write!(f, "[{range}]"),
            Unit::Instance(instance) => write!(f, "[{instance}]"),
            Unit::Split(split) => write!(f, "[{split:?}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_from_its_bytes_whatever_its_unit() {
        let units = [
            Unit::Instance(u64::MAX),
            Unit::Range(HashRange::ALL),
            Unit::Range(HashRange { first: 7, last: 7 }),
            Unit::Split(String::new()),
            Unit::Split("orders/7".to_owned()),
        ];
        for unit in units {
            for state in ["", "counts"] {
                let name = PartName::of("a component", state, unit.clone());
                let bytes = name.to_bytes().expect("encoded");
                assert_eq!(PartName::from_bytes(&bytes).expect("decoded"), name);
            }
        }
    }

    #[test]
    fn a_name_of_no_unit_or_two_is_no_name() {
        let name = || FieldsOut::default().put(1, &"c").and_then(|out| out.put(2, &""));
        let none = name().expect("encoded").into_bytes();
        assert!(PartName::from_bytes(&none).is_err());
        let two = name().and_then(|out| out.put(3, &1_u64)).and_then(|out| out.put(5, &"x"));
        assert!(PartName::from_bytes(&two.expect("encoded").into_bytes()).is_err());
        let later = name().and_then(|out| out.put(6, &1_u64)).expect("encoded").into_bytes();
        let refused = PartName::from_bytes(&later).expect_err("a unit of a later version");
        assert!(refused.is_unknown_format(), "{refused}");
    }
}
