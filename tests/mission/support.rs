//! Shared by the tests: every guarantee by name, faults that happen once, sinks that record their events.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use streamwork::storage::{Disk, DiskEntry, DiskFile, DiskLock, RealDisk};
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, ExactlyOnce, Guarantee, Instance, Operator,
    Output, StatefulOperator,
};

/// Every guarantee, with and without a store where both exist.
pub(crate) const ALL: [&str; 6] = [
    "at-most-once",
    "at-most-once stored",
    "at-least-once",
    "at-least-once stored",
    "at-least-once-checkpoint",
    "exactly-once",
];

/// Checks every guarantee, all at the same time, for what mostly waits.
pub(crate) fn under_all_at_once(check: impl Fn(&'static str) + Sync) {
    let check = &check;
    std::thread::scope(|threads| {
        for name in ALL {
            threads.spawn(move || check(name));
        }
    });
}

/// The guarantee of that name, storing below `directory`.
pub(crate) fn guarantee(name: &str, directory: &Path) -> Guarantee {
    let often = Duration::from_millis(5);
    match name {
        "at-most-once" => AtMostOnce::new().into(),
        "at-most-once stored" => AtMostOnce::new().store_in(directory).every(often).into(),
        "at-least-once" => AtLeastOnce::new().into(),
        "at-least-once stored" => AtLeastOnce::new().store_in(directory).every(often).into(),
        "at-least-once-checkpoint" => AtLeastOnce::checkpoints_in(directory).every(often).into(),
        "exactly-once" => ExactlyOnce::checkpoints_in(directory).every(often).into(),
        other => panic!("no guarantee is named {other}"),
    }
}

/// Records which instance got which event.
#[derive(Default)]
pub(crate) struct Where(usize);

impl Operator for Where {
    type In = u64;
    type Out = (usize, u64);
    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        self.0 = instance.index();
        Ok(())
    }
    fn apply(&mut self, event: u64, out: &mut Collector<(usize, u64)>) -> Result<(), BoxError> {
        out.emit((self.0, event));
        Ok(())
    }
}

/// Lets each key fail a given number of times.
#[derive(Clone, Debug)]
pub(crate) struct Faults<K> {
    left: Arc<Mutex<HashMap<K, u32>>>,
}

impl<K: Eq + Hash> Faults<K> {
    pub(crate) fn once(keys: impl IntoIterator<Item = K>) -> Self {
        Self::times(1, keys)
    }

    pub(crate) fn times(times: u32, keys: impl IntoIterator<Item = K>) -> Self {
        Self { left: Arc::new(Mutex::new(keys.into_iter().map(|key| (key, times)).collect())) }
    }

    /// Whether this key is to fail now.
    pub(crate) fn strike(&self, key: &K) -> bool {
        match self.left.lock().get_mut(key) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// Whether every fault has happened.
    pub(crate) fn spent(&self) -> bool {
        self.left.lock().values().all(|left| *left == 0)
    }
}

/// Waits for a condition; panics with `what` if it does not come true in ten seconds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// How often each event occurs.
pub(crate) fn counts<T: Eq + Hash>(events: impl IntoIterator<Item = T>) -> HashMap<T, usize> {
    events.into_iter().fold(HashMap::new(), |mut counts, event| {
        *counts.entry(event).or_default() += 1;
        counts
    })
}

/// Sums its events.
#[derive(Default)]
pub(crate) struct Sum(u64);

impl StatefulOperator for Sum {
    type In = u64;
    type Out = u64;
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.0 = state.unwrap_or(0);
        Ok(())
    }
    fn apply(&mut self, event: u64, _: &mut Collector<u64>) -> Result<(), BoxError> {
        self.0 += event;
        Ok(())
    }
    fn finish(&mut self, out: &mut Output<u64>) -> Result<(), BoxError> {
        out.emit(std::mem::take(&mut self.0));
        Ok(())
    }
    fn state(&self) -> u64 {
        self.0
    }
}

/// A disk on which the creation of files waits while the gate is shut.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hanging {
    pub(crate) gate: Arc<Mutex<()>>,
    /// How many threads wait.
    pub(crate) waiting: Arc<AtomicUsize>,
}

impl Disk for Hanging {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.lock());
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        RealDisk.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.open(path)
    }
    fn open_for_writing(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.open_for_writing(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        RealDisk.list(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        RealDisk.link(file, name)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_dir(path)
    }
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        RealDisk.try_lock(path)
    }
}
