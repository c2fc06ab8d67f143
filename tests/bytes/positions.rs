//! Positions of a source of lines: over another file a position is refused, and whatever bytes a
//! position has, the job ends.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use streamwork::checkpoint::{CheckpointStore, DirectoryStore, EncodedState};
use streamwork::testkit::Collected;
use streamwork::{CheckpointId, ExactlyOnce, Job, LinesSource, Restarts, RunError};
use tempfile::TempDir;

use crate::log_files::directory;
use crate::memory_disk::{MemoryDisk, Random};
use crate::mutate::mutated;

const ROOT: &str = "/positions";

/// A file that was read to its end, and the store that knows it.
pub(crate) struct ReadLines {
    directory: TempDir,
    text: Vec<u8>,
    disk: MemoryDisk,
}

fn open(disk: &MemoryDisk) -> DirectoryStore {
    DirectoryStore::open_on(Arc::new(disk.clone()), ROOT).expect("memory can be opened")
}

/// The lines that a run emits.
fn run(file: &Path, disk: &MemoryDisk) -> Result<Vec<String>, RunError> {
    let seen = Collected::new();
    let job = Job::new("lines");
    job.lines("lines", LinesSource::new(file)).sink("seen", seen.factory());
    let restarts = Restarts { limit: 0, ..Restarts::default() };
    let guarantee = ExactlyOnce::checkpoints_with(Arc::new(open(disk))).restarts(restarts);
    job.run(guarantee).map(|_| seen.events())
}

fn refused(error: &RunError, what: &str) {
    let error = error.to_string();
    assert!(!error.is_empty() && !error.contains("panicked"), "{what}: {error}");
}

impl ReadLines {
    pub(crate) fn new() -> Self {
        let text: String = (0..40).map(|n| format!("line {n} of the file\n")).collect();
        let (directory, disk) = (directory(), MemoryDisk::new());
        let read = Self { directory, text: text.into_bytes(), disk };
        read.put(&read.text);
        let lines = run(&read.file(), &read.disk).expect("it is read");
        assert_eq!(lines.len(), 40);
        read
    }

    fn file(&self) -> std::path::PathBuf {
        self.directory.path().join("lines")
    }

    fn put(&self, text: &[u8]) {
        fs::write(self.file(), text).expect("written");
    }

    /// Damages the file, or only appends to it: the part that was read is unchanged and the rest is emitted, or the
    /// position is refused.
    pub(crate) fn damage_file(&self, random: &mut Random, what: &str) {
        let mut text = self.text.clone();
        match random.below(2) {
            0 => text = mutated(&text, random),
            _ => text.extend(b"one more\nand one\n"),
        }
        self.put(&text);
        let rest = text.strip_prefix(&self.text[..]);
        match (run(&self.file(), &self.disk.fork()), rest) {
            (Ok(lines), Some(rest)) => {
                let rest = std::str::from_utf8(rest).expect("what is not text is refused");
                assert!(rest.lines().eq(lines.iter()), "{what}: {lines:?} of {rest:?}");
            }
            (Ok(lines), None) => panic!("{what}: another file was read on: {lines:?}"),
            (Err(error), Some(rest)) => {
                assert!(std::str::from_utf8(rest).is_err(), "{what}: {error}");
                refused(&error, what);
            }
            (Err(error), None) => refused(&error, what),
        }
    }

    /// Damages the position in the newest checkpoint and corrects the checksums: the job ends, and emits only lines of the
    /// file.
    pub(crate) fn lie(&self, random: &mut Random, what: &str) {
        let mut text = self.text.clone();
        text.extend(b"one more\n");
        self.put(&text);
        let disk = self.disk.fork();
        let store = open(&disk);
        let mut manifest = store.latest().expect("sound").expect("there").manifest;
        let execution = store.begin_execution().expect("it begins");
        let checkpoint = CheckpointId(manifest.checkpoint.0 + 1);
        let records = std::mem::take(&mut manifest.parts);
        let former = manifest.clone();
        for record in records {
            let mut of = former.clone();
            of.parts = vec![record.clone()];
            let state = store.read_part(&of, &record.name).expect("sound").expect("there");
            let state = EncodedState { bytes: mutated(&state.bytes, random), ..state };
            let mut written = store
                .write_part(execution, checkpoint, &record.name, &state)
                .expect("it can be written");
            written.watermark = record.watermark;
            manifest.parts.push(written);
        }
        (manifest.execution, manifest.checkpoint) = (execution, checkpoint);
        store.commit(&manifest).expect("complete");
        drop(store);
        if let Err(error) = run(&self.file(), &disk) {
            refused(&error, what);
        }
    }
}
