//! What a guarantee costs: a row for each, without and with failures; the rate as a bar, latency as three points on a logarithmic
//! scale, and what became of the state as a number.

use streamwork::BoxError;

use crate::measure::Runs;
use crate::picture::{Anchor, Axis, COLOURS, GREY, INK, Look, PALE, Page, plain};
use crate::table::{median, others_took};
use crate::workloads::RATE;

const WIDTH: f64 = 1080.0;
const TOP: f64 = 104.0;
const ROW: f64 = 30.0;
/// Between two guarantees.
const GAP: f64 = 16.0;

/// Where the parts of a row are.
const NAMES: f64 = 16.0;
const RATES: (f64, f64) = (290.0, 540.0);
const LATENCIES: (f64, f64) = (640.0, 950.0);
const STATE: f64 = 1062.0;

const QUANTILES: [&str; 3] = ["p50", "p99", "p99.9"];

struct Row<'a> {
    name: &'a str,
    failing: bool,
    rate: f64,
    late_ms: [f64; 3],
    failures: f64,
    off: f64,
}

impl<'a> Row<'a> {
    fn of(runs: &'a Runs) -> Option<Self> {
        let of = |figure| median(runs, figure);
        let name = runs.contestant;
        Some(Self {
            name: name.strip_suffix(", failing").unwrap_or(name),
            failing: name.ends_with(", failing"),
            rate: of(RATE)?,
            late_ms: [of(QUANTILES[0])?, of(QUANTILES[1])?, of(QUANTILES[2])?],
            failures: of("failures")?,
            off: of("off")?,
        })
    }

    fn look(&self) -> Look {
        if self.failing { Look::Hollow } else { Look::Full }
    }

    /// What became of the state.
    fn state(&self) -> String {
        match self.off {
            0.0 => "exact".to_owned(),
            off if off < 0.0 => format!("{} lost", plain(-off)),
            off => format!("{} twice", plain(off)),
        }
    }
}

/// # Errors
/// A run lacks a figure.
pub fn draw(all: &[Runs]) -> Result<String, BoxError> {
    let rows: Option<Vec<Row>> = all.iter().map(Row::of).collect();
    let rows = rows.ok_or("a run without a figure cannot be drawn")?;
    let bottom = TOP + rows.len() as f64 * ROW + rows.len().div_ceil(2) as f64 * GAP;
    let rates = Axis::linear(rows.iter().map(|row| row.rate * 1.05), RATES);
    let lates = Axis::around(rows.iter().flat_map(|row| row.late_ms), LATENCIES);
    let mut page = Page::new(WIDTH, bottom + 84.0);
    head(&mut page);
    for axis in [&rates, &lates] {
        for tick in axis.ticks() {
            let x = axis.place(tick);
            page.line((x, TOP - 4.0), (x, bottom), PALE, 1.0);
            page.text(x, bottom + 18.0, Anchor::Middle, GREY, plain(tick));
        }
    }
    for (number, row) in rows.iter().enumerate() {
        let y = TOP + number as f64 * ROW + (number / 2) as f64 * GAP + ROW / 2.0;
        draw_row(&mut page, row, y, COLOURS[number / 2 % COLOURS.len()], &rates, &lates);
    }
    let explained = "Filled: nothing fails. Hollow: an instance fails every second of both runs. Points from left to right: p50, p99, p99.9.";
    page.text(NAMES, bottom + 46.0, Anchor::Start, GREY, explained);
    page.text(NAMES, bottom + 66.0, Anchor::Start, INK, others_took(all).trim());
    Ok(page.finish())
}

fn head(page: &mut Page) {
    page.sized_text(NAMES, 30.0, Anchor::Start, INK, 19.0, "What a guarantee costs");
    let job =
        "Count and sum by account, 2 + 2 instances, 100,000 accounts, a checkpoint every 250 ms";
    page.text(NAMES, 52.0, Anchor::Start, GREY, job);
    let y = TOP - 16.0;
    page.text(RATES.0, y, Anchor::Start, INK, "as fast as it goes, million events/s");
    page.text(LATENCIES.0, y, Anchor::Start, INK, "latency at 100,000 events/s, ms (log scale)");
    page.text(STATE, y, Anchor::End, INK, "the state");
}

fn draw_row(page: &mut Page, row: &Row, y: f64, colour: &str, rates: &Axis, lates: &Axis) {
    let middle = y + 4.5;
    if row.failing {
        let failing = format!("{} failures", plain(row.failures));
        page.text(RATES.0 - 14.0, middle, Anchor::End, GREY, failing);
    } else {
        page.text(NAMES, middle, Anchor::Start, INK, row.name);
    }
    let width = rates.place(row.rate) - RATES.0;
    page.bar((RATES.0, y - 9.0), width, 18.0, colour, row.look());
    page.text(RATES.0 + width + 8.0, middle, Anchor::Start, INK, plain(row.rate));
    let places = row.late_ms.map(|ms| lates.place(ms));
    page.line((places[0], y), (places[2], y), colour, 2.5);
    for place in places {
        page.dot((place, y), 5.5, colour, row.look());
    }
    page.text(places[2] + 12.0, middle, Anchor::Start, GREY, plain(row.late_ms[2]));
    page.text(STATE, middle, Anchor::End, INK, row.state());
}
