//! What the mission promises, item by item: each test's name is the promise, `tests/README.md` maps
//! the numbers to the names.

mod support;

mod a_core;
mod accounts;
mod b_at_most_once;
mod bad_records;
mod c_at_least_once;
mod channels;
mod d_checkpoints;
mod e_one_switch;
mod f_event_log_source;
mod keys;
mod requests;
mod watermarks;
