//! A source of the lines of text files. Each file is a split: its position is a byte offset, and what tells the file from
//! others.

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
/// It emits the lines without their ends (`\n` or `\r\n`), and ends where the files ended when it came there. A file may
/// grow: a later run of the same job goes on where this one ended. It serves every guarantee, since its state is an offset in
/// each file.
///
/// **Several files** ([`of_files`](LinesSource::of_files), [`in_directory`](LinesSource::in_directory)) are dealt out to the
/// instances of the source, and the parallelism may be another one at the next start. The lines of one file keep their order;
/// between files there is none. An instance has 64 files open at most, and reads them in turn.
///
/// **A last line without an end** is an event like the others. If a later run finds that the file goes on within that line,
/// the event that was emitted was only a part of it: the position is lost then, see below.
///
/// **Another file.** Beside the offset the state holds checksums of what had been read: of the first 64 KiB, and of at least
/// 64 KiB before the offset. So a file that was replaced, truncated, put back from an older copy, or changed in these places is
/// noticed, and treated as [`on_lost_position`](LinesSource::on_lost_position) says. A copy of the file is as good as the file;
/// also at another path where there is only one ([`new`](LinesSource::new)), and under the same name where there are several.
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
    /// An option that cannot be, and why: the job is refused for it.
    unfit: Option<(&'static str, String)>,
}

impl LinesSource {
    /// The file of this path, which is opened at every start of the job. A relative path counts from the working directory
    /// of this moment. One file has one order of lines, so a job with more than one instance of this source ends with
    /// [`LinesError::Parallelism`].
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::of(Input::file(path.into()))
    }

    /// These files. Each is known by its path as it is given here: one that is given in another way at the next start is
    /// another file, and one that is no longer given is forgotten. Relative paths count from the working directory of this
    /// moment. All of them must be there. A path that is not UTF-8, and one that is given twice, are refused when the job is
    /// started.
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

    /// The files directly in this directory, and links to files. Left out are those whose names begin with `.` or end in
    /// `.tmp` or `.part`, which are taken to be still written: write a file under such a name, and rename it when it is whole.
    /// A file whose name is not UTF-8 and that is not left out ends the job with [`LinesError::FileName`].
    ///
    /// The source reads what is there when the job starts, and ends; or see [`discover_every`](LinesSource::discover_every).
    /// A file is known by its name: one that is renamed is read again, and one that is gone is forgotten, with what has not
    /// been read of it. At-most-once with a store never forgets a position, since it may repeat nothing: another
    /// file of that name is a lost position there.
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

    /// Only the files of the directory with these names. By default all. Without a directory the job is refused when it is
    /// started.
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

    /// Follows the directory for ever, and looks this often what has become of it. A file that has appeared is read from its
    /// beginning, one that has grown is read on, one that is gone is forgotten. By default the source looks once, at the
    /// start. More than zero and at most a year, and of a directory, or the job is refused when it is started.
    ///
    /// A file that has been read is not kept open. One that is replaced by another of its name is noticed, as it is
    /// between two runs. A last line without an end is emitted when its file has stayed as it is from one look to the next,
    /// since its writer may be about to write the rest.
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

    /// A line that is longer than this, its end included, is a bad record; at least one byte. Default 16 MiB. No more of such a
    /// line is held in memory.
    pub fn line_bytes_max(mut self, bytes: usize) -> Self {
        self.line_bytes_max = bytes.max(1);
        self
    }

    /// What to do with a line that is not UTF-8 or too long. Default [`OnBadRecord::Fail`].
    pub fn on_bad_record(mut self, policy: OnBadRecord) -> Self {
        self.on_bad_record = policy;
        self
    }

    /// What to do when a file is not the one that had been read. Default [`OnLostPosition::Fail`].
    pub fn on_lost_position(mut self, policy: OnLostPosition) -> Self {
        self.on_lost_position = policy;
        self
    }
}

impl Job {
    /// Adds a source that emits the lines of a file, without their ends, and ends with it:
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
