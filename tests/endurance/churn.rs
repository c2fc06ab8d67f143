//! Jobs that are started, stopped, dropped and started again, at any moment: no thread, file or memory
//! is left behind.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, ExactlyOnce, Guarantee, Instance, Job, JobHandle,
    Next, Refused, SourceOutput, StatefulOperator, StatefulSource,
};

use crate::process::{Footprint, alone, wait_until};
use crate::tier;

/// When a job is told to end.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// As soon as there is a handle: its components are still being set up.
    Starting,
    /// While an operator restores its state.
    Restoring,
    /// While an operator hands over its state for a checkpoint.
    Saving,
    /// While events flow.
    Flowing,
    /// At any time in its first milliseconds.
    Any,
}

const MOMENTS: [Moment; 5] =
    [Moment::Starting, Moment::Restoring, Moment::Saving, Moment::Flowing, Moment::Any];

/// How the job is told to end.
#[derive(Clone, Copy, Debug)]
enum How {
    Stopped,
    Drained,
    Dropped,
}

const HOWS: [How; 3] = [How::Stopped, How::Drained, How::Dropped];

const SEMANTICS: [&str; 4] = ["exactly-once", "at-least-once", "at-most-once", "nothing stored"];

fn guarantee(name: &str, directory: &Path) -> Guarantee {
    let often = Duration::from_millis(2);
    match name {
        "exactly-once" => ExactlyOnce::checkpoints_in(directory).every(often).into(),
        "at-least-once" => AtLeastOnce::new().store_in(directory).every(often).into(),
        "at-most-once" => AtMostOnce::new().store_in(directory).every(often).into(),
        _ => AtLeastOnce::new().into(),
    }
}

/// What the job's components are doing, as far as their owner has to know.
#[derive(Debug, Default)]
struct Progress {
    starting: AtomicU64,
    restoring: AtomicU64,
    saving: AtomicU64,
    flowing: AtomicU64,
}

struct Numbers(u64);

impl StatefulSource for Numbers {
    type Out = u64;
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.0 = state.unwrap_or(0);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        for _ in 0..10.min(out.room()) {
            out.emit(self.0);
            self.0 += 1;
        }
        Ok(Next::After(Duration::from_micros(200)))
    }
    fn state(&self) -> u64 {
        self.0
    }
}

/// Takes some time in `setup` and in `state`.
struct Slow {
    count: u64,
    progress: Arc<Progress>,
}

impl StatefulOperator for Slow {
    type In = u64;
    type Out = u64;
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        let note = if state.is_some() { &self.progress.restoring } else { &self.progress.starting };
        note.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(2));
        self.count = state.unwrap_or(0);
        Ok(())
    }
    fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        self.progress.flowing.fetch_add(1, Ordering::SeqCst);
        self.count += 1;
        out.emit(event);
        Ok(())
    }
    fn state(&self) -> u64 {
        self.progress.saving.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(1));
        self.count
    }
}

fn start(name: &str, directory: &Path, progress: &Arc<Progress>) -> Result<JobHandle, Refused> {
    let progress = Arc::clone(progress);
    let job = Job::new("churn");
    job.stateful_source("numbers", || Numbers(0))
        .shuffle()
        .map(|n| n)
        .parallelism(2)
        .global()
        .stateful("slow", move || Slow { count: 0, progress: Arc::clone(&progress) })
        .for_each(|_| ());
    job.start(guarantee(name, directory))
}

/// One job, from its start to its end. The directory has the files of the job before.
fn round(name: &str, directory: &Path, moment: Moment, how: How, random: u64) {
    let progress = Arc::new(Progress::default());
    let handle = start(name, directory, &progress)
        .unwrap_or_else(|refused| panic!("{name}, {moment:?}, {how:?}: {refused:?}"));
    let reached = |of: fn(&Progress) -> &AtomicU64| {
        wait_until("the moment comes", || of(&progress).load(Ordering::SeqCst) > 0);
    };
    let set_up = |progress: &Progress| {
        let counts = [&progress.starting, &progress.restoring];
        counts.iter().any(|count| count.load(Ordering::SeqCst) > 0)
    };
    match moment {
        Moment::Starting => {}
        Moment::Restoring => wait_until("it is set up", || set_up(&progress)),
        Moment::Saving if name == "nothing stored" => {}
        Moment::Saving => reached(|progress| &progress.saving),
        Moment::Flowing => reached(|progress| &progress.flowing),
        Moment::Any => std::thread::sleep(Duration::from_micros(random % 8_000)),
    }
    let within = Duration::from_secs(20);
    let ended = match how {
        How::Stopped => handle.stop_within(within).map(drop),
        How::Drained => handle.drain(within).map(drop),
        How::Dropped => {
            drop(handle);
            // Nobody can be asked any more; its threads tell.
            wait_until("its threads are gone", || Footprint::now().threads <= 2);
            Ok(())
        }
    };
    ended.unwrap_or_else(|error| panic!("{name}, {moment:?}, {how:?}: {error:?}"));
}

fn rounds(from: u64, to: u64, directory: &Path, random: &mut u64) {
    for n in from..to {
        *random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        let name = SEMANTICS[(n % 4) as usize];
        let moment = MOMENTS[(n / 4 % 5) as usize];
        let how = HOWS[(n / 20 % 3) as usize];
        round(name, &directory.join(name), moment, how, *random >> 33);
    }
}

#[test]
fn jobs_that_come_and_go_leave_no_thread_no_file_and_no_memory_behind() {
    alone("churn::jobs_that_come_and_go_leave_no_thread_no_file_and_no_memory_behind", || {
        let test = "jobs_that_come_and_go_leave_no_thread_no_file_and_no_memory_behind";
        let (began, seed) = (Instant::now(), tier::seed(test));
        let directory = tempfile::tempdir().expect("a directory");
        let (mut random, all) = (seed, tier::times(240, 100_000));
        // What is taken up once and kept, by the allocator for instance.
        let first = all / 4;
        rounds(0, first, directory.path(), &mut random);
        let before = Footprint::now();
        rounds(first, all, directory.path(), &mut random);
        let after = Footprint::now();
        println!("after {first} rounds {before:?}, after {all} {after:?}");
        assert_eq!((after.threads, after.files), (before.threads, before.files));
        let grown = after.resident_kib.saturating_sub(before.resident_kib);
        assert!(grown < 2 * 1_024, "{grown} KiB more after {} rounds", all - first);
        tier::report(19, test, all, "jobs", seed, began.elapsed());
    });
}
