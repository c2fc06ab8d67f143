//! The promises of the mission, item by item: each test's name is a promise, and `docs/TESTS.md` maps
//! the numbers to the names.

mod process;
mod support;

mod a_core;
mod accounts;
mod b_at_most_once;
mod bad_records;
mod c_at_least_once;
mod channels;
mod checkpoint_stats;
mod d_checkpoints;
mod dead_letters;
mod deep;
mod e_one_switch;
mod errors;
mod event_time;
mod f_event_log_source;
mod golden_states;
mod handles;
mod held_events;
mod idle;
mod keyed;
mod keyed_harness;
mod keyed_state;
mod keys;
mod line_files;
mod lines;
mod log_positions;
mod merge;
mod numbers;
mod output_files;
mod relative_paths;
mod requests;
mod savepoints;
mod side_outputs;
mod slow_steps;
mod splits;
mod state_types;
mod time_to_live;
mod timers;
mod versions;
mod waits;
mod watermarks;
