//! A source of the lines of a text file; its state is a byte offset, and what tells the file from others.

use std::path::PathBuf;

use super::bad_record::OnBadRecord;
use super::lost_position::OnLostPosition;
use crate::job::Job;
use crate::job::stream::Stream;

mod error;
mod instance;
mod position;

pub use error::LinesError;
use instance::LinesInstance;

/// The longest line by default.
const LINE_BYTES_MAX_DEFAULT: usize = 16 << 20;

/// Which text file a source reads, and how; given to [`Job::lines`].
///
/// It emits the lines without their ends (`\n` or `\r\n`), and ends where the file ended when it came there. The file may
/// grow: a later run of the same job goes on where this one ended. It serves every guarantee, since its state is an offset.
///
/// **A last line without an end** is an event like the others. If a later run finds that the file goes on within that line,
/// the event that was emitted was only a part of it: the position is lost then, see below.
///
/// **Another file.** Beside the offset the state holds checksums of what had been read: of the first 64 KiB, and of at least
/// 64 KiB before the offset. So a file that was replaced, truncated, put back from an older copy, or changed in these places is
/// noticed, and treated as [`on_lost_position`](LinesSource::on_lost_position) says. A copy of the file, also at another path,
/// is as good as the file.
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
    path: PathBuf,
    line_bytes_max: usize,
    on_lost_position: OnLostPosition,
    on_bad_record: OnBadRecord,
}

impl LinesSource {
    /// The file of this path, which is opened at every start of the job. A relative path counts from the working directory
    /// of this moment.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            // Without a working directory a relative path leads nowhere, and `setup` says so.
            path: std::path::absolute(&path).unwrap_or(path),
            line_bytes_max: LINE_BYTES_MAX_DEFAULT,
            on_lost_position: OnLostPosition::default(),
            on_bad_record: OnBadRecord::default(),
        }
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

    /// What to do when the file is not the one that had been read. Default [`OnLostPosition::Fail`].
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

    /// Adds a source that emits the lines of a file; see [`LinesSource`].
    pub fn lines(&self, name: impl Into<String>, source: LinesSource) -> Stream<String> {
        self.stateful_source(name, move || LinesInstance::new(source.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::check_source;

    #[test]
    fn lines_go_on_at_the_next_line_whatever_their_lengths_and_ends() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = "one\n\ntwo lines\r\nüñí\nno newline at the end";
        std::fs::write(file.path(), text).expect("text is written");
        let source = LinesSource::new(file.path());
        let read = check_source(|| LinesInstance::new(source.clone()), 1).expect("lines are read");
        assert_eq!(read, [["one", "", "two lines", "üñí", "no newline at the end"]]);
    }

    #[test]
    fn lines_of_more_bytes_than_are_looked_at_go_on_from_everywhere() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let line = |n: usize| format!("{n} {}", "x".repeat(n % 900));
        let lines: Vec<String> = (0..1_000).map(line).collect();
        std::fs::write(file.path(), lines.join("\n") + "\n").expect("text is written");
        let source = LinesSource::new(file.path());
        let read = check_source(|| LinesInstance::new(source.clone()), 1).expect("lines are read");
        assert_eq!(read, [lines]);
    }
}
