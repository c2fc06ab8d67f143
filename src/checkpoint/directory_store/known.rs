//! What the owner of a directory knows of it from its own calls, so that it need not look again at every checkpoint:
//! what a checkpoint of changes refers to was looked at when it was written.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::{
    super::manifest::{Location, Manifest},
    layout::Attempt,
};

/// What one execution has done in its directory. Nobody else writes there meanwhile.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The manifests of checkpoints that it has committed and not removed.
    complete: BTreeMap<Attempt, Committed>,
    /// Where the parts of the newest of them are.
    pub(super) parts: HashSet<Location>,
    /// Attempts with the mark that others refer to them.
    pub(super) marked: BTreeSet<Attempt>,
    /// Removed checkpoints of which only these files are left.
    pub(super) left: BTreeMap<Attempt, BTreeSet<String>>,
}

#[derive(Debug)]
struct Committed {
    manifest: Arc<Manifest>,
    checksum: u32,
}

impl Known {
    /// A manifest was committed, whose file has these bytes.
    pub(super) fn committed(&mut self, manifest: &Manifest, bytes: &[u8]) {
        self.parts = manifest.parts.iter().map(|part| part.at.clone()).collect();
        let checksum = crc32fast::hash(bytes);
        let committed = Committed { manifest: Arc::new(manifest.clone()), checksum };
        self.complete.insert(Attempt::of(manifest), committed);
    }

    /// The manifest of an attempt, if it was committed here with the bytes that its file has now.
    pub(super) fn manifest(&self, of: Attempt, bytes: &[u8]) -> Option<Arc<Manifest>> {
        let Committed { manifest, checksum } = self.complete.get(&of)?;
        (*checksum == crc32fast::hash(bytes)).then(|| Arc::clone(manifest))
    }

    pub(super) fn removed(&mut self, attempt: Attempt) {
        self.complete.remove(&attempt);
    }
}
