use streamwork::{Job, KeyedStream};

fn main() {
    let numbers = Job::new("no key").from_iter("numbers", || 0..9_u64);
    let by_thirds = numbers.key_by(|n| n % 3);
    let _: KeyedStream<u64, u64> = by_thirds.map(|n| n / 3);
}
