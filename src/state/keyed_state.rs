//! [`KeyedState`]: a store as the node of its component saves it, which knows neither keys nor values.

use std::cell::RefCell;
use std::hash::Hash;
use std::sync::Arc;

use crate::api::state::State;
use crate::checkpoint::Part;
use crate::clock::Timestamp;
use crate::id::CheckpointId;
use crate::state::store::KeyedStore;
use crate::time::EventTime;

/// What a save has to know of the cut.
#[derive(Clone, Debug)]
pub(crate) struct SaveBegin {
    pub(crate) component: Arc<str>,
    pub(crate) checkpoint: CheckpointId,
    pub(crate) watermark: Option<EventTime>,
    /// The moment of the cut.
    pub(crate) at: Timestamp,
}

/// How much state there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StateSize {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// The state of a component that stays where it is when the component is built anew.
pub(crate) trait KeyedState {
    /// A checkpoint is cut here.
    fn begin_save(&self, begin: SaveBegin);
    /// Encodes some more, from this many places of entries. Whether all is encoded.
    fn go_on(&self, places: usize, to: &mut Vec<Part>) -> bool;
    /// A checkpoint is complete: the next save is of what has changed since its cut.
    fn complete(&self, checkpoint: CheckpointId);
    /// What it has now. Costs little unless much has been added since the last call.
    fn size(&self) -> StateSize;
    /// Whether nothing is to be changed until the checkpoint writer has caught up.
    fn is_full(&self) -> bool;
}

impl<K: State + Hash + Eq, V: State> KeyedState for RefCell<KeyedStore<K, V>> {
    fn begin_save(&self, begin: SaveBegin) {
        self.borrow_mut().begin_save(begin);
    }
    fn go_on(&self, places: usize, to: &mut Vec<Part>) -> bool {
        self.borrow_mut().go_on(places, to)
    }
    fn complete(&self, checkpoint: CheckpointId) {
        self.borrow_mut().complete(checkpoint);
    }
    fn size(&self) -> StateSize {
        self.borrow_mut().size()
    }
    fn is_full(&self) -> bool {
        self.borrow().is_full()
    }
}
