//! [`Statistics`]: adds up the measurements of the running checkpoint. A value: it reads no clock.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::executor::checkpoint_writer::Work;
use crate::executor::writer_queue::Taken;
use crate::id::{CheckpointId, InstanceName};
use crate::metrics::{CheckpointKind, CheckpointOutcome, CheckpointStats};

/// The measurements of the running checkpoint, if there is one.
#[derive(Debug)]
pub(crate) struct Statistics {
    job_began: Timestamp,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    began: Timestamp,
    stats: CheckpointStats,
}

impl Statistics {
    /// For a job that was started at this moment.
    pub(crate) fn new(job_began: Timestamp) -> Self {
        Self { job_began, running: None }
    }

    /// A checkpoint begins, unless it has begun already.
    pub(crate) fn begin(&mut self, checkpoint: CheckpointId, kind: CheckpointKind, now: Timestamp) {
        if self.running(checkpoint).is_none() {
            let stats = CheckpointStats::new(checkpoint, kind, now.since(self.job_began));
            self.running = Some(Running { began: now, stats });
        }
    }

    /// The writer has the parts of an instance. They come in the order in which they were handed in, so the
    /// last one is of the instance that was last.
    pub(crate) fn stored(
        &mut self,
        checkpoint: CheckpointId,
        instance: &InstanceName,
        taken: Taken,
        work: Work,
    ) {
        let Some(Running { began, stats }) = self.running(checkpoint) else { return };
        stats.waiting = stats.waiting.max(taken.at.since(*began));
        if stats.slowest.is_none() || taken.took > stats.taking {
            (stats.taking, stats.slowest) = (taken.took, Some(instance.clone()));
        }
        stats.last = Some(instance.clone());
        stats.add(work);
    }

    /// The manifest is in place.
    pub(crate) fn committed(&mut self, checkpoint: CheckpointId, work: Work, committing: Duration) {
        if let Some(Running { stats, .. }) = self.running(checkpoint) {
            stats.add(work);
            stats.committing = committing;
        }
    }

    /// The running checkpoint has come to its end.
    pub(crate) fn end(
        &mut self,
        outcome: CheckpointOutcome,
        now: Timestamp,
    ) -> Option<CheckpointStats> {
        let Running { began, mut stats } = self.running.take()?;
        (stats.outcome, stats.total) = (outcome, now.since(began));
        Some(stats)
    }

    fn running(&mut self, checkpoint: CheckpointId) -> Option<&mut Running> {
        self.running.as_mut().filter(|running| running.stats.checkpoint == checkpoint)
    }
}

impl CheckpointStats {
    fn add(&mut self, work: Work) {
        let Work { encoding, writing, bytes, parts } = work;
        self.encoding += encoding;
        self.writing += writing;
        self.bytes += bytes;
        self.parts += parts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: CheckpointId = CheckpointId(1);

    fn at(ms: u64) -> Timestamp {
        Timestamp(ms * 1_000_000)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn work(encoding: u64, writing: u64, bytes: u64) -> Work {
        Work { encoding: ms(encoding), writing: ms(writing), bytes, parts: 1 }
    }

    fn taken(at_ms: u64, took: u64) -> Taken {
        Taken { at: at(at_ms), took: ms(took) }
    }

    fn name(component: &str) -> InstanceName {
        InstanceName::new(component, 0)
    }

    #[test]
    fn phases_are_added_up_and_the_slowest_and_the_last_instance_are_named() {
        let mut statistics = Statistics::new(at(1000));
        statistics.begin(ONE, CheckpointKind::Asked, at(1500));
        // The part of the slowest is not the last that comes in.
        statistics.stored(ONE, &name("source"), taken(1501, 1), work(2, 3, 10));
        statistics.stored(ONE, &name("slow to copy"), taken(1505, 40), work(20, 30, 100));
        statistics.stored(ONE, &name("far away"), taken(1540, 5), work(200, 300, 1000));
        // A second question does not begin it anew.
        statistics.begin(ONE, CheckpointKind::Periodic, at(1560));
        statistics.committed(ONE, work(0, 7, 5), ms(9));
        let stats = statistics.end(CheckpointOutcome::Completed, at(2100)).expect("it has begun");
        let expected = CheckpointStats {
            outcome: CheckpointOutcome::Completed,
            waiting: ms(40),
            taking: ms(40),
            slowest: Some(name("slow to copy")),
            encoding: ms(222),
            writing: ms(340),
            committing: ms(9),
            total: ms(600),
            bytes: 1115,
            parts: 4,
            last: Some(name("far away")),
            ..CheckpointStats::new(ONE, CheckpointKind::Asked, ms(500))
        };
        assert_eq!(stats, expected);
        assert_eq!(statistics.end(CheckpointOutcome::Completed, at(2100)), None, "it is over");
    }

    #[test]
    fn what_comes_late_of_an_abandoned_checkpoint_counts_for_no_other() {
        let mut statistics = Statistics::new(at(0));
        statistics.begin(ONE, CheckpointKind::Periodic, at(1));
        let abandoned = CheckpointOutcome::Abandoned { reason: "too slow".to_owned() };
        let stats = statistics.end(abandoned.clone(), at(61)).expect("it has begun");
        assert_eq!((stats.outcome, stats.total, stats.last), (abandoned, ms(60), None));
        let two = CheckpointId(2);
        statistics.begin(two, CheckpointKind::Periodic, at(70));
        statistics.stored(ONE, &name("late"), taken(75, 1), work(1, 1, 1));
        statistics.committed(ONE, work(1, 1, 1), ms(1));
        let stats = statistics.end(CheckpointOutcome::Completed, at(80)).expect("it has begun");
        let nothing = CheckpointStats::new(two, CheckpointKind::Periodic, ms(70));
        assert_eq!(stats, CheckpointStats { total: ms(10), ..nothing });
    }
}
