//! Where the transactions of a run come from: a file, or the generator.
//!
//! Gives the same transactions each time, so that the source can be rebuilt and the truth compared
//! with the decisions at the end. The jobs get the transactions without the truth.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::generator::Generator;
use super::transaction::{Labelled, Transaction};
use super::transaction_file::read_csv;

/// Any error of the examples.
pub type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Transactions that can be gone through any number of times.
#[derive(Clone, Debug)]
pub struct Feed {
    origin: Origin,
    has_truth: bool,
}

#[derive(Clone, Debug)]
enum Origin {
    File { path: PathBuf, rows: Arc<[Labelled]> },
    Generated { count: u64, seed: u64 },
}

/// Customers and terminals of generated transactions.
const CUSTOMERS: u32 = 1000;
const TERMINALS: u32 = 2000;

impl Feed {
    /// Reads a transaction file into memory.
    ///
    /// # Errors
    /// What cannot be read, or an id that occurs twice, with its line.
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, AnyError> {
        let path = path.into();
        let reader = read_csv(&path)?;
        let has_truth = reader.has_truth();
        let rows = reader.collect::<Result<Arc<[Labelled]>, _>>();
        let rows = rows.map_err(|error| format!("{}: {error}", path.display()))?;
        let mut seen = HashSet::with_capacity(rows.len());
        if let Some(twice) = rows.iter().find(|row| !seen.insert(row.transaction.id)) {
            let id = twice.transaction.id;
            return Err(format!("{}: transaction {id} occurs twice", path.display()).into());
        }
        Ok(Self { origin: Origin::File { path, rows }, has_truth })
    }

    /// This many generated transactions; the same seed gives the same ones.
    pub fn generated(count: u64, seed: u64) -> Self {
        Self { origin: Origin::Generated { count, seed }, has_truth: true }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        match &self.origin {
            Origin::File { rows, .. } => rows.len() as u64,
            Origin::Generated { count, .. } => *count,
        }
    }

    /// A fingerprint of the transactions, independent of their file.
    ///
    /// # Errors
    /// What the encoder said.
    pub fn identity(&self) -> Result<u64, AnyError> {
        let mut hash = Xxh3::new();
        for transaction in self.transactions() {
            hash.update(&streamwork::checkpoint::encode(&transaction)?);
        }
        Ok(hash.digest())
    }

    /// Is it known which transactions are frauds?
    pub fn has_truth(&self) -> bool {
        self.has_truth
    }

    /// What the analyzers may see, in order.
    pub fn transactions(&self) -> impl Iterator<Item = Transaction> + use<> {
        self.labelled().map(|row| row.transaction)
    }

    /// The ids of the frauds, for measuring.
    pub fn frauds(&self) -> HashSet<u64> {
        self.labelled().filter(|row| row.fraud).map(|row| row.transaction.id).collect()
    }

    fn labelled(&self) -> Box<dyn Iterator<Item = Labelled>> {
        match &self.origin {
            Origin::File { rows, .. } => {
                let rows = Arc::clone(rows);
                Box::new((0..rows.len()).map(move |row| rows[row]))
            }
            Origin::Generated { count, seed } => {
                let count = usize::try_from(*count).unwrap_or(usize::MAX);
                Box::new(Generator::new(*seed, CUSTOMERS, TERMINALS).take(count))
            }
        }
    }
}

impl fmt::Display for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::File { path, rows } => {
                write!(f, "{} transactions of {}", rows.len(), path.display())
            }
            Origin::Generated { count, seed } => {
                write!(f, "{count} generated transactions (seed {seed})")
            }
        }
    }
}
