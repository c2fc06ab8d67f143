//! The score of an analyzer for one transaction.
//!
//! A score is evidence, not a verdict: for each pattern of fraud, how much more likely is what the
//! analyzer saw if the transaction is such a fraud than if it is genuine? The logarithm of that
//! ratio is a number that can be *added* to the numbers of other analyzers, and that is 0 when an
//! analyzer knows nothing or is missing. Both are why it is used. (I. J. Good, "Probability and the
//! Weighing of Evidence", 1950.)

use std::fmt;
use std::ops::Add;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The three analyzers; `as usize` is the index of its score in the aggregator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Analyzer {
    /// Compares the amount with the customer's usual one.
    AverageTicket,
    /// Compares the places of a transaction with each other and with the customer's home.
    Proximity,
    /// Compares the number of transactions in a day with the customer's usual one.
    TransactionCount,
}

impl Analyzer {
    /// All of them, each at its own place.
    pub const ALL: [Analyzer; 3] = [Self::AverageTicket, Self::Proximity, Self::TransactionCount];
}

impl fmt::Display for Analyzer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AverageTicket => "average ticket",
            Self::Proximity => "proximity",
            Self::TransactionCount => "transaction count",
        })
    }
}

impl FromStr for Analyzer {
    type Err = String;

    /// Reads a name as it is displayed, with any of space, `-` and `_` between the words.
    fn from_str(name: &str) -> Result<Self, String> {
        let words = name.replace(['_', '-'], " ");
        let found = Self::ALL.into_iter().find(|analyzer| analyzer.to_string() == words);
        found.ok_or_else(|| format!("no analyzer is called {name:?}"))
    }
}

/// The evidence for each pattern of fraud: natural logarithms of likelihood ratios. 0 says nothing,
/// +7 says "a thousand times more likely in such a fraud", -7 the opposite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// For an amount that no genuine customer spends at once.
    pub high_amount: f32,
    /// For a stolen card number: ordered by a stranger, sent to a stranger.
    pub stolen_number: f32,
    /// For a stolen card: spent near its owner's home, as much and as fast as possible.
    pub stolen_card: f32,
}

impl Add for Evidence {
    type Output = Evidence;

    fn add(self, other: Evidence) -> Evidence {
        Evidence {
            high_amount: self.high_amount + other.high_amount,
            stolen_number: self.stolen_number + other.stolen_number,
            stolen_card: self.stolen_card + other.stolen_card,
        }
    }
}

/// What struck an analyzer most, in words that explain the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The amount is above what any customer spends at once.
    AmountAboveLimit,
    /// The amount is a multiple of the customer's usual one.
    AmountFarAboveUsual,
    /// The goods go to a place far from the customer's home.
    ShippedFarFromHome,
    /// The goods go again, within a day, to the same address that is not the customer's home.
    SameForeignAddressAgain,
    /// The card is at a terminal far from the customer's home.
    PaidFarFromHome,
    /// The customer has made many more transactions within a day than usual.
    ManyWithinADay,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AmountAboveLimit => "amount above limit",
            Self::AmountFarAboveUsual => "amount far above usual",
            Self::ShippedFarFromHome => "shipped far from home",
            Self::SameForeignAddressAgain => "same foreign address again",
            Self::PaidFarFromHome => "paid far from home",
            Self::ManyWithinADay => "many within a day",
        })
    }
}

/// What one analyzer says about one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The transaction.
    pub transaction: u64,
    /// Who says it.
    pub analyzer: Analyzer,
    /// How strongly it speaks for each pattern of fraud.
    pub evidence: Evidence,
    /// What struck most, if anything did.
    pub reason: Option<Reason>,
}

impl Score {
    /// The strongest evidence for any fraud, as one number.
    #[cfg(test)]
    pub fn suspicion(&self) -> f32 {
        let Evidence { high_amount, stolen_number, stolen_card } = self.evidence;
        high_amount.max(stolen_number).max(stolen_card)
    }
}
