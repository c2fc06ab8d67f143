//! [`Threads`]: the host that gives every instance a thread, and how many threads a machine can run.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select};

use crate::api::waker::Waker;
use crate::clock::{Clock, Timestamp};
use crate::error::Refused;
use crate::executor::checkpoint_writer::{CheckpointWriter, Written};
use crate::executor::host::{Host, Mailboxes, Message};
use crate::executor::instance::Progress;
use crate::executor::instance_slot::{InstanceSlot, RunningInstance};
use crate::executor::writer_queue::Task;

/// How many threads this machine can run, by the number of mappings that a process may have: Rust maps a
/// stack and a guard page for each, and the allocator its arena.
pub(crate) fn threads_max() -> usize {
    let read = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<usize>().ok();
    let by_mappings = read("/proc/sys/vm/max_map_count").map_or(usize::MAX, |maps| maps / 4);
    let by_kernel = read("/proc/sys/kernel/threads-max").unwrap_or(usize::MAX);
    by_mappings.min(by_kernel).min(60_000)
}

/// The threads of one execution.
pub(crate) struct Threads {
    clock: Arc<dyn Clock>,
    instances: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
}

impl Threads {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, instances: Vec::new(), writer: None }
    }
}

impl Host for Threads {
    fn spawn_instance(&mut self, slot: InstanceSlot) -> Result<(), Refused> {
        self.instances.push(spawn(slot.name.to_string(), move || drive(slot))?);
        Ok(())
    }

    fn spawn_writer(
        &mut self,
        writer: CheckpointWriter,
        tasks: Receiver<Task>,
        to: Sender<Written>,
    ) -> Result<(), Refused> {
        self.writer = Some(spawn("checkpoint writer".to_owned(), move || writer.run(tasks, to))?);
        Ok(())
    }

    fn wait(&mut self, mailboxes: &Mailboxes, until: Timestamp) -> Message {
        select! {
            recv(mailboxes.reports) -> report => match report {
                Ok((number, report)) => Message::Report(number, report),
                // A supervisor keeps a sender of its own.
                Err(_) => Message::Nothing,
            },
            recv(mailboxes.written) -> written => match written {
                Ok(written) => Message::Written(written),
                Err(_) => Message::WriterGone,
            },
            recv(mailboxes.requests) -> request => match request {
                Ok(request) => Message::Request(request),
                Err(_) => Message::Orphaned,
            },
            default(until.since(self.clock.now())) => Message::Nothing,
        }
    }

    fn clear(&mut self, gone: &dyn Fn(usize) -> bool, writer_gone: bool) {
        for (number, thread) in self.instances.drain(..).enumerate() {
            if gone(number) {
                // What it panicked with has been reported.
                let _ = thread.join();
            }
        }
        if let Some(writer) = self.writer.take().filter(|_| writer_gone) {
            let _ = writer.join();
        }
    }
}

/// The least stack of a thread, which the plan relies on when it fuses components. It is the default of the
/// standard library; `RUST_MIN_STACK` could set less for all threads of a process.
const STACK_BYTES: usize = 2 << 20;

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Refused> {
    let asked = std::env::var("RUST_MIN_STACK").ok().and_then(|bytes| bytes.parse().ok());
    let stack = asked.map_or(STACK_BYTES, |bytes: usize| bytes.max(STACK_BYTES));
    let builder = std::thread::Builder::new().name(name.replace('\0', " ")).stack_size(stack);
    builder.spawn(run).map_err(|source| Refused::Spawn { name, source })
}

/// Steps an instance to its end; parked while there is nothing to do.
fn drive(slot: InstanceSlot) {
    let (counters, clock) = (Arc::clone(&slot.counters), Arc::clone(&slot.clock));
    let mut instance = RunningInstance::of(slot);
    let mut began = clock.now();
    let mut patience = Patience::default();
    loop {
        counters.working_since.set(began.0);
        let progress = instance.step(began);
        let ended = clock.now();
        let (deadline, waited) = match progress {
            Progress::Moved => {
                counters.busy_ns.add(ended.since(began).as_nanos() as u64);
                began = ended;
                continue;
            }
            Progress::Idle(deadline) => (deadline, &counters.idle_ns),
            Progress::Blocked(deadline) => (deadline, &counters.blocked_ns),
            Progress::Done => break,
        };
        counters.working_since.set(0);
        patience.wait(&instance.mailbox.waker, || deadline.map(|at| at.since(clock.now())));
        began = clock.now();
        waited.add(began.since(ended).as_nanos() as u64);
    }
    counters.working_since.set(0);
}

/// How long an instance gives way to other threads before it parks. It often waits for a batch that another
/// thread is about to send, and to sleep and be woken for each batch costs more than its processing. If
/// giving way was useless it does so less often the next time, down to once.
struct Patience {
    times: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { times: Self::MOST }
    }
}

impl Patience {
    /// Far less than a time slice, and about what it costs to sleep and be woken.
    const MOST: u32 = 16;

    fn wait(&mut self, waker: &Waker, at_most: impl FnOnce() -> Option<Duration>) {
        if waker.linger(self.times) {
            self.times = Self::MOST;
        } else {
            self.times = (self.times / 2).max(1);
            waker.park(at_most());
        }
    }
}
