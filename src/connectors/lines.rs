//! A source of the lines of text files. Each file is a split: its position is a byte offset, and checksums
//! that identify the file.

use std::path::PathBuf;
use std::time::Duration;

use super::bad_record::OnBadRecord;
use super::lost_position::OnLostPosition;
use crate::delivery::options::LONGEST_WAIT;
use crate::job::Job;
use crate::job::stream::Stream;

mod error;
mod file;
mod input;
mod instance;
mod position;
#[cfg(test)]
mod tests;
mod turn;

pub use error::LinesError;
use input::{Input, Matching};
use instance::LinesInstance;

/// The longest line by default.
const LINE_BYTES_MAX_DEFAULT: usize = 16 << 20;

/// Which text files a source reads, and how; given to [`Job::lines`].
///
/// It emits the lines without their ends (`\n` or `\r\n`), and ends when it has reached the end of each file.
/// A file may grow: a later run of the same job continues where this one ended. It works under every
/// guarantee, since its state is an offset in each file.
///
/// **Several files** ([`of_files`](LinesSource::of_files), [`in_directory`](LinesSource::in_directory)) are
/// distributed over the instances of the source, and the parallelism may change at the next start. The lines
/// of one file keep their order; between files there is no order. An instance has at most 64 files open, and
/// reads them in turn.
///
/// **A last line without an end** is an event like the others. If a later run finds that this line has been
/// continued, the event that was emitted was only a part of it: then the position is lost, see below.
///
/// **Another file.** Next to the offset the state holds checksums of what was read: of the first 64 KiB, and
/// of at least 64 KiB before the offset. So the source notices if a file was replaced, truncated, restored
/// from an older copy, or changed in these places; [`on_lost_position`](LinesSource::on_lost_position)
/// decides what follows. A copy of the file counts as the same file: at any path if there is only one file
/// ([`new`](LinesSource::new)), under the same name if there are several.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("lines");
/// # std::fs::write(&path, "one\ntwo\n")?;
/// use streamwork::{Guarantee, Job, LinesSource};
///
/// let job = Job::new("lines");
/// let source = LinesSource::new(&path).line_bytes_max(1 << 10);
/// job.lines("lines", source).for_each(|line| println!("{line}"));
/// let report = job.run(Guarantee::default())?;
/// assert_eq!(report.metrics.sum("lines", |m| m.emitted), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "give it to `Job::lines`"]
pub struct LinesSource {
    input: Input,
    line_bytes_max: usize,
    on_lost_position: OnLostPosition,
    on_bad_record: OnBadRecord,
    /// An option with a value that is refused, and why.
    unfit: Option<(&'static str, String)>,
}

impl LinesSource {
    /// The file at this path, which is opened at every start of the job. A relative path is resolved now,
    /// against the current working directory. One file has one order of lines, so a job with more than one
    /// instance of this source ends with [`LinesError::Parallelism`].
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::of(Input::file(path.into()))
    }

