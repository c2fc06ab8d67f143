use streamwork::Job;

struct Shout;

fn main() {
    let job = Job::new("traits");
    job.from_iter("numbers", || 0..10_u64).operator("shout", || Shout).ignore();
}
