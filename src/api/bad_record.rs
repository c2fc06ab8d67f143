//! [`RawRecord`] and [`BadRecord`]: a record of a source that is no event, with its bytes and its position.

use crate::api::side_output::{DeclaredOutput, SideOutput};
use crate::error::Failure;

/// A record as a source read it: its bytes and their position.
///
/// A source gives it to [`SourceOutput::reject_record`](crate::SourceOutput::reject_record).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// The part of the input that contains it: the path of a text file, the number of a partition of an event
    /// log.
    pub split: String,
    /// Where the record begins in its split, in the unit of the source: bytes for text files, records for an
    /// event log.
    pub offset: u64,
    /// The bytes of the record without its terminator. If the source bounds the length of a record, only that
    /// many: of a line that is too long, as many as a line may have.
    pub bytes: Vec<u8>,
}

/// A record of a source that is no event, and why: an event of the stream
/// [`Stream::bad_records`](crate::Stream::bad_records).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BadRecord {
    /// The bytes and their position.
    pub record: RawRecord,
    /// The source that read it, and why it is no event.
    pub failure: Failure,
}

/// The side output of a source for its bad records.
pub(crate) const BAD_RECORDS: SideOutput<BadRecord> = SideOutput::new("bad records");

/// The side outputs that every source has.
pub(crate) const OF_SOURCES: &[DeclaredOutput] = &[BAD_RECORDS.declared()];
