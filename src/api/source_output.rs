//! [`SourceOutput`]: through it a source emits events, rejects records and advances event time.

use std::fmt;

use crate::api::bad_record::RawRecord;
use crate::error::{BoxError, Cause};
use crate::time::EventTime;

/// Bytes that a source may emit in one call, as far as their number is known.
pub(crate) const BYTES_MAX: usize = 1 << 20;

/// What a source emits into.
///
/// ```
/// use streamwork::{BoxError, Guarantee, Job, Next, Source, SourceOutput};
///
/// struct Countdown(std::iter::Rev<std::ops::Range<u32>>);
///
/// impl Source for Countdown {
///     type Out = u32;
///     fn get_events(&mut self, out: &mut SourceOutput<u32>) -> Result<Next, BoxError> {
///         out.emit_all(self.0.by_ref().take(out.room()));
///         Ok(if self.0.len() == 0 { Next::End } else { Next::Now })
///     }
/// }
///
/// let job = Job::new("countdown");
/// job.source("countdown", || Countdown((0..3).rev())).for_each(|n| println!("{n}"));
/// job.run(Guarantee::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SourceOutput<T> {
    pub(crate) events: Vec<T>,
    pub(crate) room: usize,
    /// Bytes on the heap of the events of this call, as the source has given them.
    pub(crate) bytes: usize,
    pub(crate) watermark: Option<EventTime>,
    pub(crate) idle: bool,
    /// Records that could not be turned into events.
    pub(crate) rejected: Vec<Rejected<T>>,
}

/// A record that a source could not turn into an event.
pub(crate) enum Rejected<T> {
    /// It fails, and this event stands for it in a dead letter.
    Event(T, Cause),
    /// It fails, and no event can stand for it.
    Record(Cause),
    /// It is a bad record if the job reads these. Otherwise it fails, and the event stands for it, if there
    /// is one.
    Raw(RawRecord, Option<T>, Cause),
    /// It is dropped under every guarantee.
    Skipped(Cause),
}

impl<T> SourceOutput<T> {
    pub(crate) fn new() -> Self {
        Self {
            events: Vec::new(),
            room: 0,
            bytes: 0,
            watermark: None,
            idle: false,
            rejected: Vec::new(),
        }
    }

    /// Begins a call that may emit this many events, and has emitted no bytes yet.
    pub(crate) fn ask(&mut self, room: usize) {
        (self.room, self.bytes) = (room, 0);
    }

    /// Discards everything that was emitted and reported since the output was last read.
    pub(crate) fn discard(&mut self) {
        self.events.clear();
        self.rejected.clear();
        (self.watermark, self.idle) = (None, false);
    }

    /// Emits an event. Never waits: events that do not fit into the next queue are kept, and the source is
    /// not called again until they were sent.
    #[inline]
    pub fn emit(&mut self, event: T) {
        self.events.push(event);
    }

    /// Emits all of these, as [`emit`](SourceOutput::emit) does one by one. If the iterator knows its
    /// length, the engine allocates once.
    #[inline]
    pub fn emit_all(&mut self, events: impl IntoIterator<Item = T>) {
        self.events.extend(events);
    }

    /// Emits an event that owns this many bytes on the heap, as the source knows from reading it. After a
    /// mebibyte of them in one call there is no more [`room`](SourceOutput::room).
    #[inline]
    pub fn emit_weighing(&mut self, event: T, heap_bytes: usize) {
        self.weigh(heap_bytes);
        self.events.push(event);
    }

    /// Adds this many bytes on the heap for events that were or will be emitted in this call.
    #[inline]
    pub(crate) fn weigh(&mut self, heap_bytes: usize) {
        self.bytes = self.bytes.saturating_add(heap_bytes);
        if self.bytes >= BYTES_MAX {
            self.room = 0;
        }
    }

    /// How many more events the source should emit before the call returns. It may emit more; they are kept.
    #[inline]
    pub fn room(&self) -> usize {
        self.room.saturating_sub(self.events.len())
    }

