//! Jobs under thousands of seeded histories, with random orders of steps, faults, crashes and
//! recoveries, compared with an oracle.
//!
//! `STREAMWORK_SEED=n` runs one history of a test again, `STREAMWORK_TRACE=1` prints its steps.

#[path = "../tier/mod.rs"]
mod tier;

mod dead_letters;
mod event_times;
mod files;
mod graphs;
mod held_events;
mod histories;
mod keyed;
mod logs;
mod oracle;
mod split_numbers;
mod splits;
mod watermarks;
