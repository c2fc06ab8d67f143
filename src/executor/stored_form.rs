//! [`StoredForm`]: what a plan knows of how a component's state is stored, and whether it can read what a checkpoint
//! has. A decision; the values are read elsewhere.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::checkpoint::{ComponentRecord, Difference, Shape, Stored, pair};
use crate::executor::blueprint::{StateShape, different, in_short};

/// How the state of a component is stored, as its maker knows it.
#[derive(Clone)]
pub(crate) struct StoredForm {
    /// The version that it writes.
    pub(crate) version: u32,
    /// What makes no sense in what the user has said of it.
    pub(crate) misuse: Option<String>,
    /// The earlier versions that it can migrate from, with the structure that the state had in each.
    migrations: Arc<Migrations>,
    said_at: SaidAt,
    /// For state by key, finds the structure of the user's state in that of a value.
    by_key: Option<ShapeWithin>,
}

type Migrations = dyn Fn() -> Vec<(u32, StateShape)> + Send + Sync;
type ShapeWithin = fn(&str) -> Option<&str>;
type Entries<'s> = (ShapeWithin, (&'s str, &'s str), (&'s str, &'s str));

/// Where a user says which versions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SaidAt {
    /// It has none: there is only one.
    Unversioned,
    /// In a method of the trait that the component implements.
    Method,
    Table,
    Scan,
}

impl StoredForm {
    /// State that has no versions.
    pub(crate) fn unversioned() -> Self {
        Self {
            version: 1,
            misuse: None,
            migrations: Arc::new(Vec::new),
            said_at: SaidAt::Unversioned,
            by_key: None,
        }
    }

    /// State of one instance.
    pub(crate) fn of<V: DeserializeOwned + 'static>(stored: &Stored<V>) -> Self {
        Self::around(stored, StateShape::Known)
    }

    /// State by key. `around` makes the structure of key and value from that of the user's state, which `within` finds in
    /// that of a value.
    pub(crate) fn by_key<V: DeserializeOwned + 'static>(
        stored: &Stored<V>,
        said_at: SaidAt,
        within: ShapeWithin,
        around: impl Fn(String) -> StateShape + Send + Sync + 'static,
    ) -> Self {
        Self { said_at, by_key: Some(within), ..Self::around(stored, around) }
    }

    fn around<V: DeserializeOwned + 'static>(
        stored: &Stored<V>,
        around: impl Fn(String) -> StateShape + Send + Sync + 'static,
    ) -> Self {
        let (version, misuse, stored) = (stored.newest(), stored.misuse(), stored.clone());
        let migrations = move || {
            let old = |(from, shape): (u32, Option<Shape>)| {
                (from, shape.map_or(StateShape::Unknown, |shape| around(shape.to_string())))
            };
            stored.migrations().map(old).collect()
        };
        let migrations = Arc::new(migrations);
        Self { version, misuse, migrations, said_at: SaidAt::Method, by_key: None }
    }

    /// Whether the state that a checkpoint has of this component can be read; if not, why, and what to do (state P1).
    pub(crate) fn reads(&self, then: &ComponentRecord, now: &StateShape) -> Result<(), String> {
        let (name, version, stored) = (&then.name, self.version, then.version);
        if stored > version {
            return Err(format!(
                "the state of \"{name}\" is stored as version {stored} and this job knows it up to version {version}: run a program that knows version {stored}"
            ));
        }
        if stored == version {
            return self.difference(then, now).map_or(Ok(()), |found| {
                let write = self.what_to_write(found.place, version);
                Err(format!("{} of \"{name}\" {found}{write}", found.place.word()))
            });
        }
        let migrations = (self.migrations)();
        let Some((_, old)) = migrations.iter().find(|(from, _)| *from == stored) else {
            let state = then.state.as_deref().map(|shape| self.shown(shape));
            let was = state.map(|state| format!(" and was {state}")).unwrap_or_default();
            return Err(format!(
                "the state of \"{name}\" is stored as version {stored}{was}, and this job has version {version} and no migration from version {stored}: write `.migrate_from({stored}, |old: Old| ..)` with the type that it had as `Old`"
            ));
        };
        self.difference(then, old).map_or(Ok(()), |found| {
            Err(format!(
                "{} of \"{name}\" {found}: \"now\" is the type in `migrate_from({stored}, ..)`, which has to be the one that version {stored} was stored with",
                found.place.word()
            ))
        })
    }

    /// The first difference between what was stored and what would read it.
    fn difference(&self, then: &ComponentRecord, now: &StateShape) -> Option<Found> {
        let (codec, then) = (then.codec, then.state.as_deref());
        let Some((within, (key_then, value_then), (key_now, value_now))) = self.entries(then, now)
        else {
            let (then, now) = different(codec, then, now)?;
            return Some(Found::of(Place::State, then, now));
        };
        // Whatever the codec: another key has another hash, and would be looked for in another place.
        if key_then != key_now {
            return Some(Found::of(Place::Key, key_then, key_now));
        }
        different(codec, then, now)?;
        Some(match (within(value_then), within(value_now)) {
            (Some(then), Some(now)) => Found::of(Place::State, then, now),
            _ => Found::of(Place::Around, value_then, value_now),
        })
    }

    /// The structures of key and value, as they were and as they are.
    fn entries<'s>(&self, then: Option<&'s str>, now: &'s StateShape) -> Option<Entries<'s>> {
        let StateShape::Known(now) = now else { return None };
        Some((self.by_key?, pair(then?)?, pair(now)?))
    }

    /// The structure of the user's state, in that of all that is stored.
    fn shown<'s>(&self, stored: &'s str) -> &'s str {
        let within = self.by_key.and_then(|within| within(pair(stored)?.1));
        within.unwrap_or(stored)
    }

    /// What a user can write, so that this version is read.
    fn what_to_write(&self, place: Place, then: u32) -> String {
        let next = then + 1;
        let stored = format!("Stored::version({next}).migrate_from({then}, |old: Old| ..)");
        let write = match (place, self.said_at) {
            (_, SaidAt::Unversioned) => return String::new(),
            (Place::Key, _) => {
                return "; keys are not migrated: take the key of before, or give the component another name".to_owned();
            }
            (Place::Around, _) => {
                return "; only the state itself can be migrated, and not what is kept with it"
                    .to_owned();
            }
            (Place::State, SaidAt::Table) => format!("`.stored({stored})` behind the verb"),
            (Place::State, SaidAt::Scan) => {
                format!("`.scan_stored({stored}, ..)` in place of `.scan(..)`")
            }
            (Place::State, SaidAt::Method) => {
                format!("`fn stored() -> Stored<Self::State> {{ {stored} }}`")
            }
        };
        format!(
            "; both are version {then}: to read the old one, keep its type as `Old` and write {write}"
        )
    }
}

