//! The names of the files that [`TransactionalFiles`](super::files::TransactionalFiles) writes. Pure; touches no disk.
//!
//! ```text
//! part-prices-0003-019abf2c77e1c0ffee0123456789-0000000017-x2            committed
//! part-prices-0003-019abf2c77e1c0ffee0123456789-0000000017-x2.pending    not yet
//!      │      │    │                            │          └ the execution that wrote it
//!      │      │    │                            └ its number in the series
//!      │      │    └ the series: made at random when an instance starts without a state, and part of its state from then on
//!      │      └ the instance
//!      └ the component
//! ```
//!
//! So no two sinks ever give one name to two files: sinks of other components, other jobs and other
//! checkpoint directories have other series, and within a series an execution gives each number once. Nothing
//! is derived from the files in the directory.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use crate::id::ExecutionId;
use crate::storage::Disk;

/// The end of the name of a file that is not committed; and the mark in the name of one that was withdrawn.
pub(super) const PENDING: &str = ".pending";
pub(super) const TAKEN_BACK: &str = ".taken-back.pending";

/// The maximum length of the component's name in a file's name; it is for people, and the series makes names
/// unique.
const READABLE_BYTES: usize = 80;

/// The files of one instance, from its first start without a state on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Series(u128);

impl Series {
    /// A unique series. Names of a later one sort behind those of an earlier one, as long as the clock goes
    /// forward.
    pub(super) fn begin(disk: &dyn Disk) -> Self {
        Self(disk.draw_id())
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:028x}", self.0)
    }
}

/// The handle of a transaction of [`TransactionalFiles`](crate::TransactionalFiles): the series of files, its
/// number in the series, and the execution that prepared it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTransaction {
    pub(super) series: Series,
    pub(super) number: u64,
    pub(super) execution: ExecutionId,
}

impl FileTransaction {
    /// The name of the committed file.
    pub(super) fn file(&self, component: &str, instance: usize) -> String {
        let Self { series, number, execution } = self;
        format!("{}{number:010}-x{execution}", prefix(component, instance, *series))
    }

    /// Reads the name of a committed file of this series; `None` for any name that `file` does not give.
    pub(super) fn parse(
        file: &str,
        component: &str,
        instance: usize,
        series: Series,
    ) -> Option<Self> {
        let rest = file.strip_prefix(&prefix(component, instance, series))?;
        let (number, execution) = rest.split_once("-x")?;
        let execution = ExecutionId(execution.parse().ok()?);
        let found = Self { series, number: number.parse().ok()?, execution };
        (found.file(component, instance) == file).then_some(found)
    }
}

/// How the names of all files of an instance begin, whatever their series.
pub(super) fn prefix_of_instance(component: &str, instance: usize) -> String {
    format!("part-{}-{instance:04}-", escaped(component))
}

fn prefix(component: &str, instance: usize, series: Series) -> String {
    format!("{}{series}-", prefix_of_instance(component, instance))
}

/// Letters, digits and `_` stay; every other byte becomes `%` and two digits, so that no name leads out of the directory.
fn escaped(component: &str) -> String {
    let mut escaped = String::new();
    for byte in component.bytes() {
        if escaped.len() >= READABLE_BYTES {
            break;
        }
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => escaped.push(char::from(byte)),
            _ => write!(escaped, "%{byte:02x}").expect("a string takes all that is written"),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::RealDisk;

    #[test]
    fn a_name_comes_back_as_its_transaction_and_no_other_name_does() {
        let series = Series::begin(&RealDisk);
        let of = FileTransaction { series, number: 17, execution: ExecutionId(2) };
        let long = "long ".repeat(200);
        for component in ["prices", "../../etc/passwd", "a-0001-x", "ü", ".", "", &long] {
            let file = of.file(component, 3);
            assert!(file.len() < 200 && !file.contains(['/', '\\', '.']), "{file}");
            let parse = |file: &str| FileTransaction::parse(file, component, 3, series);
            assert_eq!(parse(&file), Some(of));
            for other in [
                format!("{file}{PENDING}"),
                format!("{file}0{TAKEN_BACK}"),
                format!("0{file}"),
                file.replace("-x2", "-x02"),
                file.replace("-x2", ""),
                file.replace("-00000", "-0000"),
            ] {
                assert_eq!(parse(&other), None, "{other}");
            }
            assert_eq!(FileTransaction::parse(&file, component, 4, series), None);
            assert_eq!(FileTransaction::parse(&file, component, 3, Series::begin(&RealDisk)), None);
        }
    }
}
