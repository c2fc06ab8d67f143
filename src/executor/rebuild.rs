//! [`Rebuild`]: when a failed component may be rebuilt in place, and when the limit is reached.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::delivery::options::Restarts;

/// Counts restarts within the policy's window.
#[derive(Debug)]
pub(crate) struct Rebuild {
    policy: Restarts,
    recent: VecDeque<Timestamp>,
    /// Failures since there was progress; the pause grows with it.
    in_a_row: u32,
}

impl Rebuild {
    pub(crate) fn new(policy: Restarts) -> Self {
        Self { policy, recent: VecDeque::new(), in_a_row: 0 }
    }

    /// One more failure: how long to wait before the next start, or `None` if that was one too many.
    pub(crate) fn again(&mut self, now: Timestamp) -> Option<Duration> {
        while self.recent.front().is_some_and(|at| now.since(*at) >= self.policy.window) {
            self.recent.pop_front();
        }
        if self.recent.is_empty() {
            self.in_a_row = 0;
        }
        if self.recent.len() >= self.policy.limit as usize {
            return None;
        }
        if self.policy.limit == u32::MAX {
            // Without a limit nothing is counted: only the newest failure is kept.
            self.recent.clear();
        }
        self.recent.push_back(now);
        self.in_a_row = self.in_a_row.saturating_add(1);
        Some(self.policy.pause(self.in_a_row))
    }

    /// It works again: earlier failures no longer count.
    pub(crate) fn recovered(&mut self) {
        self.recent.clear();
        self.in_a_row = 0;
    }

    /// There was progress: the next pause is short again. Earlier failures still count against the
    /// limit, or one that comes back after every checkpoint would never end.
    pub(crate) fn progressed(&mut self) {
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_shortens_the_pause_and_leaves_the_limit() {
        let mut rebuild = Rebuild::new(Restarts { limit: 2, ..Restarts::default() });
        assert_eq!(rebuild.again(Timestamp(0)), Some(Duration::from_millis(10)));
        rebuild.progressed();
        assert_eq!(rebuild.again(Timestamp(0)), Some(Duration::from_millis(10)));
        rebuild.progressed();
        assert_eq!(rebuild.again(Timestamp(0)), None);
    }

    #[test]
    fn the_limit_counts_within_the_window_and_the_pause_doubles() {
        let mut rebuild = Rebuild::new(Restarts { limit: 2, ..Restarts::default() });
        let now = Timestamp(0);
        assert_eq!(rebuild.again(now), Some(Duration::from_millis(10)));
        assert_eq!(rebuild.again(now), Some(Duration::from_millis(20)));
        assert_eq!(rebuild.again(now), None);
        let later = now.after(Duration::from_secs(11));
        assert_eq!(rebuild.again(later), Some(Duration::from_millis(10)));
    }
}
