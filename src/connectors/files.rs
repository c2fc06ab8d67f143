//! [`TransactionalFiles`]: a sink into a directory of files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::sink::TransactionalSink;
use crate::error::BoxError;
use crate::id::{CheckpointId, ExecutionId};

/// Writes events into files, one per transaction and instance: `part-0003-0000000017` for the 17th
/// of instance 3. A file has its name only when its transaction is committed; until then the name
/// ends in `.pending`, behind the execution that wrote it (`part-0003-0000000017.x2.pending`), so
/// that one which was replaced does not write into the files of its successor. Readers ignore those.
///
/// A directory belongs to one job and one directory of checkpoints. If the newest checkpoint is
/// damaged, files that were committed after the one before are taken back: renamed so that they end
/// in `.taken-back.pending`, since their events come again.
///
/// ```
/// use streamwork::{Guarantee, Job, TransactionalFiles};
///
/// # let directory = std::env::temp_dir().join(format!("streamwork-files-{}", std::process::id()));
/// let out = directory.join("out");
/// let files = TransactionalFiles::factory(&out, |n: &u64, file: &mut Vec<u8>| {
///     file.extend_from_slice(format!("{n}\n").as_bytes());
/// });
/// let job = Job::new("numbers");
/// job.from_iter("numbers", || 0..3_u64).transactional_sink("files", files);
/// job.run(Guarantee::default())?;
///
/// let written = std::fs::read_to_string(out.join("part-0000-0000000001"))?;
/// assert_eq!(written, "0\n1\n2\n");
/// # std::fs::remove_dir_all(directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TransactionalFiles<T> {
    directory: PathBuf,
    encode: Encode<T>,
    instance: usize,
    execution: ExecutionId,
    next: u64,
    open: Vec<u8>,
}

type Encode<T> = Arc<dyn Fn(&T, &mut Vec<u8>) + Send + Sync>;

impl<T: Event> TransactionalFiles<T> {
    /// A factory of such sinks, for [`Stream::transactional_sink`](crate::Stream::transactional_sink).
    /// The directory is created if it is not there; `encode` appends an event's bytes.
    pub fn factory(
        directory: impl Into<PathBuf>,
        encode: impl Fn(&T, &mut Vec<u8>) + Send + Sync + 'static,
    ) -> impl Fn() -> Self + Send + Sync + 'static {
        let (directory, encode): (PathBuf, Encode<T>) = (directory.into(), Arc::new(encode));
        move || Self {
            directory: directory.clone(),
            encode: Arc::clone(&encode),
            instance: 0,
            execution: ExecutionId(0),
            next: 1,
            open: Vec::new(),
        }
    }

    fn prefix(&self) -> String {
        format!("part-{:04}-", self.instance)
    }

    fn pending(&self, number: u64, execution: ExecutionId) -> PathBuf {
        self.directory.join(format!("{}{number:010}.x{execution}.pending", self.prefix()))
    }

    fn committed(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{}{number:010}", self.prefix()))
    }

    /// This instance's files: their numbers, and where those that are pending lie.
    fn files(&self) -> Result<Vec<(u64, Option<PathBuf>)>, BoxError> {
        let mut files = Vec::new();
        for entry in named(&self.directory, fs::read_dir(&self.directory))? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            let Some(rest) = name.strip_prefix(&self.prefix()) else { continue };
            let pending = rest.strip_suffix(".pending");
            let digits = pending.map_or(rest, |rest| rest.split('.').next().unwrap_or(rest));
            if let Ok(number) = digits.parse() {
                files.push((number, pending.map(|_| self.directory.join(&*name))));
            }
        }
        Ok(files)
    }

    fn sync_directory(&self) -> Result<(), BoxError> {
        let directory = named(&self.directory, File::open(&self.directory))?;
        named(&self.directory, directory.sync_all())
    }
}

