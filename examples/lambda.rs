//! The lambda architecture with one job: a fast view that may be wrong, and an exact one later.
//!
//! Sellers want to see revenue now; the books want it right. Classically that is two programs that
//! must compute the same thing. Here it is one function, `revenue`, over one event log, run twice:
//! at-most-once, following the log, for the fast view; exactly-once, up to the place where the fast
//! view stood, for the exact one, which then takes its place. In both runs the lookup of a price fails
//! for some orders, each once: the fast run loses those orders, the exact run goes back and loses
//! nothing.
//!
//! ```sh
//! cargo run --release --example lambda
//! ```
//!
//! Expected output:
//!
//! ```text
//! fast: 20000 orders read, 40 lost
//! exact: up to 10000 + 10000, went back after failures: true
//! product     fast    exact  missing   truth
//! chair     513270   514260      990  514260
//! desk     1995700  1999900     4200  1999900
//! lamp      228160   228600      440  228600
//! shelf     342120   342840      720  342840
//! the exact view takes the place of the fast one: true
//! ```

mod course;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use streamwork::log::{EventLog, LogOptions, LogReader, Offset};
use streamwork::{
    AtMostOnce, BoxError, Collector, ExactlyOnce, IdempotentSink, Instance, Job, Next, Restarts,
    Sink, StatefulOperator, StatefulSource,
};

const ORDERS: u64 = 20_000;
const PRODUCTS: [(&str, u64); 4] = [("lamp", 40), ("chair", 90), ("desk", 350), ("shelf", 120)];

/// Reads the partition of its own number, to an end or for ever.
struct Orders {
    log: PathBuf,
    reader: Option<LogReader<u64>>,
    partition: u32,
    next: Offset,
    ends: Option<[Offset; 2]>,
}

impl Orders {
    fn new(log: PathBuf, ends: Option<[Offset; 2]>) -> Self {
        Self { log, ends, reader: None, partition: 0, next: Offset::ZERO }
    }
}

impl StatefulSource for Orders {
    type Out = u64;
    type State = Offset;

    fn setup(&mut self, instance: &Instance, state: Option<Offset>) -> Result<(), BoxError> {
        self.partition = u32::try_from(instance.index())?;
        self.reader = Some(LogReader::open(&self.log)?);
        self.next = state.unwrap_or(Offset::ZERO);
        Ok(())
    }

    fn get_events(&mut self, out: &mut Collector<u64>) -> Result<Next, BoxError> {
        let reader = self.reader.as_mut().ok_or("setup comes first")?;
        let end = self.ends.map(|ends| ends[self.partition as usize]);
        let left = end.map_or(u64::MAX, |end| end.get() - self.next.get());
        let room = out.room().min(usize::try_from(left)?);
        let mut records = Vec::new();
        self.next = reader.read(self.partition, self.next, room, &mut records)?;
        let nothing = records.is_empty();
        records.into_iter().for_each(|record| out.emit(record.event));
        Ok(match end {
            Some(end) if self.next == end => Next::End,
            None if nothing => Next::After(Duration::from_millis(10)),
            _ => Next::Now,
        })
    }

    fn state(&self) -> Offset {
        self.next
    }
}

/// Adds up per product, and tells every new sum.
#[derive(Default)]
struct Sum(BTreeMap<String, u64>);

impl StatefulOperator for Sum {
    type In = (String, u64);
    type Out = (String, u64);
    type State = BTreeMap<String, u64>;

    fn setup(&mut self, _: &Instance, state: Option<Self::State>) -> Result<(), BoxError> {
        self.0 = state.unwrap_or_default();
        Ok(())
    }

    fn apply(
        &mut self,
        sold: (String, u64),
        out: &mut Collector<Self::Out>,
    ) -> Result<(), BoxError> {
        let (product, price) = sold;
        let sum = self.0.entry(product.clone()).or_default();
        *sum += price;
        out.emit((product, *sum));
        Ok(())
    }

    fn state(&self) -> Self::State {
        self.0.clone()
    }
}

/// A table that is queried while the job writes it.
#[derive(Clone, Default)]
struct View(Arc<Mutex<BTreeMap<String, u64>>>);

impl Sink for View {
    type In = (String, u64);
    fn write(&mut self, (product, sum): (String, u64)) -> Result<(), BoxError> {
        self.0.lock().insert(product, sum);
        Ok(())
    }
}

impl IdempotentSink for View {}

/// The job of both layers. Every 500th order finds the price service down, once.
fn revenue(log: &Path, ends: Option<[Offset; 2]>, view: &View) -> Job {
    let (log, view) = (log.to_owned(), view.clone());
    let down: Mutex<HashSet<u64>> = Mutex::new((0..ORDERS).filter(|n| n % 500 == 42).collect());
    let job = Job::new("revenue");
    job.stateful_source("orders", move || Orders::new(log.clone(), ends))
        .parallelism(2)
        .try_map(move |order| {
            if down.lock().remove(&order) {
                return Err(format!("no price for order {order}").into());
            }
            Ok(product(order))
        })
        .named("price")
        .key_by(|(product, _)| product.clone())
        .stateful("sum", Sum::default)
        .parallelism(2)
        .idempotent_sink("view", move || view.clone());
    job
}

fn product(order: u64) -> (String, u64) {
    let (product, price) = PRODUCTS[(order % 7 % 4) as usize];
    (product.to_owned(), price)
}

fn main() -> Result<(), BoxError> {
    course::help(include_str!("lambda.rs"));
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("log");
    let mut log = EventLog::create_or_open(
        &path,
        LogOptions { partitions: Some(2), ..LogOptions::default() },
    )?;
    let mut truth = BTreeMap::<String, u64>::new();
    for order in 0..ORDERS {
        log.append((order % 2) as u32, order as i64, &order)?;
        let (product, price) = product(order);
        *truth.entry(product).or_default() += price;
    }
    log.sync()?;

    let fast = View::default();
    let handle = revenue(&path, None, &fast).start(AtMostOnce::new())?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while handle.metrics().sum("orders", |m| m.emitted) < ORDERS && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let report = handle.drain(Duration::from_secs(10))?;
    println!("fast: {ORDERS} orders read, {} lost", report.metrics.total(|m| m.dropped));

    let exact = View::default();
    let ends = [log.end(0)?, log.end(1)?];
    let store = directory.path().join("store");
    let restarts = Restarts { backoff_max: Duration::from_millis(5), ..Restarts::unlimited() };
    let exactly_once = ExactlyOnce::checkpoints_in(store).restarts(restarts);
    let report = revenue(&path, Some(ends), &exact).run(exactly_once)?;
    let went_back = report.metrics.restarts > 0;
    println!("exact: up to {} + {}, went back after failures: {went_back}", ends[0], ends[1]);

    println!("product     fast    exact  missing   truth");
    let (fast, exact) = (fast.0.lock().clone(), exact.0.lock().clone());
    for (product, truth) in &truth {
        let (fast, exact) = (fast[product], exact[product]);
        println!("{product:7}  {fast:7}  {exact:7}  {:7}  {truth}", exact - fast);
    }
    println!("the exact view takes the place of the fast one: {}", exact == truth);
    Ok(())
}
