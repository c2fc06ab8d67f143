//! An analyzer at its place in the job, and the faults that the command line can give it.

use std::time::Duration;

use streamwork::{BoxError, Collector, Instance, StatefulOperator};

use crate::aggregator::{Arrival, DECIDE_AFTER};
use crate::fraud::analyzers::Analyze;
use crate::source::Offered;

/// What is wrong with an analyzer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// It needs this long for each transaction.
    Slow(Duration),
    /// It panics at each transaction.
    Dead,
}

/// Runs one of the three analyzers. What it knows about customers survives a panic.
pub struct Analysis<A> {
    analyzer: A,
    fault: Fault,
}

impl<A: Analyze> Analysis<A> {
    /// An analyzer that has seen nothing.
    pub fn new(fault: Fault) -> Self {
        Self { analyzer: A::default(), fault }
    }

    /// Whoever comes too late for a decision only learns, and so catches up.
    fn suffer(&self, offered: &Offered) {
        match self.fault {
            Fault::None => {}
            Fault::Slow(_) if offered.due.elapsed() >= DECIDE_AFTER => {}
            Fault::Slow(time) => std::thread::sleep(time),
            // A panic without the message that the panic hook would print for every transaction.
            Fault::Dead => std::panic::resume_unwind(Box::new("killed by --kill-analyzer")),
        }
    }
}

impl<A: Analyze> StatefulOperator for Analysis<A> {
    type In = Offered;
    type Out = Arrival;
    type State = A;

    fn setup(&mut self, _: &Instance, state: Option<A>) -> Result<(), BoxError> {
        self.analyzer = state.unwrap_or_default();
        Ok(())
    }

    fn apply(&mut self, offered: Offered, out: &mut Collector<Arrival>) -> Result<(), BoxError> {
        self.suffer(&offered);
        let score = self.analyzer.analyze(&offered.transaction);
        out.emit(Arrival::Score { score, due: offered.due });
        Ok(())
    }

    fn state(&self) -> A {
        self.analyzer.clone()
    }
}
