//! The process that is killed: one job, run under the guarantee that its environment names.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, ExactlyOnce, Guarantee, HeldEvents, Instance,
    Job, JobHandle, Next, Operator, Output, Refused, Sink, SourceOutput, StatefulOperator,
    StatefulSource, Stream, Token, TransactionalFiles,
};

use crate::oracle::stamp;
use crate::split_numbers::SplitNumbers;
use crate::tier;

const SEMANTICS_VARIABLE: &str = "STREAMWORK_CHILD_SEMANTICS";
const DIRECTORY_VARIABLE: &str = "STREAMWORK_CHILD_DIRECTORY";
const EVENTS_VARIABLE: &str = "STREAMWORK_CHILD_EVENTS";

/// The guarantees that a killed process has to keep.
pub(crate) const ALL: [&str; 4] =
    ["exactly-once", "at-least-once", "at-least-once-checkpoint", "at-most-once"];

/// A suffix to the name of a guarantee: the source has splits, and another parallelism in every process.
pub(crate) const OF_SPLITS: &str = " of splits";

/// A suffix to the name of a guarantee: events are held in tokens, some at a time.
pub(crate) const THAT_HOLDS: &str = " that holds";

/// The name of the guarantee, without a suffix.
pub(crate) fn guarantee_of(semantics: &str) -> &str {
    let without = |suffix| semantics.strip_suffix(suffix);
    without(OF_SPLITS).or_else(|| without(THAT_HOLDS)).unwrap_or(semantics)
}

/// The progress of a child, which it notes in its directory for its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The program has not reached its job.
    Loading,
    /// The job is being started, or restored from a checkpoint.
    Starting,
    /// Events flow.
    Flowing,
}

/// A process of ours, which ends with this value at the latest.
pub(crate) struct Process(Child);