impl<T: Event> TransactionalSink for TransactionalFiles<T> {
    type In = T;
    type Handle = (u64, ExecutionId);

    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        self.instance = instance.index();
        self.execution = instance.execution();
        named(&self.directory, fs::create_dir_all(&self.directory))?;
        let highest = self.files()?.into_iter().map(|(number, _)| number).max();
        self.next = highest.unwrap_or(0) + 1;
        Ok(())
    }

    fn write(&mut self, event: T) -> Result<(), BoxError> {
        (self.encode)(&event, &mut self.open);
        Ok(())
    }

    fn prepare(&mut self, _: CheckpointId) -> Result<Option<Self::Handle>, BoxError> {
        if self.open.is_empty() {
            return Ok(None);
        }
        let number = self.next;
        let path = self.pending(number, self.execution);
        let mut file = named(&path, File::create(&path))?;
        named(&path, file.write_all(&self.open).and_then(|()| file.sync_all()))?;
        self.sync_directory()?;
        self.next += 1;
        self.open.clear();
        Ok(Some((number, self.execution)))
    }

    fn commit(&mut self, (number, execution): Self::Handle) -> Result<(), BoxError> {
        let (from, to) = (self.pending(number, execution), self.committed(number));
        match fs::rename(&from, &to) {
            Ok(()) => self.sync_directory(),
            Err(error) if error.kind() == io::ErrorKind::NotFound && to.exists() => Ok(()),
            Err(error) => named(&from, Err(error)),
        }
    }

    fn newest(&self) -> Option<Self::Handle> {
        Some((self.next - 1, self.execution))
    }

    /// Later files get a name that readers ignore, and are kept for a person to look at.
    fn rewind(&mut self, (newest, _): Self::Handle) -> Result<(), BoxError> {
        let later = self
            .files()?
            .into_iter()
            .filter(|(number, pending)| *number > newest && pending.is_none());
        for (number, _) in later {
            let (from, execution) = (self.committed(number), self.execution);
            let aside = format!("{}{number:010}-x{execution}.taken-back.pending", self.prefix());
            named(&from, fs::rename(&from, self.directory.join(aside)))?;
        }
        self.sync_directory()
    }

    fn abort_unfinished(&mut self) -> Result<(), BoxError> {
        self.open.clear();
        for path in self.files()?.into_iter().filter_map(|(_, pending)| pending) {
            named(&path, fs::remove_file(&path))?;
        }
        Ok(())
    }
}

impl<T> std::fmt::Debug for TransactionalFiles<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransactionalFiles")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

fn named<R>(path: &Path, result: io::Result<R>) -> Result<R, BoxError> {
    result.map_err(|error| format!("{}: {error}", path.display()).into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::api::waker::Waker;
    use crate::id::InstanceName;
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

    /// A sink as an execution sets it up.
    fn sink(directory: &Path, execution: u64) -> TransactionalFiles<u64> {
        let encode = |n: &u64, file: &mut Vec<u8>| file.extend(format!("{n}\n").into_bytes());
        let mut sink = TransactionalFiles::factory(directory, encode)();
        let instance = Instance {
            name: InstanceName::new("files", 0),
            parallelism: 1,
            execution: ExecutionId(execution),
            waker: Waker::default(),
        };
        sink.setup(&instance).unwrap();
        sink
    }

    #[test]
    fn an_execution_that_was_replaced_does_not_touch_the_pending_files_of_its_successor() {
        let directory = tempfile::tempdir().unwrap();
        let (mut replaced, mut successor) = (sink(directory.path(), 1), sink(directory.path(), 2));
        successor.write(2).unwrap();
        let handle = successor.prepare(CheckpointId(1)).unwrap().unwrap();
        replaced.write(1).unwrap();
        let late = replaced.prepare(CheckpointId(1)).unwrap().unwrap();
        assert_ne!(late, handle);
        successor.commit(handle).unwrap();
        let shown = std::fs::read_to_string(directory.path().join("part-0000-0000000001")).unwrap();
        assert_eq!(shown, "2\n");
        sink(directory.path(), 3).abort_unfinished().unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