/// Where two structures differ first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Key,
    State,
    /// In what the engine keeps with the state, such as timers.
    Around,
}

impl Place {
    fn word(self) -> &'static str {
        match self {
            Self::Key => "the key",
            Self::State => "the state",
            Self::Around => "the state and what is kept with it",
        }
    }
}

/// Two structures that differ, in words.
struct Found {
    place: Place,
    was: String,
    is: String,
    first: Option<Difference>,
}

impl Found {
    fn of(place: Place, then: &str, now: &str) -> Self {
        let (was, is) = in_short(then, now);
        Self { place, was, is, first: Difference::between(then, now) }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "was {} and is {} now", self.was, self.is)?;
        match &self.first {
            // The whole is said already.
            Some(first) if !first.is_of_the_whole() => write!(f, " ({first})"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::executor::keyed::table::Unsent;
    use crate::state::{Bare, Cell, StoredValue};

    #[derive(serde::Serialize, Deserialize)]
    enum Kind {
        Nothing,
        One(Option<u8>),
        Many { of: Vec<Kind>, last: Box<Option<Kind>> },
    }

    #[derive(serde::Serialize, Deserialize)]
    struct Wide {
        kinds: BTreeMap<String, (Kind, u64)>,
        at: std::net::IpAddr,
    }

    /// The structure that is put together for old types is the one that was found when they were today's.
    fn assert_put_together<S: StoredValue>() {
        let found = |shape: Option<Shape>| shape.expect("it has a shape").to_string();
        let state = found(Shape::of::<S::State>());
        assert_eq!(S::shape(&state), Some(found(Shape::of::<S::Value>())));
        assert_eq!(S::shape(&state).as_deref().and_then(S::shape_within), Some(&*state));
        let with_key =
            format!("({}, {})", found(Shape::of::<Kind>()), S::shape(&state).expect("known"));
        assert_eq!(with_key, found(Shape::of::<(Kind, S::Value)>()));
    }

    #[test]
    fn the_structure_around_a_state_is_put_together_as_it_is_found() {
        assert_put_together::<Bare<Wide>>();
        assert_put_together::<Unsent<Wide>>();
        assert_put_together::<Unsent<u8>>();
        assert_put_together::<Cell<Wide, Kind>>();
        assert_put_together::<Cell<(), ()>>();
        assert_put_together::<Cell<Option<Kind>, Wide>>();
    }
}
