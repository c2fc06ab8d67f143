//! A checkpoint's table of contents: who made it, when, and which parts with which checksums belong to it.
//!
//! A checkpoint exists if and only if its manifest does. This file never touches a disk; it turns manifests into bytes
//! and back, and `tests/golden/` holds those bytes for every version of the format.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::fields::{Fields, FieldsOut};
use crate::id::{CheckpointId, ExecutionId};
use crate::storage::codec::{self, CodecError};
use crate::storage::envelope::{self, FormatError, Kind};

/// Everything that a restart must know about one complete checkpoint.
///
/// ```
/// use streamwork::checkpoint::{ComponentRecord, Manifest};
/// use streamwork::{CheckpointId, ExecutionId};
///
/// let mut manifest = Manifest::new(ExecutionId(3), CheckpointId(7), "system-usage");
/// manifest.components = vec![ComponentRecord::new("usage analyzer", 2)];
/// let bytes = manifest.to_bytes().unwrap();
/// assert_eq!(Manifest::from_bytes(&bytes).unwrap(), manifest);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Manifest {
    /// The execution that took the checkpoint.
    pub execution: ExecutionId,
    /// The checkpoint's number; it grows within an execution.
    pub checkpoint: CheckpointId,
    /// The job's name.
    pub job: String,
    /// The kind of cut that was made. A word that the store keeps and never looks at.
    pub cut: String,
    /// The components of the job.
    pub components: Vec<ComponentRecord>,
    /// When the checkpoint was started, in milliseconds since 1970, by the clock of the machine that took it.
    pub taken_unix_ms: u64,
    /// The parts, in no particular order. An instance without state has none.
    pub parts: Vec<PartRecord>,
}

/// What a component was when a checkpoint was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentRecord {
    /// Its name.
    pub name: String,
    /// How many instances it had.
    pub parallelism: u64,
    /// What it was: `source`, `operator`, `plain sink`, `idempotent sink`, `transactional sink`; empty where an
    /// earlier version did not write it down.
    pub kind: String,
    /// What its state looks like to the codec, as text; none if it had no state, or that could not be found out.
    pub state: Option<String>,
}

impl ComponentRecord {
    /// A component of which no more is known.
    pub fn new(name: impl Into<String>, parallelism: u64) -> Self {
        Self { name: name.into(), parallelism, kind: String::new(), state: None }
    }

    fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        let out = FieldsOut::default().put(1, &self.name)?.put(2, &self.parallelism)?;
        Ok(out.put(3, &self.kind)?.put(4, &self.state)?.into_bytes())
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::of("component of a manifest", bytes)?;
        let record = Self {
            name: fields.take(1)?,
            parallelism: fields.take(2)?,
            kind: fields.take(3)?,
            state: fields.take(4)?,
        };
        fields.end().map(|()| record)
    }
}

/// A manifest of version 1.
#[derive(Deserialize)]
struct Version1 {
    execution: ExecutionId,
    checkpoint: CheckpointId,
    job: String,
    cut: String,
    parallelism: Vec<(String, u64)>,
    taken_unix_ms: u64,
    parts: Vec<PartRecord>,
}

impl From<Version1> for Manifest {
    fn from(old: Version1) -> Self {
        let components = old.parallelism.into_iter();
        Self {
            execution: old.execution,
            checkpoint: old.checkpoint,
            job: old.job,
            cut: old.cut,
            components: components.map(|(name, n)| ComponentRecord::new(name, n)).collect(),
            taken_unix_ms: old.taken_unix_ms,
            parts: old.parts,
        }
    }
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
    /// The manifest of a checkpoint that has no parts yet.
    pub fn new(execution: ExecutionId, checkpoint: CheckpointId, job: impl Into<String>) -> Self {
        Self {
            execution,
            checkpoint,
            job: job.into(),
            cut: String::new(),
            components: Vec::new(),
            taken_unix_ms: 0,
            parts: Vec::new(),
        }
    }

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
        let components: Vec<Vec<u8>> =
            self.components.iter().map(ComponentRecord::to_bytes).collect::<Result<_, _>>()?;
        let out = FieldsOut::default().put(1, &self.execution)?.put(2, &self.checkpoint)?;
        let out = out.put(3, &self.job)?.put(4, &self.cut)?.put(5, &self.taken_unix_ms)?;
        let out = out.put(6, &components)?.put(7, &self.parts)?;
        Ok(envelope::seal(&KIND, &out.into_bytes()))
    }

    /// Reads a manifest file of any version that this library knows.
    ///
    /// # Errors
    ///
    /// [`FormatError::UnknownVersion`], [`FormatError::UnknownCodec`] or [`FormatError::UnknownField`] if the file is
    /// whole but made by another version of the library, any other [`FormatError`] if it is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let body = envelope::open(&KIND, bytes)?;
        if envelope::version(bytes) == 1 {
            return Ok(codec::decode::<Version1>(body)?.into());
        }
        let mut fields = Fields::of(KIND.what, body)?;
        let components: Vec<Vec<u8>> = fields.take(6)?;
        let components = components.iter().map(|bytes| ComponentRecord::from_bytes(bytes));
        let manifest = Self {
            execution: fields.take(1)?,
            checkpoint: fields.take(2)?,
            job: fields.take(3)?,
            cut: fields.take(4)?,
            taken_unix_ms: fields.take(5)?,
            components: components.collect::<Result<_, _>>()?,
            parts: fields.take(7)?,
        };
        fields.end().map(|()| manifest)
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

const KIND: Kind = Kind { what: "manifest", magic: *b"STRWMANI", version: 2, oldest: 1 };
