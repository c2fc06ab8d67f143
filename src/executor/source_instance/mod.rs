//! [`SourceInstance`]: polls the user's source, lets the guarantee keep or persist what it emitted,
//! and pushes it into its stage.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::api::dead_letter::DeadLetter;
use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::sink::Sink;
use crate::api::source::Next;
use crate::api::source_output::{BYTES_MAX, Rejected, SourceOutput};
use crate::channel::frame::{BATCH, Batch, Control, End};
use crate::channel::push::{InstanceCall, Push};
use crate::checkpoint::coordinator::Cut;
use crate::checkpoint::{CheckpointStore, CodecId, EncodedState, PartName};
use crate::clock::{Timestamp, earlier};
use crate::delivery::source_side::{Admission, OpenTokens, SourceSide};
use crate::delivery::terms::Verdict;
use crate::error::{BoxError, Cause, Failure, Permanent};
use crate::executor::drop_hook::tell;
use crate::executor::injected::Injected;
use crate::executor::instance::{Base, Command, Progress, Step};
use crate::executor::load::Load;
use crate::executor::named_call::{laid_to, named};
use crate::executor::node::Consequences;
use crate::executor::source_component::SourceComponent;
use crate::id::CheckpointId;
use crate::metrics::Counters;
use crate::time::watermarks::OutputWatermark;

mod position;
mod rebuild;

/// The function that writes a dead letter.
pub(crate) type Letters<T> = Box<dyn FnMut(DeadLetter<T>) -> Result<(), BoxError>>;

/// Writes dead letters into a sink, and flushes it after each one.
pub(crate) fn letters_into<T: Event, S: Sink<In = DeadLetter<T>>>(mut sink: S) -> Letters<T> {
    Box::new(move |letter| {
        sink.write(letter)?;
        sink.flush()
    })
}

/// Everything that a source instance consists of, except its component.
pub(crate) struct SourceParts<T> {
    pub(crate) instance: Instance,
    pub(crate) counters: Arc<Counters>,
    pub(crate) output: SourceOutput<T>,
    pub(crate) stage: Box<dyn Push<T>>,
    pub(crate) side: Box<dyn SourceSide<T>>,
    pub(crate) letters: Option<Letters<T>>,
    pub(crate) store: Option<Arc<dyn CheckpointStore>>,
    pub(crate) cut: Cut,
    pub(crate) consequences: Consequences,
    pub(crate) injected: Injected,
    /// The codec of its state.
    pub(crate) codec: CodecId,
}

/// The maximum number of events that a source is asked for in one step.
const SOURCE_ROOM: usize = 16 * BATCH;

pub(crate) struct SourceInstance<C: SourceComponent> {
    base: Base,
    parts: SourceParts<C::Out>,
    factory: Box<dyn Fn() -> C>,
    component: Option<C>,
    /// The state before the running call, if it may be needed to rebuild the source.
    before: Option<C::State>,
    poll_at: Option<Timestamp>,
    /// A barrier that is to be sent when no event waits.
    barrier: Option<CheckpointId>,
    /// Events on their way into the stage.
    outgoing: Batch<C::Out>,
    /// An emptied buffer for the next poll.
    spare: Batch<C::Out>,
    since_flush: u32,
    /// The number of events to ask for in one call: at most a full batch, fewer if they would weigh too much
    /// together.
    room_in_bytes: usize,
    load: Load,
    unmarked: bool,
    /// The state in the running checkpoint, until that is complete. Only one checkpoint runs at a time.
    saved: Option<(CheckpointId, EncodedState)>,
    /// The positions of this instance's splits that are in the store.
    persisted: BTreeMap<PartName, EncodedState>,
    newest: CheckpointId,
    phase: Phase,
    drained: bool,
    /// The deadline of a stop.
    stop_by: Option<Timestamp>,
    /// The highest watermark of the source.
    watermark: OutputWatermark,
    /// Whether the source is idle, and whether the stage has been told.
    idle: bool,
    idle_is_told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Polling,
    /// The job stops; the source is polled for the events that it has accepted, until it returns `Next::End`.
    Emptying(End),
    /// Nothing new is emitted; outstanding events are waited for.
    Ending(End),
    /// The stage has the end of the stream, and may still hold it back.
    Passing,
    Ended,
}

