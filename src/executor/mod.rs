//! Floor 5: effects. Everything that runs: instances, the checkpoint writer, and their supervisor.
//!
//! ```text
//!   supervisor ── commands ──▶ instances (one thread each) ── reports ──▶ supervisor
//!       │                        source_instance: poll ─▶ stage
//!       │                        operator_instance: inbox ─▶ stage
//!       │                        stage: node ─▶ node ─▶ outbox
//!       └── tasks ──▶ checkpoint writer ◀── snapshots ── instances
//! ```
//! An instance is a step machine that never waits; a [`host`] carries it: [`threads`] in production,
//! a seeded loop in a simulation.

pub(crate) mod bad_records;
pub(crate) mod blueprint;
pub(crate) mod carried;
pub(crate) mod checkpoint_writer;
pub(crate) mod component;
pub(crate) mod drop_hook;
pub(crate) mod event_times;
pub(crate) mod host;
pub(crate) mod injected;
pub(crate) mod instance;
pub(crate) mod instance_slot;
pub(crate) mod key_panic;
pub(crate) mod keyed;
pub(crate) mod load;
pub(crate) mod named_call;
pub(crate) mod node;
pub(crate) mod operator_instance;
pub(crate) mod rebuild;
pub(crate) mod side_port;
pub(crate) mod small_parts;
pub(crate) mod source_component;
pub(crate) mod source_instance;
pub(crate) mod split_component;
pub(crate) mod splits;
pub(crate) mod stored_form;
pub(crate) mod supervisor;
pub(crate) mod threads;
pub(crate) mod verb;
pub(crate) mod verb_names;
pub(crate) mod writer_queue;