    /// These files. Each is identified by its path as it is given here: the same file under a differently
    /// written path counts as another file at the next start, and the position of a file that is no longer
    /// given is dropped. Relative paths are resolved now, against the current working directory. All files
    /// must exist. The job is refused if a path is not UTF-8, or is given twice.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let [monday, tuesday] = ["monday", "tuesday"].map(|name| directory.path().join(name));
    /// # std::fs::write(&monday, "one\ntwo\n")?;
    /// # std::fs::write(&tuesday, "three\n")?;
    /// use streamwork::{Guarantee, Job, LinesSource};
    ///
    /// let job = Job::new("days");
    /// let source = LinesSource::of_files([monday, tuesday]);
    /// job.lines("days", source).parallelism(2).for_each(|line| println!("{line}"));
    /// let report = job.run(Guarantee::default())?;
    /// assert_eq!(report.metrics.sum("days", |m| m.emitted), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of_files<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Self {
        match Input::files(paths.into_iter().map(Into::into)) {
            Ok(files) => Self::of(files),
            Err(reason) => {
                let unfit = Some(("of_files", reason));
                Self { unfit, ..Self::of(Input::Files(Default::default())) }
            }
        }
    }

    /// The files directly in this directory, and links to files. Files whose names begin with `.` or end in
    /// `.tmp` or `.part` are skipped, since they may still be written: write a file under such a name, and
    /// rename it when it is complete. Any other file whose name is not UTF-8 ends the job with
    /// [`LinesError::FileName`].
    ///
    /// The source reads the files that exist when the job starts, and ends; or see
    /// [`discover_every`](LinesSource::discover_every). A file is identified by its name: a renamed file is
    /// read again. If a file is removed its position is dropped, and its unread lines are not emitted.
    /// At-most-once with a store never drops a position, since it must not repeat events: there another file
    /// of that name is a lost position.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let directory = directory.path();
    /// # std::fs::write(directory.join("monday.csv"), "one\ntwo\n")?;
    /// # std::fs::write(directory.join("tuesday.csv"), "three\n")?;
    /// # std::fs::write(directory.join("README"), "All days.\n")?;
    /// use streamwork::{Guarantee, Job, LinesSource};
    ///
    /// let job = Job::new("days");
    /// let source = LinesSource::in_directory(directory).files_matching(|name| name.ends_with(".csv"));
    /// job.lines("days", source).parallelism(2).for_each(|line| println!("{line}"));
    /// let report = job.run(Guarantee::default())?;
    /// assert_eq!(report.metrics.sum("days", |m| m.emitted), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self::of(Input::directory(directory.into()))
    }

    fn of(input: Input) -> Self {
        Self {
            input,
            line_bytes_max: LINE_BYTES_MAX_DEFAULT,
            on_lost_position: OnLostPosition::default(),
            on_bad_record: OnBadRecord::default(),
            unfit: None,
        }
    }

    /// Reads only the files of the directory with these names. By default all. Without a directory the job is
    /// refused when it is started.
    pub fn files_matching(
        mut self,
        matches: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        match &mut self.input {
            Input::Directory(directory) => directory.matching = Some(Matching::new(matches)),
            Input::File(_) | Input::Files(_) => {
                self.refuse("files_matching", "files that are named are not chosen by their names");
            }
        }
        self
    }

    /// Follows the directory for ever, and lists it this often. A new file is read from its beginning, a file
    /// that has grown is read on, and the position of a removed file is dropped. By default the source lists
    /// the directory once, at the start. The job is refused if the interval is zero or more than a year, or
    /// if the source has no directory.
    ///
    /// A file that has been read is not kept open. If it is replaced by another file of its name, that is
    /// noticed, as it is between two runs. A last line without an end is emitted when its file has not
    /// changed from one listing to the next, since its writer may be about to write the rest.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let directory = directory.path();
    /// # std::fs::write(directory.join("monday"), "one\ntwo\n")?;
    /// use std::time::Duration;
    /// use streamwork::testkit::Collected;
    /// use streamwork::{Guarantee, Job, LinesSource};
    ///
    /// let (job, seen) = (Job::new("days"), Collected::new());
    /// let source = LinesSource::in_directory(directory).discover_every(Duration::from_millis(1));
    /// job.lines("days", source).sink("seen", seen.factory());
    /// let handle = job.start(Guarantee::default())?;
    /// std::fs::write(directory.join("tuesday.tmp"), "three\n")?;
    /// std::fs::rename(directory.join("tuesday.tmp"), directory.join("tuesday"))?;
    /// while seen.len() < 3 {
    ///     std::thread::yield_now();
    /// }
    /// handle.stop_within(Duration::from_secs(10))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn discover_every(mut self, interval: Duration) -> Self {
        match &mut self.input {
            Input::File(_) | Input::Files(_) => {
                self.refuse("discover_every", "files that are named are all that there are");
            }
            Input::Directory(_) if interval.is_zero() => {
                self.refuse("discover_every", "an interval of zero would look without a pause");
            }
            Input::Directory(_) if interval > LONGEST_WAIT => {
                self.refuse("discover_every", "at most a year: new files would not be seen");
            }
            Input::Directory(directory) => directory.discover_every = Some(interval),
        }
        self
    }

    fn refuse(&mut self, option: &'static str, reason: &str) {
        self.unfit.get_or_insert_with(|| (option, reason.to_owned()));
    }

    /// A line that is longer than this, including its end, is a bad record; at least one byte. Default 16
    /// MiB. No more than this of a line is held in memory.
    pub fn line_bytes_max(mut self, bytes: usize) -> Self {
        self.line_bytes_max = bytes.max(1);
        self
    }

    /// What to do with a line that is not UTF-8 or too long. Default [`OnBadRecord::Fail`].
    pub fn on_bad_record(mut self, policy: OnBadRecord) -> Self {
        self.on_bad_record = policy;
        self
    }

    /// What to do if a file is not the one that was read before. Default [`OnLostPosition::Fail`].
    pub fn on_lost_position(mut self, policy: OnLostPosition) -> Self {
        self.on_lost_position = policy;
        self
    }
}

impl Job {
    /// Adds a source that emits the lines of a file, without their ends, and ends at the end of the file:
    /// [`lines`](Job::lines) with the defaults of [`LinesSource`].
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// # let path = std::env::temp_dir().join(format!("streamwork-lines-{}", std::process::id()));
    /// # std::fs::write(&path, "one\ntwo\n")?;
    /// let job = Job::new("lines");
    /// job.from_lines("lines", &path).for_each(|line| println!("{line}"));
    /// let report = job.run(Guarantee::default())?;
    /// assert_eq!(report.metrics.sum("lines", |m| m.emitted), 2);
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_lines(&self, name: impl Into<String>, path: impl Into<PathBuf>) -> Stream<String> {
        self.lines(name, LinesSource::new(path))
    }

    /// Adds a source that emits the lines of files; see [`LinesSource`].
    pub fn lines(&self, name: impl Into<String>, source: LinesSource) -> Stream<String> {
        if let Some((option, reason)) = &source.unfit {
            self.graph.lock().refuse(option, reason.clone());
        }
        self.split_source(name, move || LinesInstance::new(source.clone()))
    }
}
