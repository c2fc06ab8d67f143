//! The process that is killed: one job, run under the guarantee that its environment names.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, ExactlyOnce, Guarantee, Instance, Job, Next,
    Sink, StatefulOperator, StatefulSource, TransactionalFiles,
};

pub(crate) const SEMANTICS_VARIABLE: &str = "STREAMWORK_CHILD_SEMANTICS";
pub(crate) const DIRECTORY_VARIABLE: &str = "STREAMWORK_CHILD_DIRECTORY";

/// How often a child is killed, under each guarantee.
pub(crate) fn kills() -> u64 {
    number("STREAMWORK_KILLS").unwrap_or(20)
}

pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Events from start to end, over all processes: more than all children that are killed can come to,
/// so that kills meet a running one.
pub(crate) fn events() -> u64 {
    8_000 * (kills() + 1)
}

#[test]
fn runs_when_it_is_told_to() {
    let (Ok(semantics), Ok(directory)) =
        (std::env::var(SEMANTICS_VARIABLE), std::env::var(DIRECTORY_VARIABLE))
    else {
        return;
    };
    run(&semantics, Path::new(&directory)).expect("the job runs to its end");
}

fn run(semantics: &str, directory: &Path) -> Result<(), BoxError> {
    let checkpoints = directory.join("checkpoints");
    let often = Duration::from_millis(10);
    let guarantee: Guarantee = match semantics {
        "at-most-once" => AtMostOnce::new().store_in(checkpoints).every(often).into(),
        "at-least-once" => AtLeastOnce::new().store_in(checkpoints).every(often).into(),
        "at-least-once-checkpoint" => AtLeastOnce::checkpoints_in(checkpoints).every(often).into(),
        _ => ExactlyOnce::checkpoints_in(checkpoints).every(often).into(),
    };
    let out = directory.join("out");
    let job = Job::new("killed");
    let counted = job
        .stateful_source("numbers", || Numbers { next: 0, end: events() })
        .shuffle()
        .map(|n| n)
        .parallelism(2)
        .global()
        .stateful("count", Count::default);
    if semantics == "exactly-once" || semantics == "at-least-once-checkpoint" {
        let line = |(event, count): &(u64, u64), file: &mut Vec<u8>| {
            file.extend_from_slice(format!("{event} {count}\n").as_bytes());
        };
        counted.transactional_sink("out", TransactionalFiles::factory(out, line)).own_thread();
    } else {
        counted.sink("out", move || Append::new(out.clone())).own_thread();
    }
    job.run(guarantee)?;
    Ok(())
}

/// Counts up, at most 67,000 a second.
struct Numbers {
    next: u64,
    end: u64,
}

impl StatefulSource for Numbers {
    type Out = u64;
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.next = state.unwrap_or(0);
        Ok(())
    }
    fn get_events(&mut self, out: &mut Collector<u64>) -> Result<Next, BoxError> {
        for _ in 0..20.min(out.room()) {
            if self.next == self.end {
                return Ok(Next::End);
            }
            out.emit(self.next);
            self.next += 1;
        }
        Ok(Next::After(Duration::from_micros(300)))
    }
    fn state(&self) -> u64 {
        self.next
    }
}

/// Pairs every event with how many there have been.
#[derive(Default)]
struct Count(u64);

impl StatefulOperator for Count {
    type In = u64;
    type Out = (u64, u64);
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.0 = state.unwrap_or(0);
        Ok(())
    }
    fn apply(&mut self, event: u64, out: &mut Collector<(u64, u64)>) -> Result<(), BoxError> {
        self.0 += 1;
        out.emit((event, self.0));
        Ok(())
    }
    fn state(&self) -> u64 {
        self.0
    }
}

/// A plain sink: appends lines to a file of its own.
struct Append {
    directory: PathBuf,
    lines: Vec<u8>,
    file: Option<File>,
}

impl Append {
    fn new(directory: PathBuf) -> Self {
        Self { directory, lines: Vec::new(), file: None }
    }
}

impl Sink for Append {
    type In = (u64, u64);
    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        std::fs::create_dir_all(&self.directory)?;
        let path = self.directory.join(format!("lines-{}", instance.execution()));
        self.file = Some(OpenOptions::new().create(true).append(true).open(path)?);
        Ok(())
    }
    fn write(&mut self, (event, count): (u64, u64)) -> Result<(), BoxError> {
        writeln!(self.lines, "{event} {count}")?;
        Ok(())
    }
    fn flush(&mut self) -> Result<(), BoxError> {
        let lines = std::mem::take(&mut self.lines);
        Ok(self.file.as_mut().ok_or("no file")?.write_all(&lines)?)
    }
}
