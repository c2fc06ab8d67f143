//! [`StoredForm`]: what a plan knows of how a component's state is stored, and whether it can read what a checkpoint
//! has. A decision; the values are read elsewhere.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::checkpoint::{ComponentRecord, Difference, Shape, Stored, pair};
use crate::executor::blueprint::{StateShape, differs};

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
    /// For state by key, the field of what is stored that is the user's state; empty for all of it.
    by_key: Option<&'static str>,
}

type Migrations = dyn Fn() -> Vec<(u32, StateShape)> + Send + Sync;

/// Where a user says which versions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SaidAt {
    /// Nowhere: there is only one.
    Nowhere,
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
            said_at: SaidAt::Nowhere,
            by_key: None,
        }
    }

    /// State of one instance.
    pub(crate) fn of<V: DeserializeOwned + 'static>(stored: &Stored<V>) -> Self {
        Self::around(stored, StateShape::Known)
    }

    /// State by key. `around` makes the structure of key and value from that of the user's state, which is this field of
    /// the value.
    pub(crate) fn by_key<V: DeserializeOwned + 'static>(
        stored: &Stored<V>,
        said_at: SaidAt,
        field: &'static str,
        around: impl Fn(String) -> StateShape + Send + Sync + 'static,
    ) -> Self {
        Self { said_at, by_key: Some(field), ..Self::around(stored, around) }
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
        let (name, version) = (&then.name, self.version);
        if then.version > version {
            let newer = then.version;
            return Err(format!(
                "the state of \"{name}\" is stored as version {newer} and this job knows it up to version {version}: run a program that knows version {newer}"
            ));
        }
        if then.version == version {
            let differs = differs(then.codec, then.state.as_deref(), now);
            return differs.map_or(Ok(()), |(was, is)| {
                let first = self.first_difference(then, now);
                let write = self.what_to_write(&first, version);
                Err(format!("the state of \"{name}\" was {was} and is {is} now{first}{write}"))
            });
        }
        let (old, migrations) = (then.version, (self.migrations)());
        let Some((_, shape)) = migrations.iter().find(|(from, _)| *from == old) else {
            let was = then.state.as_ref().map(|was| format!(" and was {was}")).unwrap_or_default();
            return Err(format!(
                "the state of \"{name}\" is stored as version {old}{was}, and this job has version {version} and no migration from version {old}: write `.migrate_from({old}, |old: Old| ..)` with the type that it had as `Old`"
            ));
        };
        let differs = differs(then.codec, then.state.as_deref(), shape);
        differs.map_or(Ok(()), |(was, is)| {
            let first = self.first_difference(then, shape).to_string();
            Err(format!(
                "the state of \"{name}\" is stored as version {old} and was {was}, but the type in `migrate_from({old}, ..)` is {is}{first}; give it the type that the state had"
            ))
        })
    }

    /// The first field that differs.
    fn first_difference(&self, then: &ComponentRecord, now: &StateShape) -> Place {
        let (Some(then), StateShape::Known(now)) = (then.state.as_deref(), now) else {
            return Place::Unknown;
        };
        let Some((field, then, now)) =
            self.by_key.and_then(|field| Some((field, pair(then)?, pair(now)?)))
        else {
            return Difference::between(then, now).map_or(Place::Unknown, Place::State);
        };
        match (Difference::between(then.0, now.0), Difference::between(then.1, now.1)) {
            (Some(of_the_key), _) => Place::Key(of_the_key),
            (None, Some(difference)) => match difference.within(field) {
                Some(within) => Place::State(within),
                None => Place::Beside(difference),
            },
            (None, None) => Place::Unknown,
        }
    }

    /// What a user can write, so that this version is read.
    fn what_to_write(&self, first: &Place, then: u32) -> String {
        let stored = format!("Stored::version({}).migrate_from({then}, |old: Old| ..)", then + 1);
        let write = match (first, self.said_at) {
            (_, SaidAt::Nowhere) => return String::new(),
            (Place::Key(_), _) => {
                return "; keys are not migrated: give the component another name, or take the key of before".to_owned();
            }
            (Place::Beside(_), _) => {
                return "; only the state itself can be migrated, and not what is kept with it"
                    .to_owned();
            }
            (_, SaidAt::Table) => format!("`.stored({stored})` behind the verb"),
            (_, SaidAt::Scan) => format!("`.scan_stored({stored}, ..)` in place of `.scan(..)`"),
            (_, SaidAt::Method) => format!("`fn stored() -> Stored<Self::State> {{ {stored} }}`"),
        };
        format!(
            "; both are version {then}: to read the old one, keep its type as `Old` and write {write}"
        )
    }
}

/// Where two structures differ first.
enum Place {
    Unknown,
    Key(Difference),
    State(Difference),
    /// In what the engine keeps with the state, such as timers.
    Beside(Difference),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => Ok(()),
            Self::Key(difference) => write!(f, ": of the key, {difference}"),
            Self::State(difference) => write!(f, ": {difference}"),
            Self::Beside(difference) => write!(f, ": beside the state, {difference}"),
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
