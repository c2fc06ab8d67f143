//! Events of a given size from a source to a sink on another thread.

use std::time::Instant;

use streamwork::{AtMostOnce, BoxError, Instance, Job, Next, Sink, SourceOutput, StatefulSource};

use crate::measure::Outcome;
use crate::ours::Shared;
use crate::record::{Filled, Total};
use crate::workloads::Task;

struct Made<const BYTES: usize> {
    events: u64,
    next: u64,
}

impl<const BYTES: usize> StatefulSource for Made<BYTES> {
    type Out = Filled<BYTES>;
    type State = u64;

    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.next = state.unwrap_or_default();
        Ok(())
    }

    fn get_events(&mut self, out: &mut SourceOutput<Filled<BYTES>>) -> Result<Next, BoxError> {
        for _ in 0..(self.events - self.next).min(out.room() as u64) {
            out.emit(Filled::of(self.next));
            self.next += 1;
        }
        Ok(if self.next < self.events { Next::Now } else { Next::End })
    }

    fn state(&self) -> u64 {
        self.next
    }
}

struct Seen<const BYTES: usize> {
    own: Total,
    shared: Shared,
}

impl<const BYTES: usize> Sink for Seen<BYTES> {
    type In = Filled<BYTES>;

    fn write(&mut self, event: Filled<BYTES>) -> Result<(), BoxError> {
        self.own.add_filled(&event);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        self.shared.add(std::mem::take(&mut self.own));
        Ok(())
    }
}

pub fn run<const BYTES: usize>(task: &Task) -> Result<Outcome, BoxError> {
    let shared = Shared::default();
    let (events, seen) = (task.events, shared.clone());
    let job = Job::new("sized");
    job.stateful_source("made", move || Made::<BYTES> { events, next: 0 })
        .sink("seen", move || Seen { own: Total::default(), shared: seen.clone() })
        .own_thread();
    let started = Instant::now();
    job.run(AtMostOnce::new())?;
    Ok(Outcome::rate(events, started.elapsed(), shared.total()))
}
