//! [`Questions`]: who waits for a checkpoint. It knows nothing of checkpoints but their numbers; the coordinator
//! knows the tickets.

use std::collections::BTreeMap;

use crossbeam_channel::Sender;

use crate::id::CheckpointId;

/// What somebody who asked for a checkpoint is told: its number, or why there is none.
pub(crate) type Answer = Result<CheckpointId, String>;

/// Those who have asked and have no answer yet, by ticket.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    asked: BTreeMap<u64, Sender<Answer>>,
    next: u64,
}

impl Questions {
    /// Takes a question.
    pub(crate) fn ask(&mut self, reply: Sender<Answer>) {
        self.asked.insert(self.next, reply);
        self.next += 1;
    }

    /// The tickets of those who wait, from this one on, and the one that will be the next.
    pub(crate) fn since(&self, ticket: u64) -> (Vec<u64>, u64) {
        (self.asked.range(ticket..).map(|(ticket, _)| *ticket).collect(), self.next)
    }

    /// Answers whoever holds one of these tickets.
    pub(crate) fn answer(&mut self, tickets: &[u64], answer: &Answer) {
        for ticket in tickets {
            if let Some(reply) = self.asked.remove(ticket) {
                // Whoever asked may have gone away.
                let _ = reply.send(answer.clone());
            }
        }
    }
}
