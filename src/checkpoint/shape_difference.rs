//! [`Difference`]: the first place where two shapes differ, in words for whoever has changed a type.
//!
//! Shapes are compared as texts, since one of them comes out of a checkpoint. Names of fields can be anything
//! (`#[serde(rename)]`), so a text may not be understood; then the two texts are the difference.

use std::fmt;

/// The first place where two shapes differ (state B10.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The field, from the outside in: `last.price`, `bids[].at`. Empty for the whole.
    path: String,
    /// What has become of it.
    what: String,
}

impl Difference {
    /// Between a shape that was and one that is; none if they are the same.
    pub(crate) fn between(then: &str, now: &str) -> Option<Self> {
        if then == now {
            return None;
        }
        let (parsed_then, parsed_now) = (parse(then), parse(now));
        let found = parsed_then.zip(parsed_now).and_then(|(then, now)| compare(&then, &now, ""));
        Some(found.unwrap_or_else(|| replaced("", then, now)))
    }

    /// Whether it is not in a part of the shape.
    pub(crate) fn is_of_the_whole(&self) -> bool {
        self.path.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.path {
            "" => write!(f, "it {}", self.what),
            path => write!(f, "`{}` {}", path.trim_start_matches("::"), self.what),
        }
    }
}

/// The two elements of a shape that is a pair.
pub(crate) fn pair(shape: &str) -> Option<(&str, &str)> {
    match parse(shape)?.kind {
        Kind::Tuple(elements) => match &elements[..] {
            [one, other] => Some((one.text, other.text)),
            _ => None,
        },
        _ => None,
    }
}

/// A part of a shape and its text.
struct Parsed<'t> {
    text: &'t str,
    kind: Kind<'t>,
}

enum Kind<'t> {
    Leaf,
    Option(Box<Parsed<'t>>),
    List(Box<Parsed<'t>>),
    Map(Box<(Parsed<'t>, Parsed<'t>)>),
    Tuple(Vec<Parsed<'t>>),
    Struct(Vec<(&'t str, Parsed<'t>)>),
    Enum(Vec<(&'t str, Option<Parsed<'t>>)>),
}

fn parse(text: &str) -> Option<Parsed<'_>> {
    let mut parser = Parser { text, at: 0 };
    parser.node().filter(|_| parser.at == text.len())
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn eat(&mut self, word: &str) -> bool {
        let eaten = self.rest().starts_with(word);
        self.at += if eaten { word.len() } else { 0 };
        eaten
    }

    fn expect(&mut self, word: &str) -> Option<()> {
        self.eat(word).then_some(())
    }

    /// The text up to here.
    fn until(&mut self, end: impl Fn(&str) -> Option<usize>) -> Option<&'t str> {
        let rest = self.rest();
        let length = end(rest)?;
        self.at += length;
        Some(&rest[..length])
    }

    fn node(&mut self) -> Option<Parsed<'t>> {
        let from = self.at;
        let kind = self.kind()?;
        Some(Parsed { text: &self.text[from..self.at], kind })
    }

    fn kind(&mut self) -> Option<Kind<'t>> {
        if self.eat("one of ") {
            return self.variants().map(Kind::Enum);
        }
        if self.eat("option(") {
            let of = self.node()?;
            return self.expect(")").map(|()| Kind::Option(Box::new(of)));
        }
        if self.eat("list(") {
            let of = self.node()?;
            return self.expect(")").map(|()| Kind::List(Box::new(of)));
        }
        if self.eat("map(") {
            let key = self.node()?;
            self.expect(", ")?;
            let value = self.node()?;
            return self.expect(")").map(|()| Kind::Map(Box::new((key, value))));
        }
        if self.eat("(") {
            return self.separated(")", Self::node).map(Kind::Tuple);
        }
        if self.eat("{") {
            return self.separated("}", Self::field).map(Kind::Struct);
        }
        let leaf = |rest: &str| {
            let ends = |letter: char| !(letter.is_ascii_alphanumeric() || letter == '?');
            Some(rest.find(ends).unwrap_or(rest.len())).filter(|length| *length > 0)
        };
        self.until(leaf).map(|_| Kind::Leaf)
    }

    fn separated<T>(
        &mut self,
        end: &str,
        mut each: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut all = Vec::new();
        if self.eat(end) {
            return Some(all);
        }
        loop {
            all.push(each(self)?);
            if self.eat(end) {
                return Some(all);
            }
            self.expect(", ")?;
        }
    }

    fn field(&mut self) -> Option<(&'t str, Parsed<'t>)> {
        let name = self.until(|rest| rest.find(": "))?;
        self.expect(": ")?;
        Some((name, self.node()?))
    }

    fn variants(&mut self) -> Option<Vec<(&'t str, Option<Parsed<'t>>)>> {
        let mut all = Vec::new();
        loop {
            let name = self
                .until(|rest| Some(rest.find(['(', ' ', ',', ')', '}']).unwrap_or(rest.len())))?;
            let content = match self.eat("(") {
                true => {
                    let content = self.node()?;
                    self.expect(")")?;
                    Some(content)
                }
                false => None,
            };
            all.push((name, content));
            if !self.eat(" | ") {
                return Some(all);
            }
        }
    }
}

