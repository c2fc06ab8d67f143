//! Import of records into a database: nothing missing, nothing twice, bad rows set aside.
//!
//! At-least-once with an upsert under the record's own key. A whole batch is one transaction
//! (`flush` commits it). The connection is lost right after one commit, so its rows are written again
//! and replace themselves, as does a row that is twice in the file. A row that cannot be parsed fails
//! at every attempt: after three it becomes a dead letter and is kept with the reason, and the other
//! rows are not affected.
//!
//! ```sh
//! cargo run --release --example import_records
//! ```
//!
//! Expected output:
//!
//! ```text
//! imported, some of them twice
//!   1 Lovelace, Ada, 1815
//!   2 Hopper, Grace, 1906
//!   4 Dijkstra, Edsger, 1930
//!   6 Lamport, Leslie, 1941
//! rejected
//!   3,"Turing, Alan",nineteen-twelve after 3 attempts: nineteen-twelve is no year
//!   5,"Liskov, Barbara" after 3 attempts: no field 2
//! ```

mod course;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rusqlite::{Connection, params};
use streamwork::{AtLeastOnce, BoxError, DeadLetter, IdempotentSink, Job, Sink};

const ROWS: &str = r#"1,"Lovelace, Ada",1815
2,"Hopper, Grace",1906
3,"Turing, Alan",nineteen-twelve
4,"Dijkstra, Edsger",1930
5,"Liskov, Barbara"
6,"Lamport, Leslie",1941
2,"Hopper, Grace",1906"#;

/// Rows that are records.
const READABLE: u64 = 5;

type Database = Arc<Mutex<Connection>>;
type Record = (u32, String, i32);

fn parse(row: String) -> Result<Record, BoxError> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(row.as_bytes());
    let fields = reader.records().next().ok_or("an empty row")??;
    let field = |at: usize| fields.get(at).ok_or_else(|| format!("no field {at}"));
    let born = field(2)?.parse().map_err(|_| format!("{} is no year", &fields[2]))?;
    Ok((field(0)?.parse()?, field(1)?.to_owned(), born))
}

struct Upsert {
    database: Database,
    open: Vec<Record>,
    connection_lost: Arc<AtomicBool>,
}

impl Sink for Upsert {
    type In = Record;

    fn write(&mut self, record: Record) -> Result<(), BoxError> {
        self.open.push(record);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        let mut database = self.database.lock();
        let transaction = database.transaction()?;
        for (id, name, born) in self.open.drain(..) {
            let upsert = "INSERT INTO people VALUES (?1, ?2, ?3)
                ON CONFLICT (id) DO UPDATE SET name = excluded.name, born = excluded.born";
            transaction.execute(upsert, params![id, name, born])?;
        }
        transaction.commit()?;
        if !self.connection_lost.swap(true, Ordering::Relaxed) {
            return Err("the connection broke after the commit".into());
        }
        Ok(())
    }
}

impl IdempotentSink for Upsert {}

struct Rejected(Database);

impl Sink for Rejected {
    type In = DeadLetter<String>;

    fn write(&mut self, letter: DeadLetter<String>) -> Result<(), BoxError> {
        let DeadLetter { event, failure, attempts, .. } = letter;
        let sql = "INSERT OR REPLACE INTO rejected VALUES (?1, ?2, ?3)";
        let row = params![event, failure.cause.to_string(), attempts];
        self.0.lock().execute(sql, row)?;
        Ok(())
    }
}

fn print(database: &Database, sql: &str) -> Result<(), BoxError> {
    let database = database.lock();
    let mut rows = database.prepare(sql)?;
    for line in rows.query_map([], |row| row.get::<_, String>(0))? {
        println!("  {}", line?);
    }
    Ok(())
}

fn main() -> Result<(), BoxError> {
    course::help(include_str!("import_records.rs"));
    let directory = tempfile::tempdir()?;
    let database = Connection::open(directory.path().join("people.db"))?;
    database.execute_batch(
        "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, born INTEGER);
         CREATE TABLE rejected (row TEXT PRIMARY KEY, reason TEXT, attempts INTEGER);",
    )?;
    let database = Arc::new(Mutex::new(database));
    let (people, rejected, lost) = (Arc::clone(&database), Arc::clone(&database), Arc::default());

    let job = Job::new("import");
    let rows = job.from_iter("rows", || ROWS.lines().map(String::from));
    rows.dead_letter_sink(move || Rejected(Arc::clone(&rejected)));
    rows.try_map(parse).named("parse").idempotent_sink("people", move || Upsert {
        database: Arc::clone(&people),
        open: Vec::new(),
        connection_lost: Arc::clone(&lost),
    });
    let report = job.run(AtLeastOnce::new().attempts_max(3))?;

    let written = report.metrics.sum("people", |m| m.processed);
    // How many depends on how the rows were divided into batches.
    let how = if written > READABLE { "some of them twice" } else { "each of them once" };
    println!("imported, {how}");
    print(&database, "SELECT id || ' ' || name || ', ' || born FROM people ORDER BY id")?;
    println!("rejected");
    print(
        &database,
        "SELECT row || ' after ' || attempts || ' attempts: ' || reason FROM rejected ORDER BY 1",
    )?;
    Ok(())
}
