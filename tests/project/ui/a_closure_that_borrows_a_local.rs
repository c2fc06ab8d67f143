use streamwork::Job;

fn main() {
    let limit = std::env::args().count() as u64;
    let job = Job::new("closures");
    job.from_iter("numbers", || 0..10_u64).filter(|n| *n < limit).for_each(|_| ());
}