impl<C: SourceComponent> SourceInstance<C> {
    /// Builds the source and sets it up.
    ///
    /// # Errors
    /// The failure of the factory or of `setup`.
    pub(crate) fn start(
        base: Base,
        parts: SourceParts<C::Out>,
        factory: Box<dyn Fn() -> C>,
        (state, watermark): (Option<C::State>, OutputWatermark),
    ) -> Result<Self, Failure> {
        let mut source = Self {
            base,
            parts,
            factory,
            component: None,
            before: state,
            poll_at: Some(Timestamp(0)),
            barrier: None,
            outgoing: Batch::default(),
            spare: Batch::default(),
            since_flush: 0,
            room_in_bytes: match std::mem::needs_drop::<C::Out>() {
                true => 1,
                false => Batch::<C::Out>::FULL,
            },
            load: Load::of_source(SOURCE_ROOM),
            unmarked: false,
            saved: None,
            persisted: BTreeMap::new(),
            newest: CheckpointId(0),
            phase: Phase::Polling,
            drained: false,
            stop_by: None,
            watermark,
            idle: false,
            idle_is_told: false,
        };
        source.build()?;
        if C::HAS_SPLITS {
            // `add` has just resolved where splits begin. This belongs to the first checkpoint, even if no
            // event was emitted by then.
            let position = source.position()?;
            if source.parts.cut == Cut::Operators {
                let written = source.write_position(&position);
                written.map_err(|cause| source.failure("position", cause))?;
            }
            source.parts.side.mark(position.bytes.into(), source.base.context.now);
        }
        Ok(source)
    }

    fn failure(&self, callback: &'static str, cause: Cause) -> Failure {
        Failure { instance: self.parts.instance.name.clone(), callback, cause }
    }

    fn handle(&mut self, command: Command) {
        let context = &mut self.base.context;
        match command {
            Command::Open => {
                self.base.open = true;
                // The watermark of the checkpoint goes before the first event.
                self.emit();
            }
            Command::Inject(checkpoint) if self.phase != Phase::Ended => {
                self.newest = self.newest.max(checkpoint);
                match self.parts.cut {
                    // Not at once: events that were polled and still wait belong before the barrier.
                    Cut::Barriers { .. } => self.barrier = Some(checkpoint),
                    Cut::Positions | Cut::Operators => self.save(checkpoint),
                }
            }
            Command::Snapshot(checkpoint) if self.phase != Phase::Ended => {
                self.newest = self.newest.max(checkpoint);
                let since = context.clock.now();
                self.parts.stage.call_instance(InstanceCall::Snapshot(checkpoint), context);
                self.base.report_saved(checkpoint, since);
            }
            Command::Complete { checkpoint, last } => {
                self.parts.stage.call_instance(InstanceCall::Complete(checkpoint), context);
                self.base.over = last;
                self.checkpointed(checkpoint);
            }
            Command::Stop { end, by } => {
                self.stop_by = Some(by);
                if end == End::Suspended {
                    self.parts.stage.call_instance(InstanceCall::Suspend, &mut self.base.context);
                }
                self.asked_to_stop(end);
            }
            Command::Exit => self.base.over = true,
            // It has ended: its last parts stand for this checkpoint too.
            Command::Inject(_) | Command::Snapshot(_) => {}
        }
    }

    fn asked_to_stop(&mut self, end: End) {
        match self.phase {
            Phase::Polling => self.stop(end),
            Phase::Emptying(_) if end == End::Suspended => self.phase = Phase::Emptying(end),
            // The input is over, but some events are outstanding: a stop need not wait for them.
            Phase::Ending(_) if end == End::Suspended => self.phase = Phase::Ending(end),
            Phase::Emptying(_) | Phase::Ending(_) | Phase::Passing | Phase::Ended => {}
        }
    }

