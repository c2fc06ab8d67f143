//! Two processes on one store: the second is refused. If it is let in because the first has lost its
//! lock without knowing, the first changes nothing when it continues.
//!
//! ```text
//!   first   ── runs ──▶ SIGSTOP ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ SIGCONT ──▶ ends with a typed error
//!   second        (refused)     │ lock lost │ ── runs ────────────▶ comes to the end
//! ```

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::child::{self, Phase, Process};
use crate::moments::Random;
use crate::oracle::Seen;
use crate::tier;

/// Enough that a process needs a fifth of a second for them, so that it is stopped while it works.
const EVENTS: u64 = 12_000;

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn signal(child: &Process, signal: &str) {
    let process = child.id().to_string();
    let sent = Command::new("kill").args([signal, &process]).status();
    assert!(sent.expect("there is a `kill`").success(), "{signal} was not sent");
}

/// Stops a process where it is; on return none of its threads moves. `false` if it has ended.
fn stop(child: &Process) -> bool {
    signal(child, "-STOP");
    let status = format!("/proc/{}/status", child.id());
    let mut ended = false;
    wait_until("the process stands still", || {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let state = status.lines().find_map(|line| line.strip_prefix("State:\t"));
        ended = state.is_some_and(|state| state.starts_with('Z'));
        ended || state.is_some_and(|state| state.starts_with('T'))
    });
    !ended
}

/// Waits for a child to end, and returns its error; none if it reached the end of its job.
fn error_of(mut child: Process, directory: &Path, context: &str) -> String {
    let status = child::ended(&mut child, Duration::from_secs(30), context);
    let error = child::outcome(directory, child.id());
    assert_eq!(status.success(), error.is_empty(), "{context}: {status}, {error:?}");
    error
}

fn flowing(child: &Process, directory: &Path) -> bool {
    child::phase(directory, child.id()) == Phase::Flowing
}

/// Starts a process a second time while the first runs, and while it stands still. `false` if the
/// first was too quick.
fn second_is_refused(random: &mut Random) -> bool {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let first = child::spawn("exactly-once", path, EVENTS);
    wait_until("events flow", || flowing(&first, path));
    std::thread::sleep(Duration::from_micros(random.below(20_000)));
    let second = || {
        let second = child::spawn_silently("exactly-once", path, EVENTS);
        error_of(second, path, "the second process")
    };
    let while_it_runs = second();
    if !stop(&first) {
        return false;
    }
    let while_it_stands_still = second();
    signal(&first, "-CONT");
    child::expect_end(first, Duration::from_secs(60), "the first process");
    Seen::read(&path.join("out"), EVENTS).assert_kept("exactly-once", "two processes");
    let errors = [while_it_runs, while_it_stands_still];
    // If the second ran to its end, the first had released the store, as the good end of the first shows.
    if errors.iter().any(String::is_empty) {
        return false;
    }
    assert!(errors.iter().all(|error| error.contains("InUse")), "{errors:?}");
    true
}

/// Lets a second process take over from one that stands still and has lost its lock, and then lets
/// the first continue: while the second is at work, or after it has ended.
/// `false` if the first was too quick.
fn take_over(semantics: &str, random: &mut Random, goes_on_later: bool) -> bool {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let first = child::spawn_silently(semantics, path, EVENTS);
    wait_until("events flow", || flowing(&first, path));
    std::thread::sleep(Duration::from_micros(random.below(30_000)));
    if !stop(&first) {
        return false;
    }
    // As on a file system that has lost its locks.
    std::fs::remove_file(path.join("checkpoints/LOCK")).expect("the lock is a file");
    let second = child::spawn(semantics, path, EVENTS);
    wait_until("the second is at work", || flowing(&second, path));
    std::thread::sleep(Duration::from_micros(random.below(20_000)));
    let come_back = |first: Process| {
        signal(&first, "-CONT");
        let error = error_of(first, path, "the first process");
        assert!(error.contains("Fenced"), "{semantics}: {error:?}");
    };
    if goes_on_later {
        child::expect_end(second, Duration::from_secs(60), "the second process");
        come_back(first);
    } else {
        come_back(first);
        child::expect_end(second, Duration::from_secs(60), "the second process");
    }
    Seen::read(&path.join("out"), EVENTS).assert_kept(semantics, "taken over");
    true
}

/// Repeats a scene until it has succeeded often enough.
fn rounds(test: &str, mut scene: impl FnMut(&mut Random, u64) -> bool) {
    let (began, seed) = (Instant::now(), tier::seed(test));
    let (mut random, rounds) = (Random(seed), tier::times(10, 200));
    let (mut done, mut tried) = (0, 0);
    while done < rounds {
        done += u64::from(scene(&mut random, done));
        tried += 1;
        assert!(tried <= 3 * rounds, "only {done} of {tried} processes were met at work");
    }
    tier::report(12, test, rounds, "rounds", seed, began.elapsed());
}

#[test]
fn a_second_process_is_refused_while_the_first_runs_or_stands_still() {
    let test = "a_second_process_is_refused_while_the_first_runs_or_stands_still";
    rounds(test, |random, _| second_is_refused(random));
}

#[test]
fn a_process_that_was_replaced_while_it_stood_still_ends_and_shows_nothing_twice() {
    let test = "a_process_that_was_replaced_while_it_stood_still_ends_and_shows_nothing_twice";
    rounds(test, |random, round| take_over("exactly-once", random, round.is_multiple_of(2)));
}

#[test]
fn a_process_that_was_replaced_while_it_stood_still_repeats_nothing_under_at_most_once() {
    let test =
        "a_process_that_was_replaced_while_it_stood_still_repeats_nothing_under_at_most_once";
    rounds(test, |random, round| take_over("at-most-once", random, round.is_multiple_of(2)));
}
