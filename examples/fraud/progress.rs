//! A progress bar for those who look at a terminal, and nothing for those who do not.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use streamwork::metrics::InstanceMetrics;
use streamwork::{Guarantee, Job, JobReport};

use super::feed::AnyError;

/// What the bar shows: a number of this component, out of so many events.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The component.
    pub component: &'static str,
    /// The number.
    pub of: fn(&InstanceMetrics) -> u64,
    /// How high it gets.
    pub events: u64,
}

impl Progress {
    /// Runs the job to its end.
    ///
    /// # Errors
    /// What refused or ended it.
    pub fn run(self, job: &Job, guarantee: impl Into<Guarantee>) -> Result<JobReport, AnyError> {
        if !std::io::stderr().is_terminal() {
            return Ok(job.run(guarantee)?);
        }
        let style = ProgressStyle::with_template("{bar:40} {pos} of {len}, {per_sec}")?;
        let bar = ProgressBar::new(self.events).with_style(style);
        let handle = job.start(guarantee)?;
        while !handle.is_finished() {
            bar.set_position(handle.metrics().sum(self.component, self.of));
            std::thread::sleep(Duration::from_millis(20));
        }
        bar.finish_and_clear();
        Ok(handle.wait()?)
    }
}
