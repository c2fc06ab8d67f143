use streamwork::{BoxError, Collector, Job, Operator};

struct Double;

impl Operator for Double {
    type In = u64;
    type Out = u64;
    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        out.emit(2 * n);
        Ok(())
    }
}

fn main() {
    let job = Job::new("factories");
    job.from_iter("numbers", || 0..10_u64).operator("double", Double).ignore();
}
