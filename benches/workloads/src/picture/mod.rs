//! Pictures as SVG, written with nothing but strings: what a guarantee costs, and the curves.
//!
//! Knows how to put marks on a page and numbers on an axis; what they mean is its two files' to say.

pub mod cost;
pub mod curves;

use std::fmt::{Display, Write};

/// Colours that people who see few colours can tell apart (Okabe and Ito).
pub const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

pub const INK: &str = "#222222";
pub const PALE: &str = "#dddddd";
pub const GREY: &str = "#777777";

/// A page of a given size, white.
pub struct Page {
    text: String,
}

/// Where a text is held.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// How a mark looks.
#[derive(Clone, Copy)]
pub enum Look {
    Full,
    /// A white inside, with a border.
    Hollow,
}

impl Page {
    pub fn new(width: f64, height: f64) -> Self {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
        );
        Self { text }
    }

    pub fn text(&mut self, x: f64, y: f64, anchor: Anchor, colour: &str, text: impl Display) {
        self.sized_text(x, y, anchor, colour, 13.0, text);
    }

    pub fn sized_text(
        &mut self,
        x: f64,
        y: f64,
        anchor: Anchor,
        colour: &str,
        size: f64,
        text: impl Display,
    ) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = text.to_string().replace('&', "&amp;").replace('<', "&lt;");
        self.element(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\" font-size=\"{size}\">{text}</text>"
        ));
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.element(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
        ));
    }

    /// Points joined by lines, with a dot at each.
    pub fn curve(&mut self, points: &[(f64, f64)], colour: &str, look: Look) {
        let joined: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.element(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            joined.join(" ")
        ));
        for (x, y) in points {
            self.dot((*x, *y), 3.5, colour, look);
        }
    }

    pub fn dot(&mut self, (x, y): (f64, f64), radius: f64, colour: &str, look: Look) {
        let fill = look.fill(colour);
        self.element(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"1.8\"/>"
        ));
    }

    pub fn bar(&mut self, (x, y): (f64, f64), width: f64, height: f64, colour: &str, look: Look) {
        let fill = look.fill(colour);
        self.element(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\" stroke=\"{colour}\" \
             stroke-width=\"1.5\"/>"
        ));
    }

    pub fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }

    fn element(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.text, "{element}");
    }
}

impl Look {
    fn fill(self, colour: &str) -> &str {
        match self {
            Self::Full => colour,
            Self::Hollow => "white",
        }
    }
}

/// From numbers to places on the page.
#[derive(Clone, Copy)]
pub struct Axis {
    scale: Scale,
    numbers: (f64, f64),
    places: (f64, f64),
}

#[derive(Clone, Copy)]
enum Scale {
    Linear,
    Log,
}

impl Axis {
    /// From zero to the largest of the numbers.
    pub fn linear(numbers: impl IntoIterator<Item = f64>, places: (f64, f64)) -> Self {
        let most = numbers.into_iter().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        Self { scale: Scale::Linear, numbers: (0.0, most), places }
    }

    /// From a round number below all to a round number above all, on a logarithmic scale.
    pub fn around(numbers: impl IntoIterator<Item = f64>, places: (f64, f64)) -> Self {
        let tight = Self::log(numbers, places);
        let (least, most) = tight.numbers;
        let round = round_numbers(least / 10.0, most * 10.0);
        let below = round.iter().copied().rfind(|number| *number <= least).unwrap_or(least);
        let above = round.iter().copied().find(|number| *number >= most).unwrap_or(most);
        Self { numbers: (below, above), ..tight }
    }

    /// From the least to the largest number, on a logarithmic scale. A number that is not positive has no place on it.
    pub fn log(numbers: impl IntoIterator<Item = f64>, places: (f64, f64)) -> Self {
        let positive = numbers.into_iter().filter(|number| *number > 0.0);
        let (least, most) = positive
            .fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), number| {
                (least.min(number), most.max(number))
            });
        let least = least.min(most);
        let most = if most > least { most } else { least * 2.0 };
        Self { scale: Scale::Log, numbers: (least, most), places }
    }

    pub fn place(&self, number: f64) -> f64 {
        let (from, to) = self.numbers;
        let share = match self.scale {
            Scale::Linear => number / to,
            Scale::Log => (number.max(from) / from).ln() / (to / from).ln(),
        };
        self.places.0 + share * (self.places.1 - self.places.0)
    }

    /// Where it begins and ends on the page.
    pub fn ends(&self) -> (f64, f64) {
        self.places
    }

    /// About four round numbers on it; where it is logarithmic and long, the powers of ten.
    pub fn ticks(&self) -> Vec<f64> {
        let (from, to) = self.numbers;
        match self.scale {
            Scale::Log => {
                let mut round = round_numbers(from, to);
                if to / from > ALL_ROUND_NUMBERS_UP_TO {
                    round.retain(|number| number.log10().fract().abs() < 1e-9);
                }
                round
            }
            Scale::Linear => {
                let rough = to / 4.0;
                let power = 10_f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
                let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
                (0..=(to / step) as u32).map(|times| f64::from(times) * step).collect()
            }
        }
    }
}

/// Longer axes have ticks at the powers of ten only.
const ALL_ROUND_NUMBERS_UP_TO: f64 = 100.0;

/// Once, twice and five times the powers of ten, between the two.
fn round_numbers(from: f64, to: f64) -> Vec<f64> {
    let powers = from.log10().floor() as i32..=to.log10().ceil() as i32;
    let round = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|times| times * 10_f64.powi(power)));
    round.filter(|number| (from * 0.999..=to * 1.001).contains(number)).collect()
}

/// A number as a person would write it beside an axis.
pub fn plain(number: f64) -> String {
    match number {
        n if n >= 100.0 || n.fract() == 0.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n if n >= 0.1 => format!("{n:.2}").trim_end_matches('0').trim_end_matches('.').to_owned(),
        n if n >= 0.01 => format!("{n:.3}").trim_end_matches('0').to_owned(),
        n => format!("{n}"),
    }
}
