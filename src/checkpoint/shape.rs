//! [`Shape`]: the structure of a type for a positional codec, as text: `{count: u64, last: option(str)}`.
//!
//! Bytes of a positional codec do not contain their type, so a `u64` could be read as an `f64`, and swapped
//! fields would swap their values. The shape is stored with the state and compared before the state is read.
//! It is found by letting the type's own `Deserialize` read from a probe that has no data: the type asks for
//! its parts, and the probe records them (the idea of the crate `serde-reflection`).
//!
//! A shape contains the names of fields and variants, but not of types: a type may be renamed, but fields of
//! the same type may not change places. A type has no shape if it needs self-describing data (`untagged`,
//! `flatten`, `serde_json::Value`), or accepts none of the values that the probe tries.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};

/// Runs of a type's `Deserialize` after which it counts as one without a shape.
const RUNS_MAX: usize = 2_000;
/// The maximum number of places in a type that are visited.
const PLACES_MAX: usize = 20_000;

/// The structure of a type for a positional codec; see the `Display` text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape(Node);

impl Shape {
    /// The shape of a type, if it can be found; not if its `Deserialize` panics.
    pub(crate) fn of<T: DeserializeOwned>() -> Option<Self> {
        std::panic::catch_unwind(Self::find::<T>).ok().flatten()
    }

