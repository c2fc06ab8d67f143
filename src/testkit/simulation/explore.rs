//! [`explore`]: many histories, each run twice, and one line that repeats the one that failed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use crate::testkit::simulation::Simulation;

/// Calls `check` with a [`Simulation`] for each seed. It builds its job, lets the simulation run it,
/// and asserts what must hold.
///
/// Each seed is run twice, and both runs must have made the same choices; a job that decides
/// something by time, by chance or by the order of a hash map fails here. If `check` panics, the
/// seed is printed with the command that repeats it; with `STREAMWORK_SEED=n` in the environment that seed alone
/// is run, and with `STREAMWORK_TRACE=1` every step is printed.
///
/// ```
/// use streamwork::testkit::{Collected, explore};
/// use streamwork::{AtLeastOnce, Job};
///
/// explore(0..50, |simulation| {
///     let seen = Collected::new();
///     let job = Job::new("numbers");
///     job.from_iter("numbers", || 0..20_u32).sink("seen", seen.factory());
///     let history = simulation.run(&job, AtLeastOnce::new().store_in("/positions"));
///     assert!((0..20).all(|n| seen.events().contains(&n)), "{history}");
/// });
/// ```
///
/// # Panics
/// If `check` does, or two runs of one seed differ, or `STREAMWORK_SEED` is not a number.
pub fn explore(seeds: impl IntoIterator<Item = u64>, check: impl Fn(Simulation)) {
    if let Ok(text) = std::env::var("STREAMWORK_SEED") {
        let seed = text.parse().unwrap_or_else(|_| panic!("STREAMWORK_SEED={text} is no number"));
        return explore_one(seed, &check);
    }
    for seed in seeds {
        explore_one(seed, &check);
    }
}

fn explore_one(seed: u64, check: &impl Fn(Simulation)) {
    let run = || {
        let simulation = Simulation::new(seed);
        let runs = Rc::clone(&simulation.runs);
        check(simulation);
        runs.take()
    };
    let runs = catch_unwind(AssertUnwindSafe(|| (run(), run())));
    let (first, second) = runs.unwrap_or_else(|payload| {
        // A test's thread has the test's name.
        let thread = std::thread::current();
        let test = thread.name().filter(|name| *name != "main").unwrap_or_default();
        eprintln!("repeat this history: STREAMWORK_SEED={seed} cargo test {test}");
        resume_unwind(payload)
    });
    assert!(
        first == second,
        "seed {seed}: two runs of the same seed differ: something is decided by time, chance or the order of a hash map"
    );
}
