use streamwork::{BoxError, Collector, Instance, StatefulOperator};

struct Last(u64);

struct Count(u64);

impl StatefulOperator for Count {
    type In = u64;
    type Out = u64;
    type State = Last;
    fn setup(&mut self, _: &Instance, state: Option<Last>) -> Result<(), BoxError> {
        self.0 = state.map_or(0, |last| last.0);
        Ok(())
    }
    fn apply(&mut self, event: u64, _: &mut Collector<u64>) -> Result<(), BoxError> {
        self.0 += event;
        Ok(())
    }
    fn state(&self) -> Last {
        Last(self.0)
    }
}

fn main() {}
