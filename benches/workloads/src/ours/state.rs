//! State by key in checkpoints: what a checkpoint of changes has, what many of them cost, and how long a restore takes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use streamwork::{
    BoxError, ExactlyOnce, Instance, Job, JobHandle, Next, SourceOutput, StatefulSource,
};

use crate::measure::{self, Outcome};
use crate::record::split_mix_64;
use crate::workloads::Task;

/// Updates between two checkpoints of which few keys are concerned.
const FEW: u64 = 1_000;

/// Emits every key once, and then keys by Zipf's law, up to a limit that is raised meanwhile.
struct Keys {
    keys: u64,
    next: u64,
    limit: Arc<AtomicU64>,
}

impl Keys {
    fn key(&self, index: u64) -> u64 {
        if index < self.keys {
            return index;
        }
        // The rank of a draw with the exponent 1: uniform in its logarithm.
        let uniform = (split_mix_64(index) >> 11) as f64 / (1_u64 << 53) as f64;
        let rank = (uniform * (self.keys as f64).ln()).exp() as u64;
        rank.min(self.keys - 1)
    }
}

impl StatefulSource for Keys {
    type Out = u64;
    type State = u64;

    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.next = state.unwrap_or(0);
        Ok(())
    }

    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        let limit = self.limit.load(Ordering::Relaxed);
        while self.next < limit && out.room() > 0 {
            out.emit(self.key(self.next));
            self.next += 1;
        }
        Ok(match self.next < limit {
            true => Next::Now,
            false => Next::After(Duration::from_millis(1)),
        })
    }

    fn state(&self) -> u64 {
        self.next
    }
}

/// A job that counts by key, and how many events it may take.
struct Counting {
    handle: JobHandle,
    limit: Arc<AtomicU64>,
    counted: u64,
}

impl Counting {
    fn start(directory: &Path, keys: u64, instances: usize) -> Result<Self, BoxError> {
        let (job, limit) = (Job::new("state"), Arc::new(AtomicU64::new(0)));
        let allowed = Arc::clone(&limit);
        let source = move || Keys { keys, next: 0, limit: Arc::clone(&allowed) };
        let counts = job.stateful_source("keys", source).key_by(|key| *key).count().at_end();
        counts.named("counts").parallelism(instances).ignore();
        let never = Duration::from_secs(24 * 60 * 60);
        let handle = job.start(ExactlyOnce::checkpoints_in(directory).every(never))?;
        Ok(Self { handle, limit, counted: 0 })
    }

    /// Lets so many more through, and waits until they are counted.
    fn count(&mut self, more: u64, first: u64) {
        self.counted += more;
        self.limit.store(first + self.counted, Ordering::Relaxed);
        while self.handle.metrics().sum("counts", |m| m.processed) < self.counted {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Takes a checkpoint; its bytes.
    fn checkpoint(&self) -> Result<u64, BoxError> {
        let taken = self.handle.checkpoint_now()?;
        let recent = self.handle.metrics().recent_checkpoints;
        let stats = recent.iter().find(|stats| stats.checkpoint == taken);
        Ok(stats.ok_or("the checkpoint is not known")?.bytes)
    }
}

/// The share of a whole checkpoint that one has after `events` updates by Zipf's law, and the share of a core that
/// ten checkpoints a second take with few updates between two.
pub fn delta(task: &Task) -> Result<Outcome, BoxError> {
    let directory = measure::directory()?;
    let mut counting = Counting::start(directory.path(), task.accounts, task.threads)?;
    counting.count(task.accounts, 0);
    let whole = counting.checkpoint()?.max(counting.checkpoint()?);
    let (mut deltas, mut least) = (Vec::new(), u64::MAX);
    for _ in 0..24 {
        counting.count(task.events, 0);
        let bytes = counting.checkpoint()?;
        least = least.min(bytes);
        deltas.push(bytes);
    }
    let share = |bytes: u64| bytes as f64 / whole as f64 * 100.0;
    let all = deltas.iter().sum::<u64>() / deltas.len() as u64;
    let without = few_updates(&mut counting, false)?;
    let with = few_updates(&mut counting, true)?;
    counting.handle.stop();
    counting.handle.wait()?;
    Ok(Outcome::default()
        .with("whole", whole as f64 / 1e6)
        .with("delta", share(least))
        .with("with rewriting", share(all))
        .with("core", (with - without) * 100.0))
}

/// The cores that ten seconds take in which few keys change every tenth of a second.
fn few_updates(counting: &mut Counting, saved: bool) -> Result<f64, BoxError> {
    let (began, cpu) = (Instant::now(), measure::cpu_seconds()?);
    for tenth in 1..=100 {
        counting.count(FEW, 0);
        if saved {
            counting.checkpoint()?;
        }
        let until = began + Duration::from_millis(100) * tenth;
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
    Ok((measure::cpu_seconds()? - cpu) / began.elapsed().as_secs_f64())
}

fn restore(task: &Task, instances: usize) -> Result<Outcome, BoxError> {
    let directory = measure::directory()?;
    let mut counting = Counting::start(directory.path(), task.accounts, task.threads)?;
    counting.count(task.accounts, 0);
    counting.handle.stop();
    counting.handle.wait()?;
    let began = Instant::now();
    let mut counting = Counting::start(directory.path(), task.accounts, instances)?;
    counting.count(1, task.accounts);
    let took = began.elapsed();
    counting.handle.stop();
    counting.handle.wait()?;
    Ok(Outcome::default().with("restore", took.as_secs_f64()))
}

/// From the start of a job to its first event, with the state of all keys in a checkpoint.
pub fn restore_same(task: &Task) -> Result<Outcome, BoxError> {
    restore(task, task.threads)
}

/// The same with one instance more.
pub fn restore_other(task: &Task) -> Result<Outcome, BoxError> {
    restore(task, task.threads + 1)
}
