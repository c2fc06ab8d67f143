//! The examples as their users run them: as processes, from the command line, the two main ones
//! killed.

mod compare;
mod course;
mod fraud_detection;
mod inspect;
mod program;
mod system_usage;

/// The logic of the examples, for its own unit tests.
#[path = "../../examples/fraud/mod.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is written for the examples")]
mod fraud;
