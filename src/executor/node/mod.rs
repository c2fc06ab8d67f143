//! [`Node`]: one component at its place in a stage. The loop over a batch, and everything that can
//! interrupt it: an error, a panic, a full stage after it, a component that is being rebuilt.
//!
//! Inside the loop nothing is boxed, locked, cloned or matched per event. When the loop is interrupted, the
//! rest of the batch goes to `pending`; while events are pending the node is blocked.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use crate::api::apply_loop::Pass;
use crate::api::collector::Collector;
use crate::api::instance::Instance;
use crate::api::on_error::OnError;
use crate::api::output::Output;
use crate::channel::frame::{Batch, Control, End};
use crate::channel::push::{Context, InstanceCall, Push, Stage};
use crate::channel::slice::Pace;
use crate::checkpoint::{CodecId, EncodedState, Part, encoded};
use crate::clock::{Timestamp, earlier};
use crate::delivery::terms::{DropHook, Verdict};
use crate::error::{BoxError, Cause, Failure};
use crate::executor::blueprint::part_name;
use crate::executor::component::{Component, Due};
use crate::executor::injected::{Injected, Strike};
use crate::executor::node::event_time::note_replayable;
use crate::executor::node::held::{Holding, StoredEvents};
use crate::executor::node::keyed::StateByKey;
use crate::executor::node::timers::TagTimers;
use crate::executor::rebuild::Rebuild;
use crate::executor::side_port::SidePort;
use crate::id::{CheckpointId, Root};
use crate::metrics::Counters;
use crate::state::KeyedState;
use crate::time::replayable::Replayable;
use crate::time::watermarks::OutputWatermark;

mod dead_letters;
mod event_time;
mod failure;
pub(crate) mod held;
mod in_place;
mod keyed;
mod timers;

/// The loop hands its outputs on when they fill this many batches, before it takes the next event.
const BATCHES: usize = 4;

/// What a failure of this component leads to.
pub(crate) struct Consequences {
    pub(crate) verdict: Verdict,
    pub(crate) on_drop: Option<DropHook>,
    pub(crate) rebuild: Rebuild,
}

/// The parts of a node: its identity, the stages after it, and what its failures lead to.
pub(crate) struct NodeParts<C: Component> {
    pub(crate) instance: Instance,
    pub(crate) collector: Collector<C::Out>,
    pub(crate) next: Box<dyn Push<C::Out>>,
    pub(crate) sides: Vec<Box<dyn SidePort>>,
    pub(crate) consequences: Consequences,
    pub(crate) injected: Injected,
    /// The codec of its state.
    pub(crate) codec: CodecId,
    /// Its state by key, which the engine owns.
    pub(crate) keyed: Option<Rc<dyn KeyedState>>,
    pub(crate) watermark: OutputWatermark,
    pub(crate) on_error: OnError,
    pub(crate) holding: Holding<C::In>,
}

/// What a checkpoint has stored of a component: its state, and the events that it held.
#[derive(Default)]
pub(crate) struct Restored {
    pub(crate) state: Option<EncodedState>,
    pub(crate) held: Option<StoredEvents>,
}

/// Generic over the component and not over its factory: so the loop is compiled once per component, and the
/// compiler can inline its only call of the component.
pub(crate) struct Node<C: Component> {
    instance: Instance,
    factory: Box<dyn Fn() -> C>,
    /// `None` while it is down.
    component: Option<C>,
    /// When a component that is down is rebuilt.
    retry_at: Timestamp,
    /// The state from which the component is built next.
    carried_over: Option<EncodedState>,
    codec: CodecId,
    keyed: Option<StateByKey>,
    collector: Collector<C::Out>,
    timers: TagTimers,
    watermark: OutputWatermark,
    /// Where the component makes watermarks: the events for which they wait.
    replayable: Replayable,
    /// Events that were taken in and not applied yet.
    pending: Batch<C::In>,
    pace: Pace,
    /// The buffer for a piece of a batch.
    piece: Batch<C::In>,
    /// Control frames that came after the pending events.
    waiting: VecDeque<Control>,
    out: Batch<C::Out>,
    next: Box<dyn Push<C::Out>>,
    sides: Vec<Box<dyn SidePort>>,
    counters: Arc<Counters>,
    consequences: Consequences,
    /// Copies of the events of the running batch, where those that fail become dead letters.
    copies: Option<dead_letters::Copies<C::In>>,
    holding: Holding<C::In>,
    injected: Injected,
    /// A failure to be injected at the next event.
    strike: Option<Strike>,
    /// Whether events came since the last `finish`.
    unfinished: bool,
    /// The inputs have drained, and no event has come since.
    drained: bool,
    /// The end has been passed on: nothing may follow it.
    over: bool,
    /// Timers by key of the control frame at the head of `waiting` are still to fire.
    firing: bool,
    /// Events that a sink has written since its last `end_batch`.
    unflushed: u64,
    /// How many finished deliveries were in the ledger when the running batch began.
    reported: usize,
}

