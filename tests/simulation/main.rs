//! Jobs under thousands of seeded histories: every order of steps, every fault, crashes and
//! recoveries included, held against an oracle.
//!
//! `STREAMWORK_SEED=n` runs one history of a test again, `STREAMWORK_TRACE=1` prints its steps.

#[path = "../tier/mod.rs"]
mod tier;

mod dead_letters;
mod files;
mod graphs;
mod held_events;
mod histories;
mod logs;
mod oracle;
mod split_numbers;
mod splits;
mod watermarks;
