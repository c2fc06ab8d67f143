//! What the mission promises, item by item: each test's name is the promise, `tests/README.md` maps
//! the numbers to the names.

mod process;
mod support;

mod a_core;
mod b_at_most_once;
mod c_at_least_once;
mod d_checkpoints;
mod deep;
mod e_one_switch;
mod f_event_log_source;
mod idle;
mod merge;
mod numbers;
