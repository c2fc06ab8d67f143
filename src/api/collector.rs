//! [`Collector`]: what a component emits into, and how it defers, sets timers and uses channels.
//!
//! Emitting is a push into a vector. Everything else an event needs (its root, its deliveries) is
//! settled by the stage's loop, and only where events are tracked.

use std::any::{Any, type_name};
use std::sync::Arc;
use std::time::Duration;

use crate::api::event::Event;
use crate::api::token::{Answers, Deferred, Token};
use crate::error::{BoxError, Cause, Failure};
use crate::id::{InstanceName, Root};
use crate::metrics::Counters;
use crate::time::EventTime;

/// A named output beside the main one, with events of its own type.
///
/// ```
/// use streamwork::{BoxError, Channel, Collector, Guarantee, Job, Operator};
///
/// const REJECTED: Channel<String> = Channel::new("rejected");
///
/// struct Parse;
/// impl Operator for Parse {
///     type In = String;
///     type Out = i64;
///     fn apply(&mut self, text: String, out: &mut Collector<i64>) -> Result<(), BoxError> {
///         match text.parse() {
///             Ok(number) => out.emit(number),
///             Err(_) => out.emit_to(REJECTED, text),
///         }
///         Ok(())
///     }
/// }
///
/// let job = Job::new("parse");
/// let numbers = job.from_iter("texts", || ["1", "x"].map(String::from)).operator("parse", || Parse);
/// numbers.channel(REJECTED).for_each(|text| println!("not a number: {text}"));
/// numbers.for_each(|n| println!("{n}"));
/// job.run(Guarantee::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Channel<T> {
    pub(crate) name: &'static str,
    event: std::marker::PhantomData<fn(T)>,
}

impl<T> Channel<T> {
    /// A channel of this name. Operators and the streams that read them use the same constant.
    pub const fn new(name: &'static str) -> Self {
        Self { name, event: std::marker::PhantomData }
    }
}

impl<T> Clone for Channel<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Channel<T> {}

impl<T> std::fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Channel({:?})", self.name)
    }
}

/// What a component emits into.
pub struct Collector<T> {
    pub(crate) events: Vec<T>,
    /// One per event where events are tracked, else empty.
    pub(crate) roots: Vec<Root>,
    pub(crate) sides: Vec<Box<dyn SideOutput>>,
    pub(crate) timers: Vec<(Duration, u64)>,
    pub(crate) watermark: Option<EventTime>,
    pub(crate) idle: bool,
    /// Records of a source that are no events.
    pub(crate) rejected: Vec<Rejected<T>>,
    pub(crate) desk: Desk,
    pub(crate) copies: u32,
    pub(crate) room: usize,
    current: Current,
    /// The roots of the events at hand, where events are tracked: of those that are closed, and of those
    /// after them.
    inputs: Vec<Root>,
    /// Events that were deferred, since this was last asked.
    deferred: usize,
    /// Events that the outputs of the event at hand stand for.
    stood_for: Vec<Arc<Deferred>>,
    /// The next event is alone, and fails in the end: its account stays open.
    keeps_open: bool,
    /// Whether a tracked event that is not settled emitted none or several. Most operators emit one.
    uneven: bool,
    /// Then: where the outputs of each event end, of those that are closed and not settled.
    ends: Vec<usize>,
    /// Outputs that stand for other events: where they are, and under which root.
    anchors: Vec<(usize, Root)>,
    /// Events among the closed ones that did something out of the ordinary.
    extraordinary: Vec<Extraordinary>,
}

/// A record of a source that is no event.
pub(crate) enum Rejected<T> {
    /// It fails, and this event stands for it in a dead letter.
    Event(T, Cause),
    /// It fails, and no event can stand for it.
    Record(Cause),
    /// It is dropped under every guarantee.
    Skipped(Cause),
}

/// Where answers go, and in whose name.
pub(crate) struct Desk {
    pub(crate) answers: Arc<dyn Answers>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) instance: InstanceName,
    /// Whether events carry roots.
    pub(crate) tracked: bool,
}

/// What an event did beside emitting on the main output.
struct Extraordinary {
    /// Its place among the closed ones.
    event: usize,
    anchored: usize,
    side_deliveries: i64,
}

/// The event at hand. Written for every event, so most of it is written only when an event does
/// something out of the ordinary: a channel, a timer, a token.
struct Current {
    first_output: usize,
    extraordinary: bool,
    ordinal: u64,
    first_timer: usize,
    anchored: usize,
    side_deliveries: i64,
    deferred: Option<Arc<Deferred>>,
}