fn compare(then: &Parsed<'_>, now: &Parsed<'_>, path: &str) -> Option<Difference> {
    if then.text == now.text {
        return None;
    }
    let found = match (&then.kind, &now.kind) {
        (Kind::Option(then), Kind::Option(now)) => compare(then, now, path),
        (Kind::List(then), Kind::List(now)) => compare(then, now, &format!("{path}[]")),
        (Kind::Map(then), Kind::Map(now)) => compare(&then.0, &now.0, &format!("{path}[key]"))
            .or_else(|| compare(&then.1, &now.1, &format!("{path}[]"))),
        (Kind::Tuple(then), Kind::Tuple(now)) if then.len() == now.len() => {
            let mut pairs = then.iter().zip(now).enumerate();
            pairs.find_map(|(at, (then, now))| compare(then, now, &join(path, &at.to_string())))
        }
        (Kind::Struct(then), Kind::Struct(now)) => {
            let then: Vec<_> = then.iter().map(|(name, of)| (*name, Some(of))).collect();
            let now: Vec<_> = now.iter().map(|(name, of)| (*name, Some(of))).collect();
            compare_named(&then, &now, |name| join(path, name))
        }
        (Kind::Enum(then), Kind::Enum(now)) => {
            let then: Vec<_> = then.iter().map(|(name, of)| (*name, of.as_ref())).collect();
            let now: Vec<_> = now.iter().map(|(name, of)| (*name, of.as_ref())).collect();
            compare_named(&then, &now, |name| format!("{path}::{name}"))
        }
        _ => None,
    };
    found.or_else(|| Some(replaced(path, then.text, now.text)))
}

