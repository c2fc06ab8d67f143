//! [`TransactionalFiles`]: a sink into a directory of files that appear whole or not at all.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file_names::{FileTransaction, PENDING, Series, TAKEN_BACK, prefix_of_instance};
use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::sink::{Transaction, TransactionalSink};
use crate::error::BoxError;
use crate::id::ExecutionId;
use crate::storage::{Disk, DiskFile, RealDisk, create_dir_durably, is_there};

/// Writes events into files, one per transaction and instance, called
/// `part-prices-0003-019abf2c77e1c0ffee0123456789-0000000017-x2`: component, instance, a series drawn at random, the number
/// in the series, and the execution. A file has its name only when its transaction is committed; until then the name ends in
/// `.pending`. Readers ignore those.
///
/// No name is given twice, and no file is ever replaced: a directory may be shared by any number of sinks, of
/// one job or of several. The series and the number are part of the checkpoint, so the names of an instance
/// sort in the order of its output as long as it is restored from its checkpoints. A start without a
/// checkpoint begins a new series; so does every start of a sink under at-most-once and at-least-once with
/// the acknowledger, which keep no state of sinks.
///
/// **Consumers** may move or remove a committed file at any time. If the pending file of a transaction is
/// gone when it is to be committed, it counts as committed and consumed.
///
/// **Files left behind.** A sink removes pending files of its own series only. A run that ends before its
/// first checkpoint, or in the middle of a batch under a guarantee that keeps no state of sinks, leaves
/// pending files that are never committed. Each start counts them in a warning. Remove them when no job
/// writes to the directory.
///
/// **Copies.** A copy of a directory of checkpoints has the same series as the original: do not let both write to one directory.
///
/// If the newest checkpoint is damaged, files that were committed after the one before are withdrawn: they
/// are renamed so that they end in `.taken-back.pending`, since their events are produced again.
///
/// ```
/// use streamwork::{ExactlyOnce, Job, TransactionalFiles};
///
/// # let directory = std::env::temp_dir().join(format!("streamwork-files-{}", std::process::id()));
/// let out = directory.join("out");
/// let files = TransactionalFiles::factory(&out, |n: &u64, file: &mut Vec<u8>| {
///     file.extend_from_slice(format!("{n}\n").as_bytes());
/// });
/// let job = Job::new("numbers");
/// job.from_iter("numbers", || 0..3_u64).transactional_sink("files", files);
/// job.run(ExactlyOnce::checkpoints_in(directory.join("checkpoints")))?;
///
/// let file = std::fs::read_dir(&out)?.next().expect("one file")?;
/// assert!(file.file_name().to_string_lossy().starts_with("part-files-0000-"));
/// assert_eq!(std::fs::read_to_string(file.path())?, "0\n1\n2\n");
/// # std::fs::remove_dir_all(directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TransactionalFiles<T> {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    encode: Encode<T>,
    component: String,
    instance: usize,
    execution: ExecutionId,
    series: Series,
    next: u64,
    /// The content of the next file that is not on the disk yet.
    open: Vec<u8>,
    begun: Option<BegunFile>,
}

/// A file that is written before its transaction is prepared, since it is large.
struct BegunFile {
    file: Box<dyn DiskFile>,
    bytes: u64,
}

/// Bytes of a transaction that are kept in memory; when there are more its file is begun.
const IN_MEMORY: usize = 4 << 20;

type Encode<T> = Arc<dyn Fn(&T, &mut Vec<u8>) + Send + Sync>;

