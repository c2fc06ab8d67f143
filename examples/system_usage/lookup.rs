//! Asking the fraud database, a call that may fail.
//!
//! Real calls fail for a while and then work again. Here chosen calls fail, once each, and the failures
//! are noted in a file: so each call fails once even if the process is killed and started again.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use crate::fraud::database::DecisionLookup;
use crate::fraud::feed::{AnyError, Feed};

/// Answers whether a transaction was found to be a fraud.
#[derive(Debug)]
pub struct FraudLookup {
    decisions: DecisionLookup,
    faults: Faults,
}

impl FraudLookup {
    /// Opens both databases.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn open(fraud_database: &Path, faults: Faults) -> Result<Self, AnyError> {
        Ok(Self { decisions: DecisionLookup::open(fraud_database)?, faults })
    }

    /// Was the transaction declined? One that was never decided was not.
    ///
    /// # Errors
    /// What SQLite said, or that it is this call's turn to fail.
    pub fn is_fraud(&self, transaction: u64) -> Result<bool, AnyError> {
        self.faults.strike(transaction)?;
        let found = self.decisions.find(transaction)?;
        Ok(found.is_some_and(|decision| decision.declined))
    }
}

/// The lookups that are to fail, and the memory of those that did.
#[derive(Debug)]
pub struct Faults {
    chosen: Arc<HashSet<u64>>,
    memory: Connection,
}

impl Faults {
    /// Lets the lookups of these transactions fail, those excepted that have failed before.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn open(path: &Path, chosen: Arc<HashSet<u64>>) -> Result<Self, AnyError> {
        let memory = Connection::open(path)?;
        memory.execute_batch("CREATE TABLE IF NOT EXISTS failed (lookup INTEGER PRIMARY KEY)")?;
        Ok(Self { chosen, memory })
    }

    /// How many lookups have failed.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn count(&self) -> Result<u64, AnyError> {
        let count = self.memory.query_row("SELECT count(*) FROM failed", (), |row| row.get(0));
        Ok(count.map(i64::cast_unsigned)?)
    }

    fn strike(&self, transaction: u64) -> Result<(), AnyError> {
        if !self.chosen.contains(&transaction) {
            return Ok(());
        }
        let insert = "INSERT OR IGNORE INTO failed VALUES (?)";
        match self.memory.execute(insert, [transaction.cast_signed()])? {
            0 => Ok(()),
            _ => Err(format!("the fraud database did not answer about {transaction}").into()),
        }
    }
}

/// Chooses so many transactions whose lookups fail, evenly over the file. Frauds first: at-most-once
/// then loses what the totals show.
pub fn choose(count: usize, feed: &Feed, frauds: &HashSet<u64>) -> HashSet<u64> {
    let ids = feed.transactions().map(|transaction| transaction.id);
    let (frauds, others): (Vec<u64>, Vec<u64>) = ids.partition(|id| frauds.contains(id));
    let mut chosen = evenly(&frauds, count);
    chosen.extend(evenly(&others, count - chosen.len()));
    chosen
}

fn evenly(ids: &[u64], count: usize) -> HashSet<u64> {
    let count = count.min(ids.len());
    (0..count).map(|n| ids[n * ids.len() / count]).collect()
}
