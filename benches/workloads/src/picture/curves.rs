//! The curves: a panel for each, the rate above and the most memory below, over what grows. Both axes are logarithmic; on them
//! what grows in proportion is a straight line.

use crate::curves::{Curve, Point};
use crate::picture::{Anchor, Axis, COLOURS, GREY, INK, Look, PALE, Page, plain};
use crate::table::{median, others_took};
use crate::workloads::{OURS, PEAK, RATE};

const PANEL: (f64, f64) = (560.0, 490.0);
const COLUMNS: usize = 2;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 28.0;

/// Within a panel, from its corner.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 530.0;
const RATES: (f64, f64) = (282.0, 96.0);
const PEAKS: (f64, f64) = (424.0, 326.0);

pub fn draw(curves: &[(&Curve, Vec<Point>)]) -> String {
    let rows = curves.len().div_ceil(COLUMNS) as f64;
    let mut page = Page::new(PANEL.0 * COLUMNS as f64, TOP + PANEL.1 * rows + BOTTOM);
    page.sized_text(16.0, 30.0, Anchor::Start, INK, 19.0, "What bends as one thing grows");
    let explained = "all axes are logarithmic";
    page.text(PANEL.0 * COLUMNS as f64 - 30.0, 30.0, Anchor::End, GREY, explained);
    for (number, (curve, points)) in curves.iter().enumerate() {
        let column = (number % COLUMNS) as f64;
        let corner = (column * PANEL.0, TOP + (number / COLUMNS) as f64 * PANEL.1);
        panel(&mut page, corner, curve, points);
    }
    let runs = curves.iter().flat_map(|(_, points)| points).flat_map(|point| &point.runs);
    let y = TOP + PANEL.1 * rows + 8.0;
    page.text(16.0, y, Anchor::Start, INK, others_took(runs).trim());
    page.finish()
}

fn panel(page: &mut Page, corner: (f64, f64), curve: &Curve, points: &[Point]) {
    let (left, top) = corner;
    page.sized_text(left + 16.0, top + 18.0, Anchor::Start, INK, 15.0, curve.title);
    legend(page, (left + LEFT, top + 42.0), points);
    let across = Axis::log(points.iter().map(|point| point.at as f64), (left + LEFT, left + RIGHT));
    for point in points {
        let x = across.place(point.at as f64);
        page.text(x, top + PEAKS.0 + 18.0, Anchor::Middle, GREY, grouped(point.at));
    }
    let middle = left + (LEFT + RIGHT) / 2.0;
    page.text(middle, top + PEAKS.0 + 38.0, Anchor::Middle, INK, curve.axis);
    for (places, figure, unit) in [(RATES, RATE, "M events/s"), (PEAKS, PEAK, "MB at most")] {
        page.text(left + 16.0, top + places.1 - 14.0, Anchor::Start, GREY, unit);
        plot(page, (top, places), &across, points, figure);
    }
}

/// Two names in a line.
fn legend(page: &mut Page, (left, top): (f64, f64), points: &[Point]) {
    let names = points.first().map(|point| &point.runs).into_iter().flatten();
    for (number, runs) in names.enumerate() {
        let x = left + (number % 2) as f64 * 220.0;
        let y = top + (number / 2) as f64 * 18.0;
        page.dot((x, y - 4.0), 4.0, colour(number), look(runs.contestant));
        page.text(x + 12.0, y, Anchor::Start, INK, runs.contestant);
    }
}

/// One figure of all contestants.
fn plot(
    page: &mut Page,
    (top, places): (f64, (f64, f64)),
    across: &Axis,
    points: &[Point],
    figure: &str,
) {
    let of = |point: &Point, number: usize| median(&point.runs[number], figure);
    let names = points.first().map(|point| &point.runs).into_iter().flatten();
    let names: Vec<_> = names.map(|runs| runs.contestant).collect();
    let all = points.iter().flat_map(|point| (0..names.len()).filter_map(|n| of(point, n)));
    let up = Axis::around(all, (top + places.0, top + places.1));
    let (left, right) = across.ends();
    for tick in up.ticks() {
        page.line((left, up.place(tick)), (right, up.place(tick)), PALE, 1.0);
        page.text(left - 8.0, up.place(tick) + 4.5, Anchor::End, GREY, plain(tick));
    }
    for (number, name) in names.into_iter().enumerate() {
        let places = points.iter().filter_map(|point| {
            Some((across.place(point.at as f64), up.place(of(point, number)?)))
        });
        page.curve(&places.collect::<Vec<_>>(), colour(number), look(name));
    }
}

fn colour(contestant: usize) -> &'static str {
    COLOURS[contestant % COLOURS.len()]
}

/// What is ours is full, and comes first.
fn look(name: &str) -> Look {
    if name.starts_with(OURS) { Look::Full } else { Look::Hollow }
}

/// Large powers of ten as words would have them.
fn grouped(number: u64) -> String {
    match number {
        n if n >= 1_000_000 => format!("{} M", n / 1_000_000),
        n if n >= 10_000 => format!("{} k", n / 1_000),
        n => n.to_string(),
    }
}