impl<C: Component> Node<C> {
    /// Builds the component and sets it up from what a checkpoint has stored of it.
    ///
    /// # Errors
    /// The factory panicked, `setup` failed, or the checkpoint cannot be decoded.
    pub(crate) fn start(
        parts: NodeParts<C>,
        factory: Box<dyn Fn() -> C>,
        restored: Restored,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let counters = Arc::clone(parts.collector.accounts.counters());
        let mut node = Self {
            instance: parts.instance,
            factory,
            component: None,
            retry_at: Timestamp(0),
            carried_over: restored.state,
            codec: parts.codec,
            keyed: parts.keyed.map(StateByKey::new),
            collector: parts.collector,
            timers: TagTimers::default(),
            watermark: parts.watermark,
            replayable: Replayable::default(),
            pending: Batch::default(),
            pace: Pace::default(),
            piece: Batch::default(),
            waiting: VecDeque::new(),
            out: Batch::default(),
            next: parts.next,
            sides: parts.sides,
            counters,
            consequences: parts.consequences,
            copies: (parts.on_error == OnError::DeadLetter).then(Default::default),
            holding: parts.holding,
            injected: parts.injected,
            strike: None,
            unfinished: true,
            drained: false,
            over: false,
            firing: false,
            unflushed: 0,
            reported: 0,
        };
        node.build(now)?;
        node.restore_held(restored.held, now)?;
        Ok(node)
    }

    fn build(&mut self, now: Timestamp) -> Result<(), Failure> {
        let (factory, instance, state) =
            (&self.factory, &self.instance, self.carried_over.as_ref());
        let injected = &self.injected;
        let built = catch_unwind(AssertUnwindSafe(|| {
            let mut component = factory();
            let setup = || component.setup(instance, state);
            let timers = injected.call(&instance.name, "setup", setup)?;
            Ok::<_, BoxError>((component, timers))
        }));
        let (component, timers) = match built {
            Ok(Ok(built)) => built,
            Ok(Err(error)) => return Err(self.failure("setup", Cause::error(error))),
            Err(payload) => return Err(self.failure("setup", Cause::panic(payload))),
        };
        let mut component = component;
        if let Some(known) = self.watermark.at() {
            component.advance(known);
            component.has_advanced();
        }
        self.component = Some(component);
        self.carried_over = None;
        self.timers = TagTimers::restored(timers, now);
        Ok(())
    }

    fn failure(&self, callback: &'static str, cause: Cause) -> Failure {
        Failure { instance: self.instance.name.clone(), callback, cause }
    }

    /// Runs the batch as far as possible; the rest becomes pending.
    fn feed(&mut self, batch: &mut Batch<C::In>, context: &mut Context) {
        self.reported = context.ledger.finished();
        let born = batch.born;
        self.feed_pieces(batch, context);
        self.keyed.iter_mut().for_each(|keyed| keyed.changed(context.now));
        self.fire_due(context);
        self.say_after_batch(context);
        if C::IS_SINK {
            // Flushed before dead letters are handed on: that sends the reports of the written events.
            self.end_batch(born, context);
            self.hand_on(born, context);
        }
    }

