//! A checkpoint's table of contents: who made it, when, and which parts with which checksums belong to it.
//!
//! A checkpoint exists if and only if its manifest does. This file never touches a disk; it turns manifests into bytes
//! and back, and `tests/golden/` holds those bytes for every version of the format.

use serde::{Deserialize, Serialize};

use super::fields::{Fields, FieldsOut};
use super::unit::{NameOfVersion1, PartName};
use crate::id::{CheckpointId, ExecutionId};
use crate::storage::codec::{self, Bincode, Codec, CodecError, CodecId};
use crate::storage::envelope::{self, FormatError, Kind};
use crate::time::EventTime;

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
    /// What the checkpoint is for.
    pub kind: CheckpointKind,
    /// The kind of cut. A word that the store keeps and does not interpret.
    pub cut: String,
    /// The components of the job.
    pub components: Vec<ComponentRecord>,
    /// When the checkpoint was started, in milliseconds since 1970, by the clock of the machine that took it.
    pub taken_unix_ms: u64,
    /// The parts. An instance without state has none. Those of keys are in the order in which they have to be
    /// applied: a part counts for its range instead of all before it, or is what has changed since them.
    pub parts: Vec<PartRecord>,
}

/// What a checkpoint is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CheckpointKind {
    /// To restore a job from; removed when there are newer ones.
    #[default]
    Recovery,
}

/// What a component was when a checkpoint was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentRecord {
    /// Its name.
    pub name: String,
    /// How many instances it had.
    pub parallelism: u64,
    /// Its kind: `source`, `operator`, `plain sink`, `idempotent sink`, `transactional sink`; empty if an
    /// earlier version wrote the manifest without it.
    pub kind: String,
    /// The structure of its state, as text; none if it had no state, or if its type needs self-describing
    /// data.
    pub state: Option<String>,
    /// The codec of its state.
    pub codec: CodecId,
    /// What the events that it held look like to the codec, as text; none if it stores none, or that could not be
    /// found out.
    pub held: Option<String>,
    /// The version of its state's stored form; 1 unless [`Stored`](crate::Stored) says otherwise.
    pub version: u32,
}

impl ComponentRecord {
    /// A component of which only this is known.
    pub fn new(name: impl Into<String>, parallelism: u64) -> Self {
        Self {
            name: name.into(),
            parallelism,
            kind: String::new(),
            state: None,
            codec: Bincode::ID,
            held: None,
            version: 1,
        }
    }

    fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        let out = FieldsOut::default().put(1, &self.name)?.put(2, &self.parallelism)?;
        let out = out.put(3, &self.kind)?.put(4, &self.state)?.put(5, &self.codec)?;
        // Who stores no held events, and has version 1, writes what readers of before know.
        let out = match &self.held {
            Some(held) => out.put(6, held)?,
            None => out,
        };
        match self.version {
            1 => Ok(out.into_bytes()),
            version => Ok(out.put(7, &version)?.into_bytes()),
        }
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::of("component of a manifest", bytes)?;
        let record = Self {
            name: fields.take(1)?,
            parallelism: fields.take(2)?,
            kind: fields.take(3)?,
            state: fields.take(4)?,
            codec: fields.find(5)?.unwrap_or(Bincode::ID),
            held: fields.find(6)?,
            version: fields.find(7)?.unwrap_or(1),
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
    parts: Vec<RecordOfVersion1>,
}

fn records(
    old: Vec<RecordOfVersion1>,
    execution: ExecutionId,
    checkpoint: CheckpointId,
) -> Vec<PartRecord> {
    old.into_iter().map(|record| record.of(execution, checkpoint)).collect()
}

impl From<Version1> for Manifest {
    fn from(old: Version1) -> Self {
        let components = old.parallelism.into_iter();
        Self {
            execution: old.execution,
            checkpoint: old.checkpoint,
            job: old.job,
            kind: CheckpointKind::Recovery,
            cut: old.cut,
            components: components.map(|(name, n)| ComponentRecord::new(name, n)).collect(),
            taken_unix_ms: old.taken_unix_ms,
            parts: records(old.parts, old.execution, old.checkpoint),
        }
    }
}

/// What [`write_part`](super::CheckpointStore::write_part) and [`write_parts`](super::CheckpointStore::write_parts) give and the
/// manifest keeps of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartRecord {
    /// Which part it is.
    pub name: PartName,
    /// Length of the state in bytes, without the store's envelope.
    pub bytes: u64,
    /// CRC-32 (ISO-HDLC) over the bytes that the store wrote for the part, including its identity.
    pub checksum: u32,
    /// Where it is stored.
    pub at: Location,
    /// The codec of the state.
    pub codec: CodecId,
    /// The watermark at the cut: no event older than this is expected any more. None if there was no
    /// watermark, or if events replayed after a restart may be older.
    pub watermark: Option<EventTime>,
    /// The moment of the manifest's cut, in nanoseconds of the clock that times in the state count by; only of keys. It
    /// is later than that of the cut for which the part was written, if there it was another checkpoint.
    pub cut_at: Option<u64>,
    /// Whether it has the whole of its unit, or what has changed.
    pub kind: PartKind,
}

/// What a part has of its unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PartKind {
    /// All of its state.
    #[default]
    Whole,
    /// What has changed since the parts of the same range before it in the manifest. There can be several of one
    /// name.
    Delta,
}

