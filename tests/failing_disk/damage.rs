//! Row 5: a job starts on a directory whose newest checkpoint was damaged: it uses the one before, and
//! its result is right; or it is refused by type, when none is left. Unreadable is never none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::memory_disk::Outside as _;
use parking_lot::Mutex;
use streamwork::checkpoint::{
    CheckpointStore, Condition, DirectoryStore, Manifest, PartRecord, StoreError,
};
use streamwork::storage::Disk;
use streamwork::testkit::Collected;
use streamwork::{
    BoxError, Collector, ExactlyOnce, Instance, Job, JobReport, Output, Refused, RunError,
    StatefulOperator,
};

use crate::memory_disk::{MemoryDisk, Random};
use crate::tier;

/// Sums, and emits the sum at the end.
#[derive(Default)]
struct Sum {
    sum: u64,
    /// Makes the state large enough to have blocks. Text is stored in one piece, bytes one by one.
    ballast: String,
}

impl StatefulOperator for Sum {
    type In = u64;
    type Out = u64;
    type State = (u64, String);
    fn setup(&mut self, _: &Instance, state: Option<Self::State>) -> Result<(), BoxError> {
        (self.sum, self.ballast) = state.unwrap_or_else(|| (0, "7".repeat(10_000)));
        Ok(())
    }
    fn apply(&mut self, event: u64, _: &mut Collector<u64>) -> Result<(), BoxError> {
        self.sum += event;
        Ok(())
    }
    fn finish(&mut self, out: &mut Output<u64>) -> Result<(), BoxError> {
        out.emit(self.sum);
        Ok(())
    }
    fn state(&self) -> Self::State {
        (self.sum, self.ballast.clone())
    }
}

const EVENTS: u64 = 300;

/// Runs the job over the first `events` numbers, and returns its report and the sum.
fn run(disk: &MemoryDisk, events: u64) -> Result<(JobReport, u64), RunError> {
    let store = DirectoryStore::open_on(Arc::new(disk.clone()), "/store").map_err(Refused::from)?;
    let seen = Collected::new();
    let job = Job::new("sum");
    job.from_iter("numbers", move || 0..events)
        .stateful("sum", Sum::default)
        .sink("seen", seen.factory());
    let report = job.run(ExactlyOnce::checkpoints_with(Arc::new(store)))?;
    Ok((report, seen.events().into_iter().next_back().expect("a sum")))
}

fn sum(events: u64) -> u64 {
    (0..events).sum()
}

/// A disk with the checkpoints of two runs, over a third and over two thirds of the events; and their manifests, newest
/// first.
fn two_checkpoints() -> (MemoryDisk, Vec<Manifest>) {
    let disk = MemoryDisk::new();
    for events in [EVENTS / 3, EVENTS / 3 * 2] {
        run(&disk, events).expect("nothing is wrong yet");
    }
    let store = DirectoryStore::open_on(Arc::new(disk.clone()), "/store").expect("it opens");
    let manifests = store.list().expect("readable");
    assert_eq!(manifests.len(), 2, "each run has taken its last one only");
    (disk, manifests)
}

fn directory(manifest: &Manifest) -> PathBuf {
    let (checkpoint, execution) = (manifest.checkpoint.0, manifest.execution);
    Path::new("/store").join(format!("chk-{checkpoint:020}-x{execution}"))
}

fn files(manifest: &Manifest) -> Vec<PathBuf> {
    // A part that shares its file is named with its place in it.
    let file = |part: &PartRecord| part.at.file.split('@').next().expect("a name").to_owned();
    let files: BTreeSet<_> = manifest.parts.iter().map(file).collect();
    assert_eq!(
        files.len(),
        2,
        "one part is large and has a file of its own, one shares one: {files:?}"
    );
    let files = files.into_iter().chain(["MANIFEST".to_owned()]);
    files.map(|file| directory(manifest).join(file)).collect()
}

/// The job continues from the older checkpoint, and its result is right.
#[track_caller]
fn assert_falls_back(disk: &MemoryDisk, manifests: &[Manifest], what: &str) {
    let (report, total) = run(disk, EVENTS).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(report.restored_from, Some(manifests[1].checkpoint), "{what}");
    assert_eq!(total, sum(EVENTS), "{what}");
    let store = DirectoryStore::open_on(Arc::new(disk.clone()), "/store").expect("it opens");
    let aside = store.survey().expect("readable").checkpoints;
    let aside = aside.iter().filter(|one| matches!(one.condition, Condition::SetAside(_)));
    assert_eq!(aside.count(), 1, "{what}: the damaged one is kept for a person to look at");
}

/// Damages by number: every cut of the manifest, every bit of it, then blocks and bytes of parts.
fn every_damage(manifest: &Manifest, whole: &MemoryDisk) -> Vec<(PathBuf, Vec<u8>, String)> {
    let mut damaged = Vec::new();
    for path in files(manifest) {
        let bytes = whole.get(&path);
        let name = path.display().to_string();
        // All of a manifest; a part has thousands, so some from everywhere in it.
        let step = if path.ends_with("MANIFEST") { 1 } else { bytes.len() / 40 + 1 };
        for cut in (0..bytes.len()).step_by(step) {
            damaged.push((path.clone(), bytes[..cut].to_vec(), format!("{name} cut at {cut}")));
        }
        for bit in (0..bytes.len() * 8).step_by(step) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            damaged.push((path.clone(), flipped, format!("{name}, bit {bit} flipped")));
        }
        for block in 0..bytes.len() / 512 {
            let mut zeroed = bytes.clone();
            zeroed[block * 512..][..512].fill(0);
            damaged.push((path.clone(), zeroed, format!("{name}, block {block} zeroed")));
        }
    }
    damaged
}

