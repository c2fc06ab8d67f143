//! The progress of a run: a bar on a terminal, otherwise a line now and then.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use streamwork::metrics::InstanceMetrics;
use streamwork::{Guarantee, Job, JobReport};

use super::feed::AnyError;

/// The progress that is shown: a number of this component, out of a number of events.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The component.
    pub component: &'static str,
    /// The number.
    pub of: fn(&InstanceMetrics) -> u64,
    /// How high it gets.
    pub events: u64,
}

/// Looks at the job, so that the end of a run is noticed within this time.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Time between two states of the bar.
const BAR_EVERY: Duration = Duration::from_millis(20);
/// Time between two lines.
const LINE_EVERY: Duration = Duration::from_secs(1);

impl Progress {
    /// Runs the job to its end.
    ///
    /// # Errors
    /// What refused or ended it.
    pub fn run(self, job: &Job, guarantee: impl Into<Guarantee>) -> Result<JobReport, AnyError> {
        let style = ProgressStyle::with_template("{bar:40} {pos} of {len}, {per_sec}")?;
        let terminal = std::io::stderr().is_terminal();
        let bar = terminal.then(|| ProgressBar::new(self.events).with_style(style));
        let every = if terminal { BAR_EVERY } else { LINE_EVERY };
        let handle = job.start(guarantee)?;
        let mut shown = Instant::now();
        while !handle.is_finished() {
            std::thread::sleep(LOOK_EVERY);
            if shown.elapsed() < every {
                continue;
            }
            shown = Instant::now();
            let done = handle.metrics().sum(self.component, self.of);
            match &bar {
                Some(bar) => bar.set_position(done),
                // Standard error may be closed, which does not matter to the job.
                None => drop(writeln!(std::io::stderr(), "{done} of {} so far", self.events)),
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        Ok(handle.wait()?)
    }
}