/// A field or variant, by its name.
type Named<'a, 't> = (&'t str, Option<&'a Parsed<'t>>);

fn compare_named(
    then: &[Named<'_, '_>],
    now: &[Named<'_, '_>],
    path: impl Fn(&str) -> String,
) -> Option<Difference> {
    let has = |all: &[Named<'_, '_>], name| all.iter().any(|(known, _)| *known == name);
    let is = |name: &str, what: String| Some(Difference { path: path(name), what });
    for at in 0..then.len().max(now.len()) {
        let (before, after) = match (then.get(at), now.get(at)) {
            (Some(before), Some(after)) => (before, after),
            (Some((gone, _)), None) => return is(gone, "is gone".to_owned()),
            (None, Some((new, _))) => return is(new, "is new".to_owned()),
            (None, None) => return None,
        };
        let text = |of: &Named<'_, '_>| of.1.map_or("unit".to_owned(), |of| of.text.to_owned());
        if before.0 == after.0 {
            let differs = match (before.1, after.1) {
                (Some(then), Some(now)) => compare(then, now, &path(before.0)),
                _ if text(before) == text(after) => None,
                _ => Some(replaced(&path(before.0), &text(before), &text(after))),
            };
            match differs {
                None => continue,
                differs => return differs,
            }
        }
        return match (has(now, before.0), has(then, after.0)) {
            (false, false) if text(before) == text(after) => {
                is(before.0, format!("is called `{}` now", after.0))
            }
            (false, false) => is(before.0, format!("is gone, and `{}` is in its place", after.0)),
            (true, false) => is(after.0, "is new".to_owned()),
            (false, true) => is(before.0, "is gone".to_owned()),
            (true, true) => is(after.0, format!("is where `{}` was", before.0)),
        };
    }
    None
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn replaced(path: &str, then: &str, now: &str) -> Difference {
    let what = format!("was {} and is {} now", shortened(then), shortened(now));
    Difference { path: path.to_owned(), what }
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn differ(then: &str, now: &str, said: &str) {
        let found = Difference::between(then, now).map(|found| found.to_string());
        assert_eq!(found.as_deref(), Some(said), "{then} to {now}");
    }

    #[test]
    fn the_first_field_that_differs_is_named_with_what_has_become_of_it() {
        // state B10.4
        let one = "{cents: u64, last: option({at: i64, by: str})}";
        differ(
            one,
            "{cents: u32, last: option({at: i64, by: str})}",
            "`cents` was u64 and is u32 now",
        );
        differ(one, "{cents: u64, last: option({at: i64})}", "`last.by` is gone");
        differ(
            one,
            "{cents: u64, last: option({by: str, at: i64})}",
            "`last.by` is where `at` was",
        );
        differ(one, "{cents: u64, n: u8, last: option({at: i64, by: str})}", "`n` is new");
        differ("{a: u8, b: u8}", "{a: u8, c: u8}", "`b` is called `c` now");
        differ("{a: u8, b: u8}", "{a: u8, c: u16}", "`b` is gone, and `c` is in its place");
        differ("u64", "{a: u64}", "it was u64 and is {a: u64} now");
        differ(
            "{a: map(str, u64)}",
            "{a: list(u64)}",
            "`a` was map(str, u64) and is list(u64) now",
        );
        differ("{a: list({b: u8})}", "{a: list({b: u16})}", "`a[].b` was u8 and is u16 now");
        differ("map(u8, u8)", "map(u16, u8)", "`[key]` was u8 and is u16 now");
        differ("(u8, (u8, str))", "(u8, (u8, u8))", "`1.1` was str and is u8 now");
        differ("(u8, u8)", "(u8, u8, u8)", "it was (u8, u8) and is (u8, u8, u8) now");
        differ("one of A | B(u8)", "one of A | B(u8) | C", "`C` is new");
        differ("{s: one of A | B(u8)}", "{s: one of A | B(u16)}", "`s::B` was u8 and is u16 now");
        differ("{s: one of A | B(u8), t: u8}", "{s: one of A, t: u8}", "`s::B` is gone");
        differ("{s: one of A | B}", "{s: one of A | B(u8)}", "`s::B` was unit and is u8 now");
        assert_eq!(Difference::between(one, one), None);
    }

    #[test]
    fn a_text_that_is_not_understood_is_still_said_to_differ() {
        differ("{a(: u8}", "{a(: u16}", "`a(` was u8 and is u16 now");
        differ("{a", "{b", "it was {a and is {b now");
        let long = format!("({})", ["u64"; 40].join(", "));
        let said = Difference::between(&long, "u8").expect("they differ").to_string();
        assert!(said.ends_with("… and is u8 now") && said.len() < 100, "{said}");
    }

    #[test]
    fn a_pair_is_taken_apart() {
        assert_eq!(pair("(u64, {a: (u8, u8)})"), Some(("u64", "{a: (u8, u8)}")));
        assert_eq!(pair("(u8, u8, u8)"), None);
        assert_eq!(pair("u8"), None);
    }
}
