//! Idempotent or not: `set_balance` and `charge` under at-least-once.
//!
//! Four bills are written to a database. After Carol's has been written the answer is lost: the
//! write took effect, but the sink returns an error. At-least-once must write it again, since it
//! cannot know that. To set the balance again changes nothing; to charge again takes the money
//! twice. At-least-once with an idempotent effect is as good as exactly-once.
//!
//! Here there is one bill per account. Several would have to keep their order when they are
//! replayed, so that an old balance does not overwrite a new one: `AtLeastOnce::ordered`.
//!
//! ```sh
//! cargo run --release --example idempotent
//! ```
//!
//! Expected output:
//!
//! ```text
//! account  bill  right  set_balance  charge
//! alice      20     80           80      80
//! bob        30     70           70      70
//! carol      40     60           60      20  <- charged twice
//! dave       50     50           50      50
//! written 5 and 5 times, for 4 bills
//! ```

mod course;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rusqlite::{Connection, params};
use streamwork::{AtLeastOnce, BoxError, IdempotentSink, Job, JobReport, Sink};

#[derive(Clone, Copy)]
struct Bill {
    account: &'static str,
    amount: i64,
    balance_after: i64,
}

const BILLS: [Bill; 4] = [
    Bill { account: "alice", amount: 20, balance_after: 80 },
    Bill { account: "bob", amount: 30, balance_after: 70 },
    Bill { account: "carol", amount: 40, balance_after: 60 },
    Bill { account: "dave", amount: 50, balance_after: 50 },
];

/// A database that loses one answer.
#[derive(Clone)]
struct Bank {
    database: Arc<Mutex<Connection>>,
    answer_lost: Arc<AtomicBool>,
}

impl Bank {
    fn open(path: std::path::PathBuf) -> Result<Self, BoxError> {
        let database = Connection::open(path)?;
        database.execute_batch("CREATE TABLE accounts (name TEXT PRIMARY KEY, balance INTEGER)")?;
        for bill in BILLS {
            database.execute("INSERT INTO accounts VALUES (?1, 100)", [bill.account])?;
        }
        Ok(Self { database: Arc::new(Mutex::new(database)), answer_lost: Arc::default() })
    }

    fn execute(&self, sql: &str, account: &str, number: i64) -> Result<(), BoxError> {
        self.database.lock().execute(sql, params![account, number])?;
        if account == "carol" && !self.answer_lost.swap(true, Ordering::Relaxed) {
            return Err("the connection broke before the answer came".into());
        }
        Ok(())
    }

    fn balance(&self, account: &str) -> Result<i64, BoxError> {
        let sql = "SELECT balance FROM accounts WHERE name = ?1";
        Ok(self.database.lock().query_row(sql, [account], |row| row.get(0))?)
    }
}

struct SetBalance(Bank);

impl Sink for SetBalance {
    type In = Bill;
    fn write(&mut self, bill: Bill) -> Result<(), BoxError> {
        let sql = "UPDATE accounts SET balance = ?2 WHERE name = ?1";
        self.0.execute(sql, bill.account, bill.balance_after)
    }
}

impl IdempotentSink for SetBalance {}

struct Charge(Bank);

impl Sink for Charge {
    type In = Bill;
    fn write(&mut self, bill: Bill) -> Result<(), BoxError> {
        let sql = "UPDATE accounts SET balance = balance - ?2 WHERE name = ?1";
        self.0.execute(sql, bill.account, bill.amount)
    }
}

fn main() -> Result<(), BoxError> {
    course::help(include_str!("idempotent.rs"));
    let directory = tempfile::tempdir()?;
    let set = Bank::open(directory.path().join("set_balance.db"))?;
    let charged = Bank::open(directory.path().join("charge.db"))?;

    let job = Job::new("set_balance");
    let bank = set.clone();
    let bills = job.from_iter("bills", || BILLS);
    bills.idempotent_sink("sink", move || SetBalance(bank.clone()));
    let set_times = written(&job.run(AtLeastOnce::new())?);

    let job = Job::new("charge");
    let bank = charged.clone();
    job.from_iter("bills", || BILLS).sink("sink", move || Charge(bank.clone()));
    let charge_times = written(&job.run(AtLeastOnce::new())?);

    println!("account  bill  right  set_balance  charge");
    for Bill { account, amount, balance_after } in BILLS {
        let (set, charged) = (set.balance(account)?, charged.balance(account)?);
        let note = if charged == balance_after { "" } else { "  <- charged twice" };
        println!("{account:7}  {amount:4}  {balance_after:5}  {set:11}  {charged:6}{note}");
    }
    println!("written {set_times} and {charge_times} times, for {} bills", BILLS.len());
    Ok(())
}

fn written(report: &JobReport) -> u64 {
    report.metrics.sum("sink", |m| m.processed)
}
