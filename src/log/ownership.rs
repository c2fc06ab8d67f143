//! Who may write: the lock that keeps a second writer out, and the word that fences a first one who has lost it.
//!
//! ```text
//!   <log>/LOCK     held by the writer for as long as it lives; the system releases it, also after kill -9
//!   <log>/WRITER   a random number that the newest writer has put there; an older one finds another, and stops
//!
//!   first    opens: LOCK, WRITER = 7 ── appends, syncs ─────────────────── looks: 9 ─▶ LogError::Fenced
//!   (somebody removes LOCK)                   │
//!   second                        opens: LOCK, WRITER = 9 ── repairs, appends, syncs ──▶
//! ```
//!
//! The lock is on a file, and whoever removes that file lets a second writer in. So a writer looks at `WRITER` before each time
//! that it changes anything, and again before it says that something is durable. Between its look and its write a second one
//! can still come in; that takes a removed lock and a moment of microseconds.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::codec::CODEC_ID;
use super::disk;
use super::error::LogError;
use super::identity::random_id;

const MAGIC: [u8; 8] = *b"SWLOGWRI";
const VERSION: u16 = 1;

/// Being the one writer of a directory.
#[derive(Debug)]
pub(super) struct Ownership {
    log: PathBuf,
    lock: File,
    /// What `WRITER` holds while nobody has taken over; nothing yet where the log has yet to be found good.
    word: Vec<u8>,
}

impl Ownership {
    /// Becomes the one writer of a directory, which must exist.
    pub(super) fn take(log: &Path) -> Result<Self, LogError> {
        let path = log.join("LOCK");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let lock = file.map_err(LogError::io("open", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { log: log.to_owned(), lock, word: Vec::new() }),
            Err(TryLockError::WouldBlock) => Err(LogError::Locked { dir: log.to_owned() }),
            Err(TryLockError::Error(error)) => Err(LogError::io("lock", &path)(error)),
        }
    }

    /// Shuts out every writer before this one, durably. What `WRITER` held does not matter, so it may be damaged or missing.
    pub(super) fn announce(&mut self) -> Result<(), LogError> {
        let mut word = MAGIC.to_vec();
        word.extend_from_slice(&VERSION.to_le_bytes());
        word.extend_from_slice(&CODEC_ID.to_le_bytes());
        word.extend_from_slice(&random_id().to_le_bytes());
        let crc = crc32fast::hash(&word);
        word.extend_from_slice(&crc.to_le_bytes());
        disk::create_whole(&file_of(&self.log), &word)?;
        self.word = word;
        Ok(())
    }

    /// Whether this is still the newest writer of the log that is there.
    ///
    /// # Errors
    ///
    /// [`LogError::Fenced`] if it is not, or if nothing is there any more.
    pub(super) fn check(&self) -> Result<(), LogError> {
        match disk::read_whole(&file_of(&self.log))? {
            Some(word) if word == self.word => Ok(()),
            _ => Err(LogError::Fenced { dir: self.log.clone() }),
        }
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that is just being started holds a copy until it runs its own
        // program. An error here means that the lock is gone with the file.
        let _ = self.lock.unlock();
    }
}

fn file_of(log: &Path) -> PathBuf {
    log.join("WRITER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_free_although_a_child_being_started_still_has_a_copy_of_the_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = Ownership::take(dir.path()).expect("nobody else");
        let copy_of_the_child = first.lock.try_clone().expect("copied");
        assert!(matches!(Ownership::take(dir.path()), Err(LogError::Locked { .. })));
        drop(first);
        drop(Ownership::take(dir.path()).expect("the first is gone"));
        drop(copy_of_the_child);
    }
}
