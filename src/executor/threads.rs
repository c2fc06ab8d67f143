//! The driver that gives every instance a thread, and what a machine can carry of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::clock::{Clock, Timestamp};
use crate::error::{Cause, Failure, Refused};
use crate::executor::blueprint::BuildInstance;
use crate::executor::instance::{Mailbox, Progress, Report, Reporter, Step};
use crate::id::InstanceName;
use crate::metrics::Counters;

/// One thread to be started.
pub(crate) struct Seat {
    pub(crate) name: InstanceName,
    pub(crate) build: BuildInstance,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) reporter: Reporter,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Threads that this machine can carry, by the mappings that a process may have: Rust maps a stack
/// and a guard page for each, and the allocator its arena.
pub(crate) fn threads_max() -> usize {
    let read = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<usize>().ok();
    let by_mappings = read("/proc/sys/vm/max_map_count").map_or(usize::MAX, |maps| maps / 4);
    let by_kernel = read("/proc/sys/kernel/threads-max").unwrap_or(usize::MAX);
    by_mappings.min(by_kernel).min(60_000)
}

/// Starts a thread that builds its instance and drives it to its end.
///
/// # Errors
/// What the operating system said.
pub(crate) fn start(seat: Seat) -> Result<JoinHandle<()>, Refused> {
    let name = seat.name.to_string();
    let builder = std::thread::Builder::new().name(name.replace('\0', " "));
    builder.spawn(move || occupy(seat)).map_err(|source| Refused::Spawn { name, source })
}

fn occupy(seat: Seat) {
    let reporter = seat.reporter.clone();
    let name = seat.name.clone();
    // Whatever escapes is a defect of ours or of a destructor; it is reported, never silent.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| run(seat))) {
        let cause = Cause::panic(payload);
        reporter.send(Report::Failed(Failure { instance: name, callback: "engine", cause }));
    }
    reporter.send(Report::Gone);
}

fn run(seat: Seat) {
    match (seat.build)() {
        Ok(mut step) => {
            seat.reporter.send(Report::Up);
            drive(&mut *step, &seat.mailbox, &seat.counters, &*seat.clock);
            if let Err(payload) = catch_unwind(AssertUnwindSafe(move || drop(step))) {
                let (instance, cause) = (&seat.name, Cause::panic(payload));
                tracing::error!(%instance, %cause, "a destructor panicked");
            }
        }
        Err(failure) => seat.reporter.send(Report::Failed(failure)),
    }
}

fn drive(step: &mut dyn Step, mailbox: &Mailbox, counters: &Counters, clock: &dyn Clock) {
    let mut began = clock.now();
    counters.working_since.set(began.0);
    loop {
        let progress = step.step();
        let ended = clock.now();
        counters.working_since.set(ended.0);
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
        mailbox.waker.park(deadline.map(|at: Timestamp| at.since(ended)));
        began = clock.now();
        counters.working_since.set(began.0);
        waited.add(began.since(ended).as_nanos() as u64);
    }
    counters.working_since.set(0);
}
