//! The fraud database: one row per decided transaction, in SQLite.
//!
//! Written in multi-row statements, one SQL transaction per [`DecisionTable::flush`]. A decision
//! that is written again replaces its row.

use std::path::Path;

use rusqlite::types::ToSqlOutput;
use rusqlite::{CachedStatement, Connection, OpenFlags, OptionalExtension, ToSql};

use super::decision::{Decision, Verdict};
use super::feed::AnyError;
use super::transaction::Transaction;

/// What was decided about a transaction, when, and how long that took.
#[derive(Clone, Copy, Debug)]
pub struct Decided {
    /// The transaction.
    pub transaction_id: u64,
    /// The account that pays.
    pub customer: u32,
    /// The amount in cents.
    pub amount_cents: u64,
    /// What was decided.
    pub decision: Decision,
    /// When, in microseconds since the Unix epoch.
    pub decided_unix_us: i64,
    /// How long after the transaction's intended time.
    pub latency_us: u64,
}

impl Decided {
    /// A decision about a transaction, made now in no time: for those who do not measure.
    pub fn untimed(transaction: &Transaction, decision: Decision) -> Self {
        Self {
            transaction_id: transaction.id,
            customer: transaction.customer,
            amount_cents: transaction.amount_cents,
            decision,
            decided_unix_us: 0,
            latency_us: 0,
        }
    }
}

const CREATE: &str = "
    DROP TABLE IF EXISTS decisions;
    CREATE TABLE decisions (
        transaction_id INTEGER PRIMARY KEY,
        customer       INTEGER NOT NULL,
        amount_cents   INTEGER NOT NULL,
        verdict        TEXT    NOT NULL,
        log_odds       REAL    NOT NULL,
        partial        INTEGER NOT NULL,
        missing        TEXT    NOT NULL,
        reasons        TEXT    NOT NULL,
        decided_us     INTEGER NOT NULL,
        latency_us     INTEGER NOT NULL
    )";
const COLUMNS: usize = 10;
/// Rows per statement: fewer calls, and a statement that SQLite still plans in no time.
const ROWS: usize = 64;
/// Decisions may be lost with the machine, not with the process: nothing waits for the disk.
const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF";

/// The table, open for writing.
#[derive(Debug)]
pub struct DecisionTable {
    connection: Connection,
    buffer: Vec<Decided>,
}

impl DecisionTable {
    /// An empty table in this file, which may hold an old one: that is dropped.
    ///
    /// # Errors
    /// What the operating system or SQLite said.
    pub fn create(path: &Path) -> Result<Self, AnyError> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)
                .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
        }
        match Self::create_in(path) {
            Err(error) if is_malformed(&*error) => {
                // A disk that was full can leave one. What is in it was to be replaced.
                println!("{} is malformed and is made anew", path.display());
                for suffix in ["", "-wal", "-shm"] {
                    let mut file = path.as_os_str().to_owned();
                    file.push(suffix);
                    match std::fs::remove_file(&file) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            return Err(format!("cannot remove {}: {error}", path.display()).into());
                        }
                        _ => {}
                    }
                }
                Self::create_in(path)
            }
            created => created,
        }
    }

    fn create_in(path: &Path) -> Result<Self, AnyError> {
        let table = Self::open(path)?;
        table.connection.execute_batch(CREATE)?;
        Ok(table)
    }

    /// Ends the writing: all that was taken is in the one file, and no other file belongs to it.
    ///
    /// # Errors
    /// What SQLite said, for instance that the disk is full. The file is not whole then.
    pub fn finish(mut self) -> Result<(), AnyError> {
        self.flush()?;
        // What is in the write-ahead log only would be missing in a file that is moved without it. A close would try
        // the same, and say nothing when it fails.
        let left: String =
            self.connection.query_row("PRAGMA journal_mode = DELETE", (), |row| row.get(0))?;
        if left != "delete" {
            return Err(format!("the database could not be brought into one file: {left}").into());
        }
        self.connection.close().map_err(|(_, error)| error)?;
        Ok(())
    }

    /// The table that is in this file.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn open(path: &Path) -> Result<Self, AnyError> {
        let opened = Connection::open(path);
        let connection = opened.map_err(|error| cannot_open(path, &error))?;
        connection.execute_batch(PRAGMAS)?;
        Ok(Self { connection, buffer: Vec::new() })
    }

    /// Takes a decision, and writes it with the next [`flush`](Self::flush).
    pub fn write(&mut self, decided: Decided) {
        self.buffer.push(decided);
    }

    /// Writes all that was taken, in one SQL transaction.
    ///
    /// # Errors
    /// What SQLite said. None of it is written then.
    pub fn flush(&mut self) -> Result<(), AnyError> {
        let transaction = self.connection.transaction()?;
        let buffer = std::mem::take(&mut self.buffer);
        let (whole, rest) = buffer.split_at(buffer.len() - buffer.len() % ROWS);
        if !whole.is_empty() {
            let mut many = transaction.prepare_cached(&insert(ROWS))?;
            whole.chunks_exact(ROWS).try_for_each(|rows| execute(&mut many, rows))?;
        }
        if !rest.is_empty() {
            let mut one = transaction.prepare_cached(&insert(1))?;
            rest.chunks_exact(1).try_for_each(|rows| execute(&mut one, rows))?;
        }
        transaction.commit()?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }
}

