//! dfir 0.17: a flow that a macro compiles into one loop, in one thread. The flow owns what it counts with and gives it back
//! through a cell.

pub mod keyed;
pub mod pipeline;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use crate::measure::Outcome;
use crate::record::{Total, Transaction};
use crate::workloads::Task;

fn transactions(task: Task) -> impl Iterator<Item = Transaction> {
    (0..task.events).map(move |index| Transaction::of(index, task.accounts))
}

/// Runs a flow to its end.
fn run(task: &Task, flow: fn(Task, Rc<Cell<Total>>)) -> Outcome {
    let task = std::hint::black_box(*task);
    let total = Rc::new(Cell::new(Total::default()));
    let started = Instant::now();
    flow(task, Rc::clone(&total));
    Outcome::rate(task.events, started.elapsed(), total.get())
}
