//! Events that operators hold in tokens: one rule under every guarantee (fault F7, F8, F28).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use streamwork::testkit::{Collected, OperatorHarness};
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, ExactlyOnce, Guarantee, HeldEvents, Instance,
    Job, JobError, JobReport, Next, Operator, Outcome, Output, RunError, SourceOutput,
    StatefulOperator, StatefulSource, Stream, Token,
};

use crate::support::{ALL, counts, guarantee, wait_until};

/// Emits numbers from 1, up to a limit that can be raised while the job runs.
struct Numbers {
    next: u64,
    limit: Arc<AtomicUsize>,
    end: u64,
}

impl StatefulSource for Numbers {
    type Out = u64;
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.next = state.unwrap_or(1);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        if self.next > self.end {
            return Ok(Next::End);
        }
        let limit = (self.limit.load(Ordering::SeqCst) as u64).min(self.end);
        if self.next > limit {
            return Ok(Next::After(Duration::from_millis(1)));
        }
        out.emit(self.next);
        self.next += 1;
        Ok(Next::Now)
    }
    fn state(&self) -> u64 {
        self.next
    }
}

fn numbers(job: &Job, limit: &Arc<AtomicUsize>, end: u64) -> Stream<u64> {
    let limit = Arc::clone(limit);
    job.stateful_source("numbers", move || Numbers { next: 1, limit: Arc::clone(&limit), end })
}

/// The operator of `Token`'s documentation, except that it emits the numbers and not their sum.
#[derive(Default)]
struct Batcher {
    held: Vec<(u64, Token)>,
}

impl Batcher {
    fn emit(&mut self, out: &mut Output<Vec<u64>>) {
        let (events, tokens): (Vec<_>, Vec<_>) = self.held.drain(..).unzip();
        if !tokens.is_empty() {
            out.emit_anchored(events, tokens);
        }
    }
}

impl Operator for Batcher {
    type In = u64;
    type Out = Vec<u64>;
    const HELD_EVENTS: HeldEvents<u64> = HeldEvents::stored();
    fn apply(&mut self, event: u64, out: &mut Collector<Vec<u64>>) -> Result<(), BoxError> {
        self.held.push((event, out.defer()));
        if self.held.len() == 3 {
            self.emit(out);
        }
        Ok(())
    }
    fn finish(&mut self, out: &mut Output<Vec<u64>>) -> Result<(), BoxError> {
        self.emit(out);
        Ok(())
    }
}

/// The same, and its state is how many sums it has emitted: an event counts when it is answered.
#[derive(Default)]
struct CountingBatcher {
    batcher: Batcher,
    sums: u64,
}

impl StatefulOperator for CountingBatcher {
    type In = u64;
    type Out = Vec<u64>;
    type State = u64;
    const HELD_EVENTS: HeldEvents<u64> = HeldEvents::stored();
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.sums = state.unwrap_or(0);
        Ok(())
    }
    fn apply(&mut self, event: u64, out: &mut Collector<Vec<u64>>) -> Result<(), BoxError> {
        self.batcher.apply(event, out)?;
        self.sums += u64::from(self.batcher.held.is_empty());
        Ok(())
    }
    fn finish(&mut self, out: &mut Output<Vec<u64>>) -> Result<(), BoxError> {
        self.sums += u64::from(!self.batcher.held.is_empty());
        self.batcher.emit(out);
        Ok(())
    }
    fn state(&self) -> u64 {
        self.sums
    }
}

/// Holds events for ever, and tells the test.
#[derive(Clone, Default)]
struct Keeps(Arc<Mutex<Vec<(u64, Token)>>>);

struct Keeper<const STORES: bool>(Keeps);

impl<const STORES: bool> Operator for Keeper<STORES> {
    type In = u64;
    type Out = u64;
    const HELD_EVENTS: HeldEvents<u64> =
        if STORES { HeldEvents::stored() } else { HeldEvents::not_stored() };
    fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        self.0.0.lock().push((event, out.defer()));
        Ok(())
    }
}

impl Keeps {
    fn len(&self) -> usize {
        self.0.lock().len()
    }

    fn clear(&self) {
        let tokens = std::mem::take(&mut *self.0.lock());
        drop(tokens);
    }

    fn job<const STORES: bool>(&self, events: u64) -> Job {
        let keeps = self.clone();
        let job = Job::new("held");
        numbers(&job, &Arc::new(AtomicUsize::new(usize::MAX)), events)
            .operator("keeps", move || Keeper::<STORES>(keeps.clone()))
            .ignore();
        job
    }
}

