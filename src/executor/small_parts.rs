//! The small parts of checkpoints, kept until they are written together.
//!
//! A file and a synchronization for a part of a few bytes cost more than everything else in a checkpoint.
//! This is a value: it writes nothing, and it returns when it is full.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use crate::checkpoint::{EncodedState, PartName, PartRecord, PartSink, PartWriter, StoreError};
use crate::clock::Clock;
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
    /// Keeps a part. Returns whether the kept parts of the checkpoint have to be written now.
    #[must_use]
    pub(crate) fn keep(&mut self, checkpoint: CheckpointId, part: EncodedPart) -> bool {
        let waiting = self.0.entry(checkpoint).or_default();
        let (name, state) = &part;
        waiting.bytes += mem::size_of::<EncodedPart>() + name.component.len() + state.bytes.len();
        waiting.parts.push(part);
        waiting.bytes >= KEPT_BYTES_MAX
    }

    /// Takes all kept parts of a checkpoint.
    pub(crate) fn take(&mut self, checkpoint: CheckpointId) -> Vec<EncodedPart> {
        self.0.remove(&checkpoint).unwrap_or_default().parts
    }

    /// Drops the kept parts of this checkpoint and of older ones.
    pub(crate) fn forget(&mut self, checkpoint: CheckpointId) {
        self.0.retain(|of, _| *of > checkpoint);
    }
}

/// Takes a part piece by piece: into memory while it is small, into the store once it is larger.
pub(crate) struct PartOrSmall<'a> {
    begin: &'a dyn Fn() -> Result<Box<dyn PartWriter + 'a>, StoreError>,
    clock: &'a dyn Clock,
    so_far: PartOr<Box<dyn PartWriter + 'a>>,
    bytes: u64,
    writing: Duration,
}

/// A part in the store, or the bytes of a small one.
pub(crate) enum PartOr<L> {
    Small(Vec<u8>),
    Large(L),
}

impl<'a> PartOrSmall<'a> {
    pub(crate) fn new(
        begin: &'a dyn Fn() -> Result<Box<dyn PartWriter + 'a>, StoreError>,
        clock: &'a dyn Clock,
    ) -> Self {
        let so_far = PartOr::Small(Vec::new());
        Self { begin, clock, so_far, bytes: 0, writing: Duration::ZERO }
    }

    /// How long the store took so far.
    pub(crate) fn writing(&self) -> Duration {
        self.writing
    }

    /// The part as it was stored or kept, how long the store took, and the number of bytes.
    pub(crate) fn finish(self) -> Result<(PartOr<PartRecord>, Duration, u64), StoreError> {
        let began = self.clock.now();
        let stored = match self.so_far {
            PartOr::Small(bytes) => PartOr::Small(bytes),
            PartOr::Large(part) => PartOr::Large(part.finish()?),
        };
        Ok((stored, self.writing + self.clock.now().since(began), self.bytes))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        match &mut self.so_far {
            PartOr::Large(part) => part.append(bytes),
            PartOr::Small(small) if small.len() + bytes.len() <= SMALL_BYTES_MAX => {
                small.extend_from_slice(bytes);
                Ok(())
            }
            PartOr::Small(small) => {
                let mut part = (self.begin)()?;
                part.append(small)?;
                part.append(bytes)?;
                self.so_far = PartOr::Large(part);
                Ok(())
            }
        }
    }
}

impl PartSink for PartOrSmall<'_> {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.bytes += bytes.len() as u64;
        let began = self.clock.now();
        let taken = self.take(bytes);
        self.writing += self.clock.now().since(began);
        taken
    }
}

/// A part up to this size is small: a block of the disk. Below it the file takes more time than its content.
const SMALL_BYTES_MAX: usize = 4 * 1024;

/// The maximum number of bytes of one checkpoint that is kept, including names: a thousand of the largest
/// small parts.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{CheckpointStore, DirectoryStore, Manifest, StateCodec};
    use crate::clock::MonotonicClock;

    fn part(instance: usize, bytes: usize) -> EncodedPart {
        (PartName::new("counter", instance), vec![7; bytes].into())
    }

    /// What becomes of a part that comes in such pieces: how long it is, and whether the store has it.
    fn taken(pieces: &[usize]) -> (u64, bool) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = DirectoryStore::open(directory.path()).expect("it opens");
        let execution = store.begin_execution().expect("it is free");
        let (name, codec) = (PartName::new("counter", 0), StateCodec::POSITIONAL);
        let begin = || store.begin_part(execution, CheckpointId(1), &name, codec);
        let clock = MonotonicClock::default();
        let mut sink = PartOrSmall::new(&begin, &clock);
        for (number, bytes) in pieces.iter().enumerate() {
            sink.append(&vec![number as u8; *bytes]).expect("taken");
        }
        let expected: Vec<u8> = pieces
            .iter()
            .enumerate()
            .flat_map(|(number, bytes)| vec![number as u8; *bytes])
            .collect();
        let (stored, _, bytes) = sink.finish().expect("finished");
        match stored {
            PartOr::Small(small) => {
                assert_eq!(small, expected);
                (bytes, false)
            }
            PartOr::Large(record) => {
                let mut manifest = Manifest::new(execution, CheckpointId(1), "job");
                manifest.parts = vec![record];
                store.commit(&manifest).expect("it is whole");
                let read = store.read_part(&manifest, &name).expect("read").expect("there");
                assert_eq!(read.bytes, expected);
                (bytes, true)
            }
        }
    }

    #[test]
    fn a_block_is_small_and_a_byte_more_is_not_in_whatever_pieces_it_comes() {
        assert_eq!(taken(&[]), (0, false));
        assert_eq!(taken(&[4096]), (4096, false));
        assert_eq!(taken(&[4095, 1, 0]), (4096, false));
        assert_eq!(taken(&[4097]), (4097, true));
        assert_eq!(taken(&[4096, 1]), (4097, true));
        assert_eq!(taken(&[1, 70_000, 3]), (70_004, true));
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
