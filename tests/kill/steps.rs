//! The process ends at every named step of the checkpoint and commit protocol: before, after and in
//! the middle of every operation of the disk, and around every call of the sink.
//!
//! A run that is not ended finds out which steps there are. Then processes end at each step: the first
//! process, at the first and at a later occurrence of the step, and a process that recovers.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use streamwork::checkpoint::DirectoryStore;
use streamwork::{
    AtMostOnce, BoxError, Collector, ExactlyOnce, Guarantee, Instance, Job, StatefulOperator,
    TransactionalFiles,
};

use crate::child::{Append, Counted, acknowledged, line, numbers_counted};
use crate::oracle::Seen;
use crate::step_disk::{Census, StepDisk, StepFiles, Steps};
use crate::tier;

const SEMANTICS_VARIABLE: &str = "STREAMWORK_STEP_SEMANTICS";
const DIRECTORY_VARIABLE: &str = "STREAMWORK_STEP_DIRECTORY";
const ENDS_AT_VARIABLE: &str = "STREAMWORK_STEP_ENDS_AT";
const NTH_VARIABLE: &str = "STREAMWORK_STEP_NTH";

/// Enough for some ten checkpoints.
const EVENTS: u64 = 1_000;

#[test]
fn runs_to_its_step_when_it_is_told_to() {
    let (Ok(semantics), Ok(directory)) =
        (std::env::var(SEMANTICS_VARIABLE), std::env::var(DIRECTORY_VARIABLE))
    else {
        return;
    };
    let step = std::env::var(ENDS_AT_VARIABLE).ok();
    let nth = tier::number(NTH_VARIABLE).unwrap_or(1);
    let directory = Path::new(&directory);
    let steps = Steps::ending_at(step.map(|step| (step, nth)));
    run(&semantics, directory, &steps);
    let lines = steps.passed().into_iter().map(|(step, times)| format!("{times} {step}\n"));
    let census = lines.collect::<String>();
    std::fs::write(directory.join("census"), census).expect("a file in the test's directory");
}

fn run(semantics: &str, directory: &Path, steps: &Arc<Steps>) {
    let root = directory.join("checkpoints");
    let disk = Arc::new(StepDisk::new(Arc::clone(steps), &root));
    let store = Arc::new(DirectoryStore::open_on(disk, &root).expect("the store opens"));
    let often = Duration::from_millis(2);
    let guarantee: Guarantee = match semantics {
        "at-most-once" => AtMostOnce::new().store_with(store).every(often).into(),
        "at-least-once" => acknowledged().store_with(store).every(often).into(),
        _ => ExactlyOnce::checkpoints_with(store).every(often).incremental_above(0).into(),
    };
    let out = directory.join("out");
    let job = Job::new("steps");
    let counted =
        numbers_counted(&job, semantics, EVENTS, None).stateful("ballast", Ballast::default);
    if semantics == "exactly-once" {
        let encode = |counted: &_, file: &mut Vec<u8>| file.extend(line(*counted).into_bytes());
        let files = TransactionalFiles::factory(&out, encode);
        let steps = Arc::clone(steps);
        let sink = move || StepFiles::new(files(), out.clone(), Arc::clone(&steps));
        counted.transactional_sink("out", sink).own_thread();
    } else {
        counted.sink("out", move || Append::new(out.clone())).own_thread();
    }
    job.run(guarantee).expect("the job runs to its end");
}

/// Passes everything on and has a state that is too large to share a file with others. Text is stored in one
/// piece, bytes one by one.
#[derive(Default)]
struct Ballast(String);

impl StatefulOperator for Ballast {
    type In = Counted;
    type Out = Counted;
    type State = String;
    fn setup(&mut self, _: &Instance, state: Option<String>) -> Result<(), BoxError> {
        self.0 = state.unwrap_or_else(|| "7".repeat(10_000));
        Ok(())
    }
    fn apply(&mut self, event: Counted, out: &mut Collector<Counted>) -> Result<(), BoxError> {
        out.emit(event);
        Ok(())
    }
    fn state(&self) -> String {
        self.0.clone()
    }
}

/// Processes in one directory, one after another.
struct Scene {
    semantics: &'static str,
    directory: tempfile::TempDir,
    story: Vec<String>,
}

impl Scene {
    fn new(semantics: &'static str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { semantics, directory, story: Vec::new() }
    }

