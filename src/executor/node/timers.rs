//! The processing-time timers of an operator: set and cancelled by its requests, fired when they are due, saved
//! with the time that is left.

use std::time::Duration;

use crate::api::output::TimerRequest;
use crate::channel::frame::Control;
use crate::channel::push::Context;
use crate::clock::Timestamp;
use crate::executor::component::{Component, SavedTimers};
use crate::executor::node::Node;
use crate::time::timers::Timers;

/// When to call `on_timer`, and with which tag.
///
/// A timer is identified by its tag and a number, so that no two are the same. All events of a batch see the
/// same moment: if timers of one tag and moment were one timer, the batches would decide how often it fires.
#[derive(Debug, Default)]
pub(super) struct TagTimers {
    timers: Timers<Timestamp, (u64, u64)>,
    set: u64,
}

impl TagTimers {
    fn set(&mut self, at: Timestamp, tag: u64) {
        self.timers.set(at, (tag, self.set));
        self.set += 1;
    }

    fn cancel(&mut self, tag: u64) {
        self.timers.clear_all(&(tag, 0), &(tag, u64::MAX));
    }

    fn pop_due(&mut self, now: Timestamp) -> Option<u64> {
        self.timers.pop_due(now).map(|(tag, _)| tag)
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.timers.next_due()
    }

    /// The timers as they are stored.
    pub(super) fn left(&self, now: Timestamp) -> SavedTimers {
        self.timers.iter().map(|(at, (tag, _))| (nanos(at.since(now)), *tag)).collect()
    }

    /// The stored timers: each is due after the time that was left.
    pub(super) fn restored(saved: SavedTimers, now: Timestamp) -> Self {
        let mut timers = Self::default();
        for (left, tag) in saved {
            timers.set(now.after(Duration::from_nanos(left)), tag);
        }
        timers
    }
}

impl<C: Component> Node<C> {
    /// Carries out the component's requests so far.
    pub(super) fn set_timers(&mut self, now: Timestamp) {
        for request in self.collector.timers.drain(..) {
            match request {
                TimerRequest::Set(after, tag) => self.timers.set(now.after(after), tag),
                TimerRequest::Cancel(tag) => self.timers.cancel(tag),
            }
        }
    }

    pub(super) fn fire_timers(&mut self, context: &mut Context) {
        // Timers that become due between the end and the last snapshot are part of that.
        while !self.over
            && self.component.is_some()
            && !self.stage_blocked()
            && context.fatal.is_none()
        {
            let Some(tag) = self.timers.pop_due(context.now) else { return };
            self.unfinished = true;
            self.call("on_timer", context, |c, out| c.on_timer(tag, out));
            if self.drained {
                // Readers that have called `finish` have got events since.
                self.tell(Control::Drain, context);
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(timers: &[(u64, u64)]) -> TagTimers {
        let mut all = TagTimers::default();
        timers.iter().for_each(|(at, tag)| all.set(Timestamp(*at), *tag));
        all
    }

    fn fired(timers: &mut TagTimers, now: u64) -> Vec<u64> {
        std::iter::from_fn(|| timers.pop_due(Timestamp(now))).collect()
    }

    #[test]
    fn timers_of_one_tag_and_moment_stay_several_also_where_both_are_overdue() {
        let timers = set(&[(7, 1), (5, 1), (5, 1), (5, 2), (500, 2), (500, 1)]);
        let saved = timers.left(Timestamp(10));
        assert_eq!(saved, [(0, 1), (0, 1), (0, 2), (0, 1), (490, 2), (490, 1)]);
        let mut again = TagTimers::restored(saved, Timestamp(1_000));
        assert_eq!(fired(&mut again, 1_489), [1, 1, 2, 1]);
        assert_eq!(fired(&mut again, 1_490), [2, 1]);
    }

    #[test]
    fn all_timers_of_a_tag_are_cancelled_and_those_that_are_set_afterwards_are_not() {
        let mut timers = set(&[(5, 1), (6, 2), (5, 1), (900, 1), (7, 0), (7, u64::MAX)]);
        timers.cancel(1);
        timers.cancel(3);
        timers.set(Timestamp(8), 1);
        assert_eq!(fired(&mut timers, 1_000), [2, 0, u64::MAX, 1]);
    }

    #[test]
    fn timers_that_are_never_due_stay_so_wherever_they_are_restored() {
        let left = set(&[(u64::MAX, 1)]).left(Timestamp(0));
        let again = TagTimers::restored(left, Timestamp(99));
        assert_eq!(again.next_due(), Some(Timestamp(u64::MAX)));
    }
}
