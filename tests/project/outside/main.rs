//! The program of a user: one job, every guarantee.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use streamwork::{AtLeastOnce, AtMostOnce, BoxError, Collector, ExactlyOnce, Guarantee, Instance, Job, Output, StatefulOperator};

#[derive(Default)]
struct Sum {
    total: u64,
}

impl StatefulOperator for Sum {
    type In = u64;
    type Out = u64;
    type State = u64;

    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.total = state.unwrap_or(0);
        Ok(())
    }

    fn apply(&mut self, number: u64, _: &mut Collector<u64>) -> Result<(), BoxError> {
        self.total += number;
        Ok(())
    }

    fn finish(&mut self, out: &mut Output<u64>) -> Result<(), BoxError> {
        out.emit(std::mem::take(&mut self.total));
        Ok(())
    }

    fn state(&self) -> u64 {
        self.total
    }
}

fn main() -> Result<(), BoxError> {
    let directory = std::env::temp_dir().join(format!("streamwork-outside-{}", std::process::id()));
    let guarantees: [Guarantee; 4] = [
        AtMostOnce::new().into(),
        AtLeastOnce::new().into(),
        AtLeastOnce::checkpoints_in(directory.join("at-least-once")).into(),
        ExactlyOnce::checkpoints_in(directory.join("exactly-once")).into(),
    ];
    for guarantee in guarantees {
        let name = guarantee.name();
        let total = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&total);
        let job = Job::new("sum");
        job.from_iter("numbers", || 0..1_000_u64)
            .shuffle()
            .filter(|_| true)
            .parallelism(2)
            .global()
            .stateful("sum", Sum::default)
            .for_each(move |sum| seen.store(sum, Ordering::Relaxed));
        job.run(guarantee)?;
        println!("{name}: 0 + 1 + … + 999 = {}", total.load(Ordering::Relaxed));
    }
    std::fs::remove_dir_all(directory)?;
    Ok(())
}