    /// A process that ends at the `nth` occurrence of a step. Returns whether it reached that step.
    fn ends_at(&mut self, step: &str, nth: u64) -> bool {
        self.story.push(format!("{step} ({nth}.)"));
        self.process(Some((step, nth)))
    }

    fn process(&mut self, step: Option<(&str, u64)>) -> bool {
        let mut command = Command::new(std::env::current_exe().expect("this test is a file"));
        command
            .args(["--exact", "steps::runs_to_its_step_when_it_is_told_to", "--nocapture"])
            .env(SEMANTICS_VARIABLE, self.semantics)
            .env(DIRECTORY_VARIABLE, self.directory.path())
            .stdout(Stdio::null());
        if let Some((step, nth)) = step {
            command.env(ENDS_AT_VARIABLE, step).env(NTH_VARIABLE, nth.to_string());
        }
        let status = command.status().expect("this test can be started again");
        assert!(
            status.success() || (step.is_some() && status.signal() == Some(SIGABRT)),
            "{} after {:?}: {status}",
            self.semantics,
            self.story
        );
        !status.success()
    }

    /// The last process runs to its end; then the output of all is compared with the promise of the guarantee.
    fn finish(mut self) -> (Seen, Census) {
        self.process(None);
        let seen = Seen::read(&self.directory.path().join("out"), EVENTS);
        seen.assert_kept(self.semantics, &format!("after {:?}", self.story));
        let text = std::fs::read_to_string(self.directory.path().join("census"));
        let text = text.expect("the process has left its census");
        let steps = text.lines().filter_map(|line| line.split_once(' '));
        let census = steps.map(|(times, step)| (step.to_owned(), times.parse().unwrap_or(0)));
        (seen, census.collect())
    }
}

const SIGABRT: i32 = 6;

/// The results of the matrix.
#[derive(Default)]
struct Sum {
    ends: u64,
    lost: u64,
    repeated: u64,
    reached: BTreeSet<String>,
}

/// Steps, and at which occurrence: a process ends at each in turn, then one finishes.
type Story = Vec<(String, u64)>;

/// Processes mostly wait for the disk.
const AT_A_TIME: usize = 3;

/// Plays all of these, each in a directory of its own.
fn play(semantics: &'static str, stories: Vec<Story>) -> Sum {
    let (left, sum) = (Mutex::new(stories), Mutex::new(Sum::default()));
    std::thread::scope(|threads| {
        for _ in 0..AT_A_TIME {
            threads.spawn(|| {
                loop {
                    let Some(story) = left.lock().pop() else { return };
                    play_one(semantics, &story, &sum);
                }
            });
        }
    });
    sum.into_inner()
}

fn play_one(semantics: &'static str, story: &Story, sum: &Mutex<Sum>) {
    let mut scene = Scene::new(semantics);
    for (step, nth) in story {
        if scene.ends_at(step, *nth) {
            let mut sum = sum.lock();
            sum.reached.insert(step.clone());
            sum.ends += 1;
        }
    }
    let (seen, _) = scene.finish();
    let mut sum = sum.lock();
    sum.lost += seen.lost();
    sum.repeated += seen.repeated();
}

/// Where a process ended before the one that recovers: at a checkpoint that is almost complete, and at
/// one that is complete but has not been reported.
const BEFORE_RECOVERY: [(&str, u64); 2] =
    [("before renaming the manifest", 4), ("after renaming the manifest", 3)];

/// Ends a process at every step.
fn every_step(test: &str, semantics: &'static str, must: &[&str]) -> Sum {
    let began = Instant::now();
    let (_, fresh) = Scene::new(semantics).finish();
    let mut after_end = Scene::new(semantics);
    let (step, nth) = BEFORE_RECOVERY[1];
    assert!(after_end.ends_at(step, nth), "{semantics}: no process came to {step}");
    let (_, recovering) = after_end.finish();
    let steps: BTreeSet<&String> = fresh.keys().chain(recovering.keys()).collect();
    for step in must {
        assert!(
            steps.contains(&(*step).to_owned()),
            "{semantics}: nothing like \"{step}\" in {steps:?}"
        );
    }
    let mut stories: Vec<Story> = Vec::new();
    for step in steps.iter().copied() {
        if let Some(times) = fresh.get(step) {
            stories.push(vec![(step.clone(), 1)]);
            if *times >= 6 {
                stories.push(vec![(step.clone(), 3)]);
            }
        }
        if recovering.contains_key(step) {
            for (before, nth) in BEFORE_RECOVERY {
                stories.push(vec![(before.to_owned(), nth), (step.clone(), 1)]);
            }
        }
    }
    let seed = tier::seed(test);
    stories.extend(pairs(&fresh, &recovering, seed));
    let sum = play(semantics, stories);
    let missed: Vec<_> = steps.iter().filter(|step| !sum.reached.contains(**step)).collect();
    assert!(missed.is_empty(), "{semantics}: no process ended at {missed:?}");
    println!("{test}: {} steps", steps.len());
    tier::report(2, test, sum.ends, "processes ended at a step", seed, began.elapsed());
    sum
}

