//! The three analyzers. Each is a value per customer, sees the transactions of this customer in the
//! order of arrival, and knows nothing of the other two.
//!
//! An analyzer never sees the truth, never waits, and has a bounded size.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::score::{Analyzer, Score};
use super::transaction::Transaction;

pub mod average_ticket;

pub mod proximity;

pub mod transaction_count;

/// The interface of the three. The value is what is known of one customer, and the default what is known of
/// one whom nobody has seen. Write it with serde, read it, and it continues where it was.
pub trait Analyze: Default + Clone + Serialize + DeserializeOwned + Send + 'static {
    /// Which of the three this is.
    const ANALYZER: Analyzer;

    /// Judges `transaction`, which is one of this customer, then adds it to what is known.
    ///
    /// Takes a time that does not grow with the customer's history. Event times may go backwards.
    fn analyze(&mut self, transaction: &Transaction) -> Score;
}

/// An analyzer for all customers, where no engine keeps the state by customer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Customers<A>(HashMap<u32, A>);

impl<A> Default for Customers<A> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<A: Analyze> Customers<A> {
    /// What the analyzer of its customer says.
    pub fn analyze(&mut self, transaction: &Transaction) -> Score {
        self.0.entry(transaction.customer).or_default().analyze(transaction)
    }
}