    /// Asks the source for as many events as the guarantee, the receivers and the stage have room for.
    fn poll(&mut self) -> Progress {
        let now = self.base.context.now;
        let mut room = self.parts.side.room().min(self.load.room()).min(self.parts.stage.room());
        let mut bytes = 0;
        let mut next = Next::Now;
        let mut persist = false;
        // One call, unless positions are written ahead: then several calls share one durable write.
        while next == Next::Now && room > self.outgoing.len() && bytes < BYTES_MAX {
            let most = (room - self.outgoing.len()).min(self.room_in_bytes);
            self.parts.output.ask(self.parts.injected.piece(most));
            match self.get_events() {
                Ok(asked) => {
                    next = asked;
                    self.take_watermark();
                }
                Err(failure) => {
                    self.source_failed(failure);
                    break;
                }
            }
            self.reject();
            let mut batch = self.collected(now);
            if batch.len() >= most {
                self.load.want();
            }
            bytes += self.weigh(&batch.events);
            match self.admit(&mut batch) {
                Admission::Emit => {
                    room = 0;
                    self.outgoing.append(&mut batch);
                }
                Admission::PersistFirst if batch.is_empty() => break,
                Admission::PersistFirst => {
                    persist = true;
                    self.outgoing.append(&mut batch);
                }
            }
        }
        // Before `emit`: under at-most-once a position is durable before the events that it covers are seen.
        self.note_position(persist);
        if self.base.context.slice.is_doubtful() {
            // The time that a source takes to read says nothing about its receivers, so it must not reduce
            // the number of events in flight.
            let context = &mut self.base.context;
            context.slice.look(context.clock.now(), context.slice.paused());
        }
        self.poll_at = match next {
            // It has failed in this call, and is rebuilt when its pause is over.
            Next::Now | Next::After(_) | Next::WhenWoken if self.component.is_none() => {
                self.poll_at
            }
            Next::Now => Some(now),
            Next::After(pause) => Some(now.after(pause)),
            Next::WhenWoken => None,
            Next::End => {
                self.phase = Phase::Ending(match self.phase {
                    Phase::Emptying(end) => end,
                    _ => End::Finished,
                });
                Some(now)
            }
        };
        self.idle = std::mem::take(&mut self.parts.output.idle);
        self.emit();
        Progress::Moved
    }

    /// Takes over the watermark that the source has reported, when the events before it are to be emitted.
    pub(super) fn take_watermark(&mut self) {
        if let Some(watermark) = self.parts.output.watermark.take() {
            self.watermark.rise(watermark);
        }
    }

