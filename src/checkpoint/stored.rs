//! [`Stored`]: the version of a state's stored form, and how values of earlier versions become values of today.
//!
//! It knows the types of the versions and nothing of where their bytes lie. What is around a value, a key or
//! timers, is read by whoever has put it there.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::shape::Shape;
use super::value_reader::ValueReader;
use crate::storage::codec::CodecError;

/// The stored form of a state: its version, and how states of earlier versions are read (state P1).
///
/// A checkpoint records the version and the structure of every state. A state is read at the next start if both are the
/// same. If the type has to change, give it the next version, keep the old type, and say how the one becomes the other.
/// The values are migrated when they are read, and the next checkpoint has them in the new version (state P2).
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use streamwork::testkit::Collected;
/// use streamwork::{ExactlyOnce, Job, Stored};
///
/// #[derive(Serialize, Deserialize)]
/// struct TotalsV1 {
///     cents: u32,
/// }
///
/// #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
/// struct Totals {
///     cents: u64,
///     payments: u64,
/// }
///
/// # let directory = tempfile::tempdir()?;
/// # let checkpoints = directory.path();
/// let shown = Collected::new();
/// let job = Job::new("payments");
/// let payments = job.from_iter("payments", || [(7_u64, 30_u64), (7, 20)]);
/// let totals = payments
///     .key_by(|(order, _)| *order)
///     .fold(Totals::default(), |totals, (_, cents)| {
///         totals.cents += cents;
///         totals.payments += 1;
///     })
///     .stored(
///         Stored::version(2)
///             .migrate_from(1, |old: TotalsV1| Totals { cents: old.cents.into(), payments: 0 }),
///     );
/// totals.at_end().named("totals").sink("shown", shown.factory());
/// job.run(ExactlyOnce::checkpoints_in(checkpoints))?;
/// assert_eq!(shown.events(), [(7, Totals { cents: 50, payments: 2 })]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What is neither of this version nor of one with a migration is refused before the job starts, with an error that
/// names the component, the versions, the first field that differs, and what to write. So is a migration whose old
/// type is not the one that was stored. No state is left out or read as something else.
///
/// Each migration leads from its version to the newest one. A chain is a function of functions:
/// `migrate_from(1, |old: V1| V3::from(V2::from(old)))`.
///
/// [`Table::stored`](crate::Table::stored) gives it to a table,
/// [`scan_stored`](crate::KeyedStream::scan_stored) to a scan, and operators and sources return it:
/// [`KeyedOperator::stored`](crate::KeyedOperator::stored),
/// [`StatefulOperator::stored`](crate::StatefulOperator::stored),
/// [`StatefulSource::stored`](crate::StatefulSource::stored). The state of a split source, the handles of a
/// transactional sink, keys and timers have no versions: another type is refused.
pub struct Stored<V> {
    version: u32,
    migrations: Vec<Migration<V>>,
}

/// From an earlier version to the newest.
struct Migration<V> {
    from: u32,
    /// The structure of the old type.
    shape: fn() -> Option<Shape>,
    read: Arc<ReadOld<V>>,
}

/// Reads a value of an earlier version as one of today.
type ReadOld<V> = dyn Fn(&mut ValueReader<'_>) -> Result<V, CodecError> + Send + Sync;

impl<V: DeserializeOwned> Stored<V> {
    /// The newest version of the stored form, 1 or more. States have version 1 if nothing is said.
    ///
    /// Version 0 is refused when the job is planned.
    pub fn version(version: u32) -> Self {
        Self { version, migrations: Vec::new() }
    }

    /// States of version `from` are of type `Old`, and are read with it and then migrated.
    ///
    /// A version that is not earlier than the newest one, or that has a migration already, is refused when the job is
    /// planned.
    ///
    /// The closure must return. If it panics, the job ends with an error that names the instance; the checkpoint stays as
    /// it is, so a corrected program can start from it.
    #[must_use]
    pub fn migrate_from<Old: DeserializeOwned + 'static>(
        mut self,
        from: u32,
        migrate: impl Fn(Old) -> V + Send + Sync + 'static,
    ) -> Self {
        let read = move |reader: &mut ValueReader<'_>| reader.read().map(&migrate);
        self.migrations.push(Migration { from, shape: Shape::of::<Old>, read: Arc::new(read) });
        self
    }

    /// Its newest version.
    pub(crate) fn newest(&self) -> u32 {
        self.version
    }

    /// What makes no sense in it, if anything does.
    pub(crate) fn misuse(&self) -> Option<String> {
        let Self { version, migrations } = self;
        if *version == 0 {
            return Some("versions begin with 1".to_owned());
        }
        let mut seen = Vec::new();
        for Migration { from, .. } in migrations {
            if *from == 0 || from >= version {
                return Some(format!(
                    "a migration leads from version {from}, which is not earlier than version {version}"
                ));
            }
            if seen.contains(from) {
                return Some(format!("there are two migrations from version {from}"));
            }
            seen.push(*from);
        }
        None
    }

    /// The versions that it can migrate from, each with the structure of its type, if that is known. Calls the
    /// `Deserialize` of these types.
    pub(crate) fn migrations(&self) -> impl Iterator<Item = (u32, Option<Shape>)> {
        self.migrations.iter().map(|migration| (migration.from, (migration.shape)()))
    }

    /// Reads a value that was stored in this version.
    ///
    /// # Errors
    /// The bytes are not such a value, or there is no migration from its version.
    pub(crate) fn read(&self, version: u32, reader: &mut ValueReader<'_>) -> Result<V, CodecError> {
        if version == self.version {
            return reader.read();
        }
        match self.migrations.iter().find(|migration| migration.from == version) {
            Some(migration) => (migration.read)(reader),
            None => Err(CodecError::Decode {
                type_name: std::any::type_name::<V>(),
                source: format!("there is no migration from version {version}").into(),
            }),
        }
    }
}

impl<V: DeserializeOwned> Default for Stored<V> {
    /// Version 1, and no migration.
    fn default() -> Self {
        Self::version(1)
    }
}

impl<V> Clone for Stored<V> {
    fn clone(&self) -> Self {
        Self { version: self.version, migrations: self.migrations.clone() }
    }
}

impl<V> Clone for Migration<V> {
    fn clone(&self) -> Self {
        Self { from: self.from, shape: self.shape, read: Arc::clone(&self.read) }
    }
}

impl<V> fmt::Debug for Stored<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from: Vec<u32> = self.migrations.iter().map(|migration| migration.from).collect();
        f.debug_struct("Stored").field("version", &self.version).field("from", &from).finish()
    }
}
