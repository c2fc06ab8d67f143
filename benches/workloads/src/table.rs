//! Medians with least and most, against what must be reached: as Markdown and as JSON.
//!
//! Refuses workloads whose contestants did not do the same.

use std::fmt::Write;

use serde_json::{Value, json};
use streamwork::BoxError;

use crate::measure::Runs;
use crate::workloads::{Bound, PEAK, Target, Workload};

/// Above this share of all cores, what others did is said below the table.
const OTHERS_SHARE_MAX: f64 = 0.05;

#[derive(Debug, Default)]
pub struct Table {
    text: String,
    json: Vec<Value>,
}

impl Table {
    /// Adds a workload.
    ///
    /// # Errors
    /// Two runs ended with different checksums.
    pub fn add(
        &mut self,
        workload: &Workload,
        events: u64,
        rounds: usize,
        all: Vec<Runs>,
    ) -> Result<(), BoxError> {
        equal_checksums(workload.name, &all)?;
        self.head(workload, events, rounds);
        for runs in &all {
            self.row(workload, runs);
        }
        let mut judged = Vec::new();
        for target in workload.targets {
            if let Some((met, sentence)) = judge(target, &all) {
                let _ =
                    writeln!(self.text, "\n{} {sentence}", if met { "Met:" } else { "Missed:" });
                judged.push(json!({ "met": met, "target": sentence }));
            }
        }
        self.text.push_str(&others_took(&all));
        let loads = loads(&all);
        self.json.push(json!({
            "workload": workload.name,
            "title": workload.title,
            "events": events,
            "other_load": { "median": loads.median, "max": loads.most },
            "targets": judged,
            "contestants": all.iter().map(|runs| json!({
                "contestant": runs.contestant,
                "runs": runs.runs,
            })).collect::<Vec<_>>(),
        }));
        Ok(())
    }

    pub fn markdown(&self) -> &str {
        &self.text
    }

    pub fn json(&self) -> Value {
        json!({ "workloads": self.json })
    }

    fn head(&mut self, workload: &Workload, events: u64, rounds: usize) {
        let Workload { name, title, .. } = workload;
        let rounds = if rounds == 1 { "1 round".to_owned() } else { format!("{rounds} rounds") };
        let _ = writeln!(self.text, "\n### {name}: {title}\n\n{events} events, {rounds}.\n");
        self.text.push_str("| contestant |");
        for figure in workload.figures {
            let _ = write!(self.text, " {} ({}) |", figure.name, figure.unit);
        }
        self.text.push_str(" peak memory (MB) |\n|---|");
        self.text.push_str(&"---|".repeat(workload.figures.len() + 1));
        self.text.push('\n');
    }

    fn row(&mut self, workload: &Workload, runs: &Runs) {
        let _ = write!(self.text, "| {} |", runs.contestant);
        for figure in workload.figures {
            match spread(runs, figure.name) {
                Some(spread) => {
                    let _ = write!(self.text, " {spread} |");
                }
                None => self.text.push_str(" – |"),
            }
        }
        let peaks = runs.runs.iter().map(|run| run.outcome.peak_kib as f64 / 1024.0);
        let _ = writeln!(self.text, " {} |", Spread::of(peaks.collect()));
    }
}

/// Every contestant that has a checksum must have this one, in every run.
pub fn equal_checksums(place: &str, all: &[Runs]) -> Result<(), BoxError> {
    let of_runs = all.iter().flat_map(|runs| {
        let name = runs.contestant;
        runs.runs.iter().filter_map(move |run| Some((name, run.outcome.checksum?)))
    });
    let mut first = None;
    for (name, checksum) in of_runs {
        let (expected_by, expected) = *first.get_or_insert((name, checksum));
        if checksum != expected {
            return Err(format!(
                "{place}: {name} came to {checksum:?}, {expected_by} to {expected:?}"
            )
            .into());
        }
    }
    Ok(())
}

/// A sentence if others took more of the machine than they should have.
pub fn others_took<'a>(all: impl IntoIterator<Item = &'a Runs>) -> String {
    let Spread { median, most, .. } = loads(all);
    if median <= OTHERS_SHARE_MAX {
        return String::new();
    }
    let [median, most] = [median, most].map(|share| share * 100.0);
    format!(
        "\nThe machine was loaded: others took {median:.0} % of its cores in the median run, {most:.0} % in the worst.\n"
    )
}

fn loads<'a>(all: impl IntoIterator<Item = &'a Runs>) -> Spread {
    let loads = all.into_iter().flat_map(|runs| runs.runs.iter().map(|run| run.other_load));
    Spread::of(loads.collect())
}

/// The median of a figure, if every run has it.
pub fn median(runs: &Runs, figure: &str) -> Option<f64> {
    Some(spread(runs, figure)?.median)
}

fn spread(runs: &Runs, figure: &str) -> Option<Spread> {
    let values = runs.runs.iter().map(|run| match figure {
        PEAK => Some(run.outcome.peak_kib as f64 / 1024.0),
        figure => run.outcome.figures.get(figure).copied(),
    });
    values.collect::<Option<Vec<_>>>().filter(|values| !values.is_empty()).map(Spread::of)
}

fn judge(target: &Target, all: &[Runs]) -> Option<(bool, String)> {
    let median = |contestant: &str| {
        self::median(all.iter().find(|runs| runs.contestant == contestant)?, target.figure)
    };
    let Target { contestant, figure, bound } = target;
    let value = median(contestant)?;
    Some(match bound {
        Bound::Times(wanted, other) => {
            let ratio = value / median(other)?;
            let sentence =
                format!("{contestant}, {figure}: {ratio:.2} × {other}, wanted ≥ {wanted} ×.");
            (ratio >= *wanted, sentence)
        }
        Bound::AtMost(wanted) => {
            let sentence = format!("{contestant}, {figure}: {}, wanted ≤ {wanted}.", short(value));
            (value <= *wanted, sentence)
        }
    })
}

/// The least, the median and the most of what was measured.
#[derive(Clone, Copy, Debug)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        Self { least: at(0), median: at(values.len() / 2), most: at(values.len().wrapping_sub(1)) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [least, median, most] = [self.least, self.median, self.most].map(short);
        if least == most {
            f.write_str(&median)
        } else {
            write!(f, "**{median}** ({least}–{most})")
        }
    }
}

/// Three digits.
pub fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v.fract() == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
