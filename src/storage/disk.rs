//! The only interface through which the crate reaches a disk, so that tests can make every operation fail and simulations can
//! cut the power.
//!
//! Holds no protocol and no retry: each method is one operation of the operating system, and its error is passed on.

use std::{
    ffi::OsString, fmt, io, ops::Range, path::Path, sync::Arc, thread::JoinHandle, time::SystemTime,
};

use super::unique;

/// The operations on files that checkpoints, event logs and output files need.
///
/// Nothing but [`DiskFile::sync`] makes content durable, and nothing but [`sync_dir`](Disk::sync_dir) makes a name in a
/// directory durable: its creation, renaming, linking or removal. An implementation for tests may lose everything else, as
/// [`SimulatedDisk`](crate::testkit::SimulatedDisk) does.
///
/// Calls come from any thread, and from several at once.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates one directory in a parent that exists.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] if something of that name exists, or another error of the disk.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Creates an empty file, open for reading and writing. An existing file is truncated.
    ///
    /// # Errors
    ///
    /// An error of the disk.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that exists for reading. It stays readable when its name is removed or given to another file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] only if there is no such file, or another error of the disk.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that exists for reading and writing, and changes nothing.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] only if there is no such file, or another error of the disk.
    fn open_for_writing(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// The whole content of a file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] only if there is no such file, or another error of the disk.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The content of a file within a range of bytes. It is shorter than requested, or empty, if the file ends before.
    ///
    /// The default opens the file, asks for its length and reads.
    ///
    /// ```
    /// use streamwork::storage::{Disk, RealDisk};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("greeting");
    /// RealDisk.create(&path)?.append(b"hello, disk")?;
    /// assert_eq!(RealDisk.read_range(&path, 7..9)?, b"di");
    /// assert_eq!(RealDisk.read_range(&path, 7..99)?, b"disk");
    /// assert_eq!(RealDisk.read_range(&path, 98..99)?, b"");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] only if there is no such file, or another error of the disk.
    fn read_range(&self, path: &Path, range: Range<u64>) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        // Asked first: a range that was read from a damaged file may end where no memory does.
        let end = range.end.min(file.length()?);
        let bytes = usize::try_from(end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let mut content = vec![0; bytes];
        if bytes > 0 {
            let read = file.read_at(range.start, &mut content)?;
            content.truncate(read);
        }
        Ok(content)
    }

    /// The entries of a directory, in any order.
    ///
    /// # Errors
    ///
    /// An error of the disk; never a part of the entries.
    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>>;

    /// The names of the entries of a directory, in any order.
    ///
    /// The default calls [`list`](Disk::list). A disk that knows names without looking at what they stand for saves a reader
    /// of a log of many segments that much.
    ///
    /// # Errors
    ///
    /// An error of the disk; never a part of the names.
    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        Ok(self.list(path)?.into_iter().map(|entry| entry.name.into()).collect())
    }

    /// Gives a file or directory another name, replacing a file that has it. Within one directory this is one step: whatever
    /// fails, it has the old name or the new one, or both until the next start, and never none.
    ///
    /// # Errors
    ///
    /// An error of the disk.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file one more name. It replaces nothing: of several that give one name at the same time, one succeeds.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use streamwork::storage::{Disk, RealDisk};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// let [first, second, taken] = ["first", "second", "taken"].map(|name| directory.path().join(name));
    /// RealDisk.create(&first)?.append(b"1")?;
    /// RealDisk.create(&second)?.append(b"2")?;
    /// RealDisk.link(&first, &taken)?;
    /// assert_eq!(RealDisk.link(&second, &taken).unwrap_err().kind(), ErrorKind::AlreadyExists);
    /// RealDisk.remove_file(&first)?;
    /// assert_eq!(RealDisk.read(&taken)?, b"1");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] if something of the new name exists, [`io::ErrorKind::NotFound`] if there is no
    /// such file, or another error of the disk.
    fn link(&self, file: &Path, name: &Path) -> io::Result<()>;

    /// Removes a file's name; the file goes with its last one.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] only if there is no such file, or another error of the disk.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] only if there is no such directory, or another error of the disk.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    ///
    /// An error of the disk.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Takes a lock that ends with the value returned, and with the process however it ends; `None` if another has it. A disk
    /// may keep it in a file of that name, which it creates if it is not there.
    ///
    /// # Errors
    ///
    /// An error of the disk.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>>;

    /// A number that no other call gives, here or on another machine, and never zero: milliseconds since the Unix epoch above
    /// 64 bits that are drawn. So numbers drawn later are greater, as far as the clock goes forward.
    ///
    /// It is used for identities and names of stored things. A simulated disk overrides it with numbers that
    /// are the same in every run.
    fn draw_id(&self) -> u128 {
        unique::draw()
    }
}

