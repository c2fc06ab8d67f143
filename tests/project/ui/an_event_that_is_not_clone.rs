use streamwork::Job;

struct Reading {
    degrees: f64,
}

fn main() {
    let job = Job::new("events");
    let degrees = job.from_iter("degrees", || [20.5, 21.0]);
    degrees.map(|degrees| Reading { degrees }).for_each(|reading| println!("{}", reading.degrees));
}
