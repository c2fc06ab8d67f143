//! An event that fails need not end a job: it becomes a dead letter, which is an event too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use streamwork::testkit::{Collected, Published};
use streamwork::{
    AtLeastOnce, BoxError, Collector, DeadLetter, DeclaredOutput, ExactlyOnce, Guarantee, Instance,
    Job, OnError, Operator, Output, Refused, Restarts, RunError, SideOutput, Sink,
    StatefulOperator, Stream, Token,
};

use crate::support::{ALL, Faults, guarantee};

const EVENTS: u64 = 5_000;

fn fails(n: u64) -> bool {
    n.is_multiple_of(10)
}

fn check(n: u64) -> Result<u64, BoxError> {
    if fails(n) { Err(format!("{n} is round").into()) } else { Ok(n) }
}

fn sorted(mut events: Vec<u64>) -> Vec<u64> {
    events.sort_unstable();
    events
}

fn events_of(letters: &Collected<DeadLetter<u64>>) -> Vec<u64> {
    sorted(letters.events().iter().map(|letter| letter.event).collect())
}

/// Numbers, as an idempotent source of all guarantees.
fn numbers(job: &Job) -> Stream<u64> {
    job.from_iter("numbers", || 0..EVENTS)
}

#[test]
fn exactly_the_events_that_fail_are_dead_letters_under_every_guarantee_and_nothing_starts_over() {
    for name in ALL {
        let directory = tempfile::tempdir().unwrap();
        let (seen, letters) = (Collected::new(), Collected::new());
        let job = Job::new("round");
        let checked = numbers(&job).shuffle().try_map(check).named("check").parallelism(2);
        let checked = checked.on_error(OnError::DeadLetter);
        checked.global().sink("seen", seen.factory());
        checked.dead_letters().sink("letters", letters.factory());
        let metrics = job.run(guarantee(name, directory.path())).unwrap().metrics;

        let good: Vec<u64> = (0..EVENTS).filter(|n| !fails(*n)).collect();
        assert_eq!(sorted(seen.events()), good, "{name}");
        let bad: Vec<u64> = (0..EVENTS).filter(|n| fails(*n)).collect();
        assert_eq!(events_of(&letters), bad, "{name}");
        for letter in letters.events() {
            assert_eq!(letter.attempts, 1, "{name}");
            let said = letter.failure.to_string();
            assert!(said.starts_with("check["), "{said}");
            assert!(
                said.ends_with(&format!("failed in apply: {} is round", letter.event)),
                "{said}"
            );
        }
        let failed = bad.len() as u64;
        assert_eq!(metrics.sum("check", |m| m.dead_lettered), failed, "{name}");
        assert_eq!(metrics.sum("check", |m| m.failed), failed, "{name}");
        assert_eq!(metrics.sum("check", |m| m.delivered), EVENTS - failed, "{name}");
        assert_eq!(metrics.sum("letters", |m| m.delivered), failed, "{name}");
        let again = metrics.total(|m| m.dropped + m.replayed + m.taken_back);
        assert_eq!((again, metrics.restarts), (0, 0), "{name}");
        metrics.accounts.iter().for_each(|account| account.check().unwrap());
    }
}

const ASIDE: SideOutput<u64> = SideOutput::new("aside");

/// Does everything that an operator can do with an event, and fails then.
#[derive(Default)]
struct DoesMuch {
    fired: Arc<AtomicU64>,
}

