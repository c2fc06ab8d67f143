//! [`CheckpointRequests`]: the callers that wait for a checkpoint. It knows only the numbers of checkpoints;
//! the coordinator knows the tickets.

use std::collections::BTreeMap;

use crossbeam_channel::Sender;

use crate::id::CheckpointId;

/// The answer to a request for a checkpoint: its number, or why there is none.
pub(crate) type Answer = Result<CheckpointId, String>;

/// The requests without an answer, by ticket.
#[derive(Debug, Default)]
pub(crate) struct CheckpointRequests {
    asked: BTreeMap<u64, Sender<Answer>>,
    next: u64,
}

impl CheckpointRequests {
    /// Adds a request.
    pub(crate) fn add(&mut self, reply: Sender<Answer>) {
        self.asked.insert(self.next, reply);
        self.next += 1;
    }

    /// The tickets without an answer, from this one on, and the next ticket that will be given.
    pub(crate) fn since(&self, ticket: u64) -> (Vec<u64>, u64) {
        (self.asked.range(ticket..).map(|(ticket, _)| *ticket).collect(), self.next)
    }

    /// Answers the requests with these tickets.
    pub(crate) fn answer(&mut self, tickets: &[u64], answer: &Answer) {
        for ticket in tickets {
            if let Some(reply) = self.asked.remove(ticket) {
                // The caller may have stopped waiting.
                let _ = reply.send(answer.clone());
            }
        }
    }
}
