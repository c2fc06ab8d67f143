//! The examples as their users run them: as processes, from the command line, the two main ones
//! killed.

mod careful;
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

/// Examples whose components pass the checks of the test kit, for the tests that are written there.
#[path = "../../examples/custom_source.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "it is a program of its own")]
mod custom_source;

#[path = "../../examples/hashtags.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "it is a program of its own")]
mod hashtags;

#[path = "../../examples/stateful_operator.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "it is a program of its own")]
mod stateful_operator;

#[path = "../../examples/system_usage/job.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is written for its example")]
mod job;

#[path = "../../examples/system_usage/attempts.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is written for its example")]
mod attempts;

#[path = "../../examples/system_usage/lookup.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is written for its example")]
mod lookup;

#[path = "../../examples/system_usage/usage_table.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is written for its example")]
mod usage_table;
