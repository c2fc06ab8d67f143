//! [`OnBadRecord`]: what a source does with a record that it can read but that is no event.

/// What a source does with an undamaged record that is no event: a line that is not UTF-8 or too long, a
/// record of the event log that was written with another type. Reading it again would change nothing, so the
/// source continues after it if the guarantee allows that.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("lines");
/// # std::fs::write(&path, b"one\n\xff\xff\nthree\n")?;
/// use streamwork::{Guarantee, Job, LinesSource, OnBadRecord};
///
/// let job = Job::new("lines");
/// let source = LinesSource::new(&path).on_bad_record(OnBadRecord::Skip);
/// job.lines("lines", source).for_each(|line| println!("{line}"));
/// let metrics = job.run(Guarantee::default())?.metrics;
/// assert_eq!(metrics.sum("lines", |m| m.dropped), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnBadRecord {
    /// If the job reads [`Stream::bad_records`](crate::Stream::bad_records) it is an event of that stream,
    /// with its bytes and its position, under every guarantee. Otherwise it counts as an event that fails.
    /// Under at-most-once it is dropped, counted and passed to the hook. Under at-least-once with the
    /// acknowledger a line becomes a dead letter at once, with its readable part; a record of the event log,
    /// for which no event can stand, ends the job. Under checkpoints it ends the job. The error names the
    /// position of the record.
    #[default]
    Fail,
    /// It is dropped under every guarantee: counted as emitted and as dropped, passed to the hook, and logged
    /// as a warning with its position.
    Skip,
}
