//! A checkpoint with states of version 1, as it was written once, is read and migrated for ever (state P1). Its files are
//! in `tests/golden/states-v1`, as hexadecimal digits. They are never edited.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use streamwork::testkit::Collected;
use streamwork::{EventTime, ExactlyOnce, Job, JobHandle, KeyedStream, Stored, Stream};

use crate::keyed_state::numbers;
use crate::support::wait_until;
use crate::versions::{KEYS, Totals, WatchV1, WatchV2, Whole, WholeV1};

const EVENTS: u64 = 40;
/// Those before the checkpoint.
const BEFORE: u64 = 30;

/// A job of these numbers up to a limit: as one stream with event time, and by key.
fn job(limit: u64) -> (Job, Stream<u64>, KeyedStream<u64, u64>) {
    let job = Job::new("golden");
    let numbers = numbers(&job, &Arc::new(AtomicUsize::new(limit as usize)), EVENTS);
    let numbers = numbers.event_time(|n| EventTime::from_unix_ms(*n as i64), |w| w);
    let keyed = numbers.key_by(|n| n % KEYS);
    (job, numbers, keyed)
}

/// The job that has written the golden files: stops with timers that are set and changes that are not emitted.
fn first(directory: &Path) {
    let (job, all, keyed) = job(BEFORE);
    keyed.keyed_operator("watch", || WatchV1).parallelism(2).ignore();
    keyed.fold(0_u32, |sum, n| *sum += n as u32).updates().named("totals").ignore();
    let long = Duration::from_secs(3_600);
    keyed.fold(0_u32, |n, _| *n += 1).at_most_every(long).named("unsent").ignore();
    all.stateful("whole", || WholeV1(0)).ignore();
    let handle = job.start(ExactlyOnce::checkpoints_in(directory)).unwrap();
    wait_until("all are counted", || is_counted(&handle, BEFORE));
    handle.stop();
    handle.wait().unwrap();
}

fn is_counted(handle: &JobHandle, events: u64) -> bool {
    let metrics = handle.metrics();
    let counted = |of| metrics.sum(of, |m| m.processed) == events;
    ["watch", "totals", "unsent", "whole"].into_iter().all(counted)
}

/// The job of version 2.
fn second(directory: &Path) {
    let (job, all, keyed) = job(EVENTS);
    let (watched, shown) = (Collected::new(), Collected::new());
    let (unsent, whole) = (Collected::new(), Collected::new());
    let watch = keyed.keyed_operator("watch", || WatchV2).parallelism(3);
    watch.sink("watched", watched.factory());
    let migrated =
        Stored::version(2).migrate_from(1, |old: u32| Totals { cents: old.into(), payments: 100 });
    let add = |totals: &mut Totals, n: u64| {
        totals.cents += n;
        totals.payments += 1;
    };
    let totals = keyed.fold(Totals::default(), add).stored(migrated);
    totals.updates().named("totals").sink("shown", shown.factory());
    let migrated = Stored::version(2).migrate_from(1, |old: u32| u64::from(old) + 100);
    let counts = keyed.fold(0_u64, |n, _| *n += 1).stored(migrated);
    let counts = counts.at_most_every(Duration::from_millis(1)).named("unsent");
    counts.sink("sent", unsent.factory());
    all.stateful("whole", || Whole(0)).sink("counted", whole.factory());
    job.run(ExactlyOnce::checkpoints_in(directory)).unwrap();

    let each = EVENTS / KEYS;
    let last = |totals: &Collected<(u64, Totals)>| totals.events().into_iter().collect();
    let totals: BTreeMap<u64, Totals> = last(&shown);
    let sum = |key| (0..EVENTS).filter(|n| n % KEYS == key).sum();
    let expected = (0..KEYS)
        .map(|key| (key, Totals { cents: sum(key), payments: 100 + (EVENTS - BEFORE) / KEYS }));
    assert_eq!(totals, expected.collect());
    let sent: BTreeMap<u64, u64> = unsent.events().into_iter().collect();
    assert_eq!(sent, (0..KEYS).map(|key| (key, 100 + each)).collect());
    assert_eq!(whole.events().last(), Some(&(100 + EVENTS)));
    let mut watched = watched.events();
    watched.sort();
    let expected = (0..KEYS).map(|key| match key {
        0 => (key, " and one and one".to_owned()),
        _ => (key, "6 numbers and one and one".to_owned()),
    });
    assert_eq!(watched, expected.collect::<Vec<_>>(), "each timer of the checkpoint once");
}

/// Writes the golden files to a directory, as the bytes that they stand for.
fn restore(golden: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(golden).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap();
        if path.is_dir() {
            restore(&path, &to.join(name));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        std::fs::write(to.join(name), digits.chunks(2).map(byte).collect::<Vec<u8>>()).unwrap();
    }
}

#[test]
fn a_checkpoint_of_version_1_is_read_and_migrated_for_ever() {
    // state P1
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/states-v1");
    let directory = tempfile::tempdir().unwrap();
    restore(&golden, &directory.path().join("store"));
    second(&directory.path().join("store"));
}

#[test]
fn a_checkpoint_of_version_1_of_today_is_read_as_the_golden_one_is() {
    // state P1
    let directory = tempfile::tempdir().unwrap();
    first(directory.path());
    second(directory.path());
}
