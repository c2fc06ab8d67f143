//! [`Ledger`]: what an instance has to report about the roots it handled, gathered and sent in one
//! go. The rule that makes counting exact: it is sent *before* any output becomes visible.

use std::sync::Arc;

use crate::error::Failure;
use crate::id::Root;

/// Takes an instance's reports.
pub(crate) trait Reports: Send + Sync {
    /// Net changes first, then failures; both vectors are left empty.
    fn report(&self, changes: &mut Vec<(Root, i64)>, failures: &mut Vec<(Root, Failure)>);
}

/// Reports not yet sent.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) changes: Vec<(Root, i64)>,
    pub(crate) failures: Vec<(Root, Failure)>,
    reports: Option<Arc<dyn Reports>>,
}

impl Ledger {
    pub(crate) fn new(reports: Option<Arc<dyn Reports>>) -> Self {
        Self { reports, ..Self::default() }
    }

    #[inline]
    pub(crate) fn change(&mut self, root: Root, delta: i64) {
        if delta != 0 && !root.is_none() {
            self.changes.push((root, delta));
        }
    }

    pub(crate) fn fail(&mut self, root: Root, failure: Failure) {
        if !root.is_none() {
            self.failures.push((root, failure));
        }
    }

    /// Turns every change since there were `from` of them into a failure.
    pub(crate) fn fail_since(&mut self, from: usize, failure: &Failure) {
        let failed = self.changes.drain(from..).map(|(root, _)| (root, failure.clone()));
        self.failures.extend(failed);
    }

    /// Sends what has gathered.
    pub(crate) fn send(&mut self) {
        if self.changes.is_empty() && self.failures.is_empty() {
            return;
        }
        match &self.reports {
            Some(reports) => reports.report(&mut self.changes, &mut self.failures),
            None => {
                self.changes.clear();
                self.failures.clear();
            }
        }
    }
}
