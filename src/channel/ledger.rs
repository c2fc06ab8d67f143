//! [`Ledger`]: the reports of an instance about the roots that it handled, collected and sent together.
//! The rule that makes counting exact: they are sent *before* any output becomes visible.

use std::sync::Arc;

use crate::error::Failure;
use crate::id::Root;

/// Takes an instance's reports.
pub(crate) trait Reports: Send + Sync {
    /// Takes all entries: net changes first, then finished deliveries, then failures. So a change that adds
    /// deliveries is known before any of them is done.
    fn report(&self, entries: &mut Entries);
}

/// The entries of a report.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// By how much the deliveries outstanding under a root have changed.
    pub(crate) changes: Vec<(Root, i64)>,
    /// Deliveries that are done and made none: one less outstanding, each. The most common entry.
    pub(crate) finished: Vec<Root>,
    pub(crate) failures: Vec<(Root, Failure)>,
}

impl Entries {
    pub(crate) fn len(&self) -> usize {
        self.changes.len() + self.finished.len() + self.failures.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn clear(&mut self) {
        self.changes.clear();
        self.finished.clear();
        self.failures.clear();
    }
}

/// Reports not yet sent.
#[derive(Default)]
pub(crate) struct Ledger {
    entries: Entries,
    reports: Option<Arc<dyn Reports>>,
}

impl Ledger {
    pub(crate) fn new(reports: Option<Arc<dyn Reports>>) -> Self {
        Self { reports, ..Self::default() }
    }

    #[inline]
    pub(crate) fn change(&mut self, root: Root, delta: i64) {
        match delta {
            0 => {}
            -1 => self.entries.finished.push(root),
            _ => self.entries.changes.push((root, delta)),
        }
    }

    /// One delivery under each of these is done.
    pub(crate) fn finish(&mut self, roots: &[Root]) {
        self.entries.finished.extend_from_slice(roots);
    }

    pub(crate) fn fail(&mut self, root: Root, failure: Failure) {
        if !root.is_none() {
            self.entries.failures.push((root, failure));
        }
    }

    /// How many deliveries are finished and not yet reported.
    pub(crate) fn finished(&self) -> usize {
        self.entries.finished.len()
    }

    /// Turns every delivery finished since there were `from` of them into a failure.
    pub(crate) fn fail_since(&mut self, from: usize, failure: &Failure) {
        let failed = self.entries.finished.drain(from..).filter(|root| !root.is_none());
        self.entries.failures.extend(failed.map(|root| (root, failure.clone())));
    }

    /// Reports that wait.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Sends the collected reports.
    pub(crate) fn send(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        match &self.reports {
            Some(reports) => reports.report(&mut self.entries),
            None => self.entries.clear(),
        }
    }
}