impl<T: Event> TransactionalFiles<T> {
    /// A factory of such sinks, for [`Stream::transactional_sink`](crate::Stream::transactional_sink). The
    /// directory is created if it does not exist; a relative path is resolved now, against the current
    /// working directory. `encode` appends an event's bytes.
    pub fn factory(
        directory: impl Into<PathBuf>,
        encode: impl Fn(&T, &mut Vec<u8>) + Send + Sync + 'static,
    ) -> impl Fn() -> Self + Send + Sync + 'static {
        Self::factory_on(Arc::new(RealDisk), directory, encode)
    }

    /// The same into a directory on the caller's disk, for tests that let it fail and for simulations.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use streamwork::testkit::Simulation;
    /// use streamwork::{ExactlyOnce, Job, TransactionalFiles};
    ///
    /// let simulation = Simulation::new(7);
    /// let disk = Arc::new(simulation.disk().clone());
    /// let files = TransactionalFiles::factory_on(disk, "/out", |n: &u8, file: &mut Vec<u8>| file.push(*n));
    /// let job = Job::new("numbers");
    /// job.from_iter("numbers", || 0..30_u8).transactional_sink("files", files);
    /// simulation.run(&job, ExactlyOnce::checkpoints_in("/checkpoints"));
    /// ```
    pub fn factory_on(
        disk: Arc<dyn Disk>,
        directory: impl Into<PathBuf>,
        encode: impl Fn(&T, &mut Vec<u8>) + Send + Sync + 'static,
    ) -> impl Fn() -> Self + Send + Sync + 'static {
        let directory = directory.into();
        // Without a working directory a relative path cannot be resolved; `setup` then fails with that error.
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        let encode: Encode<T> = Arc::new(encode);
        move || Self {
            disk: Arc::clone(&disk),
            directory: directory.clone(),
            encode: Arc::clone(&encode),
            component: String::new(),
            instance: 0,
            execution: ExecutionId(0),
            series: Series::begin(&*disk),
            next: 1,
            open: Vec::new(),
            begun: None,
        }
    }

    fn committed(&self, transaction: &FileTransaction) -> PathBuf {
        self.directory.join(transaction.file(&self.component, self.instance))
    }

    fn pending(&self, transaction: &FileTransaction) -> PathBuf {
        with(&self.committed(transaction), PENDING)
    }

    /// The transactions of this series that have a file: those that are committed, or those that are pending.
    fn files(&self, ending: &str) -> Result<Vec<FileTransaction>, BoxError> {
        let mut found = Vec::new();
        for entry in named(&self.directory, self.disk.list(&self.directory))? {
            let Some(file) = entry.name.strip_suffix(ending) else { continue };
            let parsed = FileTransaction::parse(file, &self.component, self.instance, self.series);
            match parsed {
                Some(_) if entry.is_dir => {
                    let path = self.directory.join(&entry.name);
                    tracing::warn!(path = %path.display(), "a directory in the place of a file is left alone");
                }
                Some(transaction) => found.push(transaction),
                None => {}
            }
        }
        Ok(found)
    }

    /// Warns of pending files with the name of this instance and another series: those of a run that ended
    /// before its first checkpoint, or of another job with the same names.
    fn report_foreign_files(&self) -> Result<(), BoxError> {
        let like_ours = prefix_of_instance(&self.component, self.instance);
        let foreign = named(&self.directory, self.disk.list(&self.directory))?
            .iter()
            .filter(|entry| entry.name.starts_with(&like_ours) && entry.name.ends_with(PENDING))
            .filter(|entry| !entry.name.ends_with(TAKEN_BACK))
            .count();
        if foreign > 0 {
            let directory = self.directory.display();
            let sink = &self.component;
            tracing::warn!(%directory, sink, foreign, "pending files that are not this sink's are left alone");
        }
        Ok(())
    }

    fn is_there(&self, path: &Path) -> Result<bool, BoxError> {
        named(path, is_there(&*self.disk, path))
    }

    fn is_same(&self, one: &Path, other: &Path) -> Result<bool, BoxError> {
        Ok(named(one, self.disk.read(one))? == named(other, self.disk.read(other))?)
    }

    fn write_file(&self, path: &Path, bytes: &[u8], begun: Option<BegunFile>) -> io::Result<()> {
        let file = match begun {
            Some(begun) => {
                begun.file.write_at(begun.bytes, bytes)?;
                // A piece that failed before may have left more.
                begun.file.truncate(begun.bytes + bytes.len() as u64)?;
                begun.file
            }
            None => {
                let file = self.disk.create(path)?;
                file.append(bytes)?;
                file
            }
        };
        file.sync()?;
        self.disk.sync_dir(&self.directory)
    }

    /// Writes what is in memory into the file of the next transaction. If that fails, it stays in memory.
    fn write_piece(&mut self) -> io::Result<()> {
        let path = self.pending(&self.next_transaction());
        let begun = match &mut self.begun {
            Some(begun) => begun,
            none => none.insert(BegunFile { file: self.disk.create(&path)?, bytes: 0 }),
        };
        begun.file.write_at(begun.bytes, &self.open)?;
        begun.bytes += self.open.len() as u64;
        self.open.clear();
        Ok(())
    }

    fn next_transaction(&self) -> FileTransaction {
        let (series, number, execution) = (self.series, self.next, self.execution);
        FileTransaction { series, number, execution }
    }

    fn sync_directory(&self) -> Result<(), BoxError> {
        named(&self.directory, self.disk.sync_dir(&self.directory))
    }

    /// A name for a file that is withdrawn, which no other such file has.
    fn name_aside(&self, transaction: &FileTransaction) -> Result<PathBuf, BoxError> {
        let file = self.committed(transaction);
        for nth in 1_u64.. {
            let aside = with(&file, &format!(".{nth}{TAKEN_BACK}"));
            if !self.is_there(&aside)? {
                return Ok(aside);
            }
        }
        Err("a file was taken back too often".into())
    }
}

