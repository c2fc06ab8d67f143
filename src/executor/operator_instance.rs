//! [`OperatorInstance`]: the input queues of an instance, their state, and its stage. Takes one frame per step.
//! It knows no event type: its [`Ports`] do.

use std::sync::Arc;

use crate::channel::budget::Budget;
use crate::channel::frame::{Control, End};
use crate::channel::inputs::{Inputs, Verdict};
use crate::channel::port::{Ports, Taken};
use crate::channel::push::InstanceCall;
use crate::clock::{Timestamp, earlier};
use crate::executor::instance::{Base, Command, Progress, Step};
use crate::executor::load::Load;
use crate::id::CheckpointId;
use crate::metrics::Counters;

/// After this many batches in a row partial outputs are sent, so that a receiver of few events does not wait
/// for a full batch as long as there is input.
const BATCHES_PER_FLUSH: u32 = 16;

pub(crate) struct OperatorInstance {
    base: Base,
    ports: Box<dyn Ports>,
    inputs: Inputs,
    counters: Arc<Counters>,
    load: Load,
    since_flush: u32,
    /// The newest checkpoint for which this instance has taken a snapshot.
    newest: CheckpointId,
    /// The newest checkpoint that all instances were told of.
    told: CheckpointId,
    /// The end of the stream is in the stage.
    ending: bool,
    ended: bool,
}

impl OperatorInstance {
    pub(crate) fn new(
        base: Base,
        ports: Box<dyn Ports>,
        inputs: Inputs,
        counters: Arc<Counters>,
        budget: Arc<Budget>,
    ) -> Self {
        Self {
            base,
            ports,
            inputs,
            counters,
            load: Load::new(budget),
            since_flush: 0,
            newest: CheckpointId(0),
            told: CheckpointId(0),
            ending: false,
            ended: false,
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Open => self.base.open = true,
            Command::Snapshot(checkpoint) if !self.ended => {
                self.newest = self.newest.max(checkpoint);
                let since = self.base.context.clock.now();
                self.ports
                    .stage()
                    .call_instance(InstanceCall::Snapshot(checkpoint), &mut self.base.context);
                self.base.report_saved(checkpoint, since);
            }
            Command::Complete { checkpoint, last } => {
                self.ports
                    .stage()
                    .call_instance(InstanceCall::Complete(checkpoint), &mut self.base.context);
                self.base.over = last;
            }
            Command::Exit => self.base.over = true,
            Command::Stop { end, .. } => {
                self.ports.hurry();
                if end == End::Suspended {
                    self.ports.stage().call_instance(InstanceCall::Suspend, &mut self.base.context);
                }
            }
            Command::Inject(checkpoint) => self.told = checkpoint,
            Command::Snapshot(_) => {}
        }
    }

    fn act(&mut self, verdict: Verdict) {
        if let Some(checkpoint) = verdict.cut {
            // Nothing waits in the stage, otherwise this frame would not have been taken.
            self.cut(checkpoint);
        }
        let frames = [
            verdict.active.then_some(Control::Active),
            verdict.watermark.map(Control::Watermark),
            verdict.idle.then_some(Control::Idle),
            verdict.drain.then_some(Control::Drain),
            verdict.end.map(Control::End),
        ];
        for control in frames.into_iter().flatten() {
            self.ports.stage().control(control, &mut self.base.context);
        }
        self.ending = verdict.end.is_some();
    }

    /// The barrier passes every component of the instance at once.
    fn cut(&mut self, checkpoint: CheckpointId) {
        self.newest = self.newest.max(checkpoint);
        let since = self.base.context.clock.now();
        self.ports.stage().control(Control::Barrier(checkpoint), &mut self.base.context);
        self.base.report_saved(checkpoint, since);
    }

    /// Whether a checkpoint is to be cut although no barrier comes: all inputs have ended, and the end of the
    /// stream waits in the stage for answers.
    fn is_cut_at_the_end(&self) -> bool {
        self.ending && self.told > self.newest && self.ports.stage_ref().lets_barrier_through()
    }

    /// The end of the stream has passed the stage. The last snapshot is this instance's part of all later
    /// checkpoints.
    fn passed(&mut self) {
        self.base.finish_saving(self.ports.stage());
        let context = &mut self.base.context;
        context.ledger.send();
        let after = CheckpointId(self.newest.0 + 1);
        self.ports.stage().call_instance(InstanceCall::LastSnapshot(after), context);
        self.ended = true;
        self.base.report_ended();
    }

    fn look_at_queues(&self) {
        self.counters.queue_depth.set(self.ports.depth() as u64);
    }

