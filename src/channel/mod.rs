//! Floor 3: how batches move between instances. One bounded queue per pair of a sending and a
//! receiving instance; natural batches; buffers that go back to where they came from.
//!
//! ```text
//!  Push ─ Outbox ─ routing ─ Lane ══ Queue ══ Inbox ─ Push
//!                               └ waiting       └ held?
//! ```

pub(crate) mod budget;
pub(crate) mod frame;
pub(crate) mod inbox;
pub(crate) mod inputs;
pub(crate) mod key;
pub(crate) mod ledger;
pub(crate) mod moves;
pub(crate) mod outbox;
pub(crate) mod port;
pub(crate) mod push;
pub(crate) mod queue;
pub(crate) mod routing;
pub(crate) mod slice;
