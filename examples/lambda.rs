//! The lambda architecture with one job: a fast view that may be wrong, and an exact one later.
//!
//! Sellers want to see revenue now; the books want it right. Classically two programs must compute
//! the same thing. Here it is one function, `revenue`, over one event log, run twice: at-most-once,
//! following the log, for the fast view; exactly-once, up to the end of the log, for the exact view,
//! which then replaces the fast one. In both runs the lookup of a price fails for some orders, once
//! each: the fast run loses those orders, the exact run rolls back and loses nothing.
//!
//! ```sh
//! cargo run --release --example lambda
//! ```
//!
//! Expected output:
//!
//! ```text
//! fast: 20000 orders read, 40 lost
//! exact: the same orders; went back after failures: true
//! product     fast    exact  missing   truth
//! chair     513270   514260      990  514260
//! desk     1995700  1999900     4200  1999900
//! lamp      228160   228600      440  228600
//! shelf     342120   342840      720  342840
//! the exact view takes the place of the fast one: true
//! ```

mod course;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use streamwork::log::{EventLog, LogOptions};
use streamwork::{
    AtMostOnce, BoxError, EventLogSource, ExactlyOnce, IdempotentSink, Job, Restarts, Sink,
};

const ORDERS: u64 = 20_000;
const PRODUCTS: [(&str, u64); 4] = [("lamp", 40), ("chair", 90), ("desk", 350), ("shelf", 120)];

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
fn revenue(orders: EventLogSource<u64>, view: &View) -> Job {
    let view = view.clone();
    let down: Mutex<HashSet<u64>> = Mutex::new((0..ORDERS).filter(|n| n % 500 == 42).collect());
    let job = Job::new("revenue");
    job.event_log("orders", orders)
        .parallelism(2)
        .try_map(move |order| {
            if down.lock().remove(&order) {
                return Err(format!("no price for order {order}").into());
            }
            Ok(product(order))
        })
        .named("price")
        .key_by(|(product, _)| product.clone())
        .fold(0, |sum, (_, price)| *sum += price)
        .updates()
        .named("sum")
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
    let orders = EventLogSource::open(&path)?;

    let fast = View::default();
    let handle = revenue(orders.clone(), &fast).start(AtMostOnce::new())?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while handle.metrics().sum("orders", |m| m.emitted) < ORDERS && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let report = handle.drain(Duration::from_secs(10))?;
    println!("fast: {ORDERS} orders read, {} lost", report.metrics.total(|m| m.dropped));

    let exact = View::default();
    let store = directory.path().join("store");
    let restarts = Restarts { backoff_max: Duration::from_millis(5), ..Restarts::unlimited() };
    let exactly_once = ExactlyOnce::checkpoints_in(store).restarts(restarts);
    let report = revenue(orders.until_end(), &exact).run(exactly_once)?;
    let went_back = report.metrics.restarts > 0;
    println!("exact: the same orders; went back after failures: {went_back}");

    println!("product     fast    exact  missing   truth");
    let (fast, exact) = (fast.0.lock().clone(), exact.0.lock().clone());
    for (product, truth) in &truth {
        let (fast, exact) = (fast[product], exact[product]);
        println!("{product:7}  {fast:7}  {exact:7}  {:7}  {truth}", exact - fast);
    }
    println!("the exact view takes the place of the fast one: {}", exact == truth);
    Ok(())
}
