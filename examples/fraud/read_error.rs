//! What can be wrong with a transaction file, by line and column.

use std::fmt;

/// Why a transaction file, or a row of it, cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// The file cannot be opened.
    Open {
        /// The path that was asked for.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The header lacks a column.
    MissingColumn {
        /// The column.
        column: &'static str,
    },
    /// The row is no CSV row of as many fields as the header: a cut line, or broken UTF-8.
    Row {
        /// The line in the file, from 1.
        line: u64,
        /// The cause.
        source: csv::Error,
    },
    /// A field does not hold what its column promises.
    Field {
        /// The line in the file, from 1.
        line: u64,
        /// The column.
        column: &'static str,
        /// What was found there.
        found: String,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, .. } => write!(f, "cannot open transaction file {path}"),
            Self::MissingColumn { column } => write!(f, "transaction file has no column {column}"),
            Self::Row { line, .. } => write!(f, "line {line} is not a row of the transaction file"),
            Self::Field { line, column, found } => {
                write!(f, "line {line}, column {column}: cannot read {found:?}")
            }
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open { source, .. } => Some(source),
            Self::Row { source, .. } => Some(source),
            Self::MissingColumn { .. } | Self::Field { .. } => None,
        }
    }
}
