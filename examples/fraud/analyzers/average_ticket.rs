//! Is the amount one that this customer spends?
//!
//! Owns a belief about the usual amount of a customer: two numbers, however long the history. A
//! belief starts at what customers in general spend, so the first transactions of a customer are
//! judged mildly, and sharpens with each transaction. (A Kalman filter in one dimension; a
//! transaction that looks inflated moves the belief little.)
//!
//! Never looks at places or times.

use serde::{Deserialize, Serialize};

use super::super::score::{Analyzer, Evidence, Reason, Score};
use super::super::transaction::Transaction;
use super::Analyze;

/// No genuine customer spends more at once.
const LIMIT_CENTS: u64 = 22_000;
/// Beyond the limit there is no doubt left.
const ABOVE_LIMIT: f32 = 12.0;
/// A thief spends about five times what the owner does.
const INFLATION: f32 = 5.0;
/// A customer's amounts scatter around the usual one by half of it.
const SPREAD: f32 = 0.5;
/// How far the evidence of one amount may go.
const EVIDENCE_MAX: f32 = 8.0;
/// From here on the amount is worth mentioning.
const STRIKING: f32 = 2.0;

/// What a customer usually spends at once, and how sure that is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct AverageTicket {
    mean: f32,
    /// The variance of the belief about the mean, not of the amounts.
    doubt: f32,
}

impl Analyze for AverageTicket {
    const ANALYZER: Analyzer = Analyzer::AverageTicket;

    fn analyze(&mut self, transaction: &Transaction) -> Score {
        let amount = transaction.amount_cents as f32 / 100.0;
        let inflated = self.evidence_for_inflation(amount);
        self.learn(amount, inflated);

        let above_limit = transaction.amount_cents > LIMIT_CENTS;
        let reason = if above_limit {
            Some(Reason::AmountAboveLimit)
        } else {
            (inflated >= STRIKING).then_some(Reason::AmountFarAboveUsual)
        };
        Score {
            transaction: transaction.id,
            analyzer: Self::ANALYZER,
            evidence: Evidence {
                high_amount: if above_limit { ABOVE_LIMIT } else { -ABOVE_LIMIT },
                stolen_number: inflated,
                stolen_card: inflated,
            },
            reason,
        }
    }
}

impl Default for AverageTicket {
    /// What is known of a customer nobody has seen: what customers in general spend.
    fn default() -> Self {
        Self { mean: 52.0, doubt: 27.0 * 27.0 }
    }
}

impl AverageTicket {
    /// The smallest usual amount believed in: keeps the scatter from vanishing.
    const MEAN_MIN: f32 = 2.0;
    /// How much the usual amount may drift per transaction, relative to itself.
    const DRIFT: f32 = 0.01;
    /// A young belief is less sure than the filter thinks, because amounts are never negative and
    /// the belief about them is lopsided: it is held as if it were so many times vaguer. This
    /// spares honest newcomers.
    const CAUTION: f32 = 2.0;
    /// An amount counts as at most so many usual ones, however high it is.
    const BELIEVED_MAX: f32 = 10.0;
    /// One amount in about thirty is not believed to be the customer's own before it is seen.
    const INFLATED_BEFORE: f32 = -3.5;

    /// The variance of the customer's amounts; while the mean is in doubt, so is how far they
    /// scatter around it.
    fn scatter(&self) -> f32 {
        SPREAD * SPREAD * (self.mean * self.mean + self.doubt)
    }

    /// How much more likely `amount` is as a thief's than as the customer's: both bell curves, the
    /// thief's [`INFLATION`] times as far out and as wide.
    fn evidence_for_inflation(&self, amount: f32) -> f32 {
        let doubt = Self::CAUTION * Self::CAUTION * self.doubt;
        let variance = doubt + self.scatter();
        let own = amount - self.mean;
        let thief = amount / INFLATION - self.mean;
        let evidence = (own * own - thief * thief) / (2.0 * variance) - INFLATION.ln();
        evidence.clamp(-EVIDENCE_MAX, EVIDENCE_MAX)
    }

    /// Moves the belief towards `amount`, the less the more it looks inflated.
    fn learn(&mut self, amount: f32, inflated: f32) {
        let trust = 1.0 / (1.0 + (Self::INFLATED_BEFORE + inflated).exp());
        let drift = Self::DRIFT * self.mean;
        let doubt = self.doubt + drift * drift;
        let gain = trust * doubt / (doubt + self.scatter());
        let believed = amount.min(Self::BELIEVED_MAX * self.mean);
        self.mean = (self.mean + gain * (believed - self.mean)).max(Self::MEAN_MIN);
        self.doubt = (1.0 - gain) * doubt;
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::transaction::{Kind, Place};
    use super::*;

    fn of(amount_cents: u64) -> Transaction {
        Transaction {
            id: 1,
            time_s: 0,
            customer: 1,
            terminal: 1,
            amount_cents,
            kind: Kind::CardNotPresent,
            shipping: Place::default(),
            billing: Place::default(),
            terminal_place: Place::default(),
        }
    }

    /// An analyzer that has seen its customer spend about ten.
    fn used_to_ten() -> AverageTicket {
        let mut analyzer = AverageTicket::default();
        for n in 0..30 {
            analyzer.analyze(&of(500 + n % 3 * 500));
        }
        analyzer
    }

    #[test]
    fn an_amount_far_above_the_customers_usual_one_is_suspicious() {
        let score = used_to_ten().analyze(&of(5_000));
        assert!(score.suspicion() > 6.0, "{score:?}");
        assert_eq!(score.reason, Some(Reason::AmountFarAboveUsual));
    }

    #[test]
    fn the_same_amount_is_not_suspicious_for_a_customer_with_no_history() {
        let score = AverageTicket::default().analyze(&of(5_000));
        assert!(score.suspicion() < 0.0, "{score:?}");
    }

    #[test]
    fn an_amount_above_the_limit_is_suspicious_whoever_spends_it() {
        let score = AverageTicket::default().analyze(&of(LIMIT_CENTS + 1));
        assert_eq!(score.evidence.high_amount, ABOVE_LIMIT);
        assert_eq!(score.reason, Some(Reason::AmountAboveLimit));
        let score = AverageTicket::default().analyze(&of(LIMIT_CENTS));
        assert_eq!(score.evidence.high_amount, -ABOVE_LIMIT);
    }

    #[test]
    fn a_thiefs_amounts_do_not_become_usual() {
        let mut analyzer = used_to_ten();
        for _ in 0..20 {
            analyzer.analyze(&of(5_000));
        }
        assert!(analyzer.analyze(&of(5_000)).suspicion() > 4.0);
        assert!(analyzer.analyze(&of(1_000)).suspicion() < 0.0);
    }

    #[test]
    fn a_customer_who_slowly_spends_more_stays_unsuspected() {
        let mut analyzer = used_to_ten();
        for n in 0..400 {
            let score = analyzer.analyze(&of(1_000 + n * 10));
            assert!(score.suspicion() < STRIKING, "{n}: {score:?}");
        }
    }

    #[test]
    fn an_absurd_amount_does_not_spoil_the_history() {
        let mut analyzer = used_to_ten();
        assert!(analyzer.analyze(&of(u64::MAX)).suspicion().is_finite());
        assert!(analyzer.analyze(&of(0)).suspicion().is_finite());
        assert!(analyzer.analyze(&of(5_000)).suspicion() > 4.0);
    }
}
