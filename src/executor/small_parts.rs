//! The small parts of checkpoints, kept until they are written together.
//!
//! A file and a synchronization for a part of a few bytes cost more than all else that a checkpoint does.
//! This is a value: it neither writes nor knows who does, and it says when it holds as much as it may.

use std::collections::BTreeMap;
use std::mem;

use crate::checkpoint::{EncodedState, PartName};
use crate::id::CheckpointId;

/// The encoded state of one component of one instance.
pub(crate) type EncodedPart = (PartName, EncodedState);

/// Parts that wait, by the checkpoint that they belong to.
#[derive(Debug, Default)]
pub(crate) struct SmallParts(BTreeMap<CheckpointId, Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    parts: Vec<EncodedPart>,
    bytes: usize,
}

impl SmallParts {
    /// Whether a part with this state is one to be kept.
    pub(crate) fn is_small(state: &EncodedState) -> bool {
        state.bytes.len() <= SMALL_BYTES_MAX
    }

    /// Keeps a part; whether what is kept of the checkpoint has to be written now.
    #[must_use]
    pub(crate) fn keep(&mut self, checkpoint: CheckpointId, part: EncodedPart) -> bool {
        let waiting = self.0.entry(checkpoint).or_default();
        let (name, state) = &part;
        waiting.bytes += mem::size_of::<EncodedPart>() + name.component.len() + state.bytes.len();
        waiting.parts.push(part);
        waiting.bytes >= KEPT_BYTES_MAX
    }

    /// All that is kept of a checkpoint, which is kept no longer.
    pub(crate) fn take(&mut self, checkpoint: CheckpointId) -> Vec<EncodedPart> {
        self.0.remove(&checkpoint).unwrap_or_default().parts
    }

    /// Drops what is kept of this checkpoint and of older ones.
    pub(crate) fn forget(&mut self, checkpoint: CheckpointId) {
        self.0.retain(|of, _| *of > checkpoint);
    }
}

/// A part up to this size is small: a block of the disk, below which the file and not its content is what takes time.
const SMALL_BYTES_MAX: usize = 4 * 1024;

/// So much of one checkpoint is kept, names counted, until it is written: a thousand of the largest small parts.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn part(instance: usize, bytes: usize) -> EncodedPart {
        (PartName::new("counter", instance), vec![7; bytes].into())
    }

    #[test]
    fn a_block_is_small_and_a_byte_more_is_not() {
        assert!(SmallParts::is_small(&[].into()));
        assert!(SmallParts::is_small(&[0; 4096].into()));
        assert!(!SmallParts::is_small(&[0; 4097].into()));
    }

    #[test]
    fn what_is_kept_comes_back_once_in_its_order_and_by_its_checkpoint() {
        let mut small = SmallParts::default();
        let (first, second) = (CheckpointId(1), CheckpointId(2));
        for (checkpoint, instance) in [(first, 1), (second, 0), (first, 0)] {
            assert!(!small.keep(checkpoint, part(instance, 3)));
        }
        assert_eq!(small.take(first), [part(1, 3), part(0, 3)]);
        assert_eq!(small.take(first), []);
        assert_eq!(small.take(second), [part(0, 3)]);
    }

    #[test]
    fn what_is_forgotten_is_that_checkpoint_and_older_ones() {
        let mut small = SmallParts::default();
        for checkpoint in 1..=3 {
            assert!(!small.keep(CheckpointId(checkpoint), part(0, 3)));
        }
        small.forget(CheckpointId(2));
        let left = [1, 2, 3].map(|checkpoint| small.take(CheckpointId(checkpoint)).len());
        assert_eq!(left, [0, 0, 1]);
    }

    #[test]
    fn what_is_kept_of_a_checkpoint_has_a_bound_also_where_no_part_has_state() {
        for bytes in [0, 4096] {
            let mut small = SmallParts::default();
            let kept = (0..1 << 20).take_while(|i| !small.keep(CheckpointId(1), part(*i, bytes)));
            let kept = kept.count();
            assert!(kept > 900, "{kept} parts of {bytes} bytes");
            assert!(kept < 100_000, "{kept} parts of {bytes} bytes");
            // What is taken makes room again.
            small.take(CheckpointId(1));
            assert!(!small.keep(CheckpointId(1), part(0, bytes)));
        }
    }
}
