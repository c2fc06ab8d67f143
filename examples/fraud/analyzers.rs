//! The three analyzers. Each is grouped by customer, sees the transactions of its customers in the
//! order of arrival, and knows nothing of the other two.
//!
//! An analyzer never sees the truth, never waits, and keeps a bounded state per customer.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::score::{Analyzer, Score};
use super::transaction::Transaction;

pub mod average_ticket;

pub mod proximity;

pub mod transaction_count;

/// The interface of the three. The value is its own state: write it with serde, read it, and it
/// continues where it was.
pub trait Analyze: Default + Clone + Serialize + DeserializeOwned + Send + 'static {
    /// Which of the three this is.
    const ANALYZER: Analyzer;

    /// Judges `transaction` by what is known of its customer, then adds it to that knowledge.
    ///
    /// Takes a time that does not grow with the customer's history. Event times may go backwards.
    fn analyze(&mut self, transaction: &Transaction) -> Score;
}
