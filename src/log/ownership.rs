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

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::codec::CODEC_ID;
use super::disk;
use super::error::LogError;
use crate::storage::{Disk, DiskLock};

const MAGIC: [u8; 8] = *b"SWLOGWRI";
const VERSION: u16 = 1;

/// Being the one writer of a directory.
#[derive(Debug)]
pub(super) struct Ownership {
    disk: Arc<dyn Disk>,
    log: PathBuf,
    /// Held until this is dropped.
    _lock: Box<dyn DiskLock>,
    /// What `WRITER` holds while nobody has taken over; nothing yet where the log has yet to be found good.
    word: Vec<u8>,
}

impl Ownership {
    /// Becomes the one writer of a directory, which must exist.
    pub(super) fn take(disk: &Arc<dyn Disk>, log: &Path) -> Result<Self, LogError> {
        match disk::try_lock(&**disk, &log.join("LOCK"))? {
            Some(lock) => Ok(Self {
                disk: Arc::clone(disk),
                log: log.to_owned(),
                _lock: lock,
                word: Vec::new(),
            }),
            None => Err(LogError::Locked { dir: log.to_owned() }),
        }
    }

    /// Shuts out every writer before this one, durably. What `WRITER` held does not matter, so it may be damaged or missing.
    pub(super) fn announce(&mut self) -> Result<(), LogError> {
        let mut word = MAGIC.to_vec();
        word.extend_from_slice(&VERSION.to_le_bytes());
        word.extend_from_slice(&CODEC_ID.to_le_bytes());
        word.extend_from_slice(&self.disk.draw_id().to_le_bytes());
        let crc = crc32fast::hash(&word);
        word.extend_from_slice(&crc.to_le_bytes());
        disk::create_whole(&*self.disk, &file_of(&self.log), &word)?;
        self.word = word;
        Ok(())
    }

    /// Whether this is still the newest writer of the log that is there.
    ///
    /// # Errors
    ///
    /// [`LogError::Fenced`] if it is not, or if nothing is there any more.
    pub(super) fn check(&self) -> Result<(), LogError> {
        match disk::read_whole(&*self.disk, &file_of(&self.log))? {
            Some(word) if word == self.word => Ok(()),
            _ => Err(LogError::Fenced { dir: self.log.clone() }),
        }
    }
}

fn file_of(log: &Path) -> PathBuf {
    log.join("WRITER")
}
