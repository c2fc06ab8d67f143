//! kill -9 of a real process at random moments, under each guarantee.
//!
//! The test starts itself again as a child, lets it run for a random time, kills it, and repeats;
//! the last child runs to its end. What it left behind is then held against the guarantee. Kills per
//! guarantee: `STREAMWORK_KILLS` (default 20); the moments come from `STREAMWORK_SEED`.

mod child;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use child::{DIRECTORY_VARIABLE, SEMANTICS_VARIABLE, events, kills, number};

/// How many times each event was seen, and the count that the operator's state had reached.
struct Seen {
    times: BTreeMap<u64, usize>,
    highest_count: u64,
}

/// Kills children at random moments, then lets one finish.
fn torment(semantics: &str, directory: &Path) -> Seen {
    let kills = kills();
    let seed = number("STREAMWORK_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(7, |since| since.subsec_nanos().into())
    });
    println!("{semantics}: STREAMWORK_SEED={seed} STREAMWORK_KILLS={kills}");
    let mut random = seed;
    let mut hits = 0;
    for _ in 0..kills {
        let mut child = spawn(semantics, directory);
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros(20_000 + (random >> 33) % 130_000));
        let running = child.try_wait().expect("the child can be asked").is_none();
        hits += u64::from(running);
        child.kill().expect("the child can be killed");
        let status = child.wait().expect("the child can be waited for");
        assert!(running || status.success(), "{semantics}: a child failed by itself: {status}");
    }
    assert!(hits > kills / 2, "{semantics}: only {hits} of {kills} kills met a running child");
    let started = Instant::now();
    let mut last = spawn(semantics, directory);
    while last.try_wait().expect("the child can be asked").is_none() {
        assert!(started.elapsed() < Duration::from_secs(60), "{semantics}: the last child hangs");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(last.wait().expect("it has ended").success(), "{semantics}: the last child failed");
    read(&directory.join("out"))
}

fn spawn(semantics: &str, directory: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().expect("this test is a file"))
        .args(["--exact", "child::runs_when_it_is_told_to", "--nocapture"])
        .env(SEMANTICS_VARIABLE, semantics)
        .env(DIRECTORY_VARIABLE, directory)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("this test can be started again")
}

/// Reads all that a reader may see: committed files, complete lines.
fn read(out: &Path) -> Seen {
    let mut seen = Seen { times: BTreeMap::new(), highest_count: 0 };
    for entry in std::fs::read_dir(out).expect("something was written") {
        let path = entry.expect("a directory entry").path();
        if path.extension().is_some_and(|extension| extension == "pending") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a file of lines");
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>());
            let (Some(Ok(event)), Some(Ok(count))) = (numbers.next(), numbers.next()) else {
                panic!("{}: an altered line: {line:?}", path.display());
            };
            *seen.times.entry(event).or_default() += 1;
            seen.highest_count = seen.highest_count.max(count);
        }
    }
    seen
}

fn lost(seen: &Seen) -> u64 {
    events() - seen.times.len() as u64
}

fn repeated(seen: &Seen) -> usize {
    seen.times.values().map(|times| times - 1).sum()
}

#[test]
fn exactly_once_shows_every_event_once_and_counts_it_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let seen = torment("exactly-once", directory.path());
    assert_eq!((lost(&seen), repeated(&seen), seen.highest_count), (0, 0, events()));
}

#[test]
fn at_least_once_with_an_acknowledger_loses_nothing_in_output_or_state() {
    let directory = tempfile::tempdir().expect("a directory");
    let seen = torment("at-least-once", directory.path());
    assert_eq!(lost(&seen), 0);
    assert!(seen.highest_count >= events(), "the state misses events: {}", seen.highest_count);
    assert!(repeated(&seen) > 0, "a test that cannot fail: no kill made anything repeat");
}

#[test]
fn at_least_once_by_checkpoints_loses_nothing_in_output_or_state() {
    let directory = tempfile::tempdir().expect("a directory");
    let seen = torment("at-least-once-checkpoint", directory.path());
    // What repeats is what ran ahead of a barrier on one of two inputs, so it need not happen.
    assert_eq!(lost(&seen), 0);
    assert!(seen.highest_count >= events(), "the state misses events: {}", seen.highest_count);
}

#[test]
fn at_most_once_repeats_nothing_in_output_or_state() {
    let directory = tempfile::tempdir().expect("a directory");
    let seen = torment("at-most-once", directory.path());
    assert_eq!(repeated(&seen), 0);
    assert!(seen.highest_count <= events(), "the state is too high: {}", seen.highest_count);
    assert!(lost(&seen) > 0, "a test that cannot fail: no kill made anything get lost");
}
