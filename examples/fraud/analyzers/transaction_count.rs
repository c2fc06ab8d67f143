//! Does this customer make more transactions within a day than usual?
//!
//! Owns the times of the last few transactions of a customer and the usual number per day. Times
//! are event times, so a late transaction is counted into the day that it belongs to.
//!
//! Never looks at amounts or places.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::super::score::{Analyzer, Evidence, Reason, Score};
use super::super::transaction::Transaction;
use super::Analyze;

const DAY_S: u64 = 24 * 60 * 60;
/// From here on the count is worth mentioning.
const STRIKING: f32 = 2.0;

/// How often a customer makes a transaction.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TransactionCount {
    /// Event times of the last transactions, in the order of arrival.
    recent: VecDeque<i64>,
    /// All transactions so far.
    count: u32,
    /// The first and the last event time.
    first_s: i64,
    last_s: i64,
}

impl Analyze for TransactionCount {
    const ANALYZER: Analyzer = Analyzer::TransactionCount;

    fn analyze(&mut self, transaction: &Transaction) -> Score {
        let hurried = self.evidence_for_hurry(transaction.time_s);
        self.learn(transaction.time_s);
        Score {
            transaction: transaction.id,
            analyzer: Self::ANALYZER,
            evidence: Evidence { high_amount: 0.0, stolen_number: 0.0, stolen_card: hurried },
            reason: (hurried >= STRIKING).then_some(Reason::ManyWithinADay),
        }
    }
}

impl TransactionCount {
    /// This many times are remembered; more within a day say nothing new.
    const RECENT_MAX: usize = 24;
    /// A customer nobody has seen makes so many transactions a day; believed like one day of
    /// history.
    const USUAL_PER_DAY: f32 = 2.0;
    /// A thief is this many times as fast, taken over the day up to now.
    const HURRY: f32 = 2.0;
    /// A day of few transactions says little: a thief may have just begun.
    const EVIDENCE_MIN: f32 = -0.5;
    const EVIDENCE_MAX: f32 = 6.0;

    /// How much more likely so many transactions around `time_s` are in a thief's day than in the
    /// customer's: two Poisson distributions.
    fn evidence_for_hurry(&self, time_s: i64) -> f32 {
        let within_a_day =
            self.recent.iter().filter(|&&other| other.abs_diff(time_s) < DAY_S).count() as f32;
        let usual = self.usual_per_day();
        (within_a_day * Self::HURRY.ln() - usual * (Self::HURRY - 1.0))
            .clamp(Self::EVIDENCE_MIN, Self::EVIDENCE_MAX)
    }

    fn usual_per_day(&self) -> f32 {
        let days = self.last_s.abs_diff(self.first_s) as f32 / DAY_S as f32;
        (self.count as f32 + Self::USUAL_PER_DAY) / (days + 1.0)
    }

    fn learn(&mut self, time_s: i64) {
        if self.count == 0 {
            self.first_s = time_s;
            self.last_s = time_s;
        }
        self.first_s = self.first_s.min(time_s);
        self.last_s = self.last_s.max(time_s);
        self.count = self.count.saturating_add(1);
        if self.recent.len() == Self::RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(time_s);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::transaction::{Kind, Place};
    use super::*;

    fn at(time_s: i64) -> Transaction {
        Transaction {
            id: 1,
            time_s,
            customer: 1,
            terminal: 1,
            amount_cents: 1_000,
            kind: Kind::CardPresent,
            shipping: Place::default(),
            billing: Place::default(),
            terminal_place: Place::default(),
        }
    }

    const DAY: i64 = DAY_S as i64;

    /// An analyzer that has seen two transactions a day for ten days.
    fn used_to_two_a_day() -> TransactionCount {
        let mut analyzer = TransactionCount::default();
        for half_day in 0..20 {
            analyzer.analyze(&at(half_day * DAY / 2));
        }
        analyzer
    }

    #[test]
    fn the_usual_pace_is_not_suspicious() {
        let score = used_to_two_a_day().analyze(&at(10 * DAY));
        assert!(score.suspicion() <= 0.0, "{score:?}");
    }

    #[test]
    fn many_within_an_hour_are_more_suspicious_one_by_one() {
        let mut analyzer = used_to_two_a_day();
        let mut suspicion: Vec<f32> = Vec::new();
        for n in 0..10 {
            suspicion.push(analyzer.analyze(&at(10 * DAY + n * 360)).suspicion());
        }
        assert!(suspicion.is_sorted(), "{suspicion:?}");
        assert!(suspicion[9] > 3.0, "{suspicion:?}");
    }

    #[test]
    fn as_many_spread_over_days_are_not_suspicious() {
        let mut analyzer = used_to_two_a_day();
        for n in 0..10 {
            let score = analyzer.analyze(&at(10 * DAY + n * DAY));
            assert!(score.suspicion() <= 0.0, "{score:?}");
        }
    }

    #[test]
    fn a_late_transaction_is_counted_into_the_day_it_belongs_to() {
        let mut analyzer = used_to_two_a_day();
        for n in 0..8 {
            analyzer.analyze(&at(10 * DAY + n));
        }
        let mut later = analyzer.clone();
        later.analyze(&at(15 * DAY));
        assert!(later.analyze(&at(10 * DAY + 9)).suspicion() > 2.0);
        assert!(later.analyze(&at(16 * DAY + 9)).suspicion() <= 0.0);
    }

    #[test]
    fn the_state_of_a_customer_does_not_grow_without_bound() {
        let mut analyzer = TransactionCount::default();
        for n in 0..10_000 {
            analyzer.analyze(&at(n));
        }
        assert_eq!(analyzer.recent.len(), TransactionCount::RECENT_MAX);
    }

    #[test]
    fn extreme_times_are_survived() {
        let mut analyzer = TransactionCount::default();
        for time_s in [i64::MIN, i64::MAX, 0, i64::MIN] {
            assert!(analyzer.analyze(&at(time_s)).suspicion().is_finite());
        }
    }
}
