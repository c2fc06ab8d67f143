//! Watermarks behave the same on every edge: they never fall, not even after a restart, and idle streams hold no
//! reader back (state T8 to T12, T14).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use streamwork::testkit::Collected;
use streamwork::{
    AtMostOnce, BoxError, Collector, EventTime, ExactlyOnce, Guarantee, Instance, Job, Next,
    Operator, Output, Source, SourceOutput, SplitSource, SplitStart, StatefulOperator,
    StatefulSource, Stream,
};

use crate::support::{guarantee, wait_until};

/// Advances to these watermarks, one per call.
struct Says(std::vec::IntoIter<i64>);

impl Source for Says {
    type Out = i64;
    fn get_events(&mut self, out: &mut SourceOutput<i64>) -> Result<Next, BoxError> {
        let Some(ms) = self.0.next() else { return Ok(Next::End) };
        out.emit(ms);
        out.advance_watermark(EventTime::from_unix_ms(ms));
        Ok(Next::Now)
    }
}

/// Emits the watermarks with which it is called.
struct Hears;

impl Operator for Hears {
    type In = i64;
    type Out = i64;
    fn apply(&mut self, _: i64, _: &mut Collector<i64>) -> Result<(), BoxError> {
        Ok(())
    }
    fn on_watermark(&mut self, at: EventTime, out: &mut Output<i64>) -> Result<(), BoxError> {
        out.emit(at.unix_ms());
        Ok(())
    }
}

#[test]
fn fused_and_exchanged_readers_hear_the_same_watermarks_and_none_that_falls() {
    type Shape = fn(Stream<i64>) -> Stream<i64>;
    let shapes: [(&str, Shape); 4] = [
        ("fused", |said| said),
        ("fused behind another", |said| said.map(|ms| ms)),
        ("exchanged", |said| said.map(|ms| ms).own_thread()),
        ("exchanged twice", |said| said.shuffle().map(|ms| ms).parallelism(2).global()),
    ];
    for (name, shape) in shapes {
        let heard = Collected::new();
        let job = Job::new("watermarks");
        let said = job.source("says", || Says(vec![10, 5, 20, 7, 20, 21].into_iter()));
        shape(said).operator("hears", || Hears).sink("heard", heard.factory());
        job.run(AtMostOnce::new()).unwrap();
        assert_eq!(heard.events(), [10, 20, 21], "{name}");
    }
}

/// Emits one event, becomes idle, and emits its second event when it is told to.
struct Rests {
    spoken: usize,
    go_on: Arc<AtomicBool>,
}

impl Source for Rests {
    type Out = i64;
    fn get_events(&mut self, out: &mut SourceOutput<i64>) -> Result<Next, BoxError> {
        if self.spoken == 0 || (self.spoken == 1 && self.go_on.load(Ordering::SeqCst)) {
            out.emit(self.spoken as i64);
            self.spoken += 1;
            if self.spoken == 1 {
                out.idle();
            }
        }
        Ok(Next::After(Duration::from_millis(1)))
    }
}

/// Advances to a watermark for every number that the test has published.
struct Climbs {
    said: i64,
    until: Arc<std::sync::atomic::AtomicI64>,
}

impl Source for Climbs {
    type Out = i64;
    fn get_events(&mut self, out: &mut SourceOutput<i64>) -> Result<Next, BoxError> {
        if self.said < self.until.load(Ordering::SeqCst) {
            self.said += 1;
            out.advance_watermark(EventTime::from_unix_ms(self.said));
        }
        Ok(Next::After(Duration::from_millis(1)))
    }
}

#[test]
fn an_idle_source_holds_nobody_back_until_its_next_event() {
    for behind_a_fused_verb in [false, true] {
        let (go_on, until) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (resume, climb) = (Arc::clone(&go_on), Arc::clone(&until));
        let heard = Collected::new();
        let job = Job::new("idle");
        let rests = job.source("rests", move || Rests { spoken: 0, go_on: Arc::clone(&go_on) });
        let climbs = job.source("climbs", move || Climbs { said: 0, until: Arc::clone(&until) });
        let rests = if behind_a_fused_verb { rests.map(|n| n) } else { rests };
        rests.merge(&climbs).operator("hears", || Hears).sink("heard", heard.factory());
        let handle = job.start(AtMostOnce::new()).unwrap();
        climb.store(3, Ordering::SeqCst);
        wait_until("the idle one is left out", || heard.events().last() == Some(&3));
        resume.store(true, Ordering::SeqCst);
        let delivered = || handle.metrics().sum("hears", |m| m.delivered);
        wait_until("it goes on", || delivered() == 2);
        climb.store(6, Ordering::SeqCst);
        let said = || handle.metrics().sum("climbs", |m| m.idle.as_millis() as u64);
        let before = said();
        wait_until("the others have gone on", || said() > before + 20);
        assert_eq!(heard.events().last(), Some(&3), "it holds the others from where they stood");
        handle.stop_within(Duration::from_secs(10)).unwrap();
    }
}

