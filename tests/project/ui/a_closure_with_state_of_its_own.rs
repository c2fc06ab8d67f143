use streamwork::Job;

fn main() {
    let job = Job::new("closures");
    let mut sum = 0;
    job.from_iter("numbers", || 0..10_u64)
        .map(move |n| {
            sum += n;
            sum
        })
        .for_each(|_| ());
}
