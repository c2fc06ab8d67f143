//! Processes that end without warning: `kill -9` at random moments and at every named step of the
//! protocol, processes that are stopped and continue when another has taken their place.
//!
//! A test starts this binary again as a child, ends it, and repeats; the last child runs to its end.
//! Then the output of all of them is compared with the promise of the guarantee.

mod child;
mod fencing;
mod moments;
mod oracle;
mod split_numbers;
mod step_disk;
mod steps;
#[path = "../tier/mod.rs"]
mod tier;