#[test]
fn a_watermark_is_told_once_however_the_job_is_guaranteed() {
    let directory = tempfile::tempdir().unwrap();
    let guarantees: [Guarantee; 2] = [
        Guarantee::default(),
        ExactlyOnce::checkpoints_in(directory.path()).every(Duration::from_millis(1)).into(),
    ];
    for guarantee in guarantees {
        let heard = Collected::new();
        let job = Job::new("told");
        job.stateful_source("counts", || Counts(0))
            .operator("hears", || Hears)
            .sink("heard", heard.factory());
        job.run(guarantee).unwrap();
        assert_eq!(heard.events(), (1..=100).collect::<Vec<_>>());
    }
}

/// Advances to a hundred watermarks, each twice.
struct Counts(i64);

impl streamwork::StatefulSource for Counts {
    type Out = i64;
    type State = i64;
    fn setup(&mut self, _: &streamwork::Instance, state: Option<i64>) -> Result<(), BoxError> {
        self.0 = state.unwrap_or(0);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<i64>) -> Result<Next, BoxError> {
        self.0 += 1;
        out.emit(self.0);
        out.advance_watermark(EventTime::from_unix_ms((self.0 + 1) / 2));
        Ok(if self.0 == 200 { Next::End } else { Next::Now })
    }
    fn state(&self) -> i64 {
        self.0
    }
}

/// What the readers of one run have received, in order: `e4` an event, `w30` a watermark, and each start.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, entry: impl Into<String>) {
        self.0.lock().push(entry.into());
    }

    /// What was received since the last start.
    fn since_start(&self) -> String {
        let heard = self.0.lock();
        let start = heard.iter().rposition(|entry| entry == "start");
        heard[start.map_or(0, |start| start + 1)..].join(" ")
    }
}

/// Emits numbers up to a limit that the test moves. After 1 to 3 its watermarks are 10, 20 and 30, after 4 and 5
/// only 4 and 5, and then 60.
struct Steps {
    at: i64,
    until: Arc<AtomicI64>,
}

impl StatefulSource for Steps {
    type Out = i64;
    type State = i64;
    fn setup(&mut self, _: &Instance, state: Option<i64>) -> Result<(), BoxError> {
        self.at = state.unwrap_or(0);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<i64>) -> Result<Next, BoxError> {
        if self.at < self.until.load(Ordering::SeqCst) {
            self.at += 1;
            out.emit(self.at);
            let ms = if [4, 5].contains(&self.at) { self.at } else { self.at * 10 };
            out.advance_watermark(EventTime::from_unix_ms(ms));
        }
        Ok(Next::After(Duration::from_millis(1)))
    }
    fn state(&self) -> i64 {
        self.at
    }
}

/// Passes on and notes events and watermarks; fails at 4 if it is told to.
struct Notes {
    journal: Journal,
    fails: Arc<AtomicBool>,
}

impl Notes {
    fn event(&self, n: i64, out: &mut Collector<i64>) -> Result<(), BoxError> {
        if n == 4 && self.fails.swap(false, Ordering::SeqCst) {
            return Err("told to".into());
        }
        self.journal.note(format!("e{n}"));
        out.emit(n);
        Ok(())
    }
}

impl Operator for Notes {
    type In = i64;
    type Out = i64;
    fn setup(&mut self, _: &Instance) -> Result<(), BoxError> {
        self.journal.note("start");
        Ok(())
    }
    fn apply(&mut self, n: i64, out: &mut Collector<i64>) -> Result<(), BoxError> {
        self.event(n, out)
    }
    fn on_watermark(&mut self, at: EventTime, _: &mut Output<i64>) -> Result<(), BoxError> {
        self.journal.note(format!("w{at}"));
        Ok(())
    }
}

struct Keeps(Notes);

impl StatefulOperator for Keeps {
    type In = i64;
    type Out = i64;
    type State = ();
    fn setup(&mut self, _: &Instance, _: Option<()>) -> Result<(), BoxError> {
        self.0.journal.note("start");
        Ok(())
    }
    fn apply(&mut self, n: i64, out: &mut Collector<i64>) -> Result<(), BoxError> {
        self.0.event(n, out)
    }
    fn on_watermark(&mut self, at: EventTime, _: &mut Output<i64>) -> Result<(), BoxError> {
        self.0.journal.note(format!("w{at}"));
        Ok(())
    }
    fn state(&self) {}
}