impl<T> Collector<T> {
    pub(crate) fn new(desk: Desk, copies: u32, sides: Vec<Box<dyn SideOutput>>) -> Self {
        Self {
            events: Vec::new(),
            roots: Vec::new(),
            sides,
            timers: Vec::new(),
            watermark: None,
            idle: false,
            rejected: Vec::new(),
            desk,
            copies,
            room: 0,
            current: Current {
                first_output: 0,
                extraordinary: false,
                ordinal: 0,
                first_timer: 0,
                anchored: 0,
                side_deliveries: 0,
                deferred: None,
            },
            inputs: Vec::new(),
            deferred: 0,
            stood_for: Vec::new(),
            keeps_open: false,
            uneven: false,
            ends: Vec::new(),
            anchors: Vec::new(),
            extraordinary: Vec::new(),
        }
    }

    /// Emits an event on the main output. Never waits: what the next queue cannot take is kept, and
    /// the instance is given no more input until it could.
    #[inline]
    pub fn emit(&mut self, event: T) {
        self.events.push(event);
    }

    /// Emits all of these on the main output, as [`emit`](Collector::emit) does one by one. Where the
    /// iterator knows how many there are, the engine makes room for them once.
    ///
    /// ```
    /// use streamwork::{BoxError, Collector, Guarantee, Job, Next, Source};
    ///
    /// struct Countdown(std::iter::Rev<std::ops::Range<u32>>);
    ///
    /// impl Source for Countdown {
    ///     type Out = u32;
    ///     fn get_events(&mut self, out: &mut Collector<u32>) -> Result<Next, BoxError> {
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
    #[inline]
    pub fn emit_all(&mut self, events: impl IntoIterator<Item = T>) {
        self.events.extend(events);
    }

    /// For sources: a record that was read and is no event that the job can work on. It counts as an
    /// event that was emitted and has failed. What follows is the guarantee's to say: it is dropped, it is
    /// a dead letter at once, or the job ends, since the record would be read again as it is. `event`
    /// stands for the record in the dead letter; let the error say where the record lies and what is
    /// wrong with it.
    ///
    /// ```
    /// use streamwork::{BoxError, Collector, Guarantee, Job, Next, Source};
    ///
    /// struct Readings(std::vec::IntoIter<&'static str>);
    ///
    /// impl Source for Readings {
    ///     type Out = String;
    ///     fn get_events(&mut self, out: &mut Collector<String>) -> Result<Next, BoxError> {
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

    /// As [`reject`](Collector::reject), for a record for which no event can stand. There is no dead letter
    /// without an event, so where `reject` would write one this ends the job.
    pub fn fail_record(&mut self, error: impl Into<BoxError>) {
        self.rejected.push(Rejected::Record(Cause::error(error)));
    }

    /// For sources: a record that was read and is dropped under every guarantee. It counts as emitted
    /// and as dropped, and is told to the hook, if there is one.
    pub fn skip(&mut self, error: impl Into<BoxError>) {
        self.rejected.push(Rejected::Skipped(Cause::error(error)));
    }

    /// How many events have been emitted on the main output and not been handed on.
    pub(crate) fn emitted(&self) -> usize {
        self.events.len()
    }

    /// Emits an event on a channel. If the job does not read the channel, the event goes nowhere.
    ///
    /// # Panics
    /// If the job reads a channel of this name as one of another event type: nothing could be done with the
    /// event. The panic fails the event at hand as any other in `apply` does.
    pub fn emit_to<E: Event>(&mut self, channel: Channel<E>, event: E) {
        self.begin_extraordinary();
        let root = self.root();
        let Some(side) = self.sides.iter_mut().find(|side| side.name() == channel.name) else {
            return;
        };
        let ordinal = self.current.ordinal;
        let read_as = side.event_type();
        let Some(batch) = side.as_any().downcast_mut::<SideBatch<E>>() else {
            let (name, emitted) = (channel.name, type_name::<E>());
            panic!("channel \"{name}\" is read as one of {read_as}, and this is a {emitted}");
        };
        if batch.ordinal != ordinal {
            batch.ordinal = ordinal;
            batch.first_output = batch.events.len();
        }
        batch.events.push(event);
        if self.desk.tracked {
            batch.roots.push(root);
            self.current.side_deliveries += i64::from(batch.copies);
        }
    }

    /// How many more events are welcome before the call returns. A hint, for sources above all; emitting
    /// more is allowed and is kept.
    #[inline]
    pub fn room(&self) -> usize {
        self.room.saturating_sub(self.events.len())
    }

