//! The statistics of checkpoints of a running job.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use streamwork::metrics::{CheckpointKind, CheckpointOutcome};
use streamwork::{BoxError, Collector, ExactlyOnce, Instance, Job, StatefulOperator};

use crate::support::wait_until;

/// The instances whose states have been encoded, a bit each.
type Encoded = Arc<AtomicU64>;

/// A state that notes when it is encoded.
#[derive(Clone, Default)]
struct Telling {
    bit: u64,
    encoded: Encoded,
}

impl Serialize for Telling {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.encoded.fetch_or(self.bit, Ordering::SeqCst);
        serializer.serialize_u64(self.bit)
    }
}

impl<'de> Deserialize<'de> for Telling {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { bit: u64::deserialize(deserializer)?, encoded: Encoded::default() })
    }
}

/// Its `state` returns when the states of these instances have been encoded.
struct Follows {
    these: u64,
    state: Telling,
}

impl StatefulOperator for Follows {
    type In = u64;
    type Out = u64;
    type State = Telling;
    fn setup(&mut self, instance: &Instance, _: Option<Telling>) -> Result<(), BoxError> {
        self.state.bit = 1 << instance.index();
        Ok(())
    }
    fn apply(&mut self, _: u64, _: &mut Collector<u64>) -> Result<(), BoxError> {
        Ok(())
    }
    fn state(&self) -> Telling {
        let done = || self.state.encoded.load(Ordering::SeqCst) & self.these == self.these;
        wait_until("the others have handed in their parts", done);
        if self.these != 0 {
            // Also where its barrier comes last: longer than anything takes the others.
            std::thread::sleep(Duration::from_millis(50));
        }
        Telling { bit: if self.these == 0 { self.state.bit } else { 0 }, ..self.state.clone() }
    }
}

#[test]
fn a_slow_operator_is_named_as_the_last_to_hand_in_its_part_and_as_the_slowest_to_take_it() {
    let (directory, encoded) = (tempfile::tempdir().unwrap(), Encoded::default());
    let follows = |these| {
        let encoded = Arc::clone(&encoded);
        move || {
            let state = Telling { bit: 0, encoded: Arc::clone(&encoded) };
            Follows { these, state }
        }
    };
    let job = Job::new("uneven");
    let numbers = job.from_iter("numbers", || 0_u64..);
    numbers.stateful("quick", follows(0)).per_instance().parallelism(2).ignore();
    numbers.stateful("slow", follows(0b11)).per_instance().parallelism(2).ignore();
    // Before the clock of the job begins.
    let started = Instant::now();
    let seldom = ExactlyOnce::checkpoints_in(directory.path()).every(Duration::from_secs(3600));
    let handle = job.start(seldom).unwrap();
    let taken = handle.checkpoint_now().unwrap();
    let metrics = handle.metrics();
    let [stats] = &metrics.recent_checkpoints[..] else { panic!("{metrics:?}") };
    assert_eq!((stats.checkpoint, stats.kind), (taken, CheckpointKind::Asked));
    assert_eq!(stats.outcome, CheckpointOutcome::Completed);
    for named in [&stats.last, &stats.slowest] {
        assert_eq!(named.as_ref().map(|name| &*name.component), Some("slow"), "{stats}");
    }
    assert_eq!(stats.parts, 1 + 2 + 2, "{stats}");
    assert!(stats.bytes > 0 && stats.taking > Duration::ZERO, "{stats}");
    assert!(stats.waiting + stats.committing < stats.total, "{stats}");

    let report = handle.stop_within(Duration::from_secs(10)).unwrap();
    let last = report.metrics.recent_checkpoints.last().expect("there was one before");
    assert_eq!(last.kind, CheckpointKind::Last, "{last}");
    assert!(last.begun > stats.begun && last.begun < started.elapsed(), "{last}");
}
