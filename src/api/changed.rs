//! [`Changed`]: a change of one row of a table.

/// A change of the value of one key of a [`Table`](crate::Table).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]

pub struct Changed<K, V> {
    /// The key.
    pub key: K,
    /// The value before; none if the key had no value.
    pub old: Option<V>,
    /// The value now; none if the key has no value any more.
    pub new: Option<V>,
}
