//! [A4]: idle instances use almost no processor time. Fault F37: only the time in callbacks was measured, so an
//! instance that span while it waited was not detected.

use std::time::Duration;

use streamwork::{AtLeastOnce, AtMostOnce, Guarantee, Job};

use crate::process;
use crate::support::wait_until;

const IDLES_VARIABLE: &str = "STREAMWORK_IDLES";
const INSTANCES: usize = 100;

/// fault F37: the processor time of all threads of the process counts, whatever they use it for.
#[test]
fn a_hundred_idle_instances_take_next_to_no_processor_time() {
    for guarantee in ["at-most-once", "at-least-once"] {
        let test = "idle::idles_when_it_is_told_to";
        let ended = process::run(test, &[(IDLES_VARIABLE, guarantee)], Duration::from_secs(60));
        ended.unwrap_or_else(|how| panic!("{guarantee}: {how}"));
    }
}

#[test]
fn idles_when_it_is_told_to() {
    let Ok(name) = std::env::var(IDLES_VARIABLE) else { return };
    let guarantee: Guarantee = match name.as_str() {
        "at-most-once" => AtMostOnce::new().into(),
        _ => AtLeastOnce::new().into(),
    };
    let job = Job::new("idle");
    let (sender, numbers) = job.channel::<u64>("numbers", 1);
    numbers.shuffle().map(|n| n).parallelism(INSTANCES).for_each(|_| ());
    let handle = job.start(guarantee).unwrap();
    let events = INSTANCES as u64;
    (0..events).for_each(|n| sender.send(n).unwrap());
    let done = || handle.metrics().sum("for_each", |m| m.delivered) == events;
    wait_until("every instance has had its event", done);
    // The first of these looks may still see the instances come to rest.
    let used = [(); 3].map(|()| {
        let before = processor_time();
        std::thread::sleep(Duration::from_millis(500));
        processor_time() - before
    });
    let least = used.into_iter().min().unwrap();
    assert!(least <= Duration::from_millis(20), "{used:?} of processor time in half a second each");
    drop((sender, job));
    handle.wait().unwrap();
}

/// The processor time of all threads of this process, ended threads included, in steps of ten milliseconds.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("the system counts");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in brackets");
    let ticks = |field: usize| -> u64 {
        // The first field behind the name is the third.
        let text = fields.split_whitespace().nth(field - 3).expect("as many fields");
        text.parse().expect("a number")
    };
    let (user, system) = (14, 15);
    Duration::from_millis(10 * (ticks(user) + ticks(system)))
}