    /// Whether what was emitted must be handed on before more is taken in.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.events.len() >= self.room
    }

    /// Takes over the answer for the event at hand: returning `Ok(())` no longer suffices to
    /// acknowledge it. An event that is deferred several times is done when each of its tokens is.
    pub fn defer(&mut self) -> Token {
        self.begin_extraordinary();
        let (root, desk) = (self.root(), &self.desk);
        let deferred = self.current.deferred.get_or_insert_with(|| {
            let (answers, counters) = (Arc::clone(&desk.answers), Arc::clone(&desk.counters));
            Deferred::new(root, answers, counters, desk.instance.clone())
        });
        deferred.token()
    }

    /// Emits an event that stands for all those tokens: their events are done when it is done, and
    /// fail when it fails.
    pub fn emit_anchored(&mut self, event: T, tokens: impl IntoIterator<Item = Token>) {
        self.begin_extraordinary();
        let first = self.stood_for.len();
        self.stood_for.extend(tokens.into_iter().map(Token::anchor));
        let mut members: Vec<Root> =
            self.stood_for[first..].iter().map(|deferred| deferred.root).collect();
        members.retain(|root| !root.is_none());
        let root = match members[..] {
            _ if !self.desk.tracked => return self.emit(event),
            [] => return self.emit(event),
            [root] => {
                self.desk.answers.change(root, i64::from(self.copies) - 1);
                root
            }
            _ => self.desk.answers.group(members, self.copies),
        };
        self.anchors.push((self.events.len(), root));
        self.events.push(event);
        self.current.anchored += 1;
    }

    /// Calls `on_timer(tag)` on this instance after this much (processing) time. Several timers may
    /// have one tag; a timer cannot be taken back, so let `on_timer` ignore what no longer matters.
    /// Timers that are not due when the input ends do not fire any more: `finish` is called instead.
    pub fn set_timer(&mut self, after: Duration, tag: u64) {
        self.begin_extraordinary();
        self.timers.push((after, tag));
    }

    /// Promises that no event older than this follows from here. A watermark that is lower than one
    /// before it says nothing. For sources; operators pass the least of their inputs on by themselves.
    pub fn advance_watermark(&mut self, to: EventTime) {
        self.watermark = self.watermark.max(Some(to));
    }

    /// For sources: nothing follows for a while, so this stream shall hold nobody's watermark back. It
    /// holds them again, from where they stand by then, with the next event or watermark.
    pub fn idle(&mut self) {
        self.idle = true;
    }

    /// Opens the account of the next event.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.current.first_output = self.events.len();
    }

    /// These are the roots of the events that come next; of none where nobody counts.
    pub(crate) fn take_in(&mut self, roots: &[Root]) {
        self.inputs.clear();
        self.inputs.extend_from_slice(roots);
    }

    /// Tracked events that were closed before the one at hand, and are not settled.
    fn closed(&self) -> usize {
        match self.uneven {
            true => self.ends.len(),
            // One output each, and those that are settled have their roots.
            false => self.current.first_output.saturating_sub(self.roots.len()),
        }
    }

    /// The root of the event at hand.
    fn root(&self) -> Root {
        self.inputs.get(self.closed()).copied().unwrap_or(Root::NONE)
    }

    /// Opens the account of events that emit one output each, and none if they fail.
    pub(crate) fn begin_one_to_one(&mut self) {
        self.begin();
        self.current.first_output = usize::MAX;
    }

    /// The event at hand does something that most do not.
    fn begin_extraordinary(&mut self) {
        let current = &mut self.current;
        if !current.extraordinary {
            current.extraordinary = true;
            current.ordinal += 1;
            current.first_timer = self.timers.len();
            current.anchored = 0;
            current.side_deliveries = 0;
        }
    }

    /// Closes the account of an event that went well.
    #[inline]
    pub(crate) fn end(&mut self) {
        if self.current.extraordinary {
            self.end_extraordinary();
        }
    }

    /// Notes where the outputs of a tracked event end whose account is closed: nothing to note as long as
    /// each has one.
    #[inline]
    pub(crate) fn end_tracked(&mut self) {
        if self.uneven || self.events.len() != self.current.first_output + 1 {
            self.end_uneven();
        }
    }

    fn end_uneven(&mut self) {
        if self.keeps_open {
            return;
        }
        self.note_ends(self.current.first_output);
        self.ends.push(self.events.len());
    }

    /// Notes where the outputs of all events end whose outputs are before this one.
    fn note_ends(&mut self, end: usize) {
        if !std::mem::replace(&mut self.uneven, true) {
            self.ends.extend(self.roots.len() + 1..=end);
        }
    }

    fn forget_ends(&mut self) {
        self.uneven = false;
        self.ends.clear();
    }

    /// Keeps the account of the next event open, which is alone and fails in the end.
    pub(crate) fn keep_open(&mut self) {
        self.keeps_open = true;
    }

    /// Goes back to where that event was at hand, with its first output there.
    pub(crate) fn reopen(&mut self, first_output: usize) {
        self.keeps_open = false;
        self.current.first_output = first_output;
    }

    /// How many events were deferred since this was last asked.
    pub(crate) fn take_deferred(&mut self) -> usize {
        std::mem::take(&mut self.deferred)
    }

    #[cold]
    fn end_extraordinary(&mut self) {
        if self.keeps_open {
            return;
        }
        let Current { anchored, side_deliveries, .. } = self.current;
        self.current.extraordinary = false;
        self.stood_for.drain(..).for_each(|deferred| deferred.done());
        if let Some(deferred) = self.current.deferred.take() {
            self.deferred += 1;
            deferred.done();
        }
        if self.desk.tracked {
            let event = self.closed();
            self.extraordinary.push(Extraordinary { event, anchored, side_deliveries });
        }
    }

    /// Settles the accounts of tracked events that were closed: gives every output its root, and tells
    /// `change` by how much the deliveries outstanding under each of these roots have changed.
    pub(crate) fn settle(&mut self, mut change: impl FnMut(Root, i64)) {
        if !self.uneven && self.copies == 1 && self.extraordinary.is_empty() {
            let closed = self.events.len() - self.roots.len();
            self.roots.extend_from_slice(&self.inputs[..closed]);
        } else {
            self.note_ends(self.events.len());
            self.settle_each(&mut change);
        }
        self.forget_ends();
    }

    fn settle_each(&mut self, change: &mut impl FnMut(Root, i64)) {
        let mut extraordinary = self.extraordinary.drain(..).peekable();
        for (event, (root, end)) in self.inputs.iter().zip(&self.ends).enumerate() {
            let made = end - self.roots.len();
            let odd = extraordinary.next_if(|odd| odd.event == event);
            let (anchored, sides) = odd.map_or((0, 0), |odd| (odd.anchored, odd.side_deliveries));
            self.roots.resize(*end, *root);
            change(*root, (made - anchored) as i64 * i64::from(self.copies) + sides - 1);
        }
        drop(extraordinary);
        self.settle_anchors();
    }

    fn settle_anchors(&mut self) {
        self.anchors.drain(..).for_each(|(at, root)| self.roots[at] = root);
    }

    /// Closes the account of a call without an event, such as a timer: what it emitted has no root but
    /// where it said so.
    pub(crate) fn settle_rootless(&mut self) {
        self.current.extraordinary = false;
        self.stood_for.drain(..).for_each(|deferred| deferred.done());
        if let Some(deferred) = self.current.deferred.take() {
            deferred.void();
        }
        if self.desk.tracked {
            self.roots.resize(self.events.len(), Root::NONE);
            self.settle_anchors();
        }
    }

    /// Takes back what the event at hand emitted. Outputs that stood for other events fail those.
    pub(crate) fn take_back(&mut self, cause: &Cause) {
        let first = self.current.first_output;
        self.events.truncate(first);
        if !std::mem::take(&mut self.current.extraordinary) {
            return;
        }
        let own = self.current.deferred.take();
        if let Some(deferred) = &own {
            deferred.void();
        }
        let current = self.root();
        let others = self.anchors.iter().position(|(at, _)| *at >= first);
        for (_, root) in self.anchors.drain(others.unwrap_or(self.anchors.len())..) {
            if root != current && !root.is_none() {
                let instance = self.desk.instance.clone();
                let failure = Failure { instance, callback: "apply", cause: cause.clone() };
                self.desk.answers.fail(root, failure);
            }
        }
        for deferred in self.stood_for.drain(..) {
            match &own {
                Some(own) if Arc::ptr_eq(own, &deferred) => deferred.void(),
                _ => deferred.take_back(cause.clone()),
            }
        }
        for side in &mut self.sides {
            side.take_back(self.current.ordinal);
        }
        self.timers.truncate(self.current.first_timer);
    }
}

