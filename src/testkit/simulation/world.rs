//! [`World`]: what a seed decides. Every choice of a simulation is drawn here, in one order, and
//! noted in a fingerprint, so that the same seed is the same run.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::clock::{Clock, Timestamp};
use crate::executor::injected::{Faults as Inject, Strike};
use crate::id::InstanceName;
use crate::testkit::random::Random;
use crate::testkit::simulated_disk::{Fate, Script};
use crate::testkit::simulation::faults::{Fault, Faults};

/// How the process is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    Kill,
    PowerFailure,
}

pub(super) struct World {
    pub(super) random: Random,
    /// One in how many opportunities is taken, by kind; 0 for a kind that never happens.
    rates: [u64; Fault::ALL.len()],
    left: u32,
    pub(super) crash: Option<Crash>,
    /// Operations of the disk that fail from here, because it is full.
    full_for: u64,
    /// How often something was made to go wrong.
    pub(super) troubles: u64,
    /// What was done wrong on purpose, in order.
    pub(super) injected: Vec<String>,
    pub(super) steps: u64,
    pub(super) fingerprint: u64,
    pub(super) disk_fingerprint: u64,
    verbose: bool,
}

impl World {
    /// Swarm testing (Groce et al., ISSTA 2012): each history has some of the kinds of faults, each
    /// at a rate of its own, since all at once hide one another.
    pub(super) fn new(seed: u64, faults: &Faults) -> Self {
        let mut random = Random::new(seed);
        let mut rates = [0; Fault::ALL.len()];
        for kind in &faults.kinds {
            // There are thousands of steps and few crashes.
            let rate = random.power(2, 11);
            let rate = if *kind == Fault::Damage { 1 + rate % 3 } else { rate };
            if random.coin() {
                rates[*kind as usize] = rate;
            }
        }
        let left = match faults.at_most {
            0 => 0,
            most => 1 + random.below(most as usize) as u32,
        };
        Self {
            random,
            rates,
            left,
            crash: None,
            full_for: 0,
            troubles: 0,
            injected: Vec::new(),
            steps: 0,
            fingerprint: seed,
            disk_fingerprint: seed,
            verbose: std::env::var_os("STREAMWORK_TRACE").is_some(),
        }
    }

    /// Notes what happens, so that two runs can be compared.
    pub(super) fn note(&mut self, what: &str, number: u64) {
        self.fingerprint = xxh3_64_with_seed(what.as_bytes(), self.fingerprint ^ number);
        if self.verbose {
            eprintln!("{:>6} {what} {number}", self.steps);
        }
    }

    /// Whether a fault of this kind happens now.
    pub(super) fn draw(&mut self, kind: Fault) -> bool {
        let rate = self.rates[kind as usize];
        if rate == 0 {
            return false;
        }
        let happens = (self.left > 0 || kind.is_harmless()) && self.random.once_in(rate);
        if happens && !kind.is_harmless() {
            self.left -= 1;
        }
        happens
    }

    pub(super) fn inject(&mut self, what: String) {
        self.note(&what, self.steps);
        self.troubles += 1;
        self.injected.push(format!("{what} (step {})", self.steps));
    }

    fn strike(&mut self, instance: &InstanceName, callback: &'static str) -> Option<Strike> {
        let panic = self.draw(Fault::Panic);
        if !panic && !self.draw(Fault::Error) {
            return None;
        }
        let after = self.random.coin();
        let when = if after { "after" } else { "instead of" };
        let what = if panic { "panic" } else { "error" };
        self.inject(format!("{what} {when} {callback} of {instance}"));
        Some(Strike { after, panic })
    }

    fn fate(&mut self, operation: &'static str, path: &Path) -> Fate {
        for (kind, crash) in
            [(Fault::Kill, Crash::Kill), (Fault::PowerFailure, Crash::PowerFailure)]
        {
            if self.crash.is_none() && self.draw(kind) {
                self.crash = Some(crash);
                let after = self.random.coin();
                let when = if after { "after" } else { "before" };
                self.inject(format!("{crash:?} {when} {operation} {}", path.display()));
                return Fate::Killed { after };
            }
        }
        if self.full_for > 0 {
            self.full_for -= 1;
            self.troubles += 1;
            return Fate::Refused;
        }
        if !self.draw(Fault::DiskError) {
            return Fate::Done;
        }
        let at = path.display();
        if self.random.coin() {
            self.inject(format!("an error after {operation} {at}"));
            return Fate::Denied;
        }
        self.full_for = self.random.power(0, 4) - 1;
        self.inject(format!("disk full at {operation} {at}, {} more", self.full_for));
        Fate::Refused
    }
}

/// The world as everybody who asks it has it.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) now: Arc<AtomicU64>,
}

impl Shared {
    pub(super) fn new(world: World) -> Self {
        // A day after the beginning of time, so that 0 stays a value apart.
        let now = Arc::new(AtomicU64::new(86_400_000_000_000));
        Self { world: Arc::new(Mutex::new(world)), now }
    }

    pub(super) fn advance_to(&self, moment: Timestamp) {
        self.now.fetch_max(moment.0, Ordering::Relaxed);
    }
}

impl Clock for Shared {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::Relaxed))
    }

    fn unix_ms(&self) -> u64 {
        self.now().0 / 1_000_000
    }
}

impl Inject for Shared {
    fn strike(&self, instance: &InstanceName, callback: &'static str) -> Option<Strike> {
        self.world.lock().strike(instance, callback)
    }

    fn piece(&self, events: usize) -> usize {
        let mut world = self.world.lock();
        let most = world.random.power(0, 7) as usize;
        events.min(most)
    }

    fn time_is_up(&self) -> bool {
        self.world.lock().random.below(8) == 0
    }
}

impl Script for Shared {
    fn next(&mut self, operation: &'static str, path: &Path, bytes: &[u8]) -> Fate {
        let mut world = self.world.lock();
        world.note(operation, bytes.len() as u64);
        world.disk_fingerprint = xxh3_64_with_seed(bytes, world.disk_fingerprint);
        world.fate(operation, path)
    }
}
