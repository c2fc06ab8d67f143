//! The supervisor with everything that it drives, on a clock that only these tests move: what a checkpoint took is
//! known to the millisecond. A step of an instance takes one; what else takes time says how long.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, unbounded};

use crate::channel::frame::End;
use crate::checkpoint::coordinator::Cut;
use crate::checkpoint::{
    CheckpointStore, CodecId, EncodedState, Manifest, Part, PartName, PartRecord, PartSink,
    PartWriter, Recovered, Snapshot, SnapshotError, StateCodec, StoreError,
};
use crate::clock::{Clock, Timestamp};
use crate::delivery::terms::Guarantee;
use crate::error::{Cause, Failure, JobError, Refused};
use crate::executor::blueprint::{
    Blueprint, BuildInstance, ComponentPlan, Execution, StateShape, ThreadPlan,
};
use crate::executor::checkpoint_writer::{CheckpointWriter, Written};
use crate::executor::host::{Host, Mailboxes, Message, Request};
use crate::executor::instance::{Base, Command, Progress, Step};
use crate::executor::instance_slot::{InstanceSlot, RunningInstance};
use crate::executor::stored_form::StoredForm;
use crate::executor::supervisor::{Ended, Supervisor, SupervisorParts};
use crate::executor::writer_queue::Task;
use crate::id::{CheckpointId, ExecutionId, InstanceName};
use crate::metrics::{CheckpointKind, CheckpointOutcome, CheckpointStats, Registry};

/// Time passes when somebody says so.
#[derive(Debug, Default)]
struct Counted(AtomicU64);

impl Counted {
    fn pass(&self, time_ms: u64) {
        self.0.fetch_add(time_ms * 1_000_000, Ordering::Relaxed);
    }
}

impl Clock for Counted {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// What an instance does when a checkpoint is to be taken.
#[derive(Clone, Copy, Debug)]
struct Manner {
    name: &'static str,
    taking_ms: u64,
    encoding_ms: u64,
    bytes: usize,
    answers: Answers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    Always,
    Never,
    /// It takes the first one and fails at the second.
    Once,
}

const SOURCE: Manner =
    Manner { name: "source", taking_ms: 10, encoding_ms: 20, bytes: 3, answers: Answers::Always };
const SLOW: Manner =
    Manner { name: "slow", taking_ms: 40, encoding_ms: 2, bytes: 5, answers: Answers::Always };

/// An instance without events.
struct Instance {
    base: Base,
    manner: Manner,
    clock: Arc<Counted>,
    taken: u64,
}

impl Instance {
    fn take(&mut self) {
        self.clock.pass(self.manner.taking_ms);
        let Manner { name, encoding_ms, bytes, .. } = self.manner;
        let state = State { clock: Arc::clone(&self.clock), encoding_ms, bytes };
        self.base.context.snapshots.push(Part::new(PartName::new(name, 0), Box::new(state)));
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Snapshot(checkpoint) => {
                self.taken += 1;
                match self.manner.answers {
                    Answers::Never => return,
                    Answers::Once if self.taken > 1 => {
                        let instance = InstanceName::new(self.manner.name, 0);
                        let cause = Cause::error("no more");
                        self.base.context.fail(Failure { instance, callback: "state", cause });
                    }
                    Answers::Always | Answers::Once => {}
                }
                let since = self.clock.now();
                self.take();
                self.base.report_saved(checkpoint, since);
            }
            Command::Stop { .. } => {
                self.take();
                self.base.report_ended();
            }
            Command::Complete { last, .. } => self.base.over = last,
            Command::Open | Command::Inject(_) => {}
            Command::Exit => self.base.over = true,
        }
    }
}

impl Step for Instance {
    fn step(&mut self, _: Timestamp) -> Progress {
        if self.base.mailbox.cancelled() {
            return Progress::Done;
        }
        for command in self.base.mailbox.take() {
            self.handle(command);
        }
        if self.base.report_failure() || self.base.over {
            return Progress::Done;
        }
        Progress::Idle(None)
    }
}

struct State {
    clock: Arc<Counted>,
    encoding_ms: u64,
    bytes: usize,
}

impl Snapshot for State {
    fn write(self: Box<Self>, to: &mut dyn PartSink) -> Result<(), SnapshotError> {
        self.clock.pass(self.encoding_ms);
        Ok(to.append(&vec![0; self.bytes])?)
    }
}

struct SlowPart<'a> {
    clock: &'a Counted,
    record: PartRecord,
}

impl PartSink for SlowPart<'_> {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.record.bytes += bytes.len() as u64;
        Ok(())
    }
}

