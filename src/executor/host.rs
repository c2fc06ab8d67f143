//! [`Host`]: carries the instances of a job and its checkpoint writer, and lets the supervisor wait.
//! Threads in production, one seeded loop in a simulation; the supervisor sees no difference.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, never};

use crate::channel::frame::End;
use crate::clock::Timestamp;
use crate::error::Refused;
use crate::executor::checkpoint_writer::{CheckpointWriter, Written};
use crate::executor::injected::Injected;
use crate::executor::instance::Report;
use crate::executor::instance_slot::InstanceSlot;
use crate::executor::writer_queue::Task;
use crate::id::CheckpointId;

/// Carries instances and the writer.
pub(crate) trait Host {
    /// Takes an instance; its number is the count of those taken since [`Host::clear`].
    ///
    /// # Errors
    /// The reason why it could not be started.
    fn spawn_instance(&mut self, slot: InstanceSlot) -> Result<(), Refused>;

    /// Takes the writer, which works until its queue is closed.
    ///
    /// # Errors
    /// The reason why it could not be started.
    fn spawn_writer(
        &mut self,
        writer: CheckpointWriter,
        tasks: Receiver<Task>,
        to: Sender<Written>,
    ) -> Result<(), Refused>;

    /// The faults to inject; none in production.
    fn injected(&self) -> Injected {
        Injected::default()
    }

    /// Waits for the first message, at most until this time.
    fn wait(&mut self, mailboxes: &Mailboxes, until: Timestamp) -> Message;

    /// Drops an execution. The threads of instances that are gone are waited for; the others are left
    /// behind.
    fn clear(&mut self, gone: &dyn Fn(usize) -> bool, writer_gone: bool);
}

/// The channels on which a supervisor receives messages.
#[derive(Clone)]
pub(crate) struct Mailboxes {
    pub(crate) reports: Receiver<(usize, Report)>,
    pub(crate) written: Receiver<Written>,
    pub(crate) requests: Receiver<Request>,
}

impl Mailboxes {
    /// Only that of the owner of the job.
    pub(crate) fn to_owner(requests: Receiver<Request>) -> Self {
        Self { reports: never(), written: never(), requests }
    }
}

/// A message to the supervisor.
pub(crate) enum Message {
    Report(usize, Report),
    Written(Written),
    /// The writer has ended; nothing comes from it any more.
    WriterGone,
    Request(Request),
    /// All handles of the job were dropped.
    Orphaned,
    /// No message came before the time was over.
    Nothing,
}

/// A request of the owner of a job.
#[derive(Debug)]
pub(crate) enum Request {
    /// End in this way, by this long from now.
    Stop { end: End, within: Duration },
    /// Take a checkpoint now and say which.
    Checkpoint { reply: Sender<Result<CheckpointId, String>> },
}
