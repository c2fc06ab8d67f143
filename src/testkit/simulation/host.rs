//! [`SimulatedHost`]: carries instances, writer and supervisor on one thread, in an order that the
//! seed draws.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use crate::channel::frame::End;
use crate::clock::{Clock, Timestamp, earlier};
use crate::error::Refused;
use crate::executor::checkpoint_writer::{CheckpointWriter, Written};
use crate::executor::host::{Host, Mailboxes, Message, Request};
use crate::executor::injected::Injected;
use crate::executor::instance::Progress;
use crate::executor::instance_slot::{InstanceSlot, RunningInstance};
use crate::executor::writer_queue::Task;
use crate::testkit::simulated_disk::SimulatedDisk;
use crate::testkit::simulation::faults::Fault;
use crate::testkit::simulation::world::{Crash, Shared};

/// What unwinds out of a process that is killed.
pub(super) struct Killed;

/// What unwinds out of a job that does not come to its end, with what is known about it.
pub(super) struct Hung(pub(super) String);

/// How one life of the process is driven.
pub(super) struct Course {
    pub(super) stop_within: Duration,
    /// Whether a job that is stopped can go on where it was.
    pub(super) resumable: bool,
    pub(super) steps_max: u64,
}

pub(super) struct SimulatedHost {
    shared: Shared,
    disk: SimulatedDisk,
    course: Course,
    requests: Sender<Request>,
    actors: Vec<Actor>,
    writer: Option<Writer>,
    /// What a step takes, at most, in nanoseconds.
    pace: u64,
    /// Whether actors have priorities, which change now and then, or all have the same chance.
    prioritized: bool,
    priorities: Vec<u64>,
    stopped: bool,
    /// Steps since anything moved but the clock.
    quiet: u64,
}

struct Actor {
    instance: RunningInstance,
    rest: Rest,
    stalled_until: Timestamp,
}

/// Why an actor is not stepped.
enum Rest {
    None,
    Until(Option<Timestamp>),
    Over,
}

struct Writer {
    writer: CheckpointWriter,
    tasks: Receiver<Task>,
    to: Sender<Written>,
}

/// Who may go next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Actor(usize),
    Writer,
    Supervisor,
}

impl SimulatedHost {
    pub(super) fn new(
        shared: Shared,
        disk: SimulatedDisk,
        course: Course,
        requests: Sender<Request>,
    ) -> Self {
        let (pace, prioritized) = {
            let random = &mut shared.world.lock().random;
            (random.power(7, 20), random.coin())
        };
        Self {
            shared,
            disk,
            course,
            requests,
            actors: Vec::new(),
            writer: None,
            pace,
            prioritized,
            priorities: Vec::new(),
            stopped: false,
            quiet: 0,
        }
    }

    /// Where anything may happen that comes from outside.
    fn outside(&mut self) {
        let mut world = self.shared.world.lock();
        world.steps += 1;
        for (kind, crash) in
            [(Fault::Kill, Crash::Kill), (Fault::PowerFailure, Crash::PowerFailure)]
        {
            if world.crash.is_none() && world.draw(kind) {
                world.crash = Some(crash);
                world.inject(format!("{crash:?} between two steps"));
            }
        }
        if world.crash.is_some() {
            drop(world);
            self.disk.switch_off();
            self.abandon();
            resume_unwind(Box::new(Killed));
        }
        if world.steps > self.course.steps_max {
            let hung = format!("it has not ended after {} steps", world.steps);
            drop(world);
            self.hang(hung);
        }
        let now = self.shared.now();
        if !self.actors.is_empty() && world.draw(Fault::Stall) {
            let number = world.random.below(self.actors.len());
            let time = Duration::from_nanos(world.random.power(10, 32));
            world.inject(format!("stall of {time:?} in {}", self.actors[number].instance.name));
            self.actors[number].stalled_until = now.after(time);
        }
        if world.draw(Fault::ClockJump) {
            // From a second to more than a day.
            let time = Duration::from_secs(world.random.power(0, 17));
            world.inject(format!("the clock jumps by {time:?}"));
            self.shared.advance_to(now.after(time));
        }
        if world.draw(Fault::Checkpoint) {
            world.note("a checkpoint is asked for", 0);
            let (reply, _) = bounded(1);
            let _ = self.requests.send(Request::Checkpoint { reply });
        }
        if self.course.resumable && !self.stopped && world.draw(Fault::Stop) {
            world.inject("stop".to_owned());
            self.stopped = true;
            let within = self.course.stop_within;
            let _ = self.requests.send(Request::Stop { end: End::Suspended, within });
        }
    }

