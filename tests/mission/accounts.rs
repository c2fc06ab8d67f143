//! Every event is accounted for, even if components restart (reliability row 22, fault F4).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use streamwork::metrics::{ComponentAccount, Metrics};
use streamwork::testkit::Collected;
use streamwork::{
    AtMostOnce, BoxError, Collector, DeclaredOutput, Instance, Job, JobReport, Operator, Output,
    Overflow, Restarts, SideOutput, Stream, Token,
};

use crate::support::{ALL, Faults, guarantee};

const EVENTS: u64 = 100_000;

/// Panics once in a while; afterwards its `setup` fails more often than the limit of restarts in place
/// allows, so that the whole execution ends.
struct Shaky {
    panics: Faults<u64>,
    refusals: Arc<AtomicU64>,
}

impl Operator for Shaky {
    type In = u64;
    type Out = u64;
    fn setup(&mut self, _: &Instance) -> Result<(), BoxError> {
        let refuse = |left: u64| left.checked_sub(1);
        match self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, refuse) {
            Ok(_) => Err("not yet".into()),
            Err(_) => Ok(()),
        }
    }
    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        if self.panics.strike(&n) {
            self.refusals.store(3, Ordering::SeqCst);
            panic!("once");
        }
        out.emit(n);
        Ok(())
    }
}

fn shaky(stream: &Stream<u64>) -> Stream<u64> {
    let (panics, refusals) = (Faults::once([20_000, 60_000]), Arc::new(AtomicU64::new(0)));
    stream.operator("shaky", move || Shaky {
        panics: panics.clone(),
        refusals: Arc::clone(&refusals),
    })
}

fn numbers(job: &Job) -> Stream<u64> {
    job.from_iter("numbers", || 0..EVENTS)
}

/// Runs the job under at-most-once with a store, and returns how often its hook was called with a dropped event.
fn run(job: &Job) -> (JobReport, u64) {
    let directory = tempfile::tempdir().unwrap();
    let told = Arc::new(AtomicU64::new(0));
    let hook = Arc::clone(&told);
    let guarantee = AtMostOnce::new()
        .store_in(directory.path())
        .every(Duration::from_millis(1))
        .restarts(Restarts { limit: 2, backoff: Duration::ZERO, ..Restarts::default() })
        .on_drop(move |_| {
            hook.fetch_add(1, Ordering::Relaxed);
        });
    let report = job.run(guarantee).unwrap();
    (report, told.load(Ordering::Relaxed))
}

fn account<'a>(metrics: &'a Metrics, component: &str) -> &'a ComponentAccount {
    metrics.accounts.iter().find(|account| account.component == component).unwrap()
}

/// For a job in which one path leads from the source to each sink, with one output per input.
fn assert_all_are_accounted_for(report: &JobReport, told: u64, sink: &str) {
    let metrics = &report.metrics;
    let emitted = metrics.sum("numbers", |m| m.emitted);
    let delivered = metrics.sum(sink, |m| m.delivered);
    let dropped = metrics.total(|m| m.dropped);
    assert_eq!(emitted, EVENTS);
    assert_eq!(emitted, delivered + dropped, "{:#?}", metrics.accounts);
    assert_eq!(told, dropped, "the hook is told of every dropped event");
    assert_eq!(metrics.total(|m| m.taken_back), 0, "nothing comes again under at-most-once");
    assert_eq!(metrics.total(|m| m.held), 0);
}

#[test]
fn what_a_restart_loses_under_at_most_once_is_counted_and_told_wherever_it_was() {
    type Shape = fn(Stream<u64>) -> Stream<u64>;
    let shapes: [(&str, Shape); 5] = [
        ("fused", |numbers| shaky(&numbers)),
        ("in front of a queue", |numbers| shaky(&numbers).map(|n| n).own_thread()),
        ("behind a queue", |numbers| shaky(&numbers).own_thread()),
        ("behind a delay", |numbers| shaky(&numbers.delay(Duration::from_micros(50)))),
        ("by key on two instances", |numbers| {
            shaky(&numbers.partition_by(|n| *n)).parallelism(2).global().map(|n| n)
        }),
    ];
    for (name, shape) in shapes {
        let seen = Collected::new();
        let job = Job::new("shaky");
        shape(numbers(&job)).sink("sink", seen.factory());
        let (report, told) = run(&job);
        assert!(report.metrics.restarts > 0, "{name}: the execution was to fail");
        assert!(told > 0, "{name}: a test that cannot fail");
        println!("{name}: {told} dropped, {} restarts", report.metrics.restarts);
        assert_all_are_accounted_for(&report, told, "sink");
        assert_eq!(seen.events().len() as u64 + told, EVENTS, "{name}");
    }
}

#[test]
fn a_key_function_that_panics_once_leaves_no_event_uncounted_under_at_most_once() {
    let panics = Faults::once([30_000_u64]);
    let seen = Collected::new();
    let job = Job::new("keys");
    numbers(&job)
        .key_by(move |n| {
            assert!(!panics.strike(n), "once");
            *n
        })
        .map(|n| n)
        .parallelism(2)
        .sink("sink", seen.factory());
    let (report, told) = run(&job);
    assert_all_are_accounted_for(&report, told, "sink");
    assert_eq!(told, 1, "the event at hand, and no other");
    assert_eq!(seen.events().len() as u64 + told, EVENTS);
}

