//! [`Instance`]: what a component learns about itself in `setup`.

use crate::api::waker::Waker;
use crate::id::{ExecutionId, InstanceName};

/// Who am I: the component's name, which of its parallel instances, and of how many.
#[derive(Clone, Debug)]
pub struct Instance {
    pub(crate) name: InstanceName,
    pub(crate) parallelism: usize,
    pub(crate) execution: ExecutionId,
    pub(crate) waker: Waker,
}

impl Instance {
    /// The component's name in the job.
    pub fn component(&self) -> &str {
        &self.name.component
    }

    /// Which of the component's instances this is, from 0. The same across restarts.
    pub fn index(&self) -> usize {
        self.name.instance
    }

    /// How many instances the component has.
    pub fn parallelism(&self) -> usize {
        self.parallelism
    }

    /// The life of the job that this instance belongs to; 0 where nothing is stored.
    pub fn execution(&self) -> ExecutionId {
        self.execution
    }

    /// Wakes this instance from any thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }
}
