//! Floor 2: how a consistent cut is taken, and where it is stored.
//!
//! ```text
//! hot path                 another thread                      disk
//! state by value  ──►  Snapshot::write  ──►  CheckpointStore::begin_part, write_parts    (fsync)
//!                                             CheckpointStore::commit                    (rename = it exists)
//! restart         ◄──  decode            ◄──  CheckpointStore::latest, read_part
//! ```
//!
//! Reading order: when a checkpoint begins and is complete (`coordinator`), how values become bytes
//! (`encoded`, `snapshot`) and whether they can be restored from these (`trace`), the structure of a type
//! (`shape`) and how two of them differ (`shape_difference`), the versions of a stored form (`stored`, read in
//! pieces by `value_reader`), the units of state (`unit`), the table of contents (`manifest`, made of `fields`), which
//! instance reads which part (`restore`), the contract of a store (`store`, `store_error`), its inspection
//! (`survey`), and the store in a directory (`directory_store`). Codec, envelope and disk are those of
//! `storage`.

pub(crate) mod coordinator;

mod encoded;
mod fields;
mod shape;
mod shape_difference;
mod snapshot;
mod stored;
mod trace;
mod value_reader;

mod manifest;
pub(crate) mod restore;
mod unit;

mod store;
mod store_error;
mod survey;

mod directory_store;

pub use crate::storage::codec::{Bincode, Codec, CodecError, CodecId, MessagePack, decode, encode};
pub use crate::storage::envelope::FormatError;
pub use directory_store::DirectoryStore;
pub use encoded::{EncodedState, StateCodec};
pub(crate) use encoded::{decode_from, encode_into};
pub use manifest::{CheckpointKind, ComponentRecord, Location, Manifest, PartKind, PartRecord};
pub(crate) use shape::Shape;
pub(crate) use shape_difference::{Difference, pair};
pub(crate) use snapshot::{Part, encoded, given_back, read_back, state_snapshot};
pub use snapshot::{PartSink, Snapshot, SnapshotError, snapshot};
#[cfg(test)]
pub(crate) use store::sealed::Sealed;
pub use store::{CheckpointStore, PartWriter, Recovered, SetAside};
pub use store_error::StoreError;
pub use stored::Stored;
pub use survey::{Condition, Survey, SurveyedCheckpoint, SurveyedPosition};
pub use unit::{HashRange, PartName, Unit};
pub(crate) use value_reader::ValueReader;