impl<T: Event> TransactionalSink for TransactionalFiles<T> {
    type In = T;
    type Handle = FileTransaction;

    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        instance.component().clone_into(&mut self.component);
        self.instance = instance.index();
        self.execution = instance.execution();
        // `rewind` sets it if there is a state to continue from.
        (self.series, self.next) = (Series::begin(&*self.disk), 1);
        named(&self.directory, create_dir_durably(&*self.disk, &self.directory))
    }

    fn write(&mut self, event: T) -> Result<(), BoxError> {
        let before = self.open.len();
        (self.encode)(&event, &mut self.open);
        if self.open.len() >= IN_MEMORY {
            let path = self.pending(&self.next_transaction());
            named(&path, self.write_piece()).inspect_err(|_| {
                // This event fails, and must not go out with the others.
                self.open.truncate(before);
            })?;
        }
        Ok(())
    }

    fn prepare(&mut self, _: Transaction) -> Result<Option<Self::Handle>, BoxError> {
        // Taken in any case: an error fails these events, and they must not go out with the next ones.
        let (bytes, begun) = (std::mem::take(&mut self.open), self.begun.take());
        if bytes.is_empty() && begun.is_none() {
            return Ok(None);
        }
        let transaction = self.next_transaction();
        self.next += 1;
        let path = self.pending(&transaction);
        named(&path, self.write_file(&path, &bytes, begun)).inspect_err(|_| {
            // Its handle is not returned. If the file stays, readers ignore it.
            let _ = self.disk.remove_file(&path);
        })?;
        Ok(Some(transaction))
    }

    /// A rename makes the file visible, since it is one step. With a second link a consumer could take the
    /// file while the pending one still exists, and after a crash in that moment it would be shown again. The
    /// name is unique, so nothing is replaced; that is checked all the same.
    fn commit(&mut self, transaction: FileTransaction) -> Result<(), BoxError> {
        let (from, to) = (self.pending(&transaction), self.committed(&transaction));
        match (self.is_there(&from)?, self.is_there(&to)?) {
            (true, false) => named(&from, self.disk.rename(&from, &to))?,
            // A power failure may leave what was being renamed both names.
            (true, true) if self.is_same(&from, &to)? => {
                named(&from, self.disk.remove_file(&from))?;
            }
            (true, true) => {
                let reason = "there is another file of this name already, which is not replaced";
                return Err(format!("{}: {reason}", to.display()).into());
            }
            (false, true) => {}
            // Only this sink removes pending files, and never one that a checkpoint holds.
            (false, false) => {
                tracing::info!(file = %to.display(), "committed before, and taken away by a consumer");
            }
        }
        // Also where nothing was renamed: whoever did may have died before it was durable.
        self.sync_directory()
    }

    fn newest(&self) -> Option<Self::Handle> {
        let (series, number, execution) = (self.series, self.next - 1, self.execution);
        Some(FileTransaction { series, number, execution })
    }

    /// Later files get a name that readers ignore, and are kept for a person to look at.
    fn rewind(&mut self, newest: FileTransaction) -> Result<(), BoxError> {
        (self.series, self.next) = (newest.series, newest.number + 1);
        let later = self.files("")?.into_iter().filter(|file| file.number > newest.number);
        for transaction in later {
            let (from, aside) = (self.committed(&transaction), self.name_aside(&transaction)?);
            tracing::warn!(file = %from.display(), "taken back: its events come again");
            named(&from, self.disk.rename(&from, &aside))?;
        }
        self.sync_directory()
    }

    fn abort_unfinished(&mut self) -> Result<(), BoxError> {
        self.open.clear();
        self.begun = None;
        for transaction in self.files(PENDING)? {
            let path = self.pending(&transaction);
            // It is not visible and its name is never used again, so it is no reason not to start.
            if let Err(error) = self.disk.remove_file(&path) {
                tracing::warn!(file = %path.display(), %error, "an unfinished file was not removed");
            }
        }
        self.report_foreign_files()
    }
}

impl<T> std::fmt::Debug for TransactionalFiles<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransactionalFiles")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

fn with(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn named<R>(path: &Path, result: io::Result<R>) -> Result<R, BoxError> {
    result.map_err(|error| format!("{}: {error}", path.display()).into())
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod life {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::testkit::check_transactional_sink;

    #[test]
    fn files_appear_whole_once_and_only_when_committed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("out");
        let factory = TransactionalFiles::factory(&path, |n: &u64, file: &mut Vec<u8>| {
            file.extend_from_slice(format!("{n}\n").as_bytes());
        });
        let visible = || {
            let entries = fs::read_dir(&path).into_iter().flatten().map(|entry| entry.unwrap());
            let files = entries.map(|entry| entry.path());
            let committed =
                files.filter(|file| file.extension().is_none_or(|ending| ending != "pending"));
            committed
                .map(|file| (file.clone(), fs::read_to_string(file).unwrap()))
                .collect::<BTreeMap<_, _>>()
        };
        let seen = check_transactional_sink(factory, &[1, 2, 3, 4], visible);
        let text: String = seen.expect("no callback fails").into_values().collect();
        assert_eq!(text, "1\n2\n3\n4\n");
    }
}
