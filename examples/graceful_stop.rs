//! A job without an end, observed while it runs and ended without losing an event.
//!
//! `Pack` collects events until it has a thousand, so at any moment it has some. `drain` closes the
//! sources, waits for the events in flight, and calls `finish` on every operator, which emits the
//! events that it still has. It has a deadline: if an instance did not end in time, the error would
//! name it. `stop` is the other way to end: if there is a store, it keeps those events for the next
//! start.
//!
//! ```sh
//! cargo run --release --example graceful_stop
//! ```
//!
//! Expected output:
//!
//! ```text
//! while it runs
//!   packs have come out: true
//!   every instance works: true
//! drained: Drained, in less than 10 seconds: true
//!   readings that went into packs are all that were emitted: true
//!   readings that came out of packs are all that went in: true
//!   failed 0, dropped 0, restarts 0
//! ```

mod course;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use streamwork::{AtMostOnce, BoxError, Collector, Job, Operator, Output};

#[derive(Default)]
struct Pack {
    held: Vec<u64>,
}

impl Operator for Pack {
    type In = u64;
    type Out = Vec<u64>;

    fn apply(&mut self, reading: u64, out: &mut Collector<Vec<u64>>) -> Result<(), BoxError> {
        self.held.push(reading);
        if self.held.len() == 1_000 { self.finish(out) } else { Ok(()) }
    }

    fn finish(&mut self, out: &mut Output<Vec<u64>>) -> Result<(), BoxError> {
        out.emit(std::mem::take(&mut self.held));
        Ok(())
    }
}

fn main() -> Result<(), BoxError> {
    course::help(include_str!("graceful_stop.rs"));

    let arrived = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&arrived);
    let job = Job::new("readings");
    job.from_iter("readings", || 0_u64..)
        .shuffle()
        .operator("pack", Pack::default)
        .parallelism(2)
        .for_each(move |pack| {
            count.fetch_add(pack.len() as u64, Ordering::Relaxed);
        });
    let handle = job.start(AtMostOnce::new())?;

    let deadline = Instant::now() + Duration::from_secs(10);
    let mut metrics = handle.metrics();
    let at_work = |m: &streamwork::Metrics| m.instances.iter().all(|i| i.emitted + i.delivered > 0);
    while !at_work(&metrics) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
        metrics = handle.metrics();
    }
    println!("while it runs");
    println!("  packs have come out: {}", metrics.sum("pack", |m| m.emitted) > 0);
    println!("  every instance works: {}", at_work(&metrics));

    let asked = Instant::now();
    let report = handle.drain(Duration::from_secs(10))?;
    let in_time = asked.elapsed() < Duration::from_secs(10);
    println!("drained: {:?}, in less than 10 seconds: {in_time}", report.outcome);
    let emitted = report.metrics.sum("readings", |m| m.emitted);
    let packed = report.metrics.sum("pack", |m| m.delivered);
    println!("  readings that went into packs are all that were emitted: {}", packed == emitted);
    let arrived = arrived.load(Ordering::Relaxed);
    println!("  readings that came out of packs are all that went in: {}", arrived == packed);
    let (failed, dropped) =
        (report.metrics.total(|m| m.failed), report.metrics.total(|m| m.dropped));
    println!("  failed {failed}, dropped {dropped}, restarts {}", report.metrics.restarts);
    Ok(())
}
