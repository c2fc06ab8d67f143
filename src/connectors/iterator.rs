//! A source from any iterator: rewindable, since its factory can make the iterator again.

use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::source::{Next, StatefulSource};
use crate::api::source_output::SourceOutput;
use crate::error::{BoxError, Permanent};
use crate::job::Job;
use crate::job::stream::Stream;

/// Emits what an iterator yields; its state is how many it has yielded.
struct IteratorSource<I> {
    events: I,
    yielded: u64,
}

impl<I> StatefulSource for IteratorSource<I>
where
    I: Iterator + 'static,
    I::Item: Event,
{
    type Out = I::Item;
    type State = u64;

    fn setup(&mut self, instance: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        if instance.parallelism() > 1 {
            let reason = "an iterator has one order: give this source parallelism 1";
            return Err(Permanent::new(reason).into());
        }
        self.yielded = state.unwrap_or(0);
        if let Some(last) = self.yielded.checked_sub(1) {
            self.events.nth(usize::try_from(last)?);
        }
        Ok(())
    }

    fn get_events(&mut self, out: &mut SourceOutput<I::Item>) -> Result<Next, BoxError> {
        let (room, before) = (out.room(), out.events.len());
        out.emit_all(self.events.by_ref().take(room));
        let emitted = out.events.len() - before;
        self.yielded += emitted as u64;
        Ok(if emitted < room { Next::End } else { Next::Now })
    }

    fn state(&self) -> u64 {
        self.yielded
    }
}

impl Job {
    /// Adds a source that emits what an iterator yields, and ends with it.
    ///
    /// The closure is called at every start and must make the same iterator each time: a restart
    /// skips what had been emitted.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("numbers");
    /// job.from_iter("numbers", || 1..=3).for_each(|n| println!("{n}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_iter<I>(
        &self,
        name: impl Into<String>,
        make: impl Fn() -> I + Send + Sync + 'static,
    ) -> Stream<I::Item>
    where
        I: IntoIterator + 'static,
        I::Item: Event,
        I::IntoIter: 'static,
    {
        self.stateful_source(name, move || IteratorSource {
            events: make().into_iter(),
            yielded: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::check_source;

    #[test]
    fn an_iterator_goes_on_behind_what_it_has_yielded() {
        let source = || IteratorSource { events: (0..40_u32).map(|n| n * n), yielded: 0 };
        let read = check_source(source, 1).expect("squares are read");
        assert_eq!(read, [(0..40).map(|n| n * n).collect::<Vec<_>>()]);
    }
}
