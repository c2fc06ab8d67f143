use std::rc::Rc;
use streamwork::{BoxError, Collector, Job, Operator};

struct Greet(String);

impl Operator for Greet {
    type In = u64;
    type Out = String;
    fn apply(&mut self, n: u64, out: &mut Collector<String>) -> Result<(), BoxError> {
        out.emit(format!("{} {n}", self.0));
        Ok(())
    }
}

fn main() {
    let greeting = Rc::new("hello".to_owned());
    let job = Job::new("factories");
    let numbers = job.from_iter("numbers", || 0..10_u64);
    numbers.operator("greet", move || Greet(String::clone(&greeting))).ignore();
}