    /// Runs the batch in pieces and reads the clock between them, so that a slow component stops at the end of its
    /// slice and the rest of the batch waits for the next step. A batch of events that were fast so far is run in
    /// one go.
    fn feed_pieces(&mut self, batch: &mut Batch<C::In>, context: &mut Context) {
        self.pace.doubt(context.slice.doubts());
        // Injected failures and copies of held events need pieces, however fast the component is.
        let in_one_go = self.injected.faults().is_none() && !self.holding.copies();
        if in_one_go && self.pace.trusts(batch.len()) {
            return self.run(batch, context);
        }
        let mut piece = std::mem::take(&mut self.piece);
        let (total, columns) = (batch.len(), &batch.columns);
        let mut events = batch.events.drain(..);
        while events.len() > 0 {
            let (at, most) = (total - events.len(), self.next_piece(events.len()));
            piece.events.extend(events.by_ref().take(most));
            piece.columns.extend_from(columns, at..total - events.len());
            piece.born = batch.born;
            let (taken, paused) = (piece.len(), context.slice.paused());
            self.run(&mut piece, context);
            piece.clear();
            self.pace.took(taken, context.slice.look(context.clock.now(), paused));
            if self.injected.faults().is_some_and(|faults| faults.time_is_up()) {
                context.slice.end();
            }
            // Otherwise the rest waits: until the component is rebuilt, the events before are applied, the next
            // step begins, or the next stage has room. After a fatal failure it is never run.
            let goes_on = self.component.is_some()
                && self.pending.is_empty()
                && context.fatal.is_none()
                && !context.slice.is_over()
                && !self.stage_blocked();
            if !goes_on {
                break;
            }
        }
        if events.len() > 0 {
            self.pending.columns.extend_from(columns, total - events.len()..total);
            self.pending.events.extend(events);
            self.pending.born = self.pending.born.min(batch.born);
        }
        batch.columns.clear();
        self.piece = piece;
    }

    /// How many of these events are run before the clock is read again.
    fn next_piece(&mut self, events: usize) -> usize {
        // One event, so that the copy at hand is a copy of the event that is deferred.
        let most = if self.holding.copies() { 1 } else { usize::MAX };
        let Some(faults) = self.injected.faults() else { return self.pace.events().min(most) };
        self.strike = faults.strike(&self.instance.name, "apply");
        if self.strike.is_some() { 1 } else { faults.piece(events).min(most) }
    }

    /// Runs the batch, which is one piece, as far as possible; the rest becomes pending.
    fn run(&mut self, batch: &mut Batch<C::In>, context: &mut Context) {
        (self.unfinished, self.drained) = (true, false);
        if C::in_place() && self.strike.is_none() {
            self.run_in_place(batch, context);
        } else if self.copy_events(&batch.events, context) && self.copy_at_hand(batch, context) {
            self.note_now(context.now);
            self.run_each(batch, context);
            self.copies.iter_mut().for_each(dead_letters::Copies::clear);
        } else {
            // An event could not be cloned: none of the batch is applied.
            self.pending.append(batch);
        }
    }

