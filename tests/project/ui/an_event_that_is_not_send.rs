use std::rc::Rc;
use streamwork::Job;

fn main() {
    let job = Job::new("events");
    job.from_iter("numbers", || [1, 2, 3]).map(Rc::new).for_each(|_| ());
}