    /// Rejects a record that was read but is no event that the job can process. It counts as an event that
    /// was emitted and has failed. The guarantee decides what follows: the record is dropped, it becomes a
    /// dead letter at once, or the job ends, since the same record would be read again. `event` stands for
    /// the record in the dead letter. The error should name the position of the record and the reason.
    ///
    /// ```
    /// use streamwork::{BoxError, Guarantee, Job, Next, Source, SourceOutput};
    ///
    /// struct Readings(std::vec::IntoIter<&'static str>);
    ///
    /// impl Source for Readings {
    ///     type Out = String;
    ///     fn get_events(&mut self, out: &mut SourceOutput<String>) -> Result<Next, BoxError> {
    ///         for text in self.0.by_ref().take(out.room()) {
    ///             match text.parse::<f64>() {
    ///                 Ok(_) => out.emit(text.to_owned()),
    ///                 Err(error) => out.reject(text.to_owned(), format!("{text:?}: {error}")),
    ///             }
    ///         }
    ///         Ok(if self.0.len() == 0 { Next::End } else { Next::Now })
    ///     }
    /// }
    ///
    /// let job = Job::new("readings");
    /// job.source("readings", || Readings(vec!["20.5", "warm", "21"].into_iter())).for_each(|_| ());
    /// let metrics = job.run(Guarantee::default())?.metrics;
    /// assert_eq!(metrics.sum("for_each", |m| m.delivered), 2);
    /// assert_eq!(metrics.sum("readings", |m| m.dead_lettered), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reject(&mut self, event: T, error: impl Into<BoxError>) {
        self.rejected.push(Rejected::Event(event, Cause::error(error)));
    }

    /// As [`reject`](SourceOutput::reject), with the bytes and the position of the record. If the job reads
    /// the bad records of the source ([`Stream::bad_records`](crate::Stream::bad_records)) the record becomes
    /// an event of that stream, under every guarantee, and has not failed. Otherwise it fails as by `reject`
    /// if there is an `event` to stand for it, and as by [`fail_record`](SourceOutput::fail_record) if there
    /// is none.
    ///
    /// ```
    /// use streamwork::{BoxError, Guarantee, Instance, Job, Next, RawRecord, SourceOutput, StatefulSource};
    ///
    /// const FRAMES: [&[u8]; 3] = [b"20.5", b"\xff", b"21"];
    ///
    /// struct Frames(u64);
    ///
    /// impl StatefulSource for Frames {
    ///     type Out = String;
    ///     type State = u64;
    ///     fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
    ///         self.0 = state.unwrap_or(0);
    ///         Ok(())
    ///     }
    ///     fn get_events(&mut self, out: &mut SourceOutput<String>) -> Result<Next, BoxError> {
    ///         while let Some(bytes) = FRAMES.get(self.0 as usize) {
    ///             match String::from_utf8(bytes.to_vec()) {
    ///                 Ok(text) => out.emit(text),
    ///                 Err(error) => {
    ///                     let record = RawRecord { split: "frames".into(), offset: self.0, bytes: bytes.to_vec() };
    ///                     out.reject_record(record, None, error);
    ///                 }
    ///             }
    ///             self.0 += 1;
    ///         }
    ///         Ok(Next::End)
    ///     }
    ///     fn state(&self) -> u64 {
    ///         self.0
    ///     }
    /// }
    ///
    /// let job = Job::new("frames");
    /// let frames = job.stateful_source("frames", || Frames(0));
    /// frames.for_each(|text| println!("{text}"));
    /// frames.bad_records().for_each(|bad| println!("{:?}: {}", bad.record.bytes, bad.failure)).named("bad");
    /// let metrics = job.run(Guarantee::default())?.metrics;
    /// assert_eq!(metrics.sum("bad", |m| m.delivered), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reject_record(
        &mut self,
        record: RawRecord,
        event: Option<T>,
        error: impl Into<BoxError>,
    ) {
        self.rejected.push(Rejected::Raw(record, event, Cause::error(error)));
    }

    /// As [`reject`](SourceOutput::reject), for a record for which no event can stand. There is no dead
    /// letter without an event, so where `reject` would make one this ends the job.
    pub fn fail_record(&mut self, error: impl Into<BoxError>) {
        self.rejected.push(Rejected::Record(Cause::error(error)));
    }

    /// Drops a record that was read, under every guarantee. It counts as emitted and as dropped, and is
    /// passed to the hook, if there is one.
    pub fn skip(&mut self, error: impl Into<BoxError>) {
        self.rejected.push(Rejected::Skipped(Cause::error(error)));
    }

    /// Promises that this source emits no event older than this from now on. A watermark lower than an
    /// earlier one has no effect. Operators pass the lowest watermark of their inputs on by themselves.
    ///
    /// The last watermark is saved with the position of a [`StatefulSource`](crate::StatefulSource) or a
    /// [`SplitSource`](crate::SplitSource), and is reported again before the first event after a restart.
    /// An instance that takes over splits of several instances continues from the lowest of their
    /// watermarks. Under at-least-once with the acknowledger it is not saved: replayed events may be older.
    pub fn advance_watermark(&mut self, to: EventTime) {
        self.watermark = self.watermark.max(Some(to));
    }

    /// Declares that no event follows for a while, so that this stream does not hold the watermark of its
    /// readers back. The next event or watermark ends that; the watermark of the readers does not fall.
    pub fn idle(&mut self) {
        self.idle = true;
    }
}

impl<T> fmt::Debug for SourceOutput<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceOutput")
            .field("emitted", &self.events.len())
            .field("watermark", &self.watermark)
            .finish_non_exhaustive()
    }
}
