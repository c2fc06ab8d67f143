use streamwork::{BoxError, Collector, Job, Operator};

struct Shout;

impl Operator for Shout {
    type In = String;
    type Out = String;
    fn apply(&mut self, text: String, out: &mut Collector<String>) -> Result<(), BoxError> {
        out.emit(text.to_uppercase());
        Ok(())
    }
}

fn main() {
    let job = Job::new("types");
    job.from_iter("numbers", || 0..10_u64).operator("shout", || Shout).ignore();
}