const ODD: SideOutput<u64> = SideOutput::new("odd");

/// Sends odd numbers to a side output.
struct Split;

impl Operator for Split {
    type In = u64;
    type Out = u64;
    const SIDE_OUTPUTS: &'static [DeclaredOutput] = &[ODD.declared()];
    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        if n.is_multiple_of(2) {
            out.emit(n)
        } else {
            out.emit_to(ODD, n)
        }
        Ok(())
    }
}

/// Passes every event on when the next one comes, with a token in between.
struct Late(Option<(u64, Token)>);

impl Operator for Late {
    type In = u64;
    type Out = u64;
    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        if let Some((before, token)) = self.0.replace((n, out.defer())) {
            out.emit_anchored(before, [token]);
        }
        Ok(())
    }
    fn finish(&mut self, out: &mut Output<u64>) -> Result<(), BoxError> {
        if let Some((last, token)) = self.0.take() {
            out.emit_anchored(last, [token]);
        }
        Ok(())
    }
}

#[test]
fn side_outputs_broadcasts_and_tokens_are_part_of_the_account_of_what_a_restart_loses() {
    let job = Job::new("ways");
    let split = numbers(&job).operator("split", || Split);
    shaky(&split).own_thread().broadcast().for_each(|_| ()).named("even").parallelism(3);
    let late = split.side_output(ODD).operator("late", || Late(None)).own_thread();
    late.for_each(|_| ()).named("odd");
    let (report, told) = run(&job);
    assert!(report.metrics.restarts > 0);
    let metrics = &report.metrics;
    let (even, odd) = (account(metrics, "even"), account(metrics, "odd"));
    assert_eq!(even.sent, 3 * metrics.sum("shaky", |m| m.emitted));
    assert_eq!(account(metrics, "late").sent + account(metrics, "shaky").sent, {
        let split = account(metrics, "split");
        split.delivered
    });
    assert_eq!(odd.sent, metrics.sum("late", |m| m.emitted));
    for account in &metrics.accounts {
        account.check().unwrap();
        assert_eq!(account.held, 0, "{account}");
    }
    assert_eq!(metrics.total(|m| m.dropped), told);
}

#[test]
fn every_component_of_every_job_adds_up_under_every_guarantee_whatever_restarts() {
    for name in ALL {
        let directory = tempfile::tempdir().unwrap();
        let (panics, errors) = (Faults::once([10_000_u64, 40_000]), Faults::once([20_000_u64]));
        let job = Job::new("all");
        let numbers = job.from_iter("numbers", || 0..50_000_u64);
        let mapped = numbers
            .map(move |n| {
                assert!(!panics.strike(&n), "once");
                n
            })
            .own_thread();
        let tried = mapped
            .key_by(|n| *n)
            .try_map(move |n| if errors.strike(&n) { Err("once".into()) } else { Ok(n) });
        tried.parallelism(2).merge(&mapped.shuffle()).for_each(|_| ()).named("sink");
        let report = job.run(guarantee(name, directory.path())).unwrap();
        let metrics = &report.metrics;
        for account in &metrics.accounts {
            account.check().unwrap();
            assert_eq!(account.held, 0, "{name}: {account}");
        }
        let rolled_back = metrics.total(|m| m.taken_back);
        match name {
            "at-most-once" | "at-most-once stored" => {
                assert_eq!(rolled_back, 0, "{name}");
                assert_eq!(metrics.total(|m| m.dropped), 3, "{name}: those that failed");
            }
            "at-least-once" | "at-least-once stored" => {
                assert_eq!(metrics.total(|m| m.dropped), 0, "{name}");
                assert_eq!(metrics.sum("numbers", |m| m.replayed), 3, "{name}");
            }
            _ => {
                assert_eq!(metrics.total(|m| m.dropped), 0, "{name}");
                assert_eq!(metrics.restarts, 3, "{name}: one for each failure");
                assert!(rolled_back > 0, "{name}: a roll back takes back what was on its way");
            }
        }
    }
}

#[test]
fn what_a_full_edge_sheds_and_what_fails_behind_it_are_counted_apart() {
    let job = Job::new("shed");
    numbers(&job)
        .overflow(Overflow::DropOldest)
        .queue_batches(1)
        .try_map(|n| if n % 1_000 == 0 { Err("no".into()) } else { Ok(n) })
        .for_each(|_| std::thread::yield_now())
        .named("sink");
    let (report, _) = run(&job);
    let account = account(&report.metrics, "try_map");
    account.check().unwrap();
    assert_eq!(account.sent, EVENTS);
    assert_eq!(account.sent, account.received + account.dropped_on_the_way);
    assert_eq!(account.received, account.delivered + account.failed);
    let dropped = report.metrics.sum("try_map", |m| m.dropped);
    assert_eq!(dropped, account.dropped_on_the_way + account.failed);
}