    /// Event by event, from the batch into the collector. The component's loop returns when the batch is
    /// exhausted, the collector is full or an event has failed. Each time the accounts are settled, then outputs
    /// are handed on or the failure is handled, and the loop is entered again for the rest.
    fn run_each(&mut self, batch: &mut Batch<C::In>, context: &mut Context) {
        let born = batch.born;
        self.collector.room = self.next.room().min(BATCHES * Batch::<C::Out>::FULL);
        let mut events = batch.events.drain(..);
        let (total, mut consumed) = (events.len(), 0);
        while let Some(component) = &mut self.component {
            let (before, out, strike) = (consumed, &mut self.collector, self.strike.take());
            let first_output = out.emitted();
            let tracked = !batch.columns.are_empty() && !C::IS_SINK;
            out.accounts.take_in(&batch.columns, if tracked { consumed..total } else { 0..0 });
            let pass = catch_unwind(AssertUnwindSafe(|| {
                if let Some(strike) = strike.filter(|strike| !strike.after) {
                    out.begin();
                    drop(events.next());
                    return Pass::Failed(strike.fail());
                }
                let Some(strike) = strike else {
                    return component.apply_each(&mut events, out, tracked);
                };
                // The failure comes after the call, so the account of the event must not be closed by it. The
                // event is alone in its batch.
                out.accounts.keep_open();
                let pass = component.apply_each(&mut events, out, tracked);
                out.accounts.reopen(first_output);
                match pass {
                    Pass::Failed(error) => Pass::Failed(error),
                    Pass::Exhausted | Pass::Full => Pass::Failed(strike.fail()),
                }
            }));
            consumed = total - events.len();
            let (full, failed_with) = match pass {
                Ok(Pass::Exhausted) => (false, None),
                Ok(Pass::Full) => (true, None),
                Ok(Pass::Failed(error)) => (false, Some((Cause::error(error), false))),
                Err(payload) => (false, Some((Cause::panic(payload), true))),
            };
            // Before the accounts are settled: outputs of the failed event are not counted.
            let take_back = |(cause, _): &(Cause, bool)| self.collector.take_back(cause);
            let deferred = failed_with.as_ref().is_some_and(take_back);
            let well = consumed - usize::from(failed_with.is_some());
            // Before outputs are handed on: they need their roots and times, and the ledger is sent before an output
            // becomes visible.
            if tracked || (self.collector.accounts.timed() && !C::IS_SINK) {
                let emitted = self.collector.emitted();
                let accounts = &mut self.collector.accounts;
                accounts.settle(emitted, |root, delta| context.ledger.change(root, delta));
            }
            // Before outputs are handed on: the events are processed, whatever the next stage does.
            self.counters.processed.add((consumed - before) as u64);
            if C::IS_SINK {
                self.unflushed += (well - before) as u64;
                context.ledger.finish(batch.columns.roots(before..well));
            } else {
                let deferred = self.collector.accounts.take_deferred();
                self.counters.delivered.add((well - before - deferred) as u64);
            }
            let Some((cause, panicked)) = failed_with else {
                if !full {
                    break;
                }
                self.hand_on(born, context);
                if self.stage_blocked() {
                    break;
                }
                continue;
            };
            let row = batch.columns.row(consumed - 1);
            let failure = self.failure(if C::IS_SINK { "write" } else { "apply" }, cause);
            // A panic is no dead letter. Neither is an event that has tokens.
            let copy = self.copies.as_mut().and_then(|copies| copies.of(consumed - 1));
            match copy.filter(|_| !panicked && !deferred) {
                Some(event) => self.dead_letter(event, row, failure.clone(), context),
                None => {
                    self.event_failed(row.root.unwrap_or(Root::NONE), failure.clone(), context);
                }
            }
            if panicked {
                self.on_panic(failure, context);
            }
            if context.fatal.is_some() {
                break;
            }
        }
        self.pending.events.extend(&mut events);
        drop(events);
        if !self.pending.is_empty() {
            self.pending.columns.extend_from(&batch.columns, consumed..total);
            self.pending.born = self.pending.born.min(born);
        }
        batch.clear();
        // A sink emits at most dead letters. Handing them on here would report events that it has not flushed.
        if !C::IS_SINK {
            self.hand_on(born, context);
        }
    }

    /// Flushes a sink at the end of its batch: only now the written events count as delivered.
    fn end_batch(&mut self, born: Timestamp, context: &mut Context) {
        let events = std::mem::take(&mut self.unflushed);
        let Some(component) = &mut self.component else { return };
        if events == 0 || context.fatal.is_some() {
            return;
        }
        let (name, injected) = (&self.instance.name, &self.injected);
        let flush = || injected.call(name, "flush", || component.end_batch());
        // While everything is fast, the duration of a flush does not matter.
        let began = context.slice.is_doubtful().then(|| context.clock.now());
        let flushed = catch_unwind(AssertUnwindSafe(flush));
        let ended = context.clock.now();
        if let Some(began) = began {
            context.slice.pause(began, ended);
        }
        let cause = match flushed {
            Ok(Ok(())) => {
                self.counters.delivered.add(events);
                if born != Timestamp(u64::MAX) {
                    self.counters.latency.record(ended.since(born), events);
                }
                return;
            }
            Ok(Err(error)) => (Cause::error(error), false),
            Err(payload) => (Cause::panic(payload), true),
        };
        let (cause, panicked) = cause;
        let failure = self.failure("flush", cause);
        self.unwritten(events, &failure, context);
        if panicked {
            self.on_panic(failure, context);
        }
    }

