//! Docs.

mod clock;
pub mod error;
mod id;
pub mod metrics;

mod api;
mod channel;
pub mod checkpoint;
mod connectors;
mod delivery;
mod executor;
mod job;
pub mod log;
pub mod testkit;

pub use api::collector::{Channel, Collector};
pub use api::dead_letter::DeadLetter;
pub use api::event::Event;
pub use api::instance::Instance;
pub use api::operator::{Operator, StatefulOperator};
pub use api::sink::{IdempotentSink, Sink, TransactionalSink};
pub use api::source::{Next, Source, StatefulSource};
pub use api::state::State;
pub use api::token::Token;
pub use api::waker::Waker;
pub use channel::outbox::Overflow;
pub use connectors::channel::{EventSender, SendError};
pub use connectors::event_log::EventLogSource;
pub use connectors::files::TransactionalFiles;
pub use delivery::at_least_once::AtLeastOnce;
pub use delivery::at_most_once::AtMostOnce;
pub use delivery::checkpointed::{Checkpointed, ExactlyOnce};
pub use delivery::options::Restarts;
pub use delivery::terms::{Dropped, Guarantee, OutputGuarantee};
pub use error::{BoxError, Cause, Failure, JobError, Refused};
pub use id::{CheckpointId, ExecutionId, InstanceName};
pub use job::Job;
pub use job::handle::{CheckpointRefused, JobHandle, JobReport, Outcome, RunError};
pub use job::job_plan::{JobPlan, ThreadGroup};
pub use job::stream::{Placed, Stream};
pub use metrics::Metrics;