impl Operator for DoesMuch {
    type In = u64;
    type Out = u64;
    const SIDE_OUTPUTS: &'static [DeclaredOutput] = &[ASIDE.declared()];
    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        out.emit(n);
        out.emit_all([n, n]);
        out.emit_to(ASIDE, n);
        out.set_timer(Duration::ZERO, n);
        check(n).map(drop)
    }
    fn on_timer(&mut self, n: u64, _: &mut Output<u64>) -> Result<(), BoxError> {
        assert!(!fails(n), "a timer of an event that failed");
        self.fired.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn what_an_event_did_before_it_became_a_dead_letter_is_taken_back() {
    for name in ALL {
        let directory = tempfile::tempdir().unwrap();
        let (seen, aside, letters) = (Collected::new(), Collected::new(), Collected::new());
        let job = Job::new("much");
        let much = numbers(&job).operator("much", DoesMuch::default).on_error(OnError::DeadLetter);
        much.sink("seen", seen.factory());
        much.side_output(ASIDE).sink("aside", aside.factory());
        much.dead_letters().sink("letters", letters.factory());
        let metrics = job.run(guarantee(name, directory.path())).unwrap().metrics;
        let good: Vec<u64> = (0..EVENTS).filter(|n| !fails(*n)).collect();
        assert_eq!(sorted(aside.events()), good, "{name}");
        let three_times: Vec<u64> = good.iter().flat_map(|n| [*n; 3]).collect();
        assert_eq!(sorted(seen.events()), three_times, "{name}");
        assert_eq!(events_of(&letters).len() as u64, EVENTS / 10, "{name}");
        assert_eq!(metrics.total(|m| m.dropped + m.replayed), 0, "{name}");
        metrics.accounts.iter().for_each(|account| account.check().unwrap());
    }
}

/// Defers one event, and fails at it.
#[derive(Default)]
struct Defers(Option<Token>);

impl Operator for Defers {
    type In = u64;
    type Out = u64;
    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        if n == 770 {
            self.0 = Some(out.defer());
        }
        check(n).map(drop)
    }
}

#[test]
fn an_event_that_was_deferred_is_no_dead_letter_and_fails_as_the_guarantee_says() {
    for name in ["at-least-once", "exactly-once"] {
        let (directory, letters) = (tempfile::tempdir().unwrap(), Collected::new());
        let of_guarantee = Collected::new();
        let job = Job::new("defers");
        let source = numbers(&job);
        source.dead_letter_sink(of_guarantee.factory());
        let failed = source.operator("defer", Defers::default).on_error(OnError::DeadLetter);
        failed.ignore();
        failed.dead_letters().sink("letters", letters.factory());
        let quickly =
            Restarts { limit: 1, backoff: Duration::from_millis(1), ..Restarts::default() };
        let result = match name {
            "at-least-once" => job.run(AtLeastOnce::new().attempts_max(2)),
            _ => job.run(ExactlyOnce::checkpoints_in(directory.path()).restarts(quickly)),
        };
        assert!(!events_of(&letters).contains(&770), "{name}");
        assert_eq!(result.is_ok(), name == "at-least-once", "{name}: {result:?}");
        assert_eq!(of_guarantee.len(), usize::from(result.is_ok()), "{name}");
    }
}

/// Counts all events, and fails for some after it has counted them.
#[derive(Default)]
struct CountsFirst(u64);

impl StatefulOperator for CountsFirst {
    type In = u64;
    type Out = u64;
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.0 = state.unwrap_or(0);
        Ok(())
    }
    fn apply(&mut self, n: u64, _: &mut Collector<u64>) -> Result<(), BoxError> {
        self.0 += 1;
        check(n).map(drop)
    }
    fn finish(&mut self, out: &mut Output<u64>) -> Result<(), BoxError> {
        out.emit(std::mem::take(&mut self.0));
        Ok(())
    }
    fn state(&self) -> u64 {
        self.0
    }
}

#[test]
fn state_that_an_event_changed_before_it_failed_stays_changed() {
    for name in ALL {
        let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
        let job = Job::new("counts");
        let counts = numbers(&job).stateful("count", CountsFirst::default);
        let counts = counts.on_error(OnError::DeadLetter);
        counts.sink("seen", seen.factory());
        counts.dead_letters::<u64>().for_each(drop);
        job.run(guarantee(name, directory.path())).unwrap();
        assert_eq!(seen.events(), [EVENTS], "{name}");
    }
}

