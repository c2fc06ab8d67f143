//! One run at a time works on a directory or a database.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::feed::AnyError;

/// Held as long as this value lives; the operating system releases it when the process ends in any way.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock in this file, which stands for `of`.
    ///
    /// # Errors
    /// That another run has it, or what the operating system said.
    pub fn take(path: &Path, of: &Path) -> Result<Self, AnyError> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|error| format!("cannot open {}: {error}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                let of = of.display();
                Err(format!("{of} is in use by another run: wait for its end, or name another")
                    .into())
            }
            Err(TryLockError::Error(error)) => {
                Err(format!("cannot lock {}: {error}", path.display()).into())
            }
        }
    }
}
