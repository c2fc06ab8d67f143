//! [`Published`]: a transactional sink into memory, which stands for an external database.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::sink::{Transaction, TransactionalSink};
use crate::error::BoxError;

/// A sink whose events are visible when their transaction is committed. Prepared transactions outlive
/// the sink, as in a database; clones share them.
///
/// ```
/// use streamwork::testkit::{Published, explore};
/// use streamwork::{ExactlyOnce, Job};
///
/// explore(0..50, |simulation| {
///     let shown = Published::new();
///     let job = Job::new("numbers");
///     job.from_iter("numbers", || 0..20_u32).transactional_sink("shown", shown.factory());
///     let history = simulation.run(&job, ExactlyOnce::checkpoints_in("/checkpoints"));
///     assert_eq!(shown.events(), (0..20).collect::<Vec<_>>(), "{history}");
/// });
/// ```
#[derive(Debug)]
pub struct Published<T> {
    database: Arc<Mutex<Database<T>>>,
    instance: usize,
    newest: u64,
    open: Vec<T>,
}

#[derive(Debug)]
struct Database<T> {
    /// By instance and number.
    prepared: BTreeMap<(usize, u64), Vec<T>>,
    /// In the order of their commits.
    committed: Vec<((usize, u64), Vec<T>)>,
    transactions: u64,
}

impl<T> Clone for Published<T> {
    fn clone(&self) -> Self {
        Self { database: Arc::clone(&self.database), instance: 0, newest: 0, open: Vec::new() }
    }
}

impl<T> Default for Published<T> {
    fn default() -> Self {
        let (prepared, committed) = (BTreeMap::new(), Vec::new());
        let database = Database { prepared, committed, transactions: 0 };
        Self { database: Arc::new(Mutex::new(database)), instance: 0, newest: 0, open: Vec::new() }
    }
}

impl<T: Event> Published<T> {
    /// A sink without events.
    pub fn new() -> Self {
        Self::default()
    }

    /// The factory for [`Stream::transactional_sink`](crate::Stream::transactional_sink).
    pub fn factory(&self) -> impl Fn() -> Self + Send + Sync + 'static {
        let database = Arc::clone(&self.database);
        move || Self { database: Arc::clone(&database), instance: 0, newest: 0, open: Vec::new() }
    }

    /// The visible events, in the order in which they were committed.
    pub fn events(&self) -> Vec<T> {
        let database = self.database.lock();
        database.committed.iter().flat_map(|(_, events)| events).cloned().collect()
    }
}

impl<T: Event> TransactionalSink for Published<T> {
    type In = T;
    type Handle = u64;

    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        self.instance = instance.index();
        Ok(())
    }

    fn write(&mut self, event: T) -> Result<(), BoxError> {
        self.open.push(event);
        Ok(())
    }

    fn prepare(&mut self, _: Transaction) -> Result<Option<u64>, BoxError> {
        if self.open.is_empty() {
            return Ok(None);
        }
        let mut database = self.database.lock();
        database.transactions += 1;
        let number = database.transactions;
        database.prepared.insert((self.instance, number), std::mem::take(&mut self.open));
        self.newest = number;
        Ok(Some(number))
    }

    fn commit(&mut self, number: u64) -> Result<(), BoxError> {
        let mut database = self.database.lock();
        let key = (self.instance, number);
        if let Some(events) = database.prepared.remove(&key) {
            database.committed.push((key, events));
        } else if !database.committed.iter().any(|(committed, _)| *committed == key) {
            return Err(format!("transaction {number} is neither prepared nor committed").into());
        }
        Ok(())
    }

    fn newest(&self) -> Option<u64> {
        Some(self.newest)
    }

    fn rewind(&mut self, newest: u64) -> Result<(), BoxError> {
        self.newest = newest;
        let instance = self.instance;
        let mut database = self.database.lock();
        database.committed.retain(|((of, number), _)| *of != instance || *number <= newest);
        Ok(())
    }

    fn abort_unfinished(&mut self) -> Result<(), BoxError> {
        let instance = self.instance;
        self.database.lock().prepared.retain(|(of, _), _| *of != instance);
        Ok(())
    }
}