/// Calls `check` with every damage, on a copy of the disk each.
fn with_every_damage(
    disk: &MemoryDisk,
    manifest: &Manifest,
    check: impl Fn(MemoryDisk, &str) + Sync,
) -> u64 {
    let all = every_damage(manifest, disk);
    let count = all.len() as u64;
    let left = Mutex::new(all);
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                loop {
                    let Some((path, bytes, what)) = left.lock().pop() else { return };
                    let disk = disk.fork();
                    disk.put(path, &bytes);
                    check(disk, &what);
                }
            });
        }
    });
    count
}

#[test]
fn a_job_whose_newest_checkpoint_is_damaged_anywhere_goes_on_from_the_one_before_and_is_right() {
    let test = "a_job_whose_newest_checkpoint_is_damaged_anywhere_goes_on_from_the_one_before_and_is_right";
    let started = Instant::now();
    let (disk, manifests) = two_checkpoints();
    let done = with_every_damage(&disk, &manifests[0], |disk, what| {
        assert_falls_back(&disk, &manifests, what);
    });
    for path in files(&manifests[0]) {
        // A missing manifest is none; that is how a checkpoint is removed.
        if !path.ends_with("MANIFEST") {
            let disk = disk.fork();
            disk.remove_file(&path).expect("it is there");
            assert_falls_back(&disk, &manifests, &format!("{} is missing", path.display()));
        }
    }
    tier::report(5, test, done, "damaged directories", 0, started.elapsed());
}

/// Refused, because there are checkpoints and none can be used. Never started from nothing.
#[track_caller]
fn assert_refused(disk: &MemoryDisk, what: &str) {
    match run(disk, EVENTS) {
        Err(RunError::Refused(Refused::Store(StoreError::NoneUsable { reasons }))) => {
            assert!(!reasons.is_empty(), "{what}");
        }
        Err(other) => panic!("{what}: {other}"),
        Ok((report, _)) => panic!("{what}: started from {:?}", report.restored_from),
    }
}

#[test]
fn a_job_whose_only_checkpoint_is_damaged_anywhere_is_refused_and_never_starts_from_nothing() {
    let test =
        "a_job_whose_only_checkpoint_is_damaged_anywhere_is_refused_and_never_starts_from_nothing";
    let started = Instant::now();
    let disk = MemoryDisk::new();
    run(&disk, EVENTS / 3).expect("nothing is wrong yet");
    let store = DirectoryStore::open_on(Arc::new(disk.clone()), "/store").expect("it opens");
    let only = store.list().expect("readable").remove(0);
    drop(store);
    let done = with_every_damage(&disk, &only, |disk, what| {
        assert_refused(&disk, what);
        assert_refused(&disk, what);
    });
    tier::report(5, test, done, "damaged directories", 0, started.elapsed());
}

#[test]
fn any_damage_to_any_file_of_a_store_leads_to_a_right_result_or_a_typed_refusal() {
    let test = "any_damage_to_any_file_of_a_store_leads_to_a_right_result_or_a_typed_refusal";
    let (seed, started) = (tier::seed(test), Instant::now());
    let (disk, manifests) = two_checkpoints();
    let mut paths: Vec<_> = manifests.iter().flat_map(files).collect();
    paths.push(Path::new("/store/EXECUTION").to_owned());
    let cases = tier::times(1_500, 1_000_000);
    for case in 0..cases {
        let mut random = Random(seed << 24 ^ case);
        let disk = disk.fork();
        let mut what = format!("STREAMWORK_SEED={seed}, case {case}:");
        for _ in 0..=random.below(3) {
            let path = &paths[random.below(paths.len())];
            let mut bytes = disk.get(path);
            for _ in 0..=random.below(4) {
                let (at, byte) = (random.below(bytes.len()), random.next() as u8);
                // An earlier damage may have left nothing of it.
                bytes.get_mut(at).into_iter().for_each(|old| *old = byte);
            }
            if random.below(4) == 0 {
                bytes.truncate(random.below(bytes.len() + 1));
            }
            what += &format!(" {}", path.display());
            disk.put(path, &bytes);
        }
        match run(&disk, EVENTS) {
            Ok((report, total)) => {
                assert!(report.restored_from.is_some(), "{what}: started from nothing");
                assert_eq!(total, sum(EVENTS), "{what}");
            }
            Err(RunError::Refused(Refused::Store(
                StoreError::NoneUsable { .. } | StoreError::Damaged { .. },
            ))) => {}
            Err(other) => panic!("{what}: {other}"),
        }
    }
    tier::report(5, test, cases, "random damages", seed, started.elapsed());
}