    fn find<T: DeserializeOwned>() -> Option<Self> {
        let mut probe = Probe::default();
        for _ in 0..RUNS_MAX {
            probe.begin_run();
            let mut seen = Node::Unknown;
            let read = T::deserialize(Reader { probe: &mut probe, note: &mut seen });
            match read {
                Ok(_) if !probe.found.merge(seen) => return None,
                Ok(_) if probe.is_done() => return Some(Self(probe.found)),
                Ok(_) => {}
                Err(Stop) if !probe.try_another_value() => return None,
                Err(Stop) => {}
            }
        }
        None
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A type or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// It is not known yet.
    Unknown,
    /// A type around it, again.
    Again,
    Leaf(&'static str),
    Option(Box<Node>),
    List(Box<Node>),
    Map(Box<(Node, Node)>),
    Tuple(Vec<Node>),
    Struct(Vec<(&'static str, Node)>),
    Enum(&'static [&'static str], BTreeMap<u32, Node>),
}

impl Node {
    /// Adds the result of another run. Returns whether the two are compatible.
    fn merge(&mut self, other: Self) -> bool {
        match (self, other) {
            (_, Self::Unknown | Self::Again) => true,
            (here @ (Self::Unknown | Self::Again), other) => {
                *here = other;
                true
            }
            (Self::Leaf(one), Self::Leaf(other)) => *one == other,
            (Self::Option(one), Self::Option(other)) | (Self::List(one), Self::List(other)) => {
                one.merge(*other)
            }
            (Self::Map(one), Self::Map(other)) => {
                let (key, value) = *other;
                one.0.merge(key) && one.1.merge(value)
            }
            (Self::Tuple(one), Self::Tuple(other)) => {
                one.len() == other.len()
                    && one.iter_mut().zip(other).all(|(one, other)| one.merge(other))
            }
            (Self::Struct(one), Self::Struct(other)) => {
                one.len() == other.len()
                    && one.iter_mut().zip(other).all(|(one, (_, other))| one.1.merge(other))
            }
            (Self::Enum(_, one), Self::Enum(_, other)) => {
                other.into_iter().all(|(variant, node)| match one.get_mut(&variant) {
                    Some(known) => known.merge(node),
                    None => {
                        one.insert(variant, node);
                        true
                    }
                })
            }
            _ => false,
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("?"),
            Self::Again => f.write_str("again"),
            Self::Leaf(name) => f.write_str(name),
            Self::Option(of) => write!(f, "option({of})"),
            Self::List(of) => write!(f, "list({of})"),
            Self::Map(of) => write!(f, "map({}, {})", of.0, of.1),
            Self::Tuple(of) => {
                f.write_str("(")?;
                for (at, node) in of.iter().enumerate() {
                    write!(f, "{}{node}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
            Self::Struct(fields) => {
                f.write_str("{")?;
                for (at, (name, node)) in fields.iter().enumerate() {
                    write!(f, "{}{name}: {node}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
            Self::Enum(names, variants) => {
                f.write_str("one of ")?;
                for (at, name) in names.iter().enumerate() {
                    write!(f, "{}{name}", if at == 0 { "" } else { " | " })?;
                    match variants.get(&(at as u32)) {
                        None | Some(Self::Leaf("unit")) => {}
                        Some(node) => write!(f, "({node})")?,
                    }
                }
                Ok(())
            }
        }
    }
}

/// What is known over several runs.
struct Probe {
    found: Node,
    /// The value that each leaf returns, and the variant of each enum, in the order in which they are
    /// visited: which attempt, and of how many.
    choices: Vec<usize>,
    /// The leaves and enums of this run.
    at: usize,
    places: usize,
    /// Types that are being read, outermost first, by the address of their list of fields or variants.
    within: Vec<usize>,
    /// Enums, by the place in the type, with how many variants they have and have shown.
    enums: BTreeMap<String, (usize, usize)>,
    path: String,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            found: Node::Unknown,
            choices: Vec::new(),
            at: 0,
            places: 0,
            within: Vec::new(),
            enums: BTreeMap::new(),
            path: String::new(),
        }
    }
}

impl Probe {
    fn begin_run(&mut self) {
        self.at = 0;
        self.places = 0;
        self.within.clear();
        self.path.clear();
    }

    /// Whether every variant of every enum has been seen.
    fn is_done(&self) -> bool {
        self.enums.values().all(|(variants, shown)| shown >= variants)
    }

    /// Which of its values the next leaf returns.
    fn choice(&mut self) -> usize {
        let at = self.at;
        self.at += 1;
        if self.choices.len() <= at {
            self.choices.resize(at + 1, 0);
        }
        self.choices[at]
    }

    /// After a failed run: the type did not accept the value of the last leaf. Returns whether there is
    /// another value.
    fn try_another_value(&mut self) -> bool {
        if self.at == 0 || self.places > PLACES_MAX {
            return false;
        }
        let last = self.at - 1;
        self.choices[last] += 1;
        self.choices.truncate(last + 1);
        self.choices[last] < TEXTS.len().max(NUMBERS.len())
    }

    /// Whether the type that is being read is nested in itself.
    fn is_within_itself(&self) -> bool {
        let innermost = self.within.last();
        innermost.is_some_and(|of| self.within.iter().filter(|other| *other == of).count() > 1)
    }

    fn enter(&mut self, of: usize) -> Result<(), Stop> {
        self.places += 1;
        self.within.push(of);
        let times = self.within.iter().filter(|other| **other == of).count();
        if times > 3 || self.places > PLACES_MAX || self.within.len() > 200 {
            Err(Stop)
        } else {
            Ok(())
        }
    }
}

/// Numbers that a leaf tries.
const NUMBERS: [u8; 3] = [0, 1, 12];
/// Texts that a leaf tries.
const TEXTS: [&str; 7] =
    ["", "0", "a", "2000-01-01T00:00:00Z", "2000-01-01", "127.0.0.1", "127.0.0.1:80"];

/// The probe cannot continue, or the type does not accept a value.
#[derive(Debug)]
struct Stop;

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a type that a probe cannot read")
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// Deserializes one value without data, and records what the type asks for.
struct Reader<'p> {
    probe: &'p mut Probe,
    note: &'p mut Node,
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            *self.note = Node::Leaf(stringify!($type));
            let number = NUMBERS.get(self.probe.choice()).ok_or(Stop)?;
            visitor.$visit(*number as $type)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Stop;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        // No other value would help.
        self.probe.places = PLACES_MAX + 1;
        Err(Stop)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_any(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_any(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        *self.note = Node::Leaf("bool");
        let choice = self.probe.choice();
        if choice > 1 { Err(Stop) } else { visitor.visit_bool(choice == 1) }
    }

    numbers!(
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_i128 visit_i128 i128,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_u128 visit_u128 u128,
        deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64
    );

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        *self.note = Node::Leaf("char");
        visitor.visit_char('a')
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        *self.note = Node::Leaf("str");
        let text = TEXTS.get(self.probe.choice()).ok_or(Stop)?;
        visitor.visit_borrowed_str(text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        *self.note = Node::Leaf("bytes");
        visitor.visit_borrowed_bytes(&[])
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let Self { probe, note } = self;
        if probe.is_within_itself() {
            *note = Node::Option(Box::new(Node::Again));
            return visitor.visit_none();
        }
        let mut of = Node::Unknown;
        let read = visitor.visit_some(Reader { probe, note: &mut of });
        *note = Node::Option(Box::new(of));
        read
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        *self.note = Node::Leaf("unit");
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_unit(visitor)
    }

    /// As the codec does it: what is inside, and nothing around it.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let Self { probe, note } = self;
        let elements = if probe.is_within_itself() { 0 } else { 1 };
        let (mut nodes, depth) = (Vec::new(), probe.path.len());
        probe.path.push('*');
        let read = visitor.visit_seq(Elements {
            probe: &mut *probe,
            names: None,
            left: elements,
            nodes: &mut nodes,
        });
        probe.path.truncate(depth);
        *note = Node::List(Box::new(nodes.pop().unwrap_or(Node::Again)));
        read
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        elements: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let Self { probe, note } = self;
        let mut nodes = Vec::new();
        let read =
            visitor.visit_seq(Elements { probe, names: None, left: elements, nodes: &mut nodes });
        *note = Node::Tuple(nodes);
        read
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        elements: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_tuple(elements, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let Self { probe, note } = self;
        let entries = if probe.is_within_itself() { 0 } else { 1 };
        let mut node = (Node::Again, Node::Again);
        let depth = probe.path.len();
        probe.path.push('*');
        let read =
            visitor.visit_map(Entries { probe: &mut *probe, left: entries, node: &mut node });
        probe.path.truncate(depth);
        *note = Node::Map(Box::new(node));
        read
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let Self { probe, note } = self;
        probe.enter(fields.as_ptr() as usize)?;
        let mut nodes = Vec::new();
        let elements = Elements {
            probe: &mut *probe,
            names: Some(fields),
            left: fields.len(),
            nodes: &mut nodes,
        };
        let read = visitor.visit_seq(elements);
        probe.within.pop();
        *note = Node::Struct(fields.iter().copied().zip(nodes).collect());
        read
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let Self { probe, note } = self;
        probe.enter(variants.as_ptr() as usize)?;
        let variant = if probe.is_within_itself() {
            // One that does not lead deeper still: found by trying.
            probe.choice()
        } else {
            let (_, shown) = *probe.enums.entry(probe.path.clone()).or_insert((variants.len(), 0));
            shown.min(variants.len().saturating_sub(1))
        };
        let name = variants.get(variant).ok_or(Stop)?;
        let (mut node, depth, fresh) =
            (Node::Leaf("unit"), probe.path.len(), !probe.is_within_itself());
        probe.path.push_str(&format!("|{name}"));
        let read = visitor.visit_enum(Variant {
            probe: &mut *probe,
            variant: variant as u32,
            node: &mut node,
        });
        probe.path.truncate(depth);
        probe.within.pop();
        if read.is_ok() && fresh {
            // The next run shows the next one, once all that is inside this one has been seen.
            let inside = format!("{}|{name}", probe.path);
            let open = probe
                .enums
                .range(inside.clone()..)
                .take_while(|(path, _)| path.starts_with(&inside));
            let all_seen = open.into_iter().all(|(_, (variants, shown))| shown >= variants);
            if all_seen && let Some((_, shown)) = probe.enums.get_mut(&probe.path) {
                *shown = (*shown).max(variant + 1);
            }
        }
        *note = Node::Enum(variants, BTreeMap::from([(variant as u32, node)]));
        read
    }
}

/// Elements of a list or tuple, or fields.
struct Elements<'p> {
    probe: &'p mut Probe,
    names: Option<&'static [&'static str]>,
    left: usize,
    nodes: &'p mut Vec<Node>,
}

impl<'de> de::SeqAccess<'de> for Elements<'_> {
    type Error = Stop;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Stop> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let at = self.nodes.len();
        let (mut node, depth) = (Node::Unknown, self.probe.path.len());
        let name = self.names.and_then(|names| names.get(at)).copied();
        match name {
            Some(name) => self.probe.path.push_str(&format!(".{name}")),
            None => self.probe.path.push_str(&format!(".{at}")),
        }
        let read = seed.deserialize(Reader { probe: self.probe, note: &mut node });
        self.probe.path.truncate(depth);
        self.nodes.push(node);
        read.map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// Entries of a map.
struct Entries<'p> {
    probe: &'p mut Probe,
    left: usize,
    node: &'p mut (Node, Node),
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Stop;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Stop> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.probe.path.push('k');
        let read = seed.deserialize(Reader { probe: self.probe, note: &mut self.node.0 });
        self.probe.path.pop();
        read.map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Stop> {
        self.probe.path.push('v');
        let read = seed.deserialize(Reader { probe: self.probe, note: &mut self.node.1 });
        self.probe.path.pop();
        read
    }
}

/// One variant of an enum.
struct Variant<'p> {
    probe: &'p mut Probe,
    variant: u32,
    node: &'p mut Node,
}

impl<'p, 'de> de::EnumAccess<'de> for Variant<'p> {
    type Error = Stop;
    type Variant = Content<'p>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Content<'p>), Stop> {
        let index: de::value::U32Deserializer<Stop> = self.variant.into_deserializer();
        Ok((seed.deserialize(index)?, Content { probe: self.probe, node: self.node }))
    }
}

/// What is in a variant.
struct Content<'p> {
    probe: &'p mut Probe,
    node: &'p mut Node,
}

impl<'de> de::VariantAccess<'de> for Content<'_> {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Stop> {
        seed.deserialize(Reader { probe: self.probe, note: self.node })
    }

    fn tuple_variant<V: Visitor<'de>>(self, elements: usize, visitor: V) -> Result<V::Value, Stop> {
        de::Deserializer::deserialize_tuple(
            Reader { probe: self.probe, note: self.node },
            elements,
            visitor,
        )
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        de::Deserializer::deserialize_struct(
            Reader { probe: self.probe, note: self.node },
            "",
            fields,
            visitor,
        )
    }
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