/// A source, an operator with state after it, and two readers without state: one of the source, one of the operator.
struct Chain {
    job: Job,
    until: Arc<AtomicI64>,
    fails: Arc<AtomicBool>,
    of_source: Journal,
    with_state: Journal,
    of_state: Journal,
}

impl Chain {
    fn new(fused: bool) -> Self {
        let (until, fails) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
        let [of_source, with_state, of_state] = [(); 3].map(|()| Journal::default());
        let job = Job::new("steps");
        let limit = Arc::clone(&until);
        let steps =
            job.stateful_source("steps", move || Steps { at: 0, until: Arc::clone(&limit) });
        let apart = |stream: Stream<i64>| match fused {
            true => stream,
            false => stream.map(|n| n).own_thread(),
        };
        let notes = |journal: &Journal, fails: &Arc<AtomicBool>| {
            let (journal, fails) = (journal.clone(), Arc::clone(fails));
            move || Notes { journal: journal.clone(), fails: Arc::clone(&fails) }
        };
        let never = Arc::default();
        let keeps = notes(&with_state, &fails);
        apart(steps.clone()).operator("of source", notes(&of_source, &never)).for_each(|_| ());
        let kept = apart(steps).stateful("with state", move || Keeps(keeps()));
        apart(kept).operator("of state", notes(&of_state, &never)).for_each(|_| ());
        Self { job, until, fails, of_source, with_state, of_state }
    }

    /// Lets the source emit this many, and waits until all have received this watermark.
    fn run_to(&self, until: i64, heard: &str) {
        self.until.store(until, Ordering::SeqCst);
        let have_heard = || self.heard().iter().all(|all| all.ends_with(heard));
        wait_until("all have heard it", have_heard);
    }

    /// What the three have received since their last start.
    fn heard(&self) -> [String; 3] {
        [&self.of_source, &self.with_state, &self.of_state].map(Journal::since_start)
    }
}

const STOP: Duration = Duration::from_secs(10);

/// What is received after a restart at 3: by the reader of the source, the operator with state, and its reader.
const GOES_ON: [&str; 3] = ["w30 e4 e5 e6 w60", "e4 e5 e6 w60", "w30 e4 e5 e6 w60"];

fn stopped_and_started(name: &str, fused: bool) -> [String; 3] {
    let directory = tempfile::tempdir().unwrap();
    let chain = Chain::new(fused);
    let handle = chain.job.start(guarantee(name, directory.path())).unwrap();
    chain.run_to(3, "w30");
    handle.stop_within(STOP).unwrap();
    let chain = Chain::new(fused);
    let handle = chain.job.start(guarantee(name, directory.path())).unwrap();
    chain.run_to(6, "w60");
    handle.stop_within(STOP).unwrap();
    chain.heard()
}

#[test]
fn after_a_stop_watermarks_go_on_where_they_were_before_the_first_event() {
    for name in ["exactly-once", "at-least-once-checkpoint", "at-most-once stored"] {
        for fused in [true, false] {
            assert_eq!(stopped_and_started(name, fused), GOES_ON, "{name}, fused: {fused}");
        }
    }
}

#[test]
fn where_single_events_come_again_no_watermark_of_before_makes_them_late() {
    for fused in [true, false] {
        let heard = stopped_and_started("at-least-once stored", fused);
        assert_eq!(heard, ["e4 w4 e5 w5 e6 w60"; 3], "fused: {fused}");
    }
}

#[test]
fn a_job_that_goes_back_goes_back_to_the_watermarks_of_its_checkpoint() {
    for name in ["exactly-once", "at-least-once-checkpoint"] {
        for fused in [true, false] {
            let directory = tempfile::tempdir().unwrap();
            let chain = Chain::new(fused);
            let handle = chain.job.start(guarantee(name, directory.path())).unwrap();
            chain.run_to(3, "w30");
            handle.checkpoint_now().unwrap();
            chain.fails.store(true, Ordering::SeqCst);
            chain.run_to(6, "w60");
            let report = handle.stop_within(STOP).unwrap();
            assert_eq!(report.metrics.restarts, 1, "{name}, fused: {fused}");
            assert_eq!(chain.heard(), GOES_ON, "{name}, fused: {fused}");
        }
    }
}

/// Emits one more number of each of its splits in every run. In the first run it then advances the watermark: to 20
/// if it has the first of two splits, otherwise to 30.
struct Halves {
    next: BTreeMap<String, i64>,
    until: i64,
}

