//! How often transactions were begun, in all runs on a directory together.
//!
//! A killed run cannot report its work. So before it counts a transaction, each instance of the analyzer writes
//! down how many it has begun: a file outlives the process that wrote it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::fraud::feed::AnyError;

/// The count of one instance.
#[derive(Debug)]
pub struct Attempts {
    file: File,
    begun: u64,
}

impl Attempts {
    /// Continues from the numbers that earlier runs have written down.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn open(directory: &Path, instance: usize) -> Result<Self, AnyError> {
        fs::create_dir_all(directory)?;
        let path = directory.join(instance.to_string());
        let options =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let mut file = options?;
        let begun = read(&mut file)?;
        Ok(Self { file, begun })
    }

    /// One more is taken up.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn begin(&mut self) -> Result<(), AnyError> {
        self.begun += 1;
        self.file.rewind()?;
        Ok(self.file.write_all(&self.begun.to_le_bytes())?)
    }

    /// The number of transactions that all instances have begun in all runs.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn total(directory: &Path) -> Result<u64, AnyError> {
        fs::read_dir(directory)?
            .try_fold(0, |sum, entry| Ok(sum + read(&mut File::open(entry?.path())?)?))
    }
}

/// The number in a file; none is zero.
fn read(file: &mut File) -> Result<u64, AnyError> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    match bytes.len() {
        0 => Ok(0),
        _ => Ok(u64::from_le_bytes(bytes.as_slice().try_into()?)),
    }
}