    fn hang(&mut self, mut about: String) -> ! {
        for actor in &self.actors {
            let rest = match actor.rest {
                Rest::None => "could go on",
                Rest::Until(Some(_)) => "waits for its time",
                Rest::Until(None) => "waits to be woken",
                Rest::Over => "has ended",
            };
            about.push_str(&format!("\n  {}: {rest}", actor.instance.name));
        }
        self.abandon();
        resume_unwind(Box::new(Hung(about)));
    }

    /// Drops whoever is left, so that nobody's destructor runs while this thread unwinds.
    fn abandon(&mut self) {
        for actor in self.actors.drain(..) {
            let _ = catch_unwind(AssertUnwindSafe(move || drop(actor)));
        }
        let writer = self.writer.take();
        let _ = catch_unwind(AssertUnwindSafe(move || drop(writer)));
    }

    /// Whoever may go next; and if nobody may, the next moment at which somebody will.
    fn turns(&mut self, heard: bool, now: Timestamp) -> (Vec<Turn>, Option<Timestamp>) {
        let mut turns = Vec::with_capacity(self.actors.len() + 2);
        let mut next = None;
        for (number, actor) in self.actors.iter_mut().enumerate() {
            let ready = match actor.rest {
                Rest::Over => continue,
                Rest::None => true,
                Rest::Until(at) => {
                    let due = at.is_some_and(|at| at <= now);
                    // A notice is taken as `park` takes it.
                    let woken = actor.instance.mailbox.waker.take_notice();
                    if !due && !woken {
                        next = earlier(next, at.map(|at| at.max(actor.stalled_until)));
                    }
                    due || woken
                }
            };
            if ready {
                actor.rest = Rest::None;
                if actor.stalled_until > now {
                    next = earlier(next, Some(actor.stalled_until));
                } else {
                    turns.push(Turn::Actor(number));
                }
            }
        }
        if self.writer.as_ref().is_some_and(Writer::has_work) {
            turns.push(Turn::Writer);
        }
        if heard {
            turns.push(Turn::Supervisor);
        }
        (turns, next)
    }

    fn choose(&mut self, turns: &[Turn]) -> Turn {
        let random = &mut self.shared.world.lock().random;
        if !self.prioritized {
            return turns[random.below(turns.len())];
        }
        // Priorities with a few changes find orders that fairness hides (Burckhardt et al., "A
        // Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS 2010).
        let wanted = self.actors.len() + 2;
        while self.priorities.len() < wanted {
            self.priorities.push(random.next());
        }
        if random.once_in(32) {
            let number = random.below(wanted);
            self.priorities[number] = random.next();
        }
        let priority = |turn: &Turn| match turn {
            Turn::Writer => self.priorities[0],
            Turn::Supervisor => self.priorities[1],
            Turn::Actor(number) => self.priorities[number + 2],
        };
        turns.iter().copied().max_by_key(priority).unwrap_or(Turn::Supervisor)
    }

    fn step(&mut self, number: usize) {
        let actor = &mut self.actors[number];
        let progress = actor.instance.step(self.shared.now());
        if progress == Progress::Moved || progress == Progress::Done {
            self.quiet = 0;
        }
        actor.rest = match progress {
            Progress::Moved => Rest::None,
            Progress::Idle(at) | Progress::Blocked(at) => Rest::Until(at),
            Progress::Done => Rest::Over,
        };
        self.shared.world.lock().note("step", (number as u64) << 2 | progress_code(progress));
    }

