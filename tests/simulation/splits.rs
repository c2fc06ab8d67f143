//! A source with splits, every guarantee, every fault, and another parallelism in every process.

use std::cell::Cell;
use std::time::Instant;

use streamwork::checkpoint::StateCodec;
use streamwork::testkit::{Ended, Fault, Faults, explore};
use streamwork::{AtLeastOnce, AtMostOnce, ExactlyOnce, Guarantee, Job};

use crate::histories::often;
use crate::oracle::{Count, Event, Outputs, SPLITS, Shape, Verdict, verdict};
use crate::split_numbers::{Outside, SplitNumbers};
use crate::tier;

const EVENTS: u64 = 60;

fn job(outside: &Outside, instances: usize, codec: StateCodec, outputs: &Outputs) -> Job {
    let (job, outside) = (Job::new("splits"), outside.clone());
    let numbers = job.split_source("numbers", move || SplitNumbers::of(&outside, Event::new));
    let counted = numbers
        .parallelism(instances)
        .state_codec(codec)
        .key_by(Event::key)
        .stateful("count", Count::default)
        .parallelism(2)
        .state_codec(codec);
    counted.transactional_sink("shown", outputs.shown.factory());
    counted.sink("seen", outputs.seen.factory());
    job
}

fn guarantee(seed: u64) -> Guarantee {
    match seed % 4 {
        0 => AtLeastOnce::checkpoints_in("/store").every(often()).into(),
        1 => AtLeastOnce::new().store_in("/store").every(often()).into(),
        2 => AtMostOnce::new().store_in("/store").every(often()).into(),
        _ => ExactlyOnce::checkpoints_in("/store").every(often()).into(),
    }
}

#[test]
fn splits_are_read_as_the_guarantee_promises_with_another_parallelism_in_every_process() {
    let test =
        "splits_are_read_as_the_guarantee_promises_with_another_parallelism_in_every_process";
    let (began, first) = (Instant::now(), tier::seed(test));
    let histories = tier::times(1000, 250_000);
    let (processes, told, repeated) = (Cell::new(0), Cell::new(0), Cell::new(0));
    // After damage an older checkpoint is used, although the source was told of the newer one.
    let faults = Faults::all().without(Fault::Damage);
    explore(first..first + histories, |simulation| {
        let (seed, outputs) = (simulation.seed(), Outputs::default());
        let outside = Outside::with(EVENTS, SPLITS);
        let codec = [StateCodec::Positional, StateCodec::SelfDescribing][(seed / 4 % 2) as usize];
        let instances = |process| 1 + (seed / 8 + u64::from(process)) % 3;
        let job = |process| job(&outside, instances(process) as usize, codec, &outputs);
        let guarantee = guarantee(seed);
        let name = guarantee.name();
        let history = simulation.faults(faults.clone()).run_each(job, guarantee);
        assert!(matches!(history.ended, Ended::Finished(_)), "{name}, {history}");
        let shown = verdict(Shape::Splits, EVENTS, &outputs.shown.events());
        let seen = verdict(Shape::Splits, EVENTS, &outputs.seen.events());
        let wrong = seen.altered + seen.invented + shown.altered + shown.invented;
        assert_eq!(wrong, 0, "{name}, {history}");
        match name {
            "exactly-once" => assert_eq!(shown, Verdict::default(), "{history}"),
            "at-most-once" => {
                assert_eq!((shown.repeated, seen.repeated), (0, 0), "{name}, {history}");
            }
            _ => assert_eq!((shown.lost, seen.lost), (0, 0), "{name}, {history}"),
        }
        let broken = outside.broken_promises();
        assert!(broken.is_empty(), "{name}, {broken:?}: {history}");
        processes.set(processes.get() + u64::from(history.lives));
        told.set(told.get() + outside.told());
        repeated.set(repeated.get() + seen.repeated);
    });
    assert!(processes.get() > 2 * histories, "a test that cannot fail: {processes:?} processes");
    assert!(told.get() > 0, "a test that cannot fail: no source was told what is durable");
    assert!(repeated.get() > 0, "a test that cannot fail: nothing was repeated");
    tier::report(4, test, histories, "histories", first, began.elapsed());
}
