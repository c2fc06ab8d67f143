//! [`Rebuild`]: when a component that failed may be built anew in place, and when that is over.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::delivery::options::Restarts;

/// Counts restarts within the policy's window.
#[derive(Debug)]
pub(crate) struct Rebuild {
    policy: Restarts,
    recent: VecDeque<Timestamp>,
}

impl Rebuild {
    pub(crate) fn new(policy: Restarts) -> Self {
        Self { policy, recent: VecDeque::new() }
    }

    /// One more failure: how long to wait before the next start, or `None` if that was one too many.
    pub(crate) fn again(&mut self, now: Timestamp) -> Option<Duration> {
        while self.recent.front().is_some_and(|at| now.since(*at) >= self.policy.window) {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.policy.limit as usize {
            return None;
        }
        self.recent.push_back(now);
        // An unlimited policy needs no more memory than the pause has steps.
        self.recent.truncate(64);
        Some(self.policy.pause(self.recent.len() as u32))
    }

    /// It works again: earlier failures no longer count.
    pub(crate) fn recovered(&mut self) {
        self.recent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