/// Refuses some events, and makes the others visible at `flush`.
struct Picky {
    open: Vec<u64>,
    shown: Arc<Mutex<Vec<u64>>>,
}

impl Sink for Picky {
    type In = u64;
    fn write(&mut self, n: u64) -> Result<(), BoxError> {
        self.open.push(check(n)?);
        Ok(())
    }
    fn flush(&mut self) -> Result<(), BoxError> {
        self.shown.lock().append(&mut self.open);
        Ok(())
    }
}

#[test]
fn events_that_a_sink_cannot_write_are_dead_letters_and_the_others_are_written() {
    for name in ALL {
        let directory = tempfile::tempdir().unwrap();
        let (shown, letters) = (Arc::<Mutex<Vec<u64>>>::default(), Collected::new());
        let job = Job::new("picky");
        let of_sink = Arc::clone(&shown);
        let picky = move || Picky { open: Vec::new(), shown: Arc::clone(&of_sink) };
        let written = numbers(&job).sink("picky", picky).on_error(OnError::DeadLetter);
        written.dead_letters().sink("letters", letters.factory());
        let metrics = job.run(guarantee(name, directory.path())).unwrap().metrics;
        let good: Vec<u64> = (0..EVENTS).filter(|n| !fails(*n)).collect();
        assert_eq!(*shown.lock(), good, "{name}");
        assert_eq!(events_of(&letters).len() as u64, EVENTS / 10, "{name}");
        assert!(letters.events().iter().all(|letter| letter.failure.callback == "write"));
        assert_eq!(metrics.total(|m| m.dropped + m.replayed), 0, "{name}");
        assert_eq!((metrics.restarts, metrics.sum("picky", |m| m.dead_lettered)), (0, EVENTS / 10));
        metrics.accounts.iter().for_each(|account| account.check().unwrap());
    }
}

/// Refuses every second event, and loses all it has taken at every third `flush`.
struct NonRewindable {
    open: Vec<u64>,
    shown: Arc<Mutex<Vec<u64>>>,
    flushes: Arc<AtomicU64>,
}

impl Sink for NonRewindable {
    type In = u64;
    fn write(&mut self, n: u64) -> Result<(), BoxError> {
        if n.is_multiple_of(2) {
            return Err("even".into());
        }
        self.open.push(n);
        Ok(())
    }
    fn flush(&mut self) -> Result<(), BoxError> {
        let mut open = std::mem::take(&mut self.open);
        if self.flushes.fetch_add(1, Ordering::Relaxed) % 3 == 1 {
            return Err("the connection is gone".into());
        }
        self.shown.lock().append(&mut open);
        Ok(())
    }
}

#[test]
fn a_flush_that_fails_behind_dead_letters_loses_nothing() {
    let events = 20 * EVENTS;
    for own_thread in [true, false] {
        let (shown, letters) = (Arc::<Mutex<Vec<u64>>>::default(), Collected::new());
        let (of_sink, flushes) = (Arc::clone(&shown), Arc::<AtomicU64>::default());
        let forgetful = move || NonRewindable {
            open: Vec::new(),
            shown: Arc::clone(&of_sink),
            flushes: Arc::clone(&flushes),
        };
        let job = Job::new("forgetful");
        let numbers = job.from_iter("numbers", move || 0..events);
        let written = numbers.sink("forgetful", forgetful).on_error(OnError::DeadLetter);
        let read = written.dead_letters::<u64>().sink("letters", letters.factory());
        let _ = if own_thread { read.own_thread() } else { read };
        let often = AtLeastOnce::new().attempts_max(1_000).backoff(Duration::ZERO, Duration::ZERO);
        let metrics = job.run(often).unwrap().metrics;
        let mut seen = sorted(shown.lock().clone());
        seen.dedup();
        let odd: Vec<u64> = (0..events).filter(|n| !n.is_multiple_of(2)).collect();
        assert!(seen == odd, "{} of {} are shown", seen.len(), odd.len());
        assert!(metrics.sum("numbers", |m| m.replayed) > 0, "a test that cannot fail");
        assert_eq!(letters.len() as u64, events / 2);
        metrics.accounts.iter().for_each(|account| account.check().unwrap());
    }
}

