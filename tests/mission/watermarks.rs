//! Event time passes along every edge alike: it never falls, and idle streams hold nobody (state T8 to
//! T12).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use streamwork::testkit::Collected;
use streamwork::{
    AtMostOnce, BoxError, Collector, EventTime, ExactlyOnce, Guarantee, Job, Next, Operator,
    Output, Source, SourceOutput, Stream,
};

use crate::support::wait_until;

/// Says these watermarks, one per call.
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

/// Emits the watermarks that it hears of.
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

/// Emits one event, says that it is idle, and goes on with its second when it is told.
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

/// Says a watermark for every number that the test has put up.
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

/// Says a hundred watermarks, each twice.
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
