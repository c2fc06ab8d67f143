//! A source of the lines of a text file; its state is a byte offset.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use crate::api::collector::Collector;
use crate::api::instance::Instance;
use crate::api::source::{Next, StatefulSource};
use crate::error::BoxError;
use crate::job::Job;
use crate::job::stream::Stream;

struct LinesSource {
    path: PathBuf,
    file: Option<BufReader<File>>,
    offset: u64,
}

impl StatefulSource for LinesSource {
    type Out = String;
    type State = u64;

    fn setup(&mut self, instance: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        if instance.parallelism() > 1 {
            return Err("a file has one order of lines: give this source parallelism 1".into());
        }
        let opened = File::open(&self.path);
        let mut file = opened.map_err(|error| format!("{}: {error}", self.path.display()))?;
        self.offset = state.unwrap_or(0);
        file.seek(SeekFrom::Start(self.offset))?;
        self.file = Some(BufReader::with_capacity(1 << 18, file));
        Ok(())
    }

    fn get_events(&mut self, out: &mut Collector<String>) -> Result<Next, BoxError> {
        let file = self.file.as_mut().ok_or("the file is not open")?;
        for _ in 0..out.room() {
            let mut line = String::new();
            let bytes = file.read_line(&mut line);
            let bytes =
                bytes.map_err(|e| format!("{} at {}: {e}", self.path.display(), self.offset))?;
            if bytes == 0 {
                return Ok(Next::End);
            }
            self.offset += bytes as u64;
            line.truncate(line.trim_end_matches(['\r', '\n']).len());
            out.emit(line);
        }
        Ok(Next::Now)
    }

    fn state(&self) -> u64 {
        self.offset
    }

    fn event_bytes(line: &String) -> usize {
        size_of::<String>() + line.len()
    }
}

impl Job {
    /// Adds a source that emits the lines of a file, without their ends, and ends with it.
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
        let path = path.into();
        self.stateful_source(name, move || LinesSource {
            path: path.clone(),
            file: None,
            offset: 0,
        })
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
        let path = file.path().to_owned();
        let source = || LinesSource { path: path.clone(), file: None, offset: 0 };
        let read = check_source(source, 1).expect("lines are read");
        assert_eq!(read, [["one", "", "two lines", "üñí", "no newline at the end"]]);
    }
}
