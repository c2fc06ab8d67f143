//! From the scores of one transaction to a decision.
//!
//! Pure: the same scores give the same decision, and nothing is remembered. A missing analyzer has no
//! evidence, which is the number 0, so a partial decision needs no special rule: it follows from the
//! scores of the others, and names the missing analyzer.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::score::{Analyzer, Evidence, Reason, Score};

/// The answer to the merchant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Taken for genuine.
    Approved,
    /// Taken for a fraud.
    Declined,
}

/// A set of analyzers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnalyzerSet(u8);

impl AnalyzerSet {
    /// This set and `analyzer`.
    pub fn with(self, analyzer: Analyzer) -> Self {
        Self(self.0 | 1 << analyzer as u8)
    }

    /// Is `analyzer` in it?
    pub fn contains(self, analyzer: Analyzer) -> bool {
        self.0 & 1 << analyzer as u8 != 0
    }

    /// Is nobody in it?
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its members, in their fixed order.
    pub fn iter(self) -> impl Iterator<Item = Analyzer> {
        Analyzer::ALL.into_iter().filter(move |&analyzer| self.contains(analyzer))
    }
}

impl fmt::Display for AnalyzerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, analyzer) in self.iter().enumerate() {
            write!(f, "{}{analyzer}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// What was decided about a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Approved or declined.
    pub verdict: Verdict,
    /// The logarithm of the odds of fraud against genuine; declined from [`DECLINE_FROM`] on.
    pub log_odds: f32,
    /// The analyzers whose score was not there in time.
    pub missing: AnalyzerSet,
    /// What struck each analyzer, at its place.
    pub reasons: [Option<Reason>; 3],
}

impl Decision {
    /// Was a score missing?
    pub fn is_partial(&self) -> bool {
        !self.missing.is_empty()
    }

    /// What struck the analyzers, in words.
    pub fn why(&self) -> String {
        let words: Vec<String> = self.reasons.iter().flatten().map(Reason::to_string).collect();
        words.join(", ")
    }
}

/// Log odds from which a transaction is declined: fraud is as likely as not.
pub const DECLINE_FROM: f32 = 0.0;

/// The log odds of each pattern before anything is seen: about one transaction in a hundred, very
/// high amounts one in a thousand.
const BEFORE: Evidence = Evidence { high_amount: -7.0, stolen_number: -4.6, stolen_card: -4.6 };

/// Decides with the scores that are there, each at the place of its analyzer.
///
/// # Panics
///
/// If a score is at the place of another analyzer.
pub fn decide(scores: &[Option<Score>; 3]) -> Decision {
    let mut total = BEFORE;
    let mut missing = AnalyzerSet::default();
    let mut reasons = [None; 3];
    for analyzer in Analyzer::ALL {
        let place = analyzer as usize;
        match &scores[place] {
            Some(score) => {
                assert_eq!(score.analyzer, analyzer, "a score is at another analyzer's place");
                total = total + score.evidence;
                reasons[place] = score.reason;
            }
            None => missing = missing.with(analyzer),
        }
    }
    let log_odds = any(total);
    let verdict = if log_odds >= DECLINE_FROM { Verdict::Declined } else { Verdict::Approved };
    Decision { verdict, log_odds, missing, reasons }
}

/// The log odds of any of the patterns, which exclude each other: their odds add up.
fn any(patterns: Evidence) -> f32 {
    (patterns.high_amount.exp() + patterns.stolen_number.exp() + patterns.stolen_card.exp()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(analyzer: Analyzer, evidence: Evidence) -> Option<Score> {
        Some(Score { transaction: 1, analyzer, evidence, reason: None })
    }

    /// All three say `stolen_card` about a stolen card, and nothing else.
    fn agreeing(stolen_card: f32) -> [Option<Score>; 3] {
        Analyzer::ALL
            .map(|analyzer| score(analyzer, Evidence { stolen_card, ..Evidence::default() }))
    }

    #[test]
    fn scores_that_are_weak_alone_decline_together() {
        let all = agreeing(2.0);
        assert_eq!(decide(&all).verdict, Verdict::Declined);
        for present in 0..3 {
            let mut alone = [None; 3];
            alone[present] = all[present];
            assert_eq!(decide(&alone).verdict, Verdict::Approved);
        }
    }

    #[test]
    fn one_strong_score_declines_though_two_are_missing() {
        let strong = Evidence { stolen_number: 9.0, ..Evidence::default() };
        let decision = decide(&[None, score(Analyzer::Proximity, strong), None]);
        assert_eq!(decision.verdict, Verdict::Declined);
        assert!(decision.is_partial());
    }

    #[test]
    fn without_any_score_a_transaction_is_approved_and_all_are_named_missing() {
        let decision = decide(&[None; 3]);
        assert_eq!(decision.verdict, Verdict::Approved);
        assert_eq!(decision.missing.to_string(), "average ticket, proximity, transaction count");
    }

    #[test]
    fn a_decision_is_partial_exactly_if_a_score_is_missing() {
        let mut scores = agreeing(0.0);
        assert!(!decide(&scores).is_partial());
        scores[1] = None;
        let missing = decide(&scores).missing;
        assert_eq!(missing.iter().collect::<Vec<_>>(), [Analyzer::Proximity]);
    }

    #[test]
    fn evidence_for_different_patterns_does_not_add_up_to_one_fraud() {
        let number = Evidence { stolen_number: 3.0, ..Evidence::default() };
        let card = Evidence { stolen_card: 3.0, ..Evidence::default() };
        let scores =
            [score(Analyzer::AverageTicket, number), score(Analyzer::Proximity, card), None];
        assert_eq!(decide(&scores).verdict, Verdict::Approved);
    }

    #[test]
    #[should_panic(expected = "another analyzer's place")]
    fn a_score_at_the_wrong_place_is_refused() {
        decide(&[score(Analyzer::Proximity, Evidence::default()), None, None]);
    }
}