const STORED: [&str; 4] =
    ["at-most-once stored", "at-least-once stored", "at-least-once-checkpoint", "exactly-once"];

/// Stops some times, each time with an incomplete batch of three, and then runs to the end. Returns the sum of all sums.
fn stopped_again_and_again(
    name: &str,
    operator: impl Fn(&Stream<u64>) -> Stream<Vec<u64>>,
) -> (u64, JobReport) {
    let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
    let limit = Arc::new(AtomicUsize::new(0));
    let run = || {
        let job = Job::new("batches");
        operator(&numbers(&job, &limit, 300)).sink("seen", seen.factory());
        job.start(guarantee(name, directory.path())).unwrap()
    };
    let mut before = 0;
    for stop in [10, 11, 12, 100, 101, 200, 299] {
        limit.store(stop, Ordering::SeqCst);
        let handle = run();
        wait_until("the numbers so far are through", || {
            let metrics = handle.metrics();
            let held = metrics.sum("batches", |m| m.deferred);
            let applied = metrics.sum("batches", |m| m.processed.saturating_sub(m.restored));
            (applied, held) == ((stop - before) as u64, stop as u64 % 3)
        });
        before = stop;
        let report = handle.stop_within(Duration::from_secs(10)).unwrap();
        assert_eq!(report.outcome, Outcome::Stopped, "{name}");
    }
    limit.store(usize::MAX, Ordering::SeqCst);
    let report = run().wait().unwrap();
    for account in &report.metrics.accounts {
        account.check().unwrap();
    }
    (seen.events().iter().flatten().sum(), report)
}

#[test]
fn the_batcher_of_the_documentation_loses_and_repeats_nothing_by_stops_and_restarts() {
    for name in STORED.iter().filter(|name| **name != "at-least-once stored") {
        let (sum, report) =
            stopped_again_and_again(name, |numbers| numbers.operator("batches", Batcher::default));
        assert_eq!(sum, 45_150, "{name}");
        // 299 is held with 298, and is given back.
        assert_eq!(report.metrics.sum("batches", |m| m.restored), 2, "{name}");
        let (sum, _) = stopped_again_and_again(name, |numbers| {
            numbers.stateful("batches", CountingBatcher::default)
        });
        assert_eq!(sum, 45_150, "{name}");
    }
}

#[test]
fn under_the_acknowledger_what_is_held_at_a_stop_comes_from_the_source_again() {
    let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
    let limit = Arc::new(AtomicUsize::new(11));
    let run = || {
        let job = Job::new("batches");
        numbers(&job, &limit, 300)
            .operator("batches", Batcher::default)
            .sink("seen", seen.factory());
        job.start(guarantee("at-least-once stored", directory.path())).unwrap()
    };
    let handle = run();
    wait_until("two are held and all else is emitted", || {
        let metrics = handle.metrics();
        metrics.sum("batches", |m| m.processed + m.deferred) == 11 + 2 && seen.len() == 3
    });
    handle.stop_within(Duration::from_secs(10)).unwrap();
    limit.store(usize::MAX, Ordering::SeqCst);
    let report = run().wait().unwrap();
    let seen = counts(seen.events().into_iter().flatten());
    assert!((1..=300).all(|number| seen.contains_key(&number)), "{seen:?}");
    assert_eq!(report.metrics.sum("batches", |m| m.restored), 0);
}

#[test]
fn an_operator_that_holds_events_is_the_same_put_back_from_its_state_after_every_event() {
    let expected = [vec![1, 2, 3], vec![4, 5, 6], vec![7, 8]];
    let stateless = OperatorHarness::stateless(Batcher::default).events(1..=8);
    assert_eq!(stateless.check().unwrap(), expected);
    let stateful = OperatorHarness::stateful(CountingBatcher::default).events(1..=8);
    assert_eq!(stateful.check().unwrap(), expected);
}

