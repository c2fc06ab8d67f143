//! Open files and locks of a simulated disk. Both are of no use any more once the process that had them is gone.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use super::SimulatedDisk;
use super::node::FileNode;
use crate::storage::{DiskFile, DiskLock};

#[derive(Debug)]
pub(super) struct SimulatedFile {
    pub(super) disk: SimulatedDisk,
    pub(super) node: usize,
    pub(super) generation: u64,
    pub(super) path: PathBuf,
    pub(super) writable: bool,
}

impl SimulatedFile {
    fn run<T>(
        &self,
        operation: &'static str,
        bytes: &[u8],
        act: impl FnOnce(&mut FileNode, &[u8]) -> T,
    ) -> io::Result<T> {
        self.disk.write(operation, &self.path, bytes, |inner, bytes| {
            if inner.generation != self.generation {
                return Err(io::Error::other("the file was open in a process that is gone"));
            }
            Ok(act(inner.file(self.node)?, bytes))
        })
    }

    fn change(
        &self,
        operation: &'static str,
        bytes: &[u8],
        act: impl FnOnce(&mut FileNode, &[u8]),
    ) -> io::Result<()> {
        match self.writable {
            true => self.run(operation, bytes, act),
            false => Err(ErrorKind::PermissionDenied.into()),
        }
    }
}

/// A place in a file that memory can hold.
fn place(position: u64) -> io::Result<usize> {
    usize::try_from(position).ok().filter(|at| *at <= 1 << 40).ok_or(ErrorKind::FileTooLarge.into())
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<usize> {
        self.run("read", &[], |file, _| {
            let from = usize::try_from(position).unwrap_or(usize::MAX);
            let there = file.content().get(from..).unwrap_or_default();
            let bytes = there.len().min(into.len());
            into[..bytes].copy_from_slice(&there[..bytes]);
            bytes
        })
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let at = place(position)?;
        self.change("write", bytes, |file, bytes| file.write(at, bytes))
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.change("write", bytes, |file, bytes| file.write(file.content().len(), bytes))
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let bytes = place(bytes)?;
        self.change("truncate", &[], |file, _| file.truncate(bytes))
    }

    fn length(&self) -> io::Result<u64> {
        self.run("measure", &[], |file, _| file.content().len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        self.run("synchronize", &[], |file, _| file.sync())
    }
}

#[derive(Debug)]
pub(super) struct SimulatedLock {
    pub(super) disk: SimulatedDisk,
    pub(super) path: PathBuf,
    pub(super) number: u64,
}

impl DiskLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut inner = self.disk.inner.lock();
        // After a failure somebody else may have it.
        if inner.locks.get(&self.path) == Some(&self.number) {
            inner.locks.remove(&self.path);
        }
    }
}