/// Where a part is stored: with the checkpoint that it was written for. A manifest may refer to parts of
/// earlier checkpoints; these are kept as long as a manifest refers to them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Location {
    /// The execution that wrote the part.
    pub execution: ExecutionId,
    /// The checkpoint that it was written for.
    pub checkpoint: CheckpointId,
    /// Where it is stored within that checkpoint, in a form that only the store interprets. For a directory
    /// it is the name of the file, followed by offset and length, as in `name@128+77`, if the file holds
    /// several parts.
    pub file: String,
}

impl Location {
    /// A place in a checkpoint.
    pub fn new(execution: ExecutionId, checkpoint: CheckpointId, file: impl Into<String>) -> Self {
        Self { execution, checkpoint, file: file.into() }
    }
}

impl PartRecord {
    fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        let out = FieldsOut::default().put_bytes(1, &self.name.to_bytes()?)?.put(2, &self.bytes)?;
        let out = out.put(3, &self.checksum)?.put(4, &self.at.execution)?;
        let out = out.put(5, &self.at.checkpoint)?.put(6, &self.at.file)?;
        let out = out.put(7, &self.codec)?;
        // Who has no event time writes what readers of before know.
        let out = match &self.watermark {
            Some(watermark) => out.put(8, watermark)?,
            None => out,
        };
        let out = match &self.cut_at {
            Some(cut_at) => out.put(10, cut_at)?,
            None => out,
        };
        // Nor may they take changes for the whole.
        match self.kind {
            PartKind::Whole => Ok(out.into_bytes()),
            PartKind::Delta => Ok(out.put(9, &self.kind)?.into_bytes()),
        }
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::of("part in a manifest", bytes)?;
        let name = fields.take_bytes(1)?;
        let record = Self {
            name: PartName::from_bytes(name)?,
            bytes: fields.take(2)?,
            checksum: fields.take(3)?,
            at: Location {
                execution: fields.take(4)?,
                checkpoint: fields.take(5)?,
                file: fields.take(6)?,
            },
            codec: fields.take(7)?,
            watermark: fields.find(8)?,
            cut_at: fields.find(10)?,
            kind: fields.find(9)?.unwrap_or_default(),
        };
        fields.end().map(|()| record)
    }

    /// A part of this name that is not stored yet.
    #[cfg(test)]
    pub(crate) fn named(name: PartName) -> Self {
        let at = Location::new(ExecutionId(0), CheckpointId(0), "");
        Self {
            name,
            bytes: 0,
            checksum: 0,
            at,
            codec: Bincode::ID,
            watermark: None,
            cut_at: None,
            kind: PartKind::Whole,
        }
    }
}

/// A record of a part as manifests of version 1 have it, and those of version 2 had it first.
#[derive(Deserialize)]
struct RecordOfVersion1 {
    name: NameOfVersion1,
    bytes: u64,
    checksum: u32,
    file: String,
}

impl RecordOfVersion1 {
    fn of(self, execution: ExecutionId, checkpoint: CheckpointId) -> PartRecord {
        PartRecord {
            name: self.name.into(),
            bytes: self.bytes,
            checksum: self.checksum,
            at: Location { execution, checkpoint, file: self.file },
            codec: Bincode::ID,
            watermark: None,
            cut_at: None,
            kind: PartKind::Whole,
        }
    }
}

impl Manifest {
    /// The manifest of a checkpoint that has no parts yet.
    pub fn new(execution: ExecutionId, checkpoint: CheckpointId, job: impl Into<String>) -> Self {
        Self {
            execution,
            checkpoint,
            job: job.into(),
            kind: CheckpointKind::default(),
            cut: String::new(),
            components: Vec::new(),
            taken_unix_ms: 0,
            parts: Vec::new(),
        }
    }

    /// The first part of this name, if there is one.
    #[must_use]
    pub fn part(&self, name: &PartName) -> Option<&PartRecord> {
        self.parts.iter().find(|part| part.name == *name)
    }

    /// The bytes of a manifest file in the newest version of the format, checksum included.
    ///
    /// # Errors
    ///
    /// [`CodecError::Encode`] if the codec fails, which it has no reason to.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        let components: Vec<Vec<u8>> =
            self.components.iter().map(ComponentRecord::to_bytes).collect::<Result<_, _>>()?;
        let out = FieldsOut::default().put(1, &self.execution)?.put(2, &self.checkpoint)?;
        let out = out.put(3, &self.job)?.put(4, &self.cut)?.put(5, &self.taken_unix_ms)?;
        let parts: Vec<Vec<u8>> =
            self.parts.iter().map(PartRecord::to_bytes).collect::<Result<_, _>>()?;
        let out = out.put_list(6, &components)?.put_list(8, &parts)?.put(9, &self.kind)?;
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
        let missing = |field| FormatError::MissingField { what: KIND.what, field };
        let components = fields.find_list(6)?.ok_or_else(|| missing(6))?;
        let components = components.into_iter().map(ComponentRecord::from_bytes);
        let (execution, checkpoint) = (fields.take(1)?, fields.take(2)?);
        let manifest = Self {
            execution,
            checkpoint,
            job: fields.take(3)?,
            cut: fields.take(4)?,
            kind: fields.find(9)?.unwrap_or_default(),
            taken_unix_ms: fields.take(5)?,
            components: components.collect::<Result<_, _>>()?,
            parts: match fields.find(7)? {
                Some(old) => records(old, execution, checkpoint),
                None => {
                    let parts = fields.find_list(8)?.ok_or_else(|| missing(8))?;
                    parts.into_iter().map(PartRecord::from_bytes).collect::<Result<_, _>>()?
                }
            },
        };
        fields.end().map(|()| manifest)
    }
}

const KIND: Kind =
    Kind { what: "manifest", magic: *b"STRWMANI", version: 3, oldest: 1, codecs: envelope::OURS };
