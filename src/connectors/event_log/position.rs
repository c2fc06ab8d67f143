//! The position of a source of an event log, and whether it is still valid.

use serde::{Deserialize, Serialize};

use crate::connectors::lost_position::Loss;
use crate::log::{LogError, LogId, LogReader, Offset};

/// The position in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The identity of the log.
    pub(super) log: LogId,
    pub(super) partition: u32,
    /// The next record.
    pub(super) next: Offset,
    /// The checksum of the record before it; none if nothing was read yet. A log that was restored from an
    /// older copy and then written on has the same identity and other records.
    pub(super) before: Option<u32>,
}

/// Why a position is lost in the log that exists now, or `None` if it is valid.
pub(super) fn loss<T>(
    reader: &mut LogReader<T>,
    position: &Position,
) -> Result<Option<Loss>, LogError> {
    let Position { log, partition, next, before } = *position;
    if log != reader.id() {
        return Ok(Some(Loss::MadeAnew { read: log, found: reader.id() }));
    }
    let earliest = reader.earliest(partition)?;
    if next < earliest {
        return Ok(Some(Loss::Retained { earliest }));
    }
    let Some(last) = next.get().checked_sub(1).map(Offset::new).filter(|last| *last >= earliest)
    else {
        return Ok(None);
    };
    Ok(match reader.checksum(partition, last) {
        Ok(None) => Some(Loss::Shorter { end: reader.end(partition)?.get() }),
        Ok(Some(found)) if before.is_some_and(|before| before != found) => Some(Loss::Changed),
        Ok(Some(_)) => None,
        // Retention has removed the record since the check above.
        Err(LogError::OffsetGone { earliest, .. }) => {
            (next < earliest).then_some(Loss::Retained { earliest })
        }
        Err(error) => return Err(error),
    })
}