    /// Carries out the requests for timers, and passes the outputs to the next stage.
    fn hand_on(&mut self, born: Timestamp, context: &mut Context) {
        self.set_timers(context.now);
        for (port, side) in self.sides.iter_mut().zip(&mut self.collector.sides) {
            port.hand_on(&mut **side, born, context);
        }
        if self.collector.events.is_empty() {
            return;
        }
        self.counters.emitted.add(self.collector.events.len() as u64);
        std::mem::swap(&mut self.out.events, &mut self.collector.events);
        std::mem::swap(&mut self.out.columns, &mut self.collector.accounts.outputs);
        self.out.born = born;
        note_replayable(&mut self.component, &mut self.replayable, &self.out.columns, context);
        self.next.push(&mut self.out, context);
        self.out.clear();
        std::mem::swap(&mut self.out.events, &mut self.collector.events);
        std::mem::swap(&mut self.out.columns, &mut self.collector.accounts.outputs);
    }

    /// Calls the component outside the loop: for a timer, a watermark or `finish`.
    fn call(
        &mut self,
        callback: &'static str,
        context: &mut Context,
        call: impl FnOnce(&mut C, &mut Output<C::Out>) -> Result<(), BoxError>,
    ) {
        let Some(component) = &mut self.component else { return };
        let collector = &mut self.collector;
        collector.accounts.take_in_call(self.watermark.at());
        collector.begin();
        let (name, injected) = (&self.instance.name, &self.injected);
        let call = || injected.call(name, callback, || call(component, collector));
        let (cause, panicked) = match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(())) => {
                let emitted = self.collector.emitted();
                self.collector.accounts.settle_rootless(emitted);
                return self.hand_on(context.now, context);
            }
            Ok(Err(error)) => (Cause::error(error), false),
            Err(payload) => (Cause::panic(payload), true),
        };
        self.collector.take_back(&cause);
        let failure = self.failure(callback, cause);
        self.counters.failed_calls.add(1);
        match self.consequences.verdict {
            Verdict::RollBack => context.fail(failure),
            // Held events would never be answered.
            Verdict::Fail if callback == "finish" => context.fail(failure),
            Verdict::Drop | Verdict::Fail => {
                tracing::warn!(%failure, "callback failed");
                if callback == "finish" {
                    // Nothing else will answer for held events.
                    self.give_up_held(&failure.cause);
                }
                if panicked {
                    self.on_panic(failure, context);
                }
            }
        }
    }

    /// Lets a control frame take effect on the component, and then passes it to the next stage: behind the
    /// outputs of the callback, and after the state was taken.
    fn pass(&mut self, control: Control, context: &mut Context) {
        let control = match control {
            // The last checkpoint stores the held events, so the input goes on at the next start: no `finish`.
            Control::End(End::Finished) if self.holding.leaves_some() => {
                Control::End(End::Suspended)
            }
            control => control,
        };
        if self.makes_watermarks(control) {
            return;
        }
        match control {
            Control::Barrier(checkpoint) => self.save(checkpoint, false, context),
            // After a restart the inputs may begin with lower watermarks, but the readers must not see one fall.
            Control::Watermark(watermark) if !self.firing && !self.watermark.rise(watermark) => {
                return;
            }
            Control::Watermark(watermark) => {
                self.component.iter_mut().for_each(|component| component.advance(watermark));
                if !self.fires(Due::At(context.now), control, context) {
                    return;
                }
                self.component.iter_mut().for_each(Component::has_advanced);
                self.call("on_watermark", context, |c, out| c.on_watermark(watermark, out));
            }
            Control::End(End::Finished) if !self.fires(Due::Rest, control, context) => return,
            Control::Drain | Control::End(End::Finished) if self.unfinished => {
                self.unfinished = false;
                self.call("finish", context, |c, out| c.finish(out));
            }
            Control::Drain | Control::End(_) | Control::Idle | Control::Active => {}
        }
        self.drained |= control == Control::Drain;
        match control {
            _ if context.fatal.is_some() => {}
            // Held events may still be answered or fail. `catch_up` passes the end again after that.
            Control::End(End::Finished) if self.end_waits_for_held() => {
                self.waiting.push_front(control);
            }
            Control::Watermark(_) => self.tell_watermark(context),
            _ => {
                if matches!(control, Control::End(_)) {
                    self.over = true;
                    self.measure_state(Timestamp(u64::MAX));
                }
                self.tell(control, context);
            }
        }
    }

    fn tell_watermark(&mut self, context: &mut Context) {
        if let Some(watermark) = self.watermark.tell() {
            self.tell(Control::Watermark(watermark), context);
        }
    }

    fn tell(&mut self, control: Control, context: &mut Context) {
        self.next.control(control, context);
        self.sides.iter_mut().for_each(|side| side.stage().control(control, context));
    }

    /// Takes the snapshot for a checkpoint: prepares outputs, then takes the state and the held events. `last` if
    /// the instance does no more after it.
    fn save(&mut self, checkpoint: CheckpointId, last: bool, context: &mut Context) {
        self.save_state(checkpoint, context);
        self.begin_save(checkpoint, last, context);
        // Without the state there is no checkpoint, and held events must not be left to it.
        if context.fatal.is_none() {
            self.save_held(checkpoint, last, context);
        }
    }

    fn save_state(&mut self, checkpoint: CheckpointId, context: &mut Context) {
        let timers = self.timers.left(context.now);
        let (name, watermark) = (part_name(&self.instance.name), self.watermark.saved());
        let part = |state| Part::new(name, state).at(watermark);
        let Some(component) = &mut self.component else {
            // The component is down: its state is the one that it is rebuilt from.
            let state = self.carried_over.clone().map(encoded);
            return context.snapshots.extend(state.map(part));
        };
        // `prepare` comes first: the handles that it returns are part of the state.
        let mut callback = "prepare";
        let taken = catch_unwind(AssertUnwindSafe(|| {
            let name = &self.instance.name;
            self.injected.call(name, "prepare", || component.prepare(checkpoint))?;
            callback = "state";
            self.injected.call(name, "state", || Ok(component.snapshot(timers, self.codec)))
        }));
        match taken {
            Ok(Ok(state)) => context.snapshots.extend(state.map(part)),
            Ok(Err(error)) => context.fail(self.failure(callback, Cause::error(error))),
            Err(payload) => context.fail(self.failure(callback, Cause::panic(payload))),
        }
    }

    fn complete(&mut self, checkpoint: CheckpointId, context: &mut Context) {
        if let Some(keyed) = &self.keyed {
            keyed.state.complete(checkpoint);
        }
        let Some(component) = &mut self.component else { return };
        let (name, injected) = (&self.instance.name, &self.injected);
        let commit = || injected.call(name, "commit", || component.complete(checkpoint));
        match catch_unwind(AssertUnwindSafe(commit)) {
            Ok(Ok(())) => self.give_back_after(checkpoint, context.now),
            Ok(Err(error)) => context.fail(self.failure("commit", Cause::error(error))),
            Err(payload) => context.fail(self.failure("commit", Cause::panic(payload))),
        }
    }

    /// Continues with what had to wait: events, and then the control frames that came after them.
    pub(crate) fn catch_up(&mut self, context: &mut Context) {
        while self.component.is_some()
            && !self.pending.is_empty()
            && !self.stage_blocked()
            && !context.slice.is_over()
            && context.fatal.is_none()
        {
            let mut batch = std::mem::take(&mut self.pending);
            self.feed(&mut batch, context);
        }
        while !self.waiting.is_empty()
            && self.component.is_some()
            && self.pending.is_empty()
            && context.fatal.is_none()
        {
            if self.only_the_end_waits() && self.end_waits_for_held() {
                break;
            }
            let Some(control) = self.waiting.pop_front() else { break };
            self.pass(control, context);
            if self.firing {
                break;
            }
        }
    }

    /// Whether only the end of the stream waits here, and `finish` has been called: it waits for answers.
    fn only_the_end_waits(&self) -> bool {
        let waits = self.waiting.iter().eq([&Control::End(End::Finished)]);
        waits && !self.unfinished && self.pending.is_empty()
    }

    fn stage_blocked(&self) -> bool {
        self.next.blocked() || self.sides.iter().any(|side| side.stage_ref().blocked())
    }
}

