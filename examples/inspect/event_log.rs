//! An event log: partitions, segments, and what opening it for writing would do.

use std::path::Path;

use streamwork::BoxError;
use streamwork::log::{LogError, LogSurvey, Offset, PartitionSurvey, SegmentSurvey};

use crate::words::{counted, time, with_causes};
use crate::{Verdict, must_be_a_directory};

pub(crate) fn inspect(dir: &Path) -> Result<Verdict, BoxError> {
    must_be_a_directory(dir)?;
    let survey = match LogSurvey::of(dir) {
        Ok(survey) => survey,
        Err(error @ LogError::Corrupt { .. }) => {
            println!("DAMAGED: {}", with_causes(&error));
            return Ok(Verdict::Damaged);
        }
        Err(error) => return Err(error.into()),
    };
    println!("{}", counted(survey.partitions.len() as u64, "partition"));
    survey.partitions.iter().for_each(print);
    let damage: Vec<_> = survey.partitions.iter().flat_map(|one| &one.damage).collect();
    println!();
    if damage.is_empty() {
        println!("every record verifies");
    }
    for error in &damage {
        println!("DAMAGED: {}", with_causes(*error));
    }
    let of = |error: &&&LogError| matches!(error, LogError::Corrupt { .. });
    Ok(match damage.len() {
        0 => Verdict::Sound,
        all if all == damage.iter().filter(of).count() => Verdict::Damaged,
        _ => Verdict::Unreadable,
    })
}

fn print(partition: &PartitionSurvey) {
    println!("\npartition {}: {}", partition.partition, extent(partition));
    for segment in &partition.segments {
        println!("  {}", line(segment));
    }
    if let Some(cut) = &partition.would_cut {
        println!(
            "  torn: opening it for writing cuts {} at byte {} of the last segment, before record \
             {}; none of it was ever durable. A writer at work leaves the same picture for a moment",
            counted(cut.bytes_cut, "byte"),
            cut.position,
            cut.next
        );
    }
    for path in &partition.leftovers {
        println!("  left by an unfinished step: {}", path.display());
    }
}

/// What readers can get of it.
fn extent(partition: &PartitionSurvey) -> String {
    let first = partition.segments.first().map_or(Offset::ZERO, |segment| segment.first);
    let gone = match first.get() {
        0 => String::new(),
        gone => format!(", retention has removed the {gone} before"),
    };
    match partition.readable_end {
        None => format!("records from {first} on, readers are refused{gone}"),
        Some(end) if end <= first => format!("no records to read{gone}"),
        Some(end) => format!("records {first} to {} to read{gone}", end.get() - 1),
    }
}

fn line(segment: &SegmentSurvey) -> String {
    let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
    let records = segment.end.get() - segment.first.get();
    let offsets = match records {
        0 => "no records".to_owned(),
        _ => format!("records {} to {}", segment.first, segment.end.get() - 1),
    };
    let times = segment
        .times_ms
        .map_or(String::new(), |(from, to)| format!(", {} to {} UTC", time(from), time(to)));
    let state = match (segment.full, segment.indexed) {
        (true, true) => "full",
        (true, false) => "full, without a usable index",
        (false, _) => "being written",
    };
    format!("{name}: {offsets}, {}{times}, {state}", counted(segment.bytes, "byte"))
}