#[test]
fn a_job_that_goes_back_applies_the_events_that_its_checkpoint_held_before_any_other() {
    /// Holds three, and fails once while the second of a later three is there.
    struct Fails(Batcher, Arc<AtomicUsize>);
    impl Operator for Fails {
        type In = u64;
        type Out = Vec<u64>;
        const HELD_EVENTS: HeldEvents<u64> = HeldEvents::stored();
        fn apply(&mut self, event: u64, out: &mut Collector<Vec<u64>>) -> Result<(), BoxError> {
            self.0.apply(event, out)?;
            let once = event == 8 && self.1.fetch_add(1, Ordering::SeqCst) == 0;
            if once { Err("once".into()) } else { Ok(()) }
        }
        fn finish(&mut self, out: &mut Output<Vec<u64>>) -> Result<(), BoxError> {
            self.0.finish(out)
        }
    }
    for name in ["at-least-once-checkpoint", "exactly-once"] {
        let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
        let (limit, failed) = (Arc::new(AtomicUsize::new(5)), Arc::new(AtomicUsize::new(0)));
        let job = Job::new("back");
        let counted = Arc::clone(&failed);
        numbers(&job, &limit, 9)
            .operator("batches", move || Fails(Batcher::default(), Arc::clone(&counted)))
            .sink("seen", seen.factory());
        let handle = job.start(guarantee(name, directory.path())).unwrap();
        wait_until("two are held", || {
            handle.metrics().sum("batches", |m| m.processed + m.deferred) == 5 + 2
        });
        handle.checkpoint_now().unwrap();
        limit.store(usize::MAX, Ordering::SeqCst);
        let report = handle.wait().unwrap();
        assert_eq!(report.metrics.restarts, 1, "{name}");
        assert_eq!(report.metrics.sum("batches", |m| m.restored), 2, "{name}");
        let mut batches = seen.events();
        batches.dedup();
        assert_eq!(batches, [[1, 2, 3], [4, 5, 6], [7, 8, 9]], "{name}");
        for account in &report.metrics.accounts {
            account.check().unwrap();
        }
    }
}

#[test]
fn events_that_are_held_over_a_checkpoint_and_cannot_be_stored_end_the_job_by_name() {
    for name in ["at-least-once-checkpoint", "exactly-once"] {
        let (directory, keeps) = (tempfile::tempdir().unwrap(), Keeps::default());
        let ended = keeps.job::<false>(9).run(guarantee(name, directory.path()));
        let Err(RunError::Failed(JobError::Failed { failure, restarts })) = ended else {
            panic!("{name}: {ended:?}")
        };
        assert_eq!((failure.instance.to_string().as_str(), restarts), ("keeps[0]", 0), "{name}");
        assert!(failure.to_string().contains("HeldEvents::stored()"), "{name}: {failure}");
    }
}

#[test]
fn the_end_of_the_input_waits_for_answers_of_other_threads_under_every_guarantee() {
    for name in ALL {
        let (directory, keeps) = (tempfile::tempdir().unwrap(), Keeps::default());
        let handle = keeps.job::<true>(20).start(guarantee(name, directory.path())).unwrap();
        wait_until("all are held", || keeps.len() == 20);
        std::thread::sleep(Duration::from_millis(20));
        assert!(!handle.is_finished(), "{name}: it ended without an answer");
        let tokens = std::mem::take(&mut *keeps.0.lock());
        tokens.into_iter().for_each(|(_, token)| token.ack());
        let report = handle.wait().unwrap();
        assert_eq!(report.outcome, Outcome::Finished, "{name}");
        assert_eq!(report.metrics.sum("keeps", |m| m.delivered), 20, "{name}");
        assert_eq!(report.metrics.sum("keeps", |m| m.held + m.deferred), 0, "{name}");
    }
}

/// Emits each event some time after it came.
#[derive(Default)]
struct Later {
    held: Vec<(u64, Token)>,
}

impl Operator for Later {
    type In = u64;
    type Out = u64;
    const HELD_EVENTS: HeldEvents<u64> = HeldEvents::stored();
    fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        self.held.push((event, out.defer()));
        out.set_timer(Duration::from_millis(30), event);
        Ok(())
    }
    fn on_timer(&mut self, tag: u64, out: &mut Output<u64>) -> Result<(), BoxError> {
        if let Some(at) = self.held.iter().position(|(event, _)| *event == tag) {
            let (event, token) = self.held.remove(at);
            out.emit_anchored(event, [token]);
        }
        Ok(())
    }
}

#[test]
fn what_is_emitted_after_the_source_was_drained_is_followed_by_a_finish_too() {
    for name in ALL {
        for apart in [false, true] {
            let (directory, sums) = (tempfile::tempdir().unwrap(), Collected::new());
            let job = Job::new("held");
            let later = numbers(&job, &Arc::new(AtomicUsize::new(usize::MAX)), 4)
                .operator("later", Later::default);
            let later = if apart { later.own_thread() } else { later };
            later.operator("batches", Batcher::default).own_thread().sink("sums", sums.factory());
            let handle = job.start(guarantee(name, directory.path())).unwrap();
            wait_until("the job ends", || handle.is_finished());
            handle.wait().unwrap();
            let all: Vec<u64> = sums.events().into_iter().flatten().collect();
            assert_eq!(all, [1, 2, 3, 4], "{name}");
        }
    }
}

