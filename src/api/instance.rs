//! [`Instance`]: which instance of which component a value is; the argument of `setup`.

use crate::api::waker::Waker;
use crate::id::{ExecutionId, InstanceName};

/// The component's name, the index of this instance, and the number of instances.
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

    /// The execution of the job that this instance belongs to; 0 without a store.
    pub fn execution(&self) -> ExecutionId {
        self.execution
    }

    /// Wakes this instance from any thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }
}