    fn take(&mut self) -> Progress {
        let since = self.base.context.slice.looked();
        match self.ports.take(&mut self.inputs, &mut self.base.context) {
            Some(Taken::Batch(amount)) => {
                self.load.begin(amount, since);
                self.since_flush += 1;
                if self.since_flush >= BATCHES_PER_FLUSH {
                    self.since_flush = 0;
                    self.ports.stage().flush(&mut self.base.context);
                    self.look_at_queues();
                }
                Progress::Moved
            }
            Some(Taken::Control(lane, control)) => {
                let verdict = self.inputs.on(lane, control);
                self.act(verdict);
                Progress::Moved
            }
            None if self.ports.stage().flush(&mut self.base.context) => Progress::Moved,
            None => {
                self.since_flush = 0;
                let due = self.ports.deadline(&self.inputs);
                Progress::Idle(earlier(self.ports.stage_ref().deadline(), due))
            }
        }
    }
}

impl Step for OperatorInstance {
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
        if !self.base.open || self.ended {
            return Progress::Idle(None);
        }
        self.ports.stage().tick(&mut self.base.context);
        let mut progress = Progress::Moved;
        if self.ports.stage_ref().blocked() {
            progress = match self.is_cut_at_the_end() {
                true => {
                    self.cut(self.told);
                    Progress::Moved
                }
                false => self.base.blocked_until(self.ports.stage_ref().deadline()),
            };
        } else if std::mem::take(&mut self.ending) {
            self.passed();
        } else {
            self.load.end(&self.base.context.slice);
            progress = self.take();
        }
        if self.base.context.slice.is_over() {
            // Readers get the outputs so far, however long the next event takes.
            self.ports.stage().flush(&mut self.base.context);
        }
        if progress != Progress::Moved {
            self.look_at_queues();
        }
        let progress = self.base.go_on_saving(self.ports.stage(), progress);
        self.base.end_step(progress)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::api::waker::Waker;
    use crate::channel::frame::{Amount, Batch, End, Frame};
    use crate::channel::inbox::Inbox;
    use crate::channel::ledger::Ledger;
    use crate::channel::push::{Context, Stage};
    use crate::channel::queue::{Bound, QueueReceiver, QueueSender, queue};
    use crate::checkpoint::{Part, PartName, encoded};
    use crate::clock::MonotonicClock;
    use crate::executor::instance::{Mailbox, Reporter};
    use crate::executor::writer_queue::{Task, WriterQueue};
    use crate::sync::Mutex;
    use crate::time::EventTime;

    /// What the join has said: pairs, control frames, and its state at each cut.
    type Said = Arc<Mutex<Vec<String>>>;

    /// Joins orders (numbers) with names (text) by number: a component with two inputs of two types.
    struct Join {
        names: BTreeMap<u64, String>,
        waiting: Vec<u64>,
        said: Said,
    }

    impl Join {
        fn left(&mut self, batch: &mut Batch<u64>) {
            self.waiting.append(&mut batch.events);
            self.join();
        }

        fn right(&mut self, batch: &mut Batch<(u64, &'static str)>) {
            self.names.extend(batch.events.drain(..).map(|(n, name)| (n, name.to_owned())));
            self.join();
        }

        fn join(&mut self) {
            let (names, said) = (&self.names, &self.said);
            self.waiting.retain(|order| {
                let name = names.get(order);
                said.lock().extend(name.map(|name| format!("{order}={name}")));
                name.is_none()
            });
        }
    }

    impl Stage for Join {
        fn control(&mut self, control: Control, context: &mut Context) {
            self.said.lock().push(match control {
                Control::Barrier(checkpoint) => {
                    let state = format!("{:?}", self.waiting);
                    let part = Part::new(PartName::new("join", 0), encoded(state.into()));
                    context.snapshots.push(part);
                    format!("cut {checkpoint} with {:?}", self.waiting)
                }
                Control::Watermark(at) => format!("w{at}"),
                other => format!("{other:?}").to_lowercase(),
            });
        }
        fn call_instance(&mut self, _: InstanceCall, _: &mut Context) {}
        fn tick(&mut self, _: &mut Context) {}
        fn flush(&mut self, _: &mut Context) -> bool {
            false
        }
        fn blocked(&self) -> bool {
            false
        }
        fn deadline(&self) -> Option<Timestamp> {
            None
        }
    }

    /// The queues of both sides in front of the join: lane 0 the left, lane 1 the right.
    struct Two {
        left: Inbox<u64>,
        right: Inbox<(u64, &'static str)>,
        join: Join,
    }