fn insert(rows: usize) -> String {
    let row = format!("({})", ["?"; COLUMNS].join(","));
    format!("INSERT OR REPLACE INTO decisions VALUES {}", vec![row.as_str(); rows].join(","))
}

fn execute(statement: &mut CachedStatement<'_>, rows: &[Decided]) -> Result<(), AnyError> {
    let mut next = 0;
    let mut bind = |value: &dyn ToSql| {
        next += 1;
        statement.raw_bind_parameter(next, value)
    };
    for row in rows {
        let decision = &row.decision;
        bind(&row.transaction_id.cast_signed())?;
        bind(&row.customer)?;
        bind(&row.amount_cents.cast_signed())?;
        bind(&word(decision.verdict))?;
        bind(&decision.log_odds)?;
        bind(&decision.is_partial())?;
        bind(&text(decision.is_partial(), || decision.missing.to_string()))?;
        bind(&text(decision.reasons.iter().any(Option::is_some), || decision.why()))?;
        bind(&row.decided_unix_us)?;
        bind(&row.latency_us.cast_signed())?;
    }
    statement.raw_execute()?;
    Ok(())
}

/// The empty text in most rows, without a string for it.
fn text(is_there: bool, text: impl FnOnce() -> String) -> ToSqlOutput<'static> {
    if is_there { text().into() } else { "".into() }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Approved => "approved",
        Verdict::Declined => "declined",
    }
}

/// Whether a database of ours is broken; a file that is no database is not meant.
fn is_malformed(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let said = error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
    said == Some(rusqlite::ErrorCode::DatabaseCorrupt)
}

fn cannot_open(path: &Path, error: &rusqlite::Error) -> AnyError {
    format!("cannot open the fraud database {}: {error}", path.display()).into()
}

/// A decision as it stands in the database.
#[derive(Clone, Debug)]
pub struct StoredDecision {
    /// The transaction.
    pub transaction_id: u64,
    /// The account that pays.
    pub customer: u32,
    /// The amount in cents.
    pub amount_cents: u64,
    /// Declined, or else approved.
    pub declined: bool,
    /// The logarithm of the odds of fraud against genuine.
    pub log_odds: f64,
    /// The analyzers whose score was not there in time; empty if all were.
    pub missing: String,
    /// What struck the analyzers.
    pub reasons: String,
    /// How long after the transaction's intended time.
    pub latency_us: u64,
}

impl StoredDecision {
    fn of(row: &rusqlite::Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            transaction_id: natural(row, "transaction_id")?,
            customer: row.get("customer")?,
            amount_cents: natural(row, "amount_cents")?,
            declined: row.get_ref("verdict")?.as_str()? == word(Verdict::Declined),
            log_odds: row.get("log_odds")?,
            missing: row.get("missing")?,
            reasons: row.get("reasons")?,
            latency_us: natural(row, "latency_us")?,
        })
    }
}

/// SQLite has signed numbers only.
fn natural(row: &rusqlite::Row<'_>, column: &str) -> Result<u64, rusqlite::Error> {
    row.get(column).map(i64::cast_unsigned)
}

/// The database, open for asking.
#[derive(Debug)]
pub struct DecisionLookup {
    connection: Connection,
}

impl DecisionLookup {
    /// Opens the database in this file.
    ///
    /// # Errors
    /// That there is none, or what SQLite said.
    pub fn open(path: &Path) -> Result<Self, AnyError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(path, flags);
        Ok(Self { connection: opened.map_err(|error| cannot_open(path, &error))? })
    }

    /// What was decided about a transaction.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn find(&self, transaction_id: u64) -> Result<Option<StoredDecision>, AnyError> {
        let query = "SELECT * FROM decisions WHERE transaction_id = ?";
        let mut statement = self.connection.prepare_cached(query)?;
        let id = transaction_id.cast_signed();
        Ok(statement.query_row([id], StoredDecision::of).optional()?)
    }

    /// Calls `each` with all decisions, in the order of their ids.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn for_each(&self, mut each: impl FnMut(StoredDecision)) -> Result<(), AnyError> {
        let mut statement = self.connection.prepare("SELECT * FROM decisions ORDER BY 1")?;
        let rows = statement.query_map((), StoredDecision::of)?;
        for row in rows {
            each(row?);
        }
        Ok(())
    }
}