impl<C: Component> Stage for Node<C> {
    fn control(&mut self, control: Control, context: &mut Context) {
        // No event is between the two. If the barrier waited, a late answer would keep checkpoints from completing.
        let is_barrier = matches!(control, Control::Barrier(_));
        let overtakes = is_barrier && self.only_the_end_waits();
        let nothing_waits = self.pending.is_empty() && self.waiting.is_empty();
        if self.component.is_some() && (nothing_waits || overtakes) {
            self.pass(control, context);
        } else {
            self.waiting.push_back(control);
        }
    }

    fn call_instance(&mut self, call: InstanceCall, context: &mut Context) {
        match call {
            InstanceCall::Snapshot(checkpoint) => self.save(checkpoint, false, context),
            InstanceCall::GoOnSaving => self.go_on_saving(false, context),
            InstanceCall::FinishSaving => self.go_on_saving(true, context),
            InstanceCall::LastSnapshot(checkpoint) => self.save(checkpoint, true, context),
            InstanceCall::Suspend => self.holding.suspend(),
            InstanceCall::Complete(checkpoint) => self.complete(checkpoint, context),
        }
        self.next.call_instance(call, context);
        self.sides.iter_mut().for_each(|side| side.stage().call_instance(call, context));
    }

    fn tick(&mut self, context: &mut Context) {
        // The next stages first: that makes room for the outputs of this one.
        self.next.tick(context);
        self.sides.iter_mut().for_each(|side| side.stage().tick(context));
        // After a start: the watermark of the checkpoint, before the first event.
        self.tell_watermark(context);
        if self.component.is_none() && context.now >= self.retry_at && context.fatal.is_none() {
            self.rebuild(context);
        }
        // Events that waited came before the timers that are due now.
        self.catch_up(context);
        self.fire_timers(context);
        self.fire_due(context);
        // After both, so that answers given in this step still count.
        self.expire_held(context.now);
        self.measure_state(context.now);
        self.say_after_time(context);
    }