    fn get_events(&mut self) -> Result<Next, Failure> {
        let Some(component) = &mut self.component else { return Ok(Next::Now) };
        let (output, now) = (&mut self.parts.output, self.base.context.now);
        // If a failure rolls the job back, the state comes from the checkpoint.
        let keep = C::REWINDABLE && self.parts.consequences.verdict != Verdict::RollBack;
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let name = &self.parts.instance.name;
            let poll = || component.get_events(output, now);
            let next = self.parts.injected.call(name, "get_events", poll)?;
            let state = keep.then(|| named(C::STATE, || Ok(component.state()))).transpose()?;
            Ok::<_, BoxError>((next, state))
        }));
        match polled {
            Ok(Ok((next, state))) => {
                self.before = state;
                // Only events show that it works again: otherwise a source that always fails at the same
                // record would be rebuilt for ever.
                if !self.parts.output.events.is_empty() {
                    self.parts.consequences.rebuild.recovered();
                }
                Ok(next)
            }
            Ok(Err(error)) => {
                let (callback, cause) = laid_to("get_events", error);
                Err(self.failure(callback, cause))
            }
            Err(payload) => Err(self.failure("get_events", Cause::panic(payload))),
        }
    }

    /// Gives the events to the guarantee, which may keep copies. A panic in the user's code that it calls
    /// (`Clone` of the events, `event_bytes`) fails the execution: the counts may be incomplete then.
    pub(super) fn admit(&mut self, batch: &mut Batch<C::Out>) -> Admission {
        let (copies, now) = (self.parts.stage.copies(), self.base.context.now);
        let admitted = catch_unwind(AssertUnwindSafe(|| self.parts.side.admit(batch, copies, now)));
        admitted.unwrap_or_else(|payload| {
            let failure = self.failure("clone or event_bytes", Cause::panic(payload));
            self.base.context.fail(failure);
            Admission::Emit
        })
    }

    /// The weight of these events, from which the size of the next call follows. Events that own no memory
    /// weigh too little to be weighed.
    fn weigh(&mut self, events: &[C::Out]) -> usize {
        let said = self.parts.output.bytes;
        if !std::mem::needs_drop::<C::Out>() || events.is_empty() {
            return said;
        }
        let weighed = catch_unwind(AssertUnwindSafe(|| C::bytes_of(events)));
        let bytes = said.max(weighed.unwrap_or_else(|payload| {
            let failure = self.failure("event_bytes", Cause::panic(payload));
            self.base.context.fail(failure);
            0
        }));
        let each = bytes / events.len();
        // At most twice as many: after one light event the next may be heavy.
        let most = self.room_in_bytes.saturating_mul(2).min(Batch::<C::Out>::FULL);
        self.room_in_bytes = (BYTES_MAX / each.max(1)).clamp(1, most);
        bytes
    }

    /// Takes the events that the source emitted in the last call.
    fn collected(&mut self, now: Timestamp) -> Batch<C::Out> {
        let mut batch = std::mem::take(&mut self.spare);
        std::mem::swap(&mut batch.events, &mut self.parts.output.events);
        batch.born = now;
        if !batch.is_empty() {
            self.unmarked = true;
            self.parts.counters.emitted.add(batch.len() as u64);
        }
        batch
    }

    /// Pushes outgoing events, a batch at a time, as long as the stage takes them.
    fn emit(&mut self) {
        let speaks = !self.outgoing.is_empty() || self.watermark.is_untold();
        // Before the events, so that readers wait for this stream's watermark again.
        if speaks && std::mem::take(&mut self.idle_is_told) {
            self.parts.stage.control(Control::Active, &mut self.base.context);
        }
        if !self.outgoing.is_empty() {
            self.load.begin_emitting(self.outgoing.len(), self.base.context.slice.looked());
        }
        while !self.outgoing.is_empty()
            && !self.parts.stage.blocked()
            && !self.base.context.slice.is_over()
            && self.base.context.fatal.is_none()
        {
            let mut batch = std::mem::take(&mut self.outgoing);
            if batch.len() > Batch::<C::Out>::FULL {
                self.outgoing = batch.split_off(Batch::<C::Out>::FULL);
            }
            self.parts.stage.push(&mut batch, &mut self.base.context);
            self.since_flush += 1;
            batch.clear();
            self.spare = batch;
        }
        // Behind all events of the call in which it was reported: events before the watermark may be older.
        if self.outgoing.is_empty()
            && let Some(watermark) = self.watermark.tell()
        {
            self.parts.stage.control(Control::Watermark(watermark), &mut self.base.context);
        }
        if self.idle && self.outgoing.is_empty() && !std::mem::replace(&mut self.idle_is_told, true)
        {
            self.parts.stage.control(Control::Idle, &mut self.base.context);
        }
        // Otherwise a receiver that gets few of the events would wait long for its batch to fill.
        if self.since_flush >= 16 {
            self.since_flush = 0;
            self.parts.stage.flush(&mut self.base.context);
        }
    }

    /// Replays the events that are due; `true` if there were any.
    fn replay(&mut self) -> bool {
        let copies = self.parts.stage.copies();
        let now = self.base.context.now;
        let most = self.load.room().min(BATCH);
        self.parts.side.replays(copies, now, most, &mut self.outgoing);
        if self.outgoing.is_empty() {
            return false;
        }
        self.outgoing.born = now;
        self.parts.counters.replayed.add(self.outgoing.len() as u64);
        // Operators may hold these events back: they are told to finish once more.
        self.drained = false;
        self.emit();
        true
    }

    fn settle(&mut self) {
        let mut letters = Vec::new();
        self.parts.side.settle(self.base.context.now, &mut letters);
        letters.into_iter().for_each(|letter| self.give_up(letter));
    }

    /// Writes a dead letter.
    fn give_up(&mut self, letter: DeadLetter<C::Out>) {
        self.parts.counters.dead_lettered.add(1);
        let failure = letter.failure.clone();
        let Some(deliver) = &mut self.parts.letters else {
            let attempts = letter.attempts;
            tracing::error!(%failure, attempts, "an event failed too often and is given up");
            return;
        };
        let (name, injected) = (&self.parts.instance.name, &self.parts.injected);
        let write = || injected.call(name, "dead letters", || deliver(letter));
        let cause = match catch_unwind(AssertUnwindSafe(write)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => Cause::error(error),
            Err(payload) => Cause::panic(payload),
        };
        let failure = self.failure("dead letters", cause);
        self.base.context.fail(failure);
    }

    /// Treats rejected records as events that failed.
    fn reject(&mut self) {
        for rejected in std::mem::take(&mut self.parts.output.rejected) {
            self.parts.counters.emitted.add(1);
            self.parts.counters.rejected.add(1);
            self.parts.counters.failed_calls.add(1);
            self.unmarked = true;
            let (verdict, name) = (self.parts.consequences.verdict, "get_events");
            let dropped = match (verdict, rejected) {
                (
                    Verdict::Drop,
                    Rejected::Event(_, cause) | Rejected::Record(cause) | Rejected::Raw(.., cause),
                )
                | (_, Rejected::Skipped(cause)) => self.failure(name, cause),
                (
                    Verdict::Fail,
                    Rejected::Event(event, cause) | Rejected::Raw(_, Some(event), cause),
                ) => {
                    let failure = self.failure(name, cause);
                    self.give_up(DeadLetter { event, failure, attempts: 1 });
                    continue;
                }
                (
                    _,
                    Rejected::Event(_, cause) | Rejected::Record(cause) | Rejected::Raw(.., cause),
                ) => {
                    // A restart would read the same record again.
                    let failure = self.failure(name, Cause::error(Permanent::new(cause)));
                    self.base.context.fail(failure);
                    continue;
                }
            };
            self.parts.counters.dropped.add(1);
            tracing::warn!(failure = %dropped, "a record is dropped");
            tell(self.parts.consequences.on_drop.as_ref(), &dropped, 1);
        }
    }

    /// Nothing new is emitted: waits until outstanding events are done, then ends the stream.
    fn end(&mut self, end: End) -> Progress {
        let held = match end {
            End::Finished => OpenTokens::Wait,
            End::Suspended => OpenTokens::Leave,
        };
        if let Some(by) = self.stop_by.filter(|_| end == End::Finished) {
            // Events whose next attempt is due only after the deadline would keep the job from ending.
            let mut letters = Vec::new();
            self.parts.side.give_up_after(by, &mut letters);
            letters.into_iter().for_each(|letter| self.give_up(letter));
        }
        if self.parts.side.at_rest(held, self.stop_by) {
            // The last checkpoint is to hold the final position, also if no event came since the last mark.
            self.unmarked = true;
            self.note_position(false);
            self.parts.stage.control(Control::End(end), &mut self.base.context);
            self.phase = Phase::Passing;
            return Progress::Moved;
        }
        // Events that operators hold may be the ones that are waited for. A stop that suspends leaves them.
        if !std::mem::replace(&mut self.drained, true) && end == End::Finished {
            self.parts.stage.control(Control::Drain, &mut self.base.context);
            return Progress::Moved;
        }
        self.wait_for_answers()
    }

    fn ended(&mut self) {
        self.base.finish_saving(&mut *self.parts.stage);
        let context = &mut self.base.context;
        // What the stage has done is acknowledged before the position is taken, which otherwise lags behind.
        context.ledger.send();
        // For every checkpoint from the next one on.
        let after = CheckpointId(self.newest.0 + 1);
        self.parts.stage.call_instance(InstanceCall::LastSnapshot(after), context);
        self.settle();
        self.save_position(after);
        self.phase = Phase::Ended;
        self.base.report_ended();
    }

    /// Nothing to do before an answer comes or something becomes due.
    fn wait_for_answers(&mut self) -> Progress {
        if self.parts.stage.flush(&mut self.base.context) {
            return Progress::Moved;
        }
        self.base.context.ledger.send();
        if !self.parts.side.await_answer() {
            return Progress::Moved;
        }
        Progress::Blocked(earlier(self.parts.side.deadline(), self.parts.stage.deadline()))
    }

    fn idle(&mut self) -> Progress {
        if self.parts.stage.flush(&mut self.base.context) {
            return Progress::Moved;
        }
        self.base.context.ledger.send();
        if self.parts.side.kept() > 0 && !self.parts.side.await_answer() {
            return Progress::Moved;
        }
        self.note_position(false);
        let due = earlier(self.parts.side.deadline(), self.parts.stage.deadline());
        Progress::Idle(earlier(due, self.poll_at))
    }

    /// One piece of work. The order matters: events that were polled leave before a barrier, so that both are
    /// on the right side of it, and replays go before new events, which would take their room.
    fn work(&mut self) -> Progress {
        let now = self.base.context.now;
        if self.parts.stage.blocked() {
            let at_the_end =
                self.phase == Phase::Passing && self.parts.stage.lets_barrier_through();
            if let Some(checkpoint) = self.barrier.take_if(|_| at_the_end) {
                self.inject(checkpoint);
                return Progress::Moved;
            }
            return self.base.blocked_until(self.parts.stage.deadline());
        }
        if self.phase == Phase::Passing {
            self.ended();
            return Progress::Moved;
        }
        if !self.outgoing.is_empty() {
            self.emit();
            return Progress::Moved;
        }
        self.load.end(&self.base.context.slice);
        if let Some(checkpoint) = self.barrier.take() {
            self.inject(checkpoint);
            return Progress::Moved;
        }
        if self.replay() {
            return Progress::Moved;
        }
        if let Phase::Ending(end) = self.phase {
            return self.end(end);
        }
        // A source that is down cannot be woken out of the pause of the restart policy.
        if self.component.is_some() && self.parts.instance.waker.take_signal() {
            self.poll_at = Some(now);
        }
        if self.poll_at.is_none_or(|at| at > now) {
            return self.idle();
        }
        if self.component.is_none() {
            self.rebuild();
            return Progress::Moved;
        }
        if self.parts.side.room() == 0 {
            return self.wait_for_answers();
        }
        self.poll()
    }
}

