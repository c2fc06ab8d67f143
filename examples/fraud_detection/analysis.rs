//! An analyzer at its place in the job, and the faults that the command line can give it.

use std::marker::PhantomData;
use std::time::Duration;

use streamwork::{At, BoxError, Emit, KeyedOperator};

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

/// Runs one of the three analyzers. The engine keeps what it knows about each customer, also through a panic.
pub struct Analysis<A> {
    fault: Fault,
    analyzer: PhantomData<fn() -> A>,
}

impl<A: Analyze> Analysis<A> {
    /// An analyzer with this fault.
    pub fn new(fault: Fault) -> Self {
        Self { fault, analyzer: PhantomData }
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

impl<A: Analyze> KeyedOperator for Analysis<A> {
    type Key = u32;
    type In = Offered;
    type Out = Arrival;
    type State = A;
    type Timer = ();

    fn apply(
        &mut self,
        offered: Offered,
        at: &mut At<'_, Self>,
        out: &mut Emit<'_, Arrival>,
    ) -> Result<(), BoxError> {
        self.suffer(&offered);
        let score = at.state().analyze(&offered.transaction);
        out.emit(Arrival::Score { score, due: offered.due });
        Ok(())
    }
}