impl PartWriter for SlowPart<'_> {
    fn finish(self: Box<Self>) -> Result<PartRecord, StoreError> {
        self.clock.pass(5);
        Ok(self.record)
    }
}

/// A store that forgets everything: a part takes 5 ms, a manifest 7.
#[derive(Debug)]
struct Slow(Arc<Counted>);

impl crate::checkpoint::Sealed for Slow {}

impl CheckpointStore for Slow {
    fn begin_execution(&self) -> Result<ExecutionId, StoreError> {
        Ok(ExecutionId(1))
    }
    fn latest(&self) -> Result<Option<Recovered>, StoreError> {
        Ok(None)
    }
    fn read(&self, _: &PartRecord) -> Result<EncodedState, StoreError> {
        Err(StoreError::NotBegun)
    }
    fn begin_part<'a>(
        &'a self,
        _: ExecutionId,
        _: CheckpointId,
        name: &PartName,
        _: CodecId,
    ) -> Result<Box<dyn PartWriter + 'a>, StoreError> {
        Ok(Box::new(SlowPart { clock: &self.0, record: PartRecord::named(name.clone()) }))
    }
    fn commit(&self, _: &Manifest) -> Result<(), StoreError> {
        self.0.pass(7);
        Ok(())
    }
    fn abandon(&self, _: ExecutionId, _: CheckpointId) -> Result<(), StoreError> {
        Ok(())
    }
    fn retain(&self, _: usize, _: Option<CheckpointId>) -> Result<Vec<CheckpointId>, StoreError> {
        Ok(Vec::new())
    }
    fn write_position(
        &self,
        _: ExecutionId,
        _: &PartName,
        _: &EncodedState,
    ) -> Result<(), StoreError> {
        Ok(())
    }
    fn read_position(&self, _: &PartName) -> Result<Option<EncodedState>, StoreError> {
        Ok(None)
    }
    fn list(&self) -> Result<Vec<Manifest>, StoreError> {
        Ok(Vec::new())
    }
    fn stored_bytes(&self) -> Result<u64, StoreError> {
        Ok(0)
    }
    fn release(&self) {}
}

/// Reads messages first, steps instances in their order next, lets the writer work last; then time passes.
struct OneByOne {
    clock: Arc<Counted>,
    instances: Vec<Option<RunningInstance>>,
    /// Instances that have not been stepped yet.
    unborn: BTreeSet<usize>,
    writer: Option<(CheckpointWriter, Receiver<Task>, Sender<Written>)>,
}

impl OneByOne {
    fn heard(mailboxes: &Mailboxes) -> Option<Message> {
        if let Ok((number, report)) = mailboxes.reports.try_recv() {
            return Some(Message::Report(number, report));
        }
        match mailboxes.written.try_recv() {
            Ok(written) => return Some(Message::Written(written)),
            Err(TryRecvError::Disconnected) => return Some(Message::WriterGone),
            Err(TryRecvError::Empty) => {}
        }
        mailboxes.requests.try_recv().ok().map(Message::Request)
    }

    fn step(&mut self) -> bool {
        for (number, slot) in self.instances.iter_mut().enumerate() {
            let Some(instance) = slot else { continue };
            if self.unborn.remove(&number) || instance.mailbox.waker.take_notice() {
                self.clock.pass(1);
                if instance.step(self.clock.now()) == Progress::Done {
                    *slot = None;
                }
                return true;
            }
        }
        false
    }

    fn write(&mut self) -> bool {
        let Some((writer, tasks, to)) = &mut self.writer else { return false };
        match tasks.try_recv() {
            Ok(task) => {
                if let Some(written) = writer.answer(task) {
                    to.send(written).expect("the supervisor listens");
                }
                true
            }
            Err(TryRecvError::Empty) => false,
            Err(TryRecvError::Disconnected) => {
                self.writer = None;
                true
            }
        }
    }
}

impl Host for OneByOne {
    fn spawn_instance(&mut self, slot: InstanceSlot) -> Result<(), Refused> {
        self.unborn.insert(self.instances.len());
        self.instances.push(Some(RunningInstance::of(slot)));
        Ok(())
    }
    fn spawn_writer(
        &mut self,
        writer: CheckpointWriter,
        tasks: Receiver<Task>,
        to: Sender<Written>,
    ) -> Result<(), Refused> {
        self.writer = Some((writer, tasks, to));
        Ok(())
    }
    fn wait(&mut self, mailboxes: &Mailboxes, until: Timestamp) -> Message {
        loop {
            if let Some(message) = Self::heard(mailboxes) {
                return message;
            }
            if !self.step() && !self.write() {
                self.clock.0.fetch_max(until.0, Ordering::Relaxed);
                return Message::Nothing;
            }
        }
    }
    fn clear(&mut self, _: &dyn Fn(usize) -> bool, _: bool) {
        self.instances.clear();
        self.writer = None;
    }
}

