//! [`OnBadRecord`]: what a source does with a record that it can read and that is no event.

/// What a source does with a record that is there, undamaged, and is no event: a line that is not UTF-8 or too
/// long, a record of the event log that was written with another type. Reading it again would change nothing,
/// so the source goes on behind it wherever the guarantee allows that.
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
    /// Where the job reads [`Stream::bad_records`](crate::Stream::bad_records) it is an event of that stream, with its
    /// bytes and its position, under every guarantee. Elsewhere it is an event that fails. Under at-most-once it is dropped, counted and told to the hook. Under
    /// at-least-once with the acknowledger a line is a dead letter at once, with what can be read of it; a
    /// record of the event log, for which no event can stand, ends the job. Under guarantees by checkpoints
    /// it ends the job. The error says where the record lies.
    #[default]
    Fail,
    /// It is dropped under every guarantee: counted as emitted and as dropped, told to the hook, and traced
    /// as a warning that says where it lies.
    Skip,
}
