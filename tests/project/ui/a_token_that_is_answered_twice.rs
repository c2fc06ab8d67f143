use streamwork::{BoxError, Collector, Operator};

struct Twice;

impl Operator for Twice {
    type In = u64;
    type Out = u64;
    fn apply(&mut self, _: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        let token = out.defer();
        token.ack();
        token.ack();
        Ok(())
    }
}

fn main() {}