impl SplitSource for Halves {
    type Out = i64;
    type Position = i64;
    fn discover(&mut self) -> Result<Vec<String>, BoxError> {
        Ok(["first", "second"].map(String::from).to_vec())
    }
    fn add(&mut self, split: &str, start: SplitStart<i64>) -> Result<(), BoxError> {
        self.next.insert(split.to_owned(), start.position().unwrap_or(0));
        Ok(())
    }
    fn remove(&mut self, split: &str) -> Result<(), BoxError> {
        self.next.remove(split);
        Ok(())
    }
    fn position(&self, split: &str) -> i64 {
        self.next[split]
    }
    fn get_events(&mut self, out: &mut SourceOutput<i64>) -> Result<Next, BoxError> {
        for next in self.next.values_mut().filter(|next| **next < self.until) {
            *next += 1;
            out.emit(*next);
        }
        if self.until == 1 && !self.next.is_empty() {
            let ms = if self.next.contains_key("first") { 20 } else { 30 };
            out.advance_watermark(EventTime::from_unix_ms(ms));
        }
        Ok(Next::WhenWoken)
    }
}

/// The watermarks of the splits in their nth run, with this many instances.
fn heard_of_halves(run: i64, instances: usize, directory: &Path) -> String {
    let journal = Journal::default();
    let (noted, never) = (journal.clone(), Arc::<AtomicBool>::default());
    let job = Job::new("halves");
    job.split_source("halves", move || Halves { next: BTreeMap::new(), until: run })
        .parallelism(instances)
        .global()
        .operator("notes", move || Notes { journal: noted.clone(), fails: Arc::clone(&never) })
        .for_each(|_| ());
    let handle = job.start(guarantee("exactly-once", directory)).unwrap();
    let has_all = |heard: String| {
        let events = heard.matches(&format!("e{run}")).count();
        events == 2 && (run > 1 || heard.contains('w'))
    };
    wait_until("both are heard", || has_all(journal.since_start()));
    handle.stop_within(STOP).unwrap();
    journal.since_start()
}

/// State B4.3.
#[test]
fn splits_that_are_dealt_out_anew_go_on_from_the_least_watermark_of_those_who_had_them() {
    let directory = tempfile::tempdir().unwrap();
    let first = heard_of_halves(1, 2, directory.path());
    assert!(first.ends_with("w20"), "{first}");
    assert_eq!(heard_of_halves(2, 1, directory.path()), "w20 e2 e2");
    let shared_out = heard_of_halves(3, 2, directory.path());
    assert!(shared_out.contains("w20") && !shared_out.contains("w30"), "{shared_out}");
    // An instance that takes up no split holds the others until it says something.
    assert_eq!(heard_of_halves(4, 3, directory.path()), "e4 e4");
}

/// Emits 1 to 3 with the watermarks 10, 20 and 30; at its second call it emits the last two, advances to 30, and fails.
struct Stumbles {
    at: i64,
    fails: Arc<AtomicBool>,
}

impl StatefulSource for Stumbles {
    type Out = i64;
    type State = i64;
    fn setup(&mut self, _: &Instance, state: Option<i64>) -> Result<(), BoxError> {
        self.at = state.unwrap_or(0);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<i64>) -> Result<Next, BoxError> {
        let stumbles = self.at == 1 && self.fails.swap(false, Ordering::SeqCst);
        let until = if stumbles { 3 } else { self.at + 1 };
        out.emit_all(self.at + 1..=until);
        out.advance_watermark(EventTime::from_unix_ms(until * 10));
        if stumbles {
            return Err("told to".into());
        }
        self.at = until;
        Ok(if self.at == 3 { Next::End } else { Next::Now })
    }
    fn state(&self) -> i64 {
        self.at
    }
}

#[test]
fn a_watermark_of_a_call_whose_events_are_discarded_and_come_again_is_discarded_with_them() {
    for guarantee in [AtMostOnce::new().into(), Guarantee::default()] {
        let (journal, fails) = (Journal::default(), Arc::new(AtomicBool::new(true)));
        let (noted, never) = (journal.clone(), Arc::<AtomicBool>::default());
        let job = Job::new("stumbles");
        let stumbles = Arc::clone(&fails);
        job.stateful_source("stumbles", move || Stumbles { at: 0, fails: Arc::clone(&stumbles) })
            .operator("notes", move || Notes { journal: noted.clone(), fails: Arc::clone(&never) })
            .for_each(|_| ());
        job.run(guarantee).unwrap();
        assert!(!fails.load(Ordering::SeqCst));
        assert_eq!(journal.since_start(), "e1 w10 e2 w20 e3 w30");
    }
}