/// An open file.
///
/// All methods take it by reference, so that one thread can write while another one synchronizes. Two writes at once are
/// not asked for.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads from an offset on, until `into` is full or the file ends, and returns the number of bytes. At or
    /// beyond the end of the file that is 0, and no error.
    ///
    /// # Errors
    ///
    /// An error of the disk.
    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at a place. A gap between the file's end and that place is filled with zeros. After an error any
    /// part of `bytes` may be in the file.
    ///
    /// # Errors
    ///
    /// An error of the disk.
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()>;

    /// Writes at the end. After an error any part of `bytes` may be in the file.
    ///
    /// The default asks for the length and writes there.
    ///
    /// # Errors
    ///
    /// An error of the disk.
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.write_at(self.length()?, bytes)
    }

    /// Cuts the file to this many bytes. A shorter file is filled up with zeros.
    ///
    /// # Errors
    ///
    /// An error of the disk.
    fn truncate(&self, bytes: u64) -> io::Result<()>;

    /// How many bytes the file has.
    ///
    /// # Errors
    ///
    /// An error of the disk.
    fn length(&self) -> io::Result<u64>;

    /// Makes content and length durable. After an error it is unknown what is durable, even if a later call
    /// succeeds.
    ///
    /// # Errors
    ///
    /// An error of the disk.
    fn sync(&self) -> io::Result<()>;

    /// Begins what [`sync`](DiskFile::sync) does, so that the next `sync` has less to wait for; `None` if
    /// that cannot be done now, and then nothing was begun. It promises nothing by itself: only after `sync`
    /// has returned is anything durable. An error of this synchronization may not be reported anywhere else,
    /// so the caller must check its result.
    ///
    /// The default synchronizes before it returns.
    fn start_sync(self: Arc<Self>) -> Option<StartedSync> {
        Some(StartedSync::ended(self.sync()))
    }
}

/// A synchronization that was started, see [`DiskFile::start_sync`].
#[derive(Debug)]
pub struct StartedSync(Stage);

#[derive(Debug)]
enum Stage {
    Ended(io::Result<()>),
    Running(JoinHandle<io::Result<()>>),
}

impl StartedSync {
    /// One that has already ended, with this result.
    #[must_use]
    pub fn ended(how: io::Result<()>) -> Self {
        Self(Stage::Ended(how))
    }

    /// One that a thread carries out.
    #[must_use]
    pub fn running(thread: JoinHandle<io::Result<()>>) -> Self {
        Self(Stage::Running(thread))
    }

    /// Whether [`wait`](Self::wait) would return at once.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match &self.0 {
            Stage::Ended(_) => true,
            Stage::Running(thread) => thread.is_finished(),
        }
    }

    /// Returns when it has ended.
    ///
    /// # Errors
    ///
    /// An error of the disk.
    pub fn wait(self) -> io::Result<()> {
        let panicked = |_| Err(io::Error::other("the thread that synchronizes has panicked"));
        match self.0 {
            Stage::Ended(how) => how,
            Stage::Running(thread) => thread.join().unwrap_or_else(panicked),
        }
    }
}

/// A lock that is held until it is dropped.
pub trait DiskLock: Send + Sync + fmt::Debug {}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskEntry {
    /// Its name within the directory; names that are not Unicode are given lossily.
    pub name: String,
    /// Its length in bytes; without meaning for a directory.
    pub bytes: u64,
    /// Whether it is a directory. A symbolic link to one is not.
    pub is_dir: bool,
    /// When its content was last changed; `None` if the disk does not know.
    pub modified: Option<SystemTime>,
}
