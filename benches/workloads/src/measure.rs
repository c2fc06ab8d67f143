//! Runs contestants in turn, each in a process of its own, and collects what they say.
//!
//! ```text
//!   this process                         a child per run
//!   ------------                         ---------------
//!   round 1:  ours, hand, timely, …      run the job, measure it from its start to its end
//!   round 2:  hand, timely, …, ours      own peak memory (VmHWM), own processor time
//!   what else the machine did  ◀──────── one line of JSON
//! ```
//! Never judges: that is for `table`.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use streamwork::BoxError;
use tempfile::TempDir;

use crate::record::Total;
use crate::watch::{self, Ran};
use crate::workloads::{Contestant, RATE, Task};

/// Clock ticks in a second, as `/proc` counts them.
const TICKS_PER_SECOND: f64 = 100.0;

/// A run whose process somebody stopped is made again, so many times in all.
const TRIES: usize = 3;

/// What one run of one contestant came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Equal for all contestants of a workload, where there is one.
    pub checksum: Option<(u64, u64)>,
    /// Named as in the workload.
    pub figures: BTreeMap<String, f64>,
    pub peak_kib: u64,
    pub cpu_seconds: f64,
}

impl Outcome {
    /// So many events in that time, and what came out.
    pub fn rate(events: u64, elapsed: Duration, total: Total) -> Self {
        std::hint::black_box(total.sums);
        Self { checksum: Some((total.events, total.digest)), ..Self::default() }
            .with(RATE, events as f64 / elapsed.as_secs_f64() / 1e6)
    }

    pub fn with(mut self, figure: &str, value: f64) -> Self {
        self.figures.insert(figure.to_owned(), value);
        self
    }

    pub fn checked(mut self, total: Total) -> Self {
        self.checksum = Some((total.events, total.digest));
        self
    }
}

/// A run, and what else the machine did meanwhile.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    pub outcome: Outcome,
    /// Processor time of others, as a share of all cores.
    pub other_load: f64,
}

/// All runs of one contestant.
#[derive(Debug)]
pub struct Runs {
    pub contestant: &'static str,
    pub runs: Vec<Run>,
}

/// Runs a contestant in this process, which was started for it.
pub fn as_child(contestant: &Contestant, task: &Task) -> Result<(), BoxError> {
    let mut outcome = (contestant.run)(task)?;
    outcome.peak_kib = peak_kib()?;
    outcome.cpu_seconds = cpu_seconds()?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

/// What a child process is told to run: a workload, or the point of a curve.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub name: &'a str,
    pub at: Option<u64>,
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.at {
            Some(at) => write!(f, "{} {at}", self.name),
            None => f.write_str(self.name),
        }
    }
}

/// Runs every contestant `rounds` times, in an order that moves on by one each round.
pub fn all(
    place: Place<'_>,
    contestants: &[Contestant],
    events: u64,
    rounds: usize,
) -> Result<Vec<Runs>, BoxError> {
    let mut all: Vec<Runs> = contestants
        .iter()
        .map(|contestant| Runs { contestant: contestant.name, runs: Vec::new() })
        .collect();
    for round in 0..rounds {
        for turn in 0..contestants.len() {
            let at = (round + turn) % contestants.len();
            let run = in_a_child(place, &contestants[at], events)?;
            eprintln!("  {place} {} {:?}", contestants[at].name, run.outcome.figures);
            all[at].runs.push(run);
        }
    }
    Ok(all)
}

fn in_a_child(place: Place<'_>, contestant: &Contestant, events: u64) -> Result<Run, BoxError> {
    for _ in 0..TRIES {
        if let Some(run) = try_in_a_child(place, contestant, events)? {
            return Ok(run);
        }
        eprintln!("  {place} {}: somebody stopped the process; once more", contestant.name);
    }
    Err(format!("{place} {}: somebody stopped it {TRIES} times", contestant.name).into())
}

/// A run, unless somebody stopped its process.
fn try_in_a_child(
    place: Place<'_>,
    contestant: &Contestant,
    events: u64,
) -> Result<Option<Run>, BoxError> {
    let busy_before = busy_seconds()?;
    let started = Instant::now();
    let child = Command::new(std::env::current_exe()?)
        .args(["--child", place.name, "--contestant", contestant.name])
        .args(place.at.map(|at| format!("--at={at}")))
        .args(["--events", &events.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let Ran::Through(output) = watch::to_the_end(child)? else { return Ok(None) };
    let elapsed = started.elapsed().as_secs_f64();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{place} {}: {said}", contestant.name).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let outcome: Outcome = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    let cores = std::thread::available_parallelism()?.get() as f64;
    let others = (busy_seconds()? - busy_before - outcome.cpu_seconds).max(0.0);
    Ok(Some(Run { outcome, other_load: others / elapsed / cores }))
}

/// Processor time that everybody takes in this while, as a share of all cores. Of a process that does nothing itself: what is
/// taken by others.
pub fn share_taken(during: Duration) -> Result<f64, BoxError> {
    let (before, started) = (busy_seconds()?, Instant::now());
    std::thread::sleep(during);
    let cores = std::thread::available_parallelism()?.get() as f64;
    Ok((busy_seconds()? - before) / started.elapsed().as_secs_f64() / cores)
}

/// A directory on the disk on which this was built, gone with the value. A directory for temporary files may be in memory.
pub fn directory() -> std::io::Result<TempDir> {
    tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/target"))
}

/// The most memory that this process has had.
fn peak_kib() -> Result<u64, BoxError> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?;
    Ok(number.parse()?)
}

/// Processor time of this process: the 14th and 15th field, counted behind the name in parentheses.
pub fn cpu_seconds() -> Result<f64, BoxError> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
}

/// Time that the cores of the machine have worked, all together: user, nice, system, irq and softirq.
fn busy_seconds() -> Result<f64, BoxError> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().ok_or("no line")?;
    let ticks: Vec<f64> =
        line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    let worked = [0, 1, 2, 5, 6].iter().filter_map(|field| ticks.get(*field));
    Ok(worked.sum::<f64>() / TICKS_PER_SECOND)
}

/// Processor time of all threads of this process, in nanoseconds: finer than ticks.
pub fn cpu_time() -> Result<Duration, BoxError> {
    let mut nanoseconds = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += text.split_whitespace().next().unwrap_or("0").parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}