#[test]
fn checkpoints_go_on_while_the_end_of_the_input_waits_for_answers() {
    for name in STORED {
        for apart in [false, true] {
            let (directory, keeps) = (tempfile::tempdir().unwrap(), Keeps::default());
            let (job, keep) = (Job::new("held"), keeps.clone());
            let numbers = numbers(&job, &Arc::new(AtomicUsize::new(usize::MAX)), 9);
            let kept = numbers.operator("keeps", move || Keeper::<true>(keep.clone()));
            let kept = if apart { kept.own_thread() } else { kept };
            // One reader has come to the end, one is in the same thread as who waits.
            numbers.map(|n| n).named("beside").ignore();
            kept.map(|n| n).named("behind").own_thread().ignore();
            let handle = job.start(guarantee(name, directory.path())).unwrap();
            wait_until("all are held", || keeps.len() == 9);
            // More than a queue has room for.
            for _ in 0..40 {
                handle.checkpoint_now().unwrap();
            }
            std::mem::take(&mut *keeps.0.lock()).into_iter().for_each(|(_, token)| token.ack());
            let report = handle.wait().unwrap();
            assert_eq!(report.metrics.checkpoints_failed, 0, "{name}");
        }
    }
}

#[test]
fn who_never_answers_is_named() {
    for name in ALL {
        let (directory, keeps) = (tempfile::tempdir().unwrap(), Keeps::default());
        let handle = keeps.job::<true>(9).start(guarantee(name, directory.path())).unwrap();
        wait_until("all are held", || handle.metrics().sum("keeps", |m| m.deferred) == 9);
        let error = handle.drain(Duration::from_millis(100)).unwrap_err();
        let JobError::StopTimedOut { held, .. } = &error else { panic!("{name}: {error}") };
        let held: Vec<_> = held.iter().map(|(name, n)| (name.to_string(), *n)).collect();
        assert_eq!(held, [("keeps[0]".to_owned(), 9)], "{name}");
        let said = "keeps[0] holds 9 events in tokens that are not answered";
        assert!(error.to_string().contains(said), "{name}: {error}");
        keeps.clear();
    }
}

#[test]
fn a_job_at_the_end_of_its_input_is_stopped_and_goes_on_with_what_it_held() {
    for name in STORED {
        let (directory, keeps) = (tempfile::tempdir().unwrap(), Keeps::default());
        let handle = keeps.job::<true>(9).start(guarantee(name, directory.path())).unwrap();
        wait_until("all are held", || handle.metrics().sum("keeps", |m| m.deferred) == 9);
        let report = handle.stop_within(Duration::from_secs(10)).unwrap();
        assert_eq!(report.metrics.sum("keeps", |m| m.dropped), 0, "{name}");
        keeps.clear();
        let handle = keeps.job::<true>(9).start(guarantee(name, directory.path())).unwrap();
        wait_until("all are held again", || keeps.len() == 9);
        let tokens = std::mem::take(&mut *keeps.0.lock());
        let numbers: Vec<u64> = tokens.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (1..=9).collect::<Vec<_>>(), "{name}: in order");
        tokens.into_iter().for_each(|(_, token)| token.ack());
        handle.wait().unwrap();
        let handle = keeps.job::<true>(9).start(guarantee(name, directory.path())).unwrap();
        handle.wait().unwrap();
        assert_eq!(keeps.len(), 0, "{name}: what is answered does not come again");
    }
}

#[test]
fn an_event_that_is_not_answered_in_time_fails_by_the_name_of_who_holds_it() {
    let within = Duration::from_millis(20);
    let dropped = Arc::new(Mutex::new(Vec::new()));
    let (told, keeps) = (Arc::clone(&dropped), Keeps::default());
    let at_most_once = AtMostOnce::new()
        .answer_within(within)
        .on_drop(move |dropped| told.lock().push(dropped.failure.to_string()));
    let report = keeps.job::<true>(9).run(at_most_once).unwrap();
    assert_eq!(report.metrics.sum("keeps", |m| m.dropped), 9);
    let expected = "keeps[0] failed in token: its token was not answered within 20ms";
    assert_eq!(*dropped.lock(), vec![expected; 9]);
    // What its token says later means nothing.
    std::mem::take(&mut *keeps.0.lock()).into_iter().for_each(|(_, token)| token.ack());

    let acknowledged = AtLeastOnce::new().answer_within(within).attempts_max(2);
    let report = keeps.job::<true>(9).run(acknowledged).unwrap();
    assert_eq!(report.metrics.sum("numbers", |m| m.dead_lettered), 9);
    assert_eq!(report.metrics.sum("keeps", |m| m.failed), 18);
    keeps.clear();

    let directory = tempfile::tempdir().unwrap();
    let by_checkpoints: [Guarantee; 2] = [
        AtLeastOnce::checkpoints_in(directory.path().join("a")).answer_within(within).into(),
        ExactlyOnce::checkpoints_in(directory.path().join("b")).answer_within(within).into(),
    ];
    for guarantee in by_checkpoints {
        let name = guarantee.name();
        let ended = keeps.job::<true>(9).run(guarantee);
        let Err(RunError::Failed(JobError::Failed { failure, .. })) = ended else {
            panic!("{name}: {ended:?}")
        };
        assert_eq!(failure.to_string(), expected, "{name}");
        keeps.clear();
    }
}