    fn flush(&mut self, context: &mut Context) -> bool {
        let mut moved = self.next.flush(context);
        for side in &mut self.sides {
            moved |= side.stage().flush(context);
        }
        moved
    }

    fn blocked(&self) -> bool {
        self.component.is_none()
            || !self.pending.is_empty()
            || !self.waiting.is_empty()
            || self.waits_for_writer()
            || self.stage_blocked()
    }

    fn lets_barrier_through(&self) -> bool {
        let here =
            self.pending.is_empty() && (self.waiting.is_empty() || self.only_the_end_waits());
        self.component.is_some()
            && here
            && self.next.lets_barrier_through()
            && self.sides.iter().all(|side| side.stage_ref().lets_barrier_through())
    }

    fn deadline(&self) -> Option<Timestamp> {
        let retry = self.component.is_none().then_some(self.retry_at);
        // Events that are left over at the end of a slice are applied at once.
        let goes_on = self.component.is_some() && !self.pending.is_empty() && !self.stage_blocked();
        let retry = retry.or(goes_on.then_some(Timestamp(0)));
        // While the next stage is blocked no timer fires; its own deadline or progress wakes the instance.
        let timer = self.timers.next_due().filter(|_| !self.stage_blocked());
        let sides = self.sides.iter().map(|side| side.stage_ref().deadline());
        let due =
            self.component.as_ref().and_then(C::watermark_due).filter(|_| !self.stage_blocked());
        let due = earlier(due, self.key_timers_due());
        let due = earlier(due, self.measure_due());
        let own = earlier(earlier(earlier(retry, timer), self.answer_due()), due);
        sides.fold(earlier(own, self.next.deadline()), earlier)
    }
}

impl<C: Component> Push<C::In> for Node<C> {
    fn push(&mut self, batch: &mut Batch<C::In>, context: &mut Context) {
        self.counters.received.add(batch.len() as u64);
        if self.component.is_none() || !self.pending.is_empty() || !self.waiting.is_empty() {
            self.pending.append(batch);
        } else {
            self.feed(batch, context);
        }
    }

    fn copies(&self) -> u32 {
        1
    }

    /// The number of outputs of an event is not known in advance.
    fn room(&self) -> usize {
        usize::MAX
    }
}
