//! The directory with everything that a run needs to continue after it was killed.
//!
//! ```text
//!   LOCK                  held by the run that works here
//!   input                 which transactions all of this is about
//!   log/                  the transactions, shared by all semantics
//!   fraud.db              what the fraud job decided, unless --fraud-db names another
//!   <semantics>/
//!     checkpoints/        of the engine
//!     usage.db            the totals
//!     faults.db           which lookups have failed
//!     begun/              how many transactions were taken up, by instance
//! ```
//!
//! Log and fraud database are made elsewhere and moved here when they are whole: a run that is killed
//! meanwhile, or whose disk is full, leaves nothing that the next one would take for whole.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use streamwork::log::{EventLog, LogOptions, LogReader};

use crate::fraud::analyzers::Customers;
use crate::fraud::analyzers::average_ticket::AverageTicket;
use crate::fraud::analyzers::proximity::Proximity;
use crate::fraud::analyzers::transaction_count::TransactionCount;
use crate::fraud::database::{Decided, DecisionTable};
use crate::fraud::decision::decide;
use crate::fraud::feed::{AnyError, Feed};
use crate::fraud::lock::Lock;
use crate::fraud::transaction::Transaction;

/// Partitions of the log: each is read in order, by one instance of the source.
const PARTITIONS: u32 = 4;
/// Event times in the file count from here: the first of January 2025, in milliseconds.
const START_UNIX_MS: i64 = 1_735_689_600_000;
/// Decisions per SQL transaction.
const DECISIONS_AT_ONCE: usize = 4096;

/// The paths of a run.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    semantics: PathBuf,
    _lock: Lock,
}

impl DataDir {
    /// The directory of runs over `feed` under these semantics, which no other run may use as long as this value
    /// lives.
    ///
    /// # Errors
    /// That another run uses it, that it belongs to other transactions, or what the operating system said.
    pub fn open(root: &Path, semantics: &str, feed: &Feed) -> Result<Self, AnyError> {
        let semantics = root.join(semantics);
        fs::create_dir_all(&semantics)
            .map_err(|error| format!("cannot make {}: {error}", semantics.display()))?;
        let _lock = Lock::take(&root.join("LOCK"), root)?;
        let opened = Self { root: root.to_owned(), semantics, _lock };
        opened.belong_to(feed)?;
        Ok(opened)
    }

    /// Notes which transactions this directory is about, or compares them with what is noted.
    fn belong_to(&self, feed: &Feed) -> Result<(), AnyError> {
        let path = self.root.join("input");
        let ours = format!("{:016x} {feed}", feed.identity()?);
        match fs::read_to_string(&path) {
            // The file may have another name by now; what is in it counts.
            Ok(noted) if noted.split(' ').next() == ours.split(' ').next() => Ok(()),
            Ok(noted) => {
                let (root, noted) = (self.root.display(), noted.split_once(' '));
                let noted = noted.map_or("other transactions", |(_, feed)| feed);
                Err(format!(
                    "{root} holds {noted}, which differ from the {feed}: choose another --data-dir"
                )
                .into())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                make_whole(&path, |path| {
                    let mut file = File::create(path)?;
                    Ok(file.write_all(ours.as_bytes())?)
                })
            }
            Err(error) => Err(format!("cannot read {}: {error}", path.display()).into()),
        }
    }

    /// Where the engine keeps checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.semantics.join("checkpoints")
    }

    /// The database of the totals.
    pub fn usage(&self) -> PathBuf {
        self.semantics.join("usage.db")
    }

    /// The database that remembers which lookups have failed.
    pub fn faults(&self) -> PathBuf {
        self.semantics.join("faults.db")
    }

    /// Where it is written down how many transactions were taken up.
    pub fn begun(&self) -> PathBuf {
        self.semantics.join("begun")
    }

    /// The event log with the transactions of `feed`, which are loaded if they are not there.
    ///
    /// # Errors
    /// What the log said, or that it holds other transactions.
    pub fn log(&self, feed: &Feed) -> Result<PathBuf, AnyError> {
        let log = self.root.join("log");
        if !log.exists() {
            println!("loading {feed} into {}", log.display());
            make_whole(&log, |path| load(path, feed))?;
        }
        let mut reader = LogReader::<Transaction>::open(&log)?;
        let mut loaded = 0;
        for partition in 0..reader.partitions() {
            loaded += reader.end(partition)?.get();
        }
        if loaded != feed.len() {
            let (log, asked) = (log.display(), feed.len());
            let found = format!("{log} holds {loaded} transactions, not the {asked} asked for");
            return Err(format!("{found}: choose another --data-dir").into());
        }
        Ok(log)
    }

    /// The fraud database: the one that was named, or one of this directory. If there is none, the
    /// logic of the fraud job makes it.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn fraud_database(&self, named: Option<&Path>, feed: &Feed) -> Result<PathBuf, AnyError> {
        let path = named.map_or_else(|| self.root.join("fraud.db"), Path::to_owned);
        if !path.exists() {
            println!("deciding {feed} into {}", path.display());
            make_whole(&path, |path| detect(path, feed))?;
        }
        Ok(path)
    }
}

/// Makes a file or directory in a directory beside it, and moves it to its place when it is whole.
fn make_whole(
    path: &Path,
    make: impl FnOnce(&Path) -> Result<(), AnyError>,
) -> Result<(), AnyError> {
    let name = path.file_name().ok_or("a path without a name")?;
    let mut beside = name.to_owned();
    beside.push(".making");
    let beside = path.with_file_name(beside);
    if beside.exists() {
        fs::remove_dir_all(&beside)?;
    }
    fs::create_dir_all(&beside)?;
    let made = beside.join(name);
    make(&made)?;
    if made.is_file() {
        File::open(&made)?.sync_all()?;
    }
    fs::rename(&made, path)?;
    fs::remove_dir_all(&beside)?;
    // The name is as durable as what it stands for.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok(File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?)
}

/// Appends all transactions, those of one account to one partition, so that they keep their order.
fn load(path: &Path, feed: &Feed) -> Result<(), AnyError> {
    let options = LogOptions { partitions: Some(PARTITIONS), ..LogOptions::default() };
    let mut log = EventLog::create_or_open(path, options)?;
    for transaction in feed.transactions() {
        let unix_ms = START_UNIX_MS + transaction.time_s * 1000;
        log.append(transaction.customer % PARTITIONS, unix_ms, &transaction)?;
    }
    Ok(log.close()?)
}

/// Decides all transactions, one after the other and with all scores.
fn detect(path: &Path, feed: &Feed) -> Result<(), AnyError> {
    let mut table = DecisionTable::create(path)?;
    let mut ticket = Customers::<AverageTicket>::default();
    let mut proximity = Customers::<Proximity>::default();
    let mut count = Customers::<TransactionCount>::default();
    for (number, transaction) in feed.transactions().enumerate() {
        let decision = decide(&[
            Some(ticket.analyze(&transaction)),
            Some(proximity.analyze(&transaction)),
            Some(count.analyze(&transaction)),
        ]);
        table.write(Decided::untimed(&transaction, decision));
        if number % DECISIONS_AT_ONCE == 0 {
            table.flush()?;
        }
    }
    table.finish()
}