    fn write(&mut self) {
        let Some(writer) = &mut self.writer else { return };
        self.quiet = 0;
        self.shared.world.lock().note("write", 0);
        match writer.tasks.try_recv() {
            Ok(task) => {
                if let Some(written) = writer.writer.answer(task) {
                    let _ = writer.to.send(written);
                }
            }
            Err(_) => self.writer = None,
        }
    }

    /// One message, from a mailbox that has one.
    fn listen(&mut self, mailboxes: &Mailboxes) -> Option<Message> {
        let first = self.shared.world.lock().random.below(3);
        for line in [first, first + 1, first + 2] {
            let heard = match line % 3 {
                0 => mailboxes
                    .reports
                    .try_recv()
                    .map(|(number, report)| Message::Report(number, report)),
                1 => match mailboxes.written.try_recv() {
                    Err(TryRecvError::Disconnected) => Ok(Message::WriterGone),
                    written => written.map(Message::Written),
                },
                _ => match mailboxes.requests.try_recv() {
                    Err(TryRecvError::Disconnected) => Ok(Message::Orphaned),
                    request => request.map(Message::Request),
                },
            };
            if let Ok(heard) = heard {
                self.quiet = 0;
                self.shared.world.lock().note("heard", line as u64 % 3);
                return Some(heard);
            }
        }
        None
    }
}

fn progress_code(progress: Progress) -> u64 {
    match progress {
        Progress::Moved => 0,
        Progress::Idle(_) => 1,
        Progress::Blocked(_) => 2,
        Progress::Done => 3,
    }
}

/// Whether a line that is empty will stay so.
fn is_closed<T>(line: &Receiver<T>) -> bool {
    matches!(line.try_recv(), Err(TryRecvError::Disconnected))
}

impl Writer {
    fn has_work(&self) -> bool {
        // With nobody left to send tasks, ending is its work.
        !self.tasks.is_empty() || is_closed(&self.tasks)
    }
}

impl Host for SimulatedHost {
    fn spawn_instance(&mut self, slot: InstanceSlot) -> Result<(), Refused> {
        let instance = RunningInstance::of(slot);
        self.actors.push(Actor { instance, rest: Rest::None, stalled_until: Timestamp(0) });
        Ok(())
    }

    fn spawn_writer(
        &mut self,
        writer: CheckpointWriter,
        tasks: Receiver<Task>,
        to: Sender<Written>,
    ) -> Result<(), Refused> {
        self.writer = Some(Writer { writer, tasks, to });
        Ok(())
    }

    fn injected(&self) -> Injected {
        Injected::new(std::sync::Arc::new(self.shared.clone()))
    }

    fn wait(&mut self, mailboxes: &Mailboxes, until: Timestamp) -> Message {
        loop {
            self.outside();
            let now = self.shared.now();
            let heard = !mailboxes.reports.is_empty()
                || !mailboxes.written.is_empty()
                || !mailboxes.requests.is_empty()
                || (self.writer.is_none() && is_closed(&mailboxes.written));
            let (turns, next) = self.turns(heard, now);
            if turns.is_empty() {
                self.quiet += 1;
                if self.quiet > 10_000 {
                    self.hang("nothing but time has moved for 10000 steps".to_owned());
                }
                let next = next.map_or(until, |next| next.min(until));
                self.shared.advance_to(next);
                if self.shared.now() >= until {
                    return Message::Nothing;
                }
                continue;
            }
            if now >= until && self.shared.world.lock().random.once_in(4) {
                return Message::Nothing;
            }
            let spent = self.shared.world.lock().random.next() % self.pace;
            self.shared.advance_to(now.after(Duration::from_nanos(spent)));
            match self.choose(&turns) {
                Turn::Actor(number) => self.step(number),
                Turn::Writer => self.write(),
                Turn::Supervisor => {
                    if let Some(heard) = self.listen(mailboxes) {
                        return heard;
                    }
                }
            }
        }
    }

    fn clear(&mut self, _: &dyn Fn(usize) -> bool, _: bool) {
        self.abandon();
        self.priorities.clear();
    }
}
