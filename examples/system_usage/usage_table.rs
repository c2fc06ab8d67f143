//! The totals in SQLite, as a transactional sink.
//!
//! The totals are so small that they fit into the handle of a transaction. So `prepare` has nothing
//! to write: the engine keeps the handle in its checkpoint, and `commit` puts it into the table, as
//! often as it is asked to. Readers of the table see totals of complete checkpoints only (of whole
//! batches, where the guarantee has no checkpoints).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};
use streamwork::{BoxError, Instance, Transaction, TransactionalSink};

use crate::fraud::feed::AnyError;
use crate::job::{Row, Usage};

const CREATE: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS usage (
        counted_by   TEXT PRIMARY KEY,
        transactions INTEGER NOT NULL,
        frauds       INTEGER NOT NULL
    )";

/// The table.
#[derive(Debug)]
pub struct UsageTable {
    connection: Connection,
}

impl UsageTable {
    /// The table in this file, made if it is not there.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn open(path: &Path) -> Result<Self, AnyError> {
        let connection = Connection::open(path)?;
        connection.execute_batch(CREATE)?;
        Ok(Self { connection })
    }

    /// What stands in a row; nothing yet is zero.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn read(&self, counted_by: &str) -> Result<Usage, AnyError> {
        let query = "SELECT transactions, frauds FROM usage WHERE counted_by = ?";
        let row = self.connection.query_row(query, [counted_by], |row| {
            let number = |column| row.get(column).map(i64::cast_unsigned);
            Ok(Usage { transactions: number(0)?, frauds: number(1)? })
        });
        Ok(row.optional()?.unwrap_or_default())
    }

    fn put(&mut self, rows: &[Row]) -> Result<(), AnyError> {
        let transaction = self.connection.transaction()?;
        for Row { counted_by, usage } in rows {
            let (transactions, frauds) = (usage.transactions, usage.frauds);
            transaction.execute(
                "INSERT OR REPLACE INTO usage VALUES (?, ?, ?)",
                (counted_by, transactions.cast_signed(), frauds.cast_signed()),
            )?;
        }
        Ok(transaction.commit()?)
    }
}

/// Writes the newest totals into the table.
#[derive(Debug)]
pub struct UsageSink {
    path: PathBuf,
    table: Option<UsageTable>,
    newest: BTreeMap<String, Usage>,
}

impl UsageSink {
    /// Into the table in this file.
    pub fn new(path: PathBuf) -> Self {
        Self { path, table: None, newest: BTreeMap::new() }
    }
}

impl TransactionalSink for UsageSink {
    type In = Row;
    type Handle = Vec<Row>;

    fn setup(&mut self, _: &Instance) -> Result<(), BoxError> {
        self.table = Some(UsageTable::open(&self.path)?);
        Ok(())
    }

    fn write(&mut self, row: Row) -> Result<(), BoxError> {
        self.newest.insert(row.counted_by, row.usage);
        Ok(())
    }

    fn prepare(&mut self, _: Transaction) -> Result<Option<Vec<Row>>, BoxError> {
        let newest = std::mem::take(&mut self.newest).into_iter();
        let rows: Vec<Row> = newest.map(|(counted_by, usage)| Row { counted_by, usage }).collect();
        Ok((!rows.is_empty()).then_some(rows))
    }

    fn commit(&mut self, rows: Vec<Row>) -> Result<(), BoxError> {
        self.table.as_mut().ok_or("the usage table is not open")?.put(&rows)
    }

    fn abort_unfinished(&mut self) -> Result<(), BoxError> {
        self.newest.clear();
        Ok(())
    }
}
