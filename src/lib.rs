//! Stream processing inside your own program, under the delivery guarantee that the job needs.
//!
//! A **job** is a graph. **Sources** emit events, **operators** turn events into other events,
//! **sinks** take them out of the job. Each of these components runs as one or more parallel
//! **instances**; events travel between instances along typed **streams**, distributed by a grouping.
//! A **guarantee**, given to [`Job::run`], says what happens to an event when something fails.
//!
//! ```text
//!   Job::new("usage")
//!      │
//!      ▼           Stream<T>             Stream<U>
//!   source ────────────────▶ operator ────────────▶ sink       what you write
//!   emits                    In = T, Out = U        In = U
//!  ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄
//!   instance ══▶ queue ══▶ instance ══▶ queue ══▶ instance     what runs: a thread each
//!      │                      │                      │
//!      └──────────────── supervisor ─────────────────┘         restarts, checkpoints, stop
//!                             │
//!                     checkpoint store                         a directory, if the guarantee has one
//! ```
//!
//! # An example
//!
//! Balances of accounts, right whatever fails: a table, whose values the engine keeps by key.
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::time::Duration;
//! use streamwork::testkit::Collected;
//! use streamwork::{BoxError, ExactlyOnce, Job};
//!
//! # let directory = tempfile::tempdir()?;
//! # let checkpoints = directory.path();
//! let shown = Collected::new();
//! let job = Job::new("balances");
//! job.from_iter("payments", || [(1, 500), (2, 700), (1, -200)])
//!     .key_by(|(account, _)| *account)
//!     .fold(0, |balance, (_, amount)| *balance += amount)
//!     .updates()
//!     .named("balances")
//!     .parallelism(2)
//!     .sink("shown", shown.factory());
//!
//! let report = job.run(ExactlyOnce::checkpoints_in(checkpoints).every(Duration::from_secs(1)))?;
//!
//! assert_eq!(shown.events().into_iter().collect::<BTreeMap<_, _>>(), [(1, 300), (2, 700)].into());
//! assert_eq!(report.metrics.sum("balances", |instance| instance.delivered), 3);
//! # Ok::<(), BoxError>(())
//! ```
//!
//! Under [`AtMostOnce`] or [`AtLeastOnce`] the same job runs with that one line changed.
//!
//! # Where to read on
//!
//! *To use it:* [`Job`] and [`Stream`], which put a job together; [`KeyedStream`] and [`Table`] for state by key, and
//! [`KeyedOperator`] where it needs timers; [`Source`], [`StatefulSource`],
//! [`Operator`], [`StatefulOperator`], [`Sink`], [`IdempotentSink`] and [`TransactionalSink`], whose
//! documentation is their contract; [`AtMostOnce`], [`AtLeastOnce`] and [`ExactlyOnce`], with all
//! their options; [`JobHandle`] and [`metrics`] for a job that runs; [`error`] for what can go wrong;
//! [`log`] for an event log to read from; [`testkit`] for tests of your own components.
//!
//! *To change it:* a file uses only what is on lower floors than its own, and a test says so.
//!
//! | floor | module | what it answers |
//! |---|---|---|
//! | 0 | `error`, `id`, `clock`, `time`, `metrics` | what things are called and counted by |
//! | 1 | `storage` | how bytes reach a disk and come back |
//! | 2 | `checkpoint` | what a consistent cut is, and where it is kept |
//! | 2 | `api` | what a user implements |
//! | 3 | `channel` | how batches move between instances |
//! | 4 | `state` | where state by key is kept while a job runs, and how it gets into checkpoints |
//! | 4 | `delivery` | what happens to an event when something fails; decisions only |
//! | 5 | `executor` | what runs, on which thread, and who looks after it |
//! | 6 | `job`, `log`, `connectors` | what a user writes; the event log; sources and sinks |
//! | 7 | `testkit` | what tests of jobs need: a simulation, checks of components |
//!
//! Read them in that order. Or follow one event: `executor/source_instance`, `executor/node`,
//! `channel/outbox`, `channel/queue`, `channel/inbox`, `executor/operator_instance`.

mod clock;
pub mod error;
mod id;
pub mod metrics;
#[cfg(all(test, streamwork_schedules))]
mod schedules;
mod sync;
mod time;

mod api;
mod channel;
pub mod checkpoint;
mod connectors;
mod delivery;
mod executor;
mod job;
pub mod log;
#[cfg(feature = "pieces")]
#[doc(hidden)]
pub mod pieces;
mod state;
pub mod storage;
pub mod testkit;

pub use api::aggregate::{Aggregate, Aggregates};
pub use api::bad_record::{BadRecord, RawRecord};
pub use api::changed::Changed;
pub use api::collector::Collector;
pub use api::dead_letter::DeadLetter;
pub use api::emit::Emit;
pub use api::event::Event;
pub use api::held_events::HeldEvents;
pub use api::instance::Instance;
pub use api::key::Key;
pub use api::on_error::OnError;
pub use api::operator::{Operator, StatefulOperator};
pub use api::output::Output;
pub use api::side_output::{DeclaredOutput, SideOutput};
pub use api::sink::{IdempotentSink, Sink, Transaction, TransactionalSink};
pub use api::source::{Next, OnStop, Source, StatefulSource};
pub use api::source_output::SourceOutput;
pub use api::split_source::{SplitSource, SplitStart};
pub use api::state::State;
pub use api::token::Token;
pub use api::waker::Waker;
pub use api::watermark_strategy::WatermarkStrategy;
pub use channel::outbox::Overflow;
pub use checkpoint::Stored;
pub use connectors::bad_record::OnBadRecord;
pub use connectors::channel::{EventSender, SendError};
pub use connectors::event_log::EventLogSource;
pub use connectors::file_names::FileTransaction;
pub use connectors::files::TransactionalFiles;
pub use connectors::lines::{LinesError, LinesSource};
pub use connectors::lost_position::{Loss, LostPosition, OnLostPosition};
pub use delivery::at_least_once::AtLeastOnce;
pub use delivery::at_most_once::AtMostOnce;
pub use delivery::checkpointed::{Checkpointed, ExactlyOnce};
pub use delivery::options::Restarts;
pub use delivery::terms::{Dropped, Guarantee, OutputGuarantee};
pub use error::{BoxError, Cause, Failure, JobError, Permanent, Refused};
pub use id::{CheckpointId, ExecutionId, InstanceName};
pub use job::Job;
pub use job::handle::{
    CheckpointRefused, JobControl, JobHandle, JobReport, Outcome, RunError, SavepointError,
};
pub use job::job_plan::{JobPlan, PlannedState, ThreadGroup};
pub use job::keyed::KeyedStream;
pub use job::stream::{SinkHandle, Stream};
pub use job::table::Table;
pub use metrics::Metrics;
pub use state::{At, KeyedOperator, TimeToLive};
pub use time::EventTime;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
