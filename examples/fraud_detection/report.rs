//! What a run came to: read back from the database, compared with the truth.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::aggregator::BUDGET;
use crate::fraud::database::DecisionLookup;
use crate::fraud::feed::{AnyError, Feed};

/// Longer ones count as this long: ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;

/// The figures of a run.
#[derive(Debug)]
pub struct Report {
    transactions: u64,
    decisions: u64,
    partial: u64,
    /// Partial decisions by the analyzers that they lack.
    missing: BTreeMap<String, u64>,
    truth: Option<Confusion>,
    declined: u64,
    latency_us: Histogram<u64>,
    over_budget: u64,
    elapsed: Duration,
    paced: Pace,
}

/// How transactions were emitted, which says what the latency means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// At their intended times.
    PerSecond(f64),
    /// As fast as they are decided.
    FullSpeed,
}

/// Verdicts compared with the truth.
#[derive(Debug, Default)]
struct Confusion {
    true_positives: u64,
    false_positives: u64,
    false_negatives: u64,
}

impl Confusion {
    fn count(&mut self, declined: bool, fraud: bool) {
        match (declined, fraud) {
            (true, true) => self.true_positives += 1,
            (true, false) => self.false_positives += 1,
            (false, true) => self.false_negatives += 1,
            (false, false) => {}
        }
    }

    /// How many of the declined are frauds.
    fn precision(&self) -> Option<f64> {
        ratio(self.true_positives, self.true_positives + self.false_positives)
    }

    /// How many of the frauds are declined.
    fn recall(&self) -> Option<f64> {
        ratio(self.true_positives, self.true_positives + self.false_negatives)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Report {
    /// Reads what was decided.
    ///
    /// # Errors
    /// What the database said, or that it holds decisions about unknown transactions.
    pub fn read(
        decisions: &DecisionLookup,
        feed: &Feed,
        paced: Pace,
        elapsed: Duration,
    ) -> Result<Self, AnyError> {
        let frauds: HashSet<u64> = feed.frauds();
        let mut report = Self {
            transactions: feed.len(),
            decisions: 0,
            partial: 0,
            missing: BTreeMap::new(),
            truth: feed.has_truth().then(Confusion::default),
            declined: 0,
            latency_us: Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?,
            over_budget: 0,
            elapsed,
            paced,
        };
        decisions.for_each(|decided| {
            report.decisions += 1;
            report.declined += u64::from(decided.declined);
            report.latency_us.saturating_record(decided.latency_us);
            report.over_budget += u64::from(Duration::from_micros(decided.latency_us) > BUDGET);
            if !decided.missing.is_empty() {
                report.partial += 1;
                *report.missing.entry(decided.missing).or_default() += 1;
            }
            if let Some(truth) = &mut report.truth {
                truth.count(decided.declined, frauds.contains(&decided.transaction_id));
            }
        })?;
        Ok(report)
    }

    /// How many transactions were decided.
    pub fn decisions(&self) -> u64 {
        self.decisions
    }

    /// The figures for a program.
    pub fn json(&self) -> Value {
        let latency_us = |quantile| self.latency_us.value_at_quantile(quantile);
        let truth = self.truth.as_ref();
        json!({
            "transactions": self.transactions,
            "decisions": self.decisions,
            "partial": self.partial,
            "declined": self.declined,
            "true_positives": truth.map(|truth| truth.true_positives),
            "false_positives": truth.map(|truth| truth.false_positives),
            "false_negatives": truth.map(|truth| truth.false_negatives),
            "precision": truth.and_then(Confusion::precision),
            "recall": truth.and_then(Confusion::recall),
            "p50_us": latency_us(0.5),
            "p99_us": latency_us(0.99),
            "p999_us": latency_us(0.999),
            "max_us": self.latency_us.max(),
            "over_20ms": self.over_budget,
            "events_per_second": self.per_second(),
        })
    }

    fn per_second(&self) -> f64 {
        (self.decisions as f64 / self.elapsed.as_secs_f64()).round()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |quantile| self.latency_us.value_at_quantile(quantile) as f64 / 1000.0;
        writeln!(f, "decisions   {} of {} transactions", self.decisions, self.transactions)?;
        writeln!(f, "partial     {}", self.partial)?;
        for (missing, count) in &self.missing {
            writeln!(f, "            {count} without {missing}")?;
        }
        writeln!(
            f,
            "latency     p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms; {} over {} ms",
            ms(0.5),
            ms(0.99),
            ms(0.999),
            self.latency_us.max() as f64 / 1000.0,
            self.over_budget,
            BUDGET.as_millis(),
        )?;
        if self.paced == Pace::FullSpeed {
            writeln!(f, "            at full speed, so mostly waiting in line; see --rate")?;
        }
        match &self.truth {
            None => writeln!(f, "truth       not in the file; {} declined", self.declined)?,
            Some(truth) => write_truth(f, self.declined, truth)?,
        }
        write!(f, "speed       {} decisions per second", self.per_second())
    }
}

fn write_truth(f: &mut fmt::Formatter<'_>, declined: u64, truth: &Confusion) -> fmt::Result {
    let frauds = truth.true_positives + truth.false_negatives;
    let share = |share: Option<f64>| share.map_or("none".to_owned(), |share| format!("{share:.3}"));
    writeln!(
        f,
        "declined    {declined}: {} of {frauds} frauds, {} genuine",
        truth.true_positives, truth.false_positives
    )?;
    writeln!(
        f,
        "            precision {}, recall {}",
        share(truth.precision()),
        share(truth.recall())
    )
}