fn blueprint(manners: Vec<Manner>, clock: Arc<Counted>) -> Blueprint {
    let component = |manner: &Manner| ComponentPlan {
        name: manner.name.to_owned(),
        instances: 1,
        kind: "operator",
        state: StateShape::Unknown,
        codec: StateCodec::POSITIONAL,
        form: StoredForm::unversioned(),
        held: StateShape::Stateless,
        verb: None,
    };
    let thread = |manner: &Manner| ThreadPlan {
        name: InstanceName::new(manner.name, 0),
        is_source: manner.name == SOURCE.name,
    };
    Blueprint {
        job: "counted".to_owned(),
        components: manners.iter().map(component).collect(),
        edges: Vec::new(),
        threads: manners.iter().map(thread).collect(),
        wire: Arc::new(move |execution: &Execution| {
            let build = |(number, manner): (usize, &Manner)| -> BuildInstance {
                let (base, manner) = (execution.base(number), *manner);
                let clock = Arc::clone(&clock);
                Box::new(move || Ok(Box::new(Instance { base, manner, clock, taken: 0 })))
            };
            manners.iter().enumerate().map(build).collect()
        }),
        surroundings: Vec::new(),
    }
}

/// A job of these instances that takes a checkpoint a second, and the end of its line for requests.
struct Scene {
    supervisor: Supervisor<OneByOne>,
    registry: Arc<Registry>,
    requests: Sender<Request>,
}

fn scene(manners: Vec<Manner>) -> Scene {
    let clock = Arc::<Counted>::default();
    let blueprint = blueprint(manners, Arc::clone(&clock));
    let mut guarantee = Guarantee::default();
    guarantee.terms.cut = Cut::Operators;
    guarantee.options.schedule.every = Duration::from_secs(1);
    guarantee.options.schedule.timeout = Duration::from_millis(500);
    let registry = Arc::new(blueprint.registry());
    let (requests, asked) = unbounded();
    let host = OneByOne {
        clock: Arc::clone(&clock),
        instances: Vec::new(),
        unborn: BTreeSet::new(),
        writer: None,
    };
    let parts = SupervisorParts {
        blueprint,
        guarantee,
        store: Some(Arc::new(Slow(Arc::clone(&clock)))),
        clock,
        registry: Arc::clone(&registry),
        requests: asked,
    };
    Scene { supervisor: Supervisor::new(parts, host), registry, requests }
}

impl Scene {
    /// Asks for a checkpoint.
    fn ask(&self) -> Receiver<Result<CheckpointId, String>> {
        let (reply, answer) = bounded(1);
        self.requests.send(Request::Checkpoint { reply }).expect("the supervisor listens");
        answer
    }

    /// Asks for the end.
    fn stop(&self) {
        let within = Duration::from_secs(60);
        let stop = Request::Stop { end: End::Suspended, within };
        self.requests.send(stop).expect("the supervisor listens");
    }

    /// Runs the job until this many checkpoints have ended.
    fn until(&mut self, checkpoints: usize) {
        while self.registry.snapshot().recent_checkpoints.len() < checkpoints {
            assert!(self.supervisor.end.is_none(), "{:?}", self.supervisor.end);
            self.supervisor.wait_and_handle();
        }
    }

