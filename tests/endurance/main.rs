//! Long runs, high load and large numbers: bounded memory, checkpoints without a pause, thousands of
//! instances, jobs that are started and stopped again and again.

mod churn;
mod heavy;
mod many;
mod often;
mod pressure;
mod process;
#[path = "../tier/mod.rs"]
mod tier;