/// A job that was stopped while its operator held the numbers up to 9.
fn stopped_while_it_holds(directory: &std::path::Path) {
    let keeps = Keeps::default();
    let job = keeps.job::<true>(9);
    let handle = job.start(guarantee("exactly-once", directory)).unwrap();
    wait_until("all are held", || handle.metrics().sum("keeps", |m| m.deferred) == 9);
    handle.stop_within(Duration::from_secs(10)).unwrap();
}

#[test]
fn held_events_that_cannot_be_given_back_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    stopped_while_it_holds(directory.path());
    let refused = |job: &Job| {
        let refused = job.start(guarantee("exactly-once", directory.path())).unwrap_err();
        refused.to_string()
    };
    let said = refused(&Keeps::default().job::<false>(9));
    assert!(said.contains("\"keeps\" held events and does not store those it holds now"), "{said}");

    struct Texts;
    impl Operator for Texts {
        type In = String;
        type Out = String;
        const HELD_EVENTS: HeldEvents<String> = HeldEvents::stored();
        fn apply(&mut self, text: String, out: &mut Collector<String>) -> Result<(), BoxError> {
            out.emit(text);
            Ok(())
        }
    }
    let job = Job::new("held");
    let all = Arc::new(AtomicUsize::new(usize::MAX));
    numbers(&job, &all, 9).map(|n| n.to_string()).operator("keeps", || Texts).ignore();
    let said = refused(&job);
    let types = "the events that \"keeps\" held were list(u64) and its events are list(str) now";
    assert!(said.contains(types), "{said}");

    let (job, keeps) = (Job::new("held"), Keeps::default());
    numbers(&job, &all, 9)
        .operator("keeps", move || Keeper::<true>(keeps.clone()))
        .parallelism(2)
        .ignore();
    let said = refused(&job);
    assert!(said.contains("\"keeps\" had 1 instances and has 2 now"), "{said}");

    // And they can be left behind.
    let anew = ExactlyOnce::checkpoints_in(directory.path()).start_anew("keeps");
    let report = Keeps::default().job::<false>(9).run(anew).unwrap();
    assert_eq!(report.metrics.sum("keeps", |m| m.restored + m.processed), 0);
}

#[test]
fn what_a_late_or_partial_answer_leaves_is_counted_once_under_every_guarantee() {
    /// Defers each event twice, and answers one of the two at once.
    struct Twice(Arc<Mutex<BTreeMap<u64, Token>>>);
    impl Operator for Twice {
        type In = u64;
        type Out = u64;
        const HELD_EVENTS: HeldEvents<u64> = HeldEvents::stored();
        fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
            out.defer().ack();
            self.0.lock().insert(event, out.defer());
            Ok(())
        }
    }
    for name in ALL {
        let directory = tempfile::tempdir().unwrap();
        let held: Arc<Mutex<BTreeMap<u64, Token>>> = Arc::default();
        let (job, twice) = (Job::new("twice"), Arc::clone(&held));
        numbers(&job, &Arc::new(AtomicUsize::new(usize::MAX)), 9)
            .operator("twice", move || Twice(Arc::clone(&twice)))
            .ignore();
        let handle = job.start(guarantee(name, directory.path())).unwrap();
        wait_until("all are held", || held.lock().len() == 9);
        std::mem::take(&mut *held.lock()).into_values().for_each(Token::ack);
        let report = handle.wait().unwrap();
        assert_eq!(report.metrics.sum("twice", |m| m.delivered), 9, "{name}");
        for account in &report.metrics.accounts {
            account.check().unwrap();
        }
    }
}
