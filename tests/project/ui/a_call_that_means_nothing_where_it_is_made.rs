use std::time::Duration;

use streamwork::{BoxError, Collector, EventTime, Next, Operator, Output, Source, SourceOutput};

struct Numbers;

impl Source for Numbers {
    type Out = u64;
    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        out.set_timer(Duration::ZERO, 0);
        out.defer();
        Ok(Next::End)
    }
}

struct Silent;

impl Operator for Silent {
    type In = u64;
    type Out = u64;
    fn apply(&mut self, _: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        out.advance_watermark(EventTime::from_unix_ms(7));
        out.idle();
        out.reject(7, "no event");
        Ok(())
    }
    fn on_timer(&mut self, _: u64, out: &mut Output<u64>) -> Result<(), BoxError> {
        out.defer();
        Ok(())
    }
}

fn main() {}