#[test]
fn an_event_is_acknowledged_when_all_that_read_its_dead_letter_have_handled_it() {
    let (letters, copies) = (Collected::new(), Collected::new());
    let faults = Faults::once([30_u64, 60]);
    let (once, all_done) = (faults.clone(), faults);
    let job = Job::new("acknowledged");
    let checked = numbers(&job).try_map(check).on_error(OnError::DeadLetter);
    checked.ignore();
    let failed = checked.dead_letters::<u64>();
    failed.sink("copies", copies.factory());
    failed
        .try_map(move |letter| match once.strike(&letter.event) {
            true => Err("not now".into()),
            false => Ok(letter),
        })
        .named("once")
        .sink("letters", letters.factory());
    let metrics = job.run(guarantee("at-least-once", "unused".as_ref())).unwrap().metrics;
    assert!(all_done.spent());
    let bad: Vec<u64> = (0..EVENTS).filter(|n| fails(*n)).collect();
    assert_eq!(events_of(&letters), bad);
    // The two whose dead letters failed were replayed, and failed again.
    assert_eq!(metrics.sum("numbers", |m| m.replayed), 2);
    assert_eq!(copies.len(), bad.len() + 2);
    metrics.accounts.iter().for_each(|account| account.check().unwrap());
}

#[test]
fn a_panic_is_no_dead_letter_and_means_what_the_guarantee_says() {
    for name in ALL {
        let (directory, letters) = (tempfile::tempdir().unwrap(), Collected::new());
        let job = Job::new("panics");
        let once = Arc::new(AtomicBool::new(true));
        let checked = numbers(&job)
            .try_map(move |n| {
                let first = n == 777 && once.swap(false, Ordering::Relaxed);
                assert!(!first, "a panic that is meant");
                check(n)
            })
            .named("check");
        checked.on_error(OnError::DeadLetter).for_each(drop);
        checked.dead_letters().sink("letters", letters.factory());
        let metrics = job.run(guarantee(name, directory.path())).unwrap().metrics;
        assert!(!events_of(&letters).contains(&777), "{name}");
        let goes_back = name.contains("checkpoint") || name == "exactly-once";
        assert_eq!(metrics.restarts, u64::from(goes_back), "{name}");
        let dropped = u64::from(name.starts_with("at-most-once"));
        assert_eq!(metrics.total(|m| m.dropped), dropped, "{name}");
        assert_eq!(metrics.sum("check", |m| m.restarts), u64::from(!goes_back), "{name}");
    }
}

#[test]
fn dead_letters_are_in_the_checkpoint_of_the_outputs_around_them() {
    // The job fails again and again behind the operator, and all three meet in transactional sinks.
    let directory = tempfile::tempdir().unwrap();
    let (shown, letters) = (Published::new(), Published::new());
    let faults = Faults::once((0..EVENTS).step_by(601));
    let job = Job::new("cuts");
    let checked = numbers(&job).try_map(check).on_error(OnError::DeadLetter);
    let sometimes = move |n: u64| if faults.strike(&n) { Err("not now".into()) } else { Ok(n) };
    let slowly = checked.own_thread().try_map(sometimes).own_thread();
    slowly.transactional_sink("shown", shown.factory());
    let failed = checked.dead_letters::<u64>().map(|letter| letter.event);
    failed.transactional_sink("letters", letters.factory());
    let restarts = Restarts { backoff: Duration::from_millis(1), ..Restarts::unlimited() };
    let guarantee = ExactlyOnce::checkpoints_in(directory.path()).every(Duration::from_millis(1));
    let metrics = job.run(guarantee.restarts(restarts)).unwrap().metrics;
    assert!(metrics.restarts > 0, "a test that cannot fail");
    let good: Vec<u64> = (0..EVENTS).filter(|n| !fails(*n)).collect();
    assert_eq!(shown.events(), good);
    let bad: Vec<u64> = (0..EVENTS).filter(|n| fails(*n)).collect();
    assert_eq!(letters.events(), bad);
}

