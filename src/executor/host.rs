//! [`Host`]: who carries the instances of a job and its checkpoint writer, and lets the supervisor
//! wait. Threads in production, one seeded loop in a simulation; the supervisor knows no difference.

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

/// Who carries instances and the writer.
pub(crate) trait Host {
    /// Takes an instance; its number is the count of those taken since [`Host::clear`].
    ///
    /// # Errors
    /// Why it cannot.
    fn spawn_instance(&mut self, slot: InstanceSlot) -> Result<(), Refused>;

    /// Takes the writer, which works until its queue is closed.
    ///
    /// # Errors
    /// Why it cannot.
    fn spawn_writer(
        &mut self,
        writer: CheckpointWriter,
        tasks: Receiver<Task>,
        to: Sender<Written>,
    ) -> Result<(), Refused>;

    /// What goes wrong by intent; nothing in production.
    fn injected(&self) -> Injected {
        Injected::default()
    }

    /// Waits for whatever comes first, at most until then.
    fn wait(&mut self, mailboxes: &Mailboxes, until: Timestamp) -> Message;

    /// Lets go of an execution. Those that have said that they are gone are waited for; the others
    /// are left to themselves.
    fn clear(&mut self, gone: &dyn Fn(usize) -> bool, writer_gone: bool);
}

/// Where a supervisor listens.
#[derive(Clone)]
pub(crate) struct Mailboxes {
    pub(crate) reports: Receiver<(usize, Report)>,
    pub(crate) written: Receiver<Written>,
    pub(crate) requests: Receiver<Request>,
}

impl Mailboxes {
    /// To the owner of the job alone.
    pub(crate) fn to_owner(requests: Receiver<Request>) -> Self {
        Self { reports: never(), written: never(), requests }
    }
}

/// What a supervisor heard.
pub(crate) enum Message {
    Report(usize, Report),
    Written(Written),
    /// The writer has ended; nothing comes from it any more.
    WriterGone,
    Request(Request),
    /// Nobody is left who could ask for anything.
    Orphaned,
    /// It is time.
    Nothing,
}

/// What the owner of a job asks for.
#[derive(Debug)]
pub(crate) enum Request {
    /// End in this way, by this long from now.
    Stop { end: End, within: Duration },
    /// Take a checkpoint now and say which.
    Checkpoint { reply: Sender<Result<CheckpointId, String>> },
}