impl<C: SourceComponent> Step for SourceInstance<C> {
    fn step(&mut self, now: Timestamp) -> Progress {
        if self.base.mailbox.cancelled() {
            return Progress::Done;
        }
        self.base.context.begin_step(now);
        for command in self.base.mailbox.take() {
            self.handle(command);
        }
        if self.base.report_failure() || self.base.over {
            return Progress::Done;
        }
        if !self.base.open || self.phase == Phase::Ended {
            return Progress::Idle(None);
        }
        self.parts.stage.tick(&mut self.base.context);
        // Answers before new input: they make room in the replay buffer.
        self.settle();
        let before = std::mem::replace(&mut self.base.context.front, self.parts.side.front());
        if self.base.context.front != before {
            // A watermark that had to wait for these answers goes before the next event, and before the end.
            self.parts.stage.tick(&mut self.base.context);
        }
        let progress =
            if self.base.context.fatal.is_some() { Progress::Moved } else { self.work() };
        if self.base.context.slice.is_over() {
            // The receivers get the outputs so far, however long the next event takes.
            self.parts.stage.flush(&mut self.base.context);
        }
        self.parts.counters.unacknowledged.set(self.parts.side.kept() as u64);
        let progress = self.base.go_on_saving(&mut *self.parts.stage, progress);
        self.base.end_step(progress)
    }
}