/// A process ends at one step, and the one that recovers from it at another: all pairs, or some
/// two dozen of them spread evenly from a seed on.
fn pairs(first: &Census, second: &Census, seed: u64) -> Vec<Story> {
    let every = tier::times((first.len() * second.len() / 25) as u64, 1);
    let all = first.iter().flat_map(|one| second.keys().map(move |again| (one, again)));
    let some = all.skip((seed % every) as usize).step_by(every as usize);
    let story = |((step, times), again): ((&String, &u64), &String)| {
        vec![(step.clone(), times.div_ceil(2)), (again.clone(), 1)]
    };
    some.map(story).collect()
}

/// What every store with checkpoints goes through.
const CHECKPOINT_STEPS: [&str; 42] = [
    "before taking the lock",
    "after taking the lock",
    "before creating the execution id",
    "in the middle of writing the execution id",
    "after writing the execution id",
    "after syncing the execution id",
    "before renaming the execution id",
    "after renaming the execution id",
    "before syncing the store",
    "after syncing the store",
    "before creating a checkpoint",
    "after creating a checkpoint",
    "before creating a part",
    "before writing a part",
    "in the middle of writing a part",
    "after writing a part",
    "before syncing a part",
    "after syncing a part",
    "before creating the small parts",
    "before writing the small parts",
    "in the middle of writing the small parts",
    "after writing the small parts",
    "before syncing the small parts",
    "after syncing the small parts",
    "before creating the manifest",
    "before writing the manifest",
    "in the middle of writing the manifest",
    "after writing the manifest",
    "before syncing the manifest",
    "after syncing the manifest",
    "before syncing a checkpoint",
    "after syncing a checkpoint",
    "before renaming the manifest",
    "after renaming the manifest",
    "before removing the manifest",
    "after removing the manifest",
    "before removing a part",
    "after removing a part",
    "before removing the small parts",
    "after removing the small parts",
    "before removing a checkpoint",
    "after removing a checkpoint",
];

const SINK_STEPS: [&str; 9] = [
    "before setting up the sink",
    "after setting up the sink",
    "before discarding unfinished output",
    "after discarding unfinished output",
    "before preparing output",
    "in the middle of preparing output",
    "after preparing output",
    "before committing output",
    "after committing output",
];

const POSITION_STEPS: [&str; 12] = [
    "before creating the positions",
    "after creating the positions",
    "before syncing the positions",
    "after syncing the positions",
    "before creating a position",
    "before writing a position",
    "in the middle of writing a position",
    "after writing a position",
    "before syncing a position",
    "after syncing a position",
    "before renaming a position",
    "after renaming a position",
];

#[test]
fn exactly_once_survives_an_end_at_every_step_of_the_protocol() {
    let test = "exactly_once_survives_an_end_at_every_step_of_the_protocol";
    every_step(test, "exactly-once", &[&CHECKPOINT_STEPS[..], &SINK_STEPS].concat());
}

#[test]
fn at_least_once_with_an_acknowledger_loses_nothing_by_an_end_at_any_step() {
    let test = "at_least_once_with_an_acknowledger_loses_nothing_by_an_end_at_any_step";
    let sum = every_step(test, "at-least-once", &CHECKPOINT_STEPS);
    assert!(sum.repeated > 0, "a test that cannot fail: no end made anything repeat");
}

#[test]
fn at_most_once_repeats_nothing_by_an_end_at_any_step() {
    let test = "at_most_once_repeats_nothing_by_an_end_at_any_step";
    let must = [&CHECKPOINT_STEPS[..], &POSITION_STEPS].concat();
    let sum = every_step(test, "at-most-once", &must);
    assert!(sum.lost > 0, "a test that cannot fail: no end made anything get lost");
}