    impl Ports for Two {
        fn take(&mut self, inputs: &mut Inputs, context: &mut Context) -> Option<Taken> {
            match self.left.poll(inputs, context.now) {
                Some((lane, Frame::Batch(mut batch))) => {
                    inputs.on_batch(lane);
                    self.join.left(&mut batch);
                    return Some(Taken::Batch(Amount { events: 1, bytes: 0 }));
                }
                Some((lane, Frame::Control(control))) => {
                    return Some(Taken::Control(lane, control));
                }
                None => {}
            }
            match self.right.poll(inputs, context.now)? {
                (lane, Frame::Batch(mut batch)) => {
                    inputs.on_batch(lane);
                    self.join.right(&mut batch);
                    Some(Taken::Batch(Amount { events: 1, bytes: 0 }))
                }
                (lane, Frame::Control(control)) => Some(Taken::Control(lane, control)),
            }
        }
        fn stage(&mut self) -> &mut dyn Stage {
            &mut self.join
        }
        fn stage_ref(&self) -> &dyn Stage {
            &self.join
        }
        fn deadline(&self, _: &Inputs) -> Option<Timestamp> {
            None
        }
        fn hurry(&mut self) {}
        fn depth(&self) -> usize {
            self.left.depth() + self.right.depth()
        }
    }

    struct Scene {
        left: QueueSender<u64>,
        right: QueueSender<(u64, &'static str)>,
        instance: OperatorInstance,
        said: Said,
        tasks: crossbeam_channel::Receiver<Task>,
    }

    fn pair<T>() -> (QueueSender<T>, QueueReceiver<T>) {
        let bound = Bound { by_length_alone: true, ..Bound::default() };
        queue(8, Waker::default(), Waker::default(), bound)
    }

    impl Scene {
        fn new() -> Self {
            let ((left, from_left), (right, from_right)) = (pair(), pair());
            let said = Said::default();
            let join =
                Join { names: BTreeMap::new(), waiting: Vec::new(), said: Arc::clone(&said) };
            let (to, _) = crossbeam_channel::unbounded();
            let (writer, tasks) = WriterQueue::new();
            let reporter = Reporter { number: 0, to, writer: Some(writer) };
            let mailbox = Arc::<Mailbox>::default();
            mailbox.send(Command::Open);
            let context = Context::new(Arc::new(MonotonicClock::default()), Ledger::new(None));
            let base = Base::new(mailbox, reporter, context);
            let left_inbox = Inbox::new(vec![(from_left, Duration::ZERO)]);
            let right_inbox = Inbox::new(vec![(from_right, Duration::ZERO)]).first_input(1);
            let ports = Box::new(Two { left: left_inbox, right: right_inbox, join });
            let instance = OperatorInstance::new(
                base,
                ports,
                Inputs::new(2, true),
                Arc::default(),
                Arc::default(),
            );
            Self { left, right, instance, said, tasks }
        }

        fn order(&self, order: u64) {
            let batch = Batch { events: vec![order], ..Batch::default() };
            assert!(self.left.try_send(Frame::Batch(batch)).is_ok());
        }

        fn name(&self, number: u64, name: &'static str) {
            let batch = Batch { events: vec![(number, name)], ..Batch::default() };
            assert!(self.right.try_send(Frame::Batch(batch)).is_ok());
        }

        fn left(&self, control: Control) {
            assert!(self.left.try_send(Frame::Control(control)).is_ok());
        }

        fn right(&self, control: Control) {
            assert!(self.right.try_send(Frame::Control(control)).is_ok());
        }

        /// Steps until there is nothing to do; what was said meanwhile.
        fn settle(&mut self) -> Vec<String> {
            while self.instance.step(Timestamp(1)) == Progress::Moved {}
            std::mem::take(&mut self.said.lock())
        }
    }

    const ONE: Control = Control::Barrier(CheckpointId(1));

    fn watermark(ms: i64) -> Control {
        Control::Watermark(EventTime::from_unix_ms(ms))
    }

    #[test]
    fn two_inputs_of_two_types_are_cut_together_also_while_one_is_idle() {
        let mut scene = Scene::new();
        scene.order(1);
        scene.name(1, "one");
        scene.right(Control::Idle);
        scene.left(watermark(10));
        assert_eq!(scene.settle(), ["1=one", "w10"], "the idle side holds nobody's time");
        // What follows the barrier on the left waits for the barrier of the idle side.
        scene.order(2);
        scene.left(ONE);
        scene.order(3);
        assert_eq!(scene.settle(), Vec::<String>::new());
        scene.name(3, "three");
        scene.right(ONE);
        scene.right(Control::Active);
        scene.name(2, "two");
        assert_eq!(scene.settle(), ["cut 1 with [2]", "3=three", "2=two"]);
        let saved = scene.tasks.try_iter().filter(|task| {
            matches!(task, Task::Parts { checkpoint: CheckpointId(1), parts, .. }
                if parts.take().is_some_and(|parts| parts.len() == 1))
        });
        assert_eq!(saved.count(), 1);
        // From now on the right side holds the left one, from where they stood.
        scene.left(watermark(30));
        assert_eq!(scene.settle(), Vec::<String>::new());
        scene.right(watermark(20));
        scene.left(Control::End(End::Finished));
        assert_eq!(scene.settle(), ["w20"]);
        scene.right(Control::End(End::Finished));
        assert_eq!(scene.settle(), ["end(finished)"]);
    }
}
