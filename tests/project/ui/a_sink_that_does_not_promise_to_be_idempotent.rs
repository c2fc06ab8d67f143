use streamwork::{BoxError, Job, Sink};

struct Charge;

impl Sink for Charge {
    type In = u64;
    fn write(&mut self, _: u64) -> Result<(), BoxError> {
        Ok(())
    }
}

fn main() {
    let job = Job::new("promises");
    job.from_iter("bills", || 0..10_u64).idempotent_sink("charge", || Charge);
}