impl<T> std::fmt::Debug for Collector<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("emitted", &self.events.len()).finish_non_exhaustive()
    }
}

/// What has been emitted on one channel, its event type forgotten.
pub(crate) trait SideOutput {
    fn name(&self) -> &'static str;
    /// The name of its event type.
    fn event_type(&self) -> &'static str;
    fn as_any(&mut self) -> &mut dyn Any;
    /// Takes back what the event of this ordinal emitted.
    fn take_back(&mut self, ordinal: u64);
}

/// What has been emitted on one channel.
pub(crate) struct SideBatch<T> {
    pub(crate) name: &'static str,
    pub(crate) copies: u32,
    pub(crate) events: Vec<T>,
    pub(crate) roots: Vec<Root>,
    ordinal: u64,
    first_output: usize,
}

impl<T> SideBatch<T> {
    pub(crate) fn new(name: &'static str, copies: u32) -> Self {
        Self { name, copies, events: Vec::new(), roots: Vec::new(), ordinal: 0, first_output: 0 }
    }
}

impl<T: 'static> SideOutput for SideBatch<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn event_type(&self) -> &'static str {
        type_name::<T>()
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn take_back(&mut self, ordinal: u64) {
        if self.ordinal == ordinal {
            self.events.truncate(self.first_output);
            self.roots.truncate(self.first_output);
        }
    }
}
