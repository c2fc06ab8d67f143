//! What holds for long, under load, in great numbers and again and again: bounded memory, checkpoints
//! without a pause, thousands of instances, jobs that come and go.

mod churn;
mod heavy;
mod many;
mod often;
mod pressure;
mod process;
#[path = "../tier/mod.rs"]
mod tier;
