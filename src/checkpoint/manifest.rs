//! A checkpoint's table of contents: who made it, when, and which parts with which checksums belong to it.
//!
//! A checkpoint exists if and only if its manifest does. This file never touches a disk; it turns manifests into bytes
//! and back, and `tests/golden/` holds those bytes for every version of the format.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    codec::{self, CodecError},
    envelope::{self, FormatError, Kind},
};
use crate::id::{CheckpointId, ExecutionId};

/// Everything that a restart must know about one complete checkpoint.
///
/// ```
/// use streamwork::checkpoint::Manifest;
/// use streamwork::{CheckpointId, ExecutionId};
///
/// let manifest = Manifest {
///     execution: ExecutionId(3),
///     checkpoint: CheckpointId(7),
///     job: "system-usage".to_owned(),
///     cut: "aligned".to_owned(),
///     parallelism: vec![("usage analyzer".to_owned(), 2)],
///     taken_unix_ms: 1_700_000_000_000,
///     parts: Vec::new(),
/// };
/// let bytes = manifest.to_bytes().unwrap();
/// assert_eq!(Manifest::from_bytes(&bytes).unwrap(), manifest);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The execution that took the checkpoint.
    pub execution: ExecutionId,
    /// The checkpoint's number; it grows within an execution.
    pub checkpoint: CheckpointId,
    /// The job's name.
    pub job: String,
    /// The kind of cut that was made. A word that the store keeps and never looks at.
    pub cut: String,
    /// How many instances each component had.
    pub parallelism: Vec<(String, u64)>,
    /// When the checkpoint was started, in milliseconds since 1970, by the clock of the machine that took it.
    pub taken_unix_ms: u64,
    /// The parts, in no particular order. An instance without state has none.
    pub parts: Vec<PartRecord>,
}

/// Whose part it is: the component by name, the instance by number.
///
/// ```
/// use streamwork::checkpoint::PartName;
///
/// assert_eq!(PartName::new("usage analyzer", 1).to_string(), "usage analyzer[1]");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartName {
    /// The component's name, any text.
    pub component: String,
    /// The instance, counted from 0. Written as 64 bits on every machine.
    pub instance: usize,
}

/// What [`write_part`](super::CheckpointStore::write_part) and [`write_parts`](super::CheckpointStore::write_parts) give and the
/// manifest keeps of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// Whose part it is.
    pub name: PartName,
    /// Length of the state in bytes, without what the store adds around it.
    pub bytes: u64,
    /// CRC-32 (ISO-HDLC) over what the store wrote for the part, identity included.
    pub checksum: u32,
    /// Where it lies within the checkpoint: the store's own word. For a directory it is the name of the file, followed by
    /// offset and length, as in `name@128+77`, if the part is not alone in it.
    pub file: String,
}

impl Manifest {
    /// The part of one instance, if it has one.
    #[must_use]
    pub fn part(&self, name: &PartName) -> Option<&PartRecord> {
        self.parts.iter().find(|part| part.name == *name)
    }

    /// The bytes of a manifest file in the newest version of the format, checksum included.
    ///
    /// # Errors
    ///
    /// [`CodecError::Encode`] if the codec refuses, which it has no reason to.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        Ok(envelope::seal(&KIND, &codec::encode(self)?))
    }

    /// Reads a manifest file of any version that this library knows.
    ///
    /// # Errors
    ///
    /// [`FormatError::UnknownVersion`] or [`FormatError::UnknownCodec`] if the file is whole but made by another version of
    /// the library, any other [`FormatError`] if it is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        Ok(codec::decode(envelope::open(&KIND, bytes)?)?)
    }
}

impl PartName {
    /// Names the part of one instance.
    pub fn new(component: impl Into<String>, instance: usize) -> Self {
        Self { component: component.into(), instance }
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.component, self.instance)
    }
}

const KIND: Kind = Kind { what: "manifest", magic: *b"STRWMANI", version: 1 };
