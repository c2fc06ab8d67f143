//! Output into files on the simulated disk: the committed output is right, whatever the disk does.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use streamwork::storage::Disk;
use streamwork::testkit::{Collected, Ended, Fault, Faults, SimulatedDisk, Simulation, explore};
use streamwork::{ExactlyOnce, TransactionalFiles};

use crate::histories::often;
use crate::oracle::{Counted, Event, Shape, Verdict, job_into, verdict};
use crate::tier;

const EVENTS: u64 = 60;
const OUT: &str = "/output/files";

/// A line of a file per event.
fn line((event, count): &Counted, file: &mut Vec<u8>) {
    let Event { number, checksum } = event;
    file.extend_from_slice(format!("{number} {checksum} {count}\n").as_bytes());
}

fn parsed(line: &str) -> Counted {
    let numbers = line.split(' ').map(|number| number.parse().expect("a whole line"));
    let [number, checksum, count] = numbers.collect::<Vec<u64>>().try_into().expect("three");
    (Event { number, checksum }, count)
}

pub(crate) fn files_on(
    disk: &SimulatedDisk,
) -> impl Fn() -> TransactionalFiles<Counted> + Send + Sync + 'static {
    TransactionalFiles::factory_on(Arc::new(disk.clone()), OUT, line)
}

/// What the committed files hold, those of each instance in their order.
pub(crate) fn committed(disk: &SimulatedDisk) -> Vec<Counted> {
    let Ok(names) = disk.names(Path::new(OUT)) else { return Vec::new() };
    let names = names.into_iter().map(|name| name.into_string().expect("a name of ours"));
    let mut names: Vec<_> = names.filter(|name| !name.ends_with(".pending")).collect();
    names.sort();
    let read = |name: &String| disk.read(&Path::new(OUT).join(name)).expect("readable");
    let texts = names.iter().map(|name| String::from_utf8(read(name)).expect("text"));
    texts.flat_map(|text| text.lines().map(parsed).collect::<Vec<_>>()).collect()
}

fn torment(row: u8, test: &str, faults: &Faults) {
    let (began, first) = (Instant::now(), tier::seed(test));
    let histories = tier::times(700, 100_000);
    let (lives, repeated, lost) = (Cell::new(0), Cell::new(0), Cell::new(0));
    explore(first..first + histories, |simulation: Simulation| {
        let shape = Shape::ALL[(simulation.seed() % 3) as usize];
        let simulation = simulation.faults(faults.clone());
        let (disk, seen) = (simulation.disk().clone(), Collected::new());
        let job = job_into(shape, EVENTS, &seen, files_on(&disk));
        let guarantee = ExactlyOnce::checkpoints_in("/checkpoints").every(often());
        let history = simulation.run(&job, guarantee);
        assert!(matches!(history.ended, Ended::Finished(_)), "{history}");
        assert_eq!(verdict(shape, EVENTS, &committed(&disk)), Verdict::default(), "{history}");
        // What was committed is durable, also the names.
        disk.lose_power(history.seed);
        assert_eq!(verdict(shape, EVENTS, &committed(&disk)), Verdict::default(), "{history}");
        lives.set(lives.get() + u64::from(history.lives));
        repeated.set(repeated.get() + verdict(shape, EVENTS, &seen.events()).repeated);
        let powers = history.injected.iter().filter(|what| what.starts_with("PowerFailure"));
        lost.set(lost.get() + powers.count());
    });
    assert!(lives.get() > histories, "a test that cannot fail: no process ended");
    assert!(repeated.get() > 0, "a test that cannot fail: nothing came twice");
    assert!(lost.get() > 0, "a test that cannot fail: the power was never lost");
    tier::report(row, test, histories, "histories", first, began.elapsed());
}

#[test]
fn files_hold_every_event_once_in_every_history() {
    let test = "files_hold_every_event_once_in_every_history";
    torment(4, test, &Faults::all());
}

#[test]
fn files_hold_every_event_once_however_often_the_power_is_lost() {
    let test = "files_hold_every_event_once_however_often_the_power_is_lost";
    let faults = [Fault::PowerFailure, Fault::DiskError, Fault::Checkpoint];
    torment(4, test, &Faults::only(faults).at_most(30));
}