    fn checkpoint(&self, place: usize) -> CheckpointStats {
        self.registry.snapshot().recent_checkpoints[place].clone()
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn name(of: Manner) -> Option<InstanceName> {
    Some(InstanceName::new(of.name, 0))
}

#[test]
fn the_phases_of_a_checkpoint_are_exact_and_who_took_longest_and_was_last_is_named() {
    let mut scene = scene(vec![SOURCE, SLOW]);
    scene.supervisor.begin().expect("it starts");
    scene.until(1);
    // Two steps to set up; due after a second. Each takes its part in a step of 1 ms.
    let expected = CheckpointStats {
        outcome: CheckpointOutcome::Completed,
        waiting: ms(1 + 10 + 1),
        taking: ms(40),
        slowest: name(SLOW),
        encoding: ms(20 + 2),
        writing: ms(5 + 5),
        committing: ms(7),
        total: ms(1 + 10 + 1 + 40 + 20 + 2 + 5 + 5 + 7),
        bytes: 3 + 5,
        parts: 2,
        last: name(SLOW),
        ..CheckpointStats::new(CheckpointId(1), CheckpointKind::Periodic, ms(1000))
    };
    assert_eq!(scene.checkpoint(0), expected);
}

#[test]
fn the_slowest_to_take_its_part_need_not_be_the_last_to_hand_it_in() {
    let mut scene = scene(vec![SLOW, SOURCE]);
    scene.supervisor.begin().expect("it starts");
    let answer = scene.ask();
    scene.until(1);
    let stats = scene.checkpoint(0);
    assert_eq!(stats.kind, CheckpointKind::Asked);
    assert_eq!((stats.slowest, stats.last), (name(SLOW), name(SOURCE)));
    assert_eq!((stats.waiting, stats.taking), (ms(1 + 40 + 1), ms(40)));
    assert_eq!(answer.try_recv(), Ok(Ok(CheckpointId(1))));
}

#[test]
fn the_last_checkpoint_of_a_job_is_made_of_what_ended_instances_left_and_nobody_was_last() {
    let mut scene = scene(vec![SOURCE, SLOW]);
    scene.supervisor.begin().expect("it starts");
    scene.stop();
    let registry = Arc::clone(&scene.registry);
    let ended = scene.supervisor.run().expect("it ends well");
    assert_eq!(ended, Ended { asked: Some(End::Suspended), restored_from: None });
    let [stats] = &registry.snapshot().recent_checkpoints[..] else { panic!("one checkpoint") };
    let expected = CheckpointStats {
        outcome: CheckpointOutcome::Completed,
        writing: ms(5 + 5),
        committing: ms(7),
        total: ms(5 + 5 + 7),
        bytes: 3 + 5,
        parts: 2,
        ..CheckpointStats::new(stats.checkpoint, CheckpointKind::Last, stats.begun)
    };
    assert_eq!(*stats, expected);
}

#[test]
fn an_abandoned_checkpoint_says_why_and_what_there_was_of_it() {
    let mut scene = scene(vec![SOURCE, Manner { answers: Answers::Never, ..SLOW }]);
    scene.supervisor.begin().expect("it starts");
    scene.until(1);
    let reason = "1 instances had not answered in 500ms".to_owned();
    let expected = CheckpointStats {
        outcome: CheckpointOutcome::Abandoned { reason },
        waiting: ms(1),
        taking: ms(10),
        slowest: name(SOURCE),
        encoding: ms(20),
        total: ms(500),
        bytes: 3,
        parts: 1,
        last: name(SOURCE),
        ..CheckpointStats::new(CheckpointId(1), CheckpointKind::Periodic, ms(1000))
    };
    assert_eq!(scene.checkpoint(0), expected);
    assert_eq!(scene.registry.snapshot().checkpoints_failed, 1);
}

#[test]
fn a_checkpoint_that_is_cut_off_by_the_end_of_its_execution_is_abandoned_and_the_next_execution_goes_on()
 {
    let mut scene = scene(vec![SOURCE, Manner { answers: Answers::Once, ..SLOW }]);
    scene.supervisor.begin().expect("it starts");
    scene.until(3);
    let ends = [0, 1, 2].map(|place| scene.checkpoint(place).outcome);
    let reason = "its execution ended before it was known to be complete".to_owned();
    let abandoned = CheckpointOutcome::Abandoned { reason };
    assert_eq!(ends, [CheckpointOutcome::Completed, abandoned, CheckpointOutcome::Completed]);
    let counted = scene.registry.snapshot();
    assert_eq!((counted.checkpoints, counted.checkpoints_failed, counted.restarts), (2, 0, 1));
}

#[test]
fn the_newest_hundred_checkpoints_are_kept() {
    let mut scene = scene(vec![SOURCE]);
    scene.supervisor.begin().expect("it starts");
    scene.until(100);
    assert_eq!(scene.checkpoint(0).checkpoint, CheckpointId(1));
    while scene.registry.snapshot().checkpoints < 101 {
        scene.supervisor.wait_and_handle();
    }
    let kept = scene.registry.snapshot().recent_checkpoints;
    assert_eq!(kept.len(), 100);
    assert_eq!(kept[0].checkpoint, CheckpointId(2));
    assert_eq!(kept[99].checkpoint, CheckpointId(101));
}

#[test]
fn a_failure_of_an_instance_is_the_end_of_a_job_that_is_being_stopped() {
    let mut scene = scene(vec![SOURCE, Manner { answers: Answers::Once, ..SLOW }]);
    scene.supervisor.begin().expect("it starts");
    scene.until(1);
    scene.ask();
    scene.stop();
    let error = scene.supervisor.run().expect_err("it fails");
    assert!(matches!(error, JobError::Failed { restarts: 0, .. }), "{error}");
}