/// An event that counts how often it is cloned.
#[derive(Debug)]
struct Counting(u64, Arc<AtomicU64>);

impl Clone for Counting {
    fn clone(&self) -> Self {
        assert_ne!(self.0, u64::MAX, "a clone that panics");
        self.1.fetch_add(1, Ordering::Relaxed);
        Self(self.0, Arc::clone(&self.1))
    }
}

fn clones(choice: OnError) -> u64 {
    let clones = Arc::<AtomicU64>::default();
    let made = Arc::clone(&clones);
    let job = Job::new("clones");
    let events = numbers(&job).map(move |n| Counting(n, Arc::clone(&made)));
    let passed = events.try_map(Ok).on_error(choice);
    passed.for_each(drop);
    if choice == OnError::DeadLetter {
        passed.dead_letters::<Counting>().for_each(drop);
    }
    job.run(guarantee("at-most-once", "unused".as_ref())).unwrap();
    clones.load(Ordering::Relaxed)
}

#[test]
fn an_event_is_copied_once_where_it_may_become_a_dead_letter_and_not_at_all_elsewhere() {
    assert_eq!(clones(OnError::AsGuaranteed), 0);
    assert_eq!(clones(OnError::DeadLetter), EVENTS);
}

#[test]
fn an_event_that_cannot_be_copied_ends_the_job_by_name() {
    let job = Job::new("clones");
    let events =
        numbers(&job).map(|n| Counting(if n == 99 { u64::MAX } else { n }, Arc::default()));
    let passed = events.try_map(Ok).named("pass").on_error(OnError::DeadLetter);
    passed.for_each(drop);
    passed.dead_letters::<Counting>().for_each(drop);
    let error = job.run(guarantee("at-most-once", "unused".as_ref())).unwrap_err().to_string();
    assert!(error.contains("pass[0] failed in clone: panicked"), "{error}");
}

fn refused(job: &Job) -> Refused {
    match job.run(Guarantee::default()) {
        Err(RunError::Refused(refused)) => refused,
        other => panic!("it was not refused: {other:?}"),
    }
}

#[test]
fn dead_letters_that_nothing_reads_or_makes_or_that_are_of_another_type_are_refused_by_name() {
    let job = Job::new("unread");
    numbers(&job).try_map(check).named("check").on_error(OnError::DeadLetter).for_each(drop);
    let said = refused(&job);
    assert!(matches!(&said, Refused::DeadLettersUnread { component } if component == "check"));
    assert!(said.to_string().contains("\"check\""), "{said}");

    let job = Job::new("unread at a sink");
    let _ = numbers(&job).for_each(drop).named("sink").on_error(OnError::DeadLetter);
    let said = refused(&job);
    assert!(matches!(&said, Refused::DeadLettersUnread { component } if component == "sink"));

    let job = Job::new("none");
    let checked = numbers(&job).try_map(check).named("check");
    checked.for_each(drop);
    checked.dead_letters::<u64>().for_each(drop);
    let said = refused(&job);
    assert!(matches!(&said, Refused::NoDeadLetters { component } if component == "check"));

    let job = Job::new("other");
    let checked = numbers(&job).try_map(check).named("check").on_error(OnError::DeadLetter);
    checked.for_each(drop);
    checked.dead_letters::<String>().for_each(drop);
    let said = refused(&job);
    let Refused::SideOutputOfOtherType { component, declared, read_as, .. } = &said else {
        panic!("{said}")
    };
    assert_eq!(component, "check");
    assert!(declared.contains("u64") && read_as.contains("String"), "{said}");

    let job = Job::new("source");
    numbers(&job).on_error(OnError::DeadLetter).for_each(drop);
    let said = refused(&job).to_string();
    assert!(said.contains("\"numbers\" is a source"), "{said}");
}