impl Deref for Process {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended and was waited for is left alone by both.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts this test binary again as a process that runs the job.
pub(crate) fn spawn(semantics: &str, directory: &Path, events: u64) -> Process {
    let mut command = command(semantics, directory, events);
    Process(command.spawn().expect("this test can be started again"))
}

/// As [`spawn`], for a child that is expected to fail: its outcome has its messages.
pub(crate) fn spawn_silently(semantics: &str, directory: &Path, events: u64) -> Process {
    let mut command = command(semantics, directory, events);
    Process(command.stderr(Stdio::null()).spawn().expect("this test can be started again"))
}

fn command(semantics: &str, directory: &Path, events: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test is a file"));
    command
        .args(["--exact", "child::runs_when_it_is_told_to", "--nocapture"])
        .env(SEMANTICS_VARIABLE, semantics)
        .env(DIRECTORY_VARIABLE, directory)
        .env(EVENTS_VARIABLE, events.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    command
}

/// The error of a child that has ended by itself, or nothing.
pub(crate) fn outcome(directory: &Path, process: u32) -> String {
    let said = std::fs::read_to_string(directory.join(format!("outcome-{process}")));
    said.unwrap_or_default()
}

/// The progress of a child, or its progress when it was killed.
pub(crate) fn phase(directory: &Path, process: u32) -> Phase {
    let left = |phase| trace(directory, phase, process).exists();
    let reached = [Phase::Flowing, Phase::Starting].into_iter().find(|phase| left(*phase));
    reached.unwrap_or(Phase::Loading)
}

/// Waits until a child has reached this phase, or has ended by itself.
///
/// # Panics
/// If it does neither.
pub(crate) fn await_phase(child: &mut Process, directory: &Path, to: Phase, context: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !trace(directory, to, child.id()).exists() {
        if child.try_wait().expect("the child can be asked").is_some() {
            return;
        }
        assert!(Instant::now() < deadline, "{context}: the child has not come to {to:?}");
        std::thread::yield_now();
    }
}

/// How long the start of a child took, if it came through it.
pub(crate) fn start_took(directory: &Path, process: u32) -> Option<Duration> {
    let at = |phase| std::fs::metadata(trace(directory, phase, process)).ok()?.modified().ok();
    at(Phase::Flowing)?.duration_since(at(Phase::Starting)?).ok()
}

/// Waits for a child to end by itself.
///
/// # Panics
/// If it hangs.
pub(crate) fn ended(child: &mut Process, within: Duration, context: &str) -> ExitStatus {
    let deadline = Instant::now() + within;
    while child.try_wait().expect("the child can be asked").is_none() {
        assert!(Instant::now() < deadline, "{context}: the child has not ended within {within:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.wait().expect("it has ended")
}

/// Waits for a child to come to the end of its job.
///
/// # Panics
/// If it hangs, or failed.
pub(crate) fn expect_end(mut child: Process, within: Duration, context: &str) {
    let status = ended(&mut child, within, context);
    assert!(status.success(), "{context}: the child failed: {status}");
}

#[test]
fn runs_when_it_is_told_to() {
    let (Ok(semantics), Ok(directory)) =
        (std::env::var(SEMANTICS_VARIABLE), std::env::var(DIRECTORY_VARIABLE))
    else {
        return;
    };
    let directory = Path::new(&directory);
    let events = tier::number(EVENTS_VARIABLE).expect("the number of events");
    leave(directory, Phase::Starting);
    let outcome = directory.join(format!("outcome-{}", std::process::id()));
    let say = |error: &dyn std::fmt::Debug| {
        std::fs::write(&outcome, format!("{error:?}")).expect("a file in the test's directory");
    };
    let handle = start(&semantics, directory, events).inspect_err(|refused| say(refused));
    let handle = handle.expect("the job starts");
    let asked = stop_is_asked_for();
    while !handle.is_finished() && !asked.is_finished() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let ended = if asked.is_finished() {
        handle.stop_within(Duration::from_secs(30))
    } else {
        handle.wait()
    };
    ended.inspect_err(|error| say(error)).expect("the job comes to its end");
}

/// Ends when the parent closes the standard input, which is how it asks for a graceful stop.
fn stop_is_asked_for() -> std::thread::JoinHandle<()> {
    std::thread::spawn(|| drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink())))
}

fn start(semantics: &str, directory: &Path, events: u64) -> Result<JobHandle, Refused> {
    let checkpoints = directory.join("checkpoints");
    let often = Duration::from_millis(5);
    let (told, semantics) = (semantics, guarantee_of(semantics));
    let guarantee: Guarantee = match semantics {
        "at-most-once" => {
            AtMostOnce::new().store_in(checkpoints).every(often).incremental_above(0).into()
        }
        "at-least-once" => {
            acknowledged().store_in(checkpoints).every(often).incremental_above(0).into()
        }
        "at-least-once-checkpoint" => {
            AtLeastOnce::checkpoints_in(checkpoints).every(often).incremental_above(0).into()
        }
        _ => ExactlyOnce::checkpoints_in(checkpoints).every(often).incremental_above(0).into(),
    };
    let out = directory.join("out");
    let job = Job::new("killed");
    let counted = if told.ends_with(OF_SPLITS) {
        SplitNumbers::counted(&job, events, directory)
    } else if told.ends_with(THAT_HOLDS) {
        numbers_held(&job, events, directory)
    } else {
        numbers_counted(&job, semantics, events, Some(directory.to_owned()))
    };
    if semantics == "exactly-once" || semantics == "at-least-once-checkpoint" {
        let files = TransactionalFiles::factory(out, |counted: &Counted, file: &mut Vec<u8>| {
            file.extend_from_slice(line(*counted).as_bytes());
        });
        counted.transactional_sink("out", files).own_thread();
    } else {
        counted.sink("out", move || Append::new(out.clone())).own_thread();
    }
    job.start(guarantee)
}

/// Numbers that reach one counter on different paths. The directory is told when they begin to flow.
/// With an acknowledger some fail once in each process.
pub(crate) fn numbers_counted(
    job: &Job,
    semantics: &str,
    end: u64,
    flow: Option<PathBuf>,
) -> Stream<Counted> {
    let fails = semantics == "at-least-once";
    let failed = Mutex::new(HashSet::new());
    let numbers =
        job.stateful_source("numbers", move || Numbers { next: 0, end, flow: flow.clone() });
    // Whatever was killed and when: in the end the state of each key says how often there was an event of it. With an
    // acknowledger a table that was emitted at the end is not restored, though a kill may follow.
    let checked = semantics.to_owned();
    let by_key = numbers.key_by(|(event, _)| event % KEYS).count().at_end();
    by_key.named("by key").parallelism(2).for_each(move |(key, times)| {
        let all = end / KEYS + u64::from(key < end % KEYS);
        let holds = match &*checked {
            "exactly-once" => times == all,
            "at-least-once-checkpoint" => times >= all,
            "at-most-once" => times <= all,
            _ => true,
        };
        assert!(holds, "{times} of {all} with key {key}");
    });
    numbers
        .shuffle()
        .try_map(move |(event, stamp)| {
            if fails && event % 397 == 13 && failed.lock().insert(event) {
                return Err("this event fails once".into());
            }
            Ok((event, stamp))
        })
        .parallelism(2)
        .global()
        .stateful("count", Count::default)
}

/// Numbers that are held until five are there, on one of two instances, on their way to the counter.
fn numbers_held(job: &Job, end: u64, directory: &Path) -> Stream<Counted> {
    let flow = Some(directory.to_owned());
    job.stateful_source("numbers", move || Numbers { next: 0, end, flow: flow.clone() })
        .shuffle()
        .operator("hold", Hold::default)
        .parallelism(2)
        .global()
        .stateful("count", Count::default)
}

/// Passes five events on when there are five.
#[derive(Default)]
struct Hold(Vec<((u64, u64), Token)>);

impl Hold {
    fn emit(&mut self, out: &mut Output<(u64, u64)>) {
        self.0.drain(..).for_each(|(event, token)| out.emit_anchored(event, [token]));
    }
}

impl Operator for Hold {
    type In = (u64, u64);
    type Out = (u64, u64);
    const HELD_EVENTS: HeldEvents<(u64, u64)> = HeldEvents::stored();
    fn apply(
        &mut self,
        event: (u64, u64),
        out: &mut Collector<(u64, u64)>,
    ) -> Result<(), BoxError> {
        self.0.push((event, out.defer()));
        if self.0.len() == 5 {
            self.emit(out);
        }
        Ok(())
    }
    fn finish(&mut self, out: &mut Output<(u64, u64)>) -> Result<(), BoxError> {
        self.emit(out);
        Ok(())
    }
}

/// Under this, an event that fails is out for longer than it takes to save a position.
pub(crate) fn acknowledged() -> AtLeastOnce {
    AtLeastOnce::new().backoff(Duration::from_millis(10), Duration::from_millis(10))
}

/// The numbers have so many keys.
const KEYS: u64 = 211;

/// An event's number and stamp, and how many there had been.
pub(crate) type Counted = ((u64, u64), u64);

pub(crate) fn line(((event, stamp), count): Counted) -> String {
    format!("{event} {count} {stamp}\n")
}

fn trace(directory: &Path, phase: Phase, process: u32) -> PathBuf {
    directory.join(format!("{phase:?}-{process}"))
}

pub(crate) fn leave(directory: &Path, phase: Phase) {
    let trace = trace(directory, phase, std::process::id());
    File::create(trace).expect("a file in the test's directory");
}

/// Counts up, at most 67,000 a second.
struct Numbers {
    next: u64,
    end: u64,
    /// Where to note that events flow; `None` once that is noted.
    flow: Option<PathBuf>,
}

impl StatefulSource for Numbers {
    type Out = (u64, u64);
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.next = state.unwrap_or(0);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<(u64, u64)>) -> Result<Next, BoxError> {
        if let Some(directory) = self.flow.take() {
            leave(&directory, Phase::Flowing);
        }
        for _ in 0..20.min(out.room()) {
            if self.next == self.end {
                return Ok(Next::End);
            }
            out.emit((self.next, stamp(self.next)));
            self.next += 1;
        }
        Ok(Next::After(Duration::from_micros(300)))
    }
    fn state(&self) -> u64 {
        self.next
    }
}

/// Pairs every event with the number of events so far.
#[derive(Default)]
pub(crate) struct Count(u64);

impl StatefulOperator for Count {
    type In = (u64, u64);
    type Out = Counted;
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.0 = state.unwrap_or(0);
        Ok(())
    }
    fn apply(&mut self, event: (u64, u64), out: &mut Collector<Counted>) -> Result<(), BoxError> {
        self.0 += 1;
        out.emit((event, self.0));
        Ok(())
    }
    fn state(&self) -> u64 {
        self.0
    }
}

/// A plain sink: each execution appends lines to a separate file.
pub(crate) struct Append {
    directory: PathBuf,
    lines: Vec<u8>,
    file: Option<File>,
}

impl Append {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, lines: Vec::new(), file: None }
    }
}

impl Sink for Append {
    type In = Counted;
    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        std::fs::create_dir_all(&self.directory)?;
        let path = self.directory.join(format!("lines-{}", instance.execution()));
        self.file = Some(OpenOptions::new().create(true).append(true).open(path)?);
        Ok(())
    }
    fn write(&mut self, counted: Counted) -> Result<(), BoxError> {
        self.lines.extend_from_slice(line(counted).as_bytes());
        Ok(())
    }
    fn flush(&mut self) -> Result<(), BoxError> {
        let lines = std::mem::take(&mut self.lines);
        Ok(self.file.as_mut().ok_or("no file")?.write_all(&lines)?)
    }
}
