//! Watermarks in any history: operators with state never get a watermark a second time, nor a lower one, and with
//! aligned checkpoints, or with the acknowledger, no event is ever late (state T8, T14, T16).

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use streamwork::testkit::{Ended, Fault, Faults, explore};
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Collector, EventTime, ExactlyOnce, Guarantee, Instance, Job,
    Next, Operator, Output, SourceOutput, StatefulOperator, StatefulSource,
};

use crate::histories::often;
use crate::tier;

/// Emits its moments in ascending order, and advances the watermark after a few each.
struct Moments {
    emitted: i64,
    instance: usize,
    says: bool,
}

const MOMENTS: i64 = 120;

impl StatefulSource for Moments {
    type Out = i64;
    type State = i64;
    fn setup(&mut self, instance: &Instance, state: Option<i64>) -> Result<(), BoxError> {
        (self.emitted, self.instance) = (state.unwrap_or(0), instance.index());
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<i64>) -> Result<Next, BoxError> {
        for _ in 0..out.room().min(4) {
            if self.emitted == MOMENTS {
                return Ok(Next::End);
            }
            self.emitted += 1;
            let at = self.emitted * 10 + self.instance as i64;
            out.emit(at);
            if self.says {
                out.advance_watermark(EventTime::from_unix_ms(at));
            }
        }
        Ok(Next::Now)
    }
    fn state(&self) -> i64 {
        self.emitted
    }
}

/// Watermarks and events that must not have been received.
#[derive(Clone, Default)]
struct Wrong {
    fallen: Arc<Mutex<Vec<String>>>,
    late: Arc<Mutex<Vec<String>>>,
    restored: Arc<Mutex<u64>>,
}

/// Remembers the highest watermark with which it was called.
struct Judge {
    high: Option<i64>,
    wrong: Wrong,
}

impl StatefulOperator for Judge {
    type In = i64;
    type Out = i64;
    type State = Option<i64>;
    fn setup(&mut self, _: &Instance, state: Option<Option<i64>>) -> Result<(), BoxError> {
        self.high = state.flatten();
        *self.wrong.restored.lock() += u64::from(self.high.is_some());
        Ok(())
    }
    fn apply(&mut self, at: i64, out: &mut Collector<i64>) -> Result<(), BoxError> {
        if Some(at) < self.high {
            self.wrong.late.lock().push(format!("{at} after {:?}", self.high));
        }
        out.emit(at);
        Ok(())
    }
    fn on_watermark(&mut self, at: EventTime, _: &mut Output<i64>) -> Result<(), BoxError> {
        let at = Some(at.unix_ms());
        if at <= self.high {
            self.wrong.fallen.lock().push(format!("{at:?} after {:?}", self.high));
        }
        self.high = self.high.max(at);
        Ok(())
    }
    fn state(&self) -> Option<i64> {
        self.high
    }
}

/// Some make their watermarks out of the times of their events.
fn job(wrong: &Wrong, seed: u64) -> Job {
    let judge = |wrong: &Wrong| {
        let wrong = wrong.clone();
        move || Judge { high: None, wrong: wrong.clone() }
    };
    let job = Job::new("moments");
    let way = seed / 3 % 3;
    let moments = move || Moments { emitted: 0, instance: 0, says: way == 0 };
    let moments = job.stateful_source("moments", moments).parallelism(2);
    let time = |at: &i64| EventTime::from_unix_ms(*at);
    let moments = match way {
        0 => moments,
        1 => moments.event_time(time, |w| w.idle_after(Duration::from_micros(100))),
        _ => {
            moments.forward().event_time(time, |w| w.bounded(Duration::from_millis(7))).own_thread()
        }
    };
    moments
        .global()
        .stateful("first", judge(wrong))
        .stateful("fused", judge(wrong))
        .own_thread()
        .stateful("apart", judge(wrong))
        .for_each(|_| ());
    job
}

fn guarantee(seed: u64) -> Guarantee {
    match seed % 3 {
        0 => AtLeastOnce::checkpoints_in("/store").every(often()).into(),
        1 => AtMostOnce::new().store_in("/store").every(often()).into(),
        _ => ExactlyOnce::checkpoints_in("/store").every(often()).into(),
    }
}

#[test]
fn watermarks_go_on_where_they_were_and_aligned_checkpoints_make_no_event_late_in_any_history() {
    let test = "watermarks_go_on_where_they_were_and_aligned_checkpoints_make_no_event_late_in_any_history";
    let (first, histories) = (tier::seed(test), tier::times(400, 100_000));
    let (restored, late) = (Cell::new(0), Cell::new(0));
    explore(first..first + histories, |simulation| {
        let simulation_seed = simulation.seed();
        let (wrong, guarantee) = (Wrong::default(), guarantee(simulation_seed));
        let name = guarantee.name();
        let history =
            simulation.faults(Faults::all()).run(&job(&wrong, simulation_seed), guarantee);
        assert!(matches!(history.ended, Ended::Finished(_)), "{name}, {history}");
        let fallen = wrong.fallen.lock();
        assert!(fallen.is_empty(), "{name}, {fallen:?}: {history}");
        let behind = wrong.late.lock();
        // Without alignment, events are replayed that are already in the state.
        // Events of a stream that was taken for idle may be behind when they come.
        let may_be_late = name == "at-least-once-checkpoint" || simulation_seed / 3 % 3 == 1;
        assert!(may_be_late || behind.is_empty(), "{name}, {behind:?}: {history}");
        late.set(late.get() + behind.len());
        restored.set(restored.get() + *wrong.restored.lock());
    });
    assert!(restored.get() > histories / 10, "a test that cannot fail: {restored:?} restored");
    println!("{test}: {} judges restored, {} late without alignment", restored.get(), late.get());
}

/// Judges events by the watermarks that it has heard since it was built.
struct JudgeOfNow {
    high: Option<i64>,
    wrong: Wrong,
}

impl Operator for JudgeOfNow {
    type In = i64;
    type Out = i64;
    fn apply(&mut self, at: i64, out: &mut Collector<i64>) -> Result<(), BoxError> {
        if Some(at) < self.high {
            self.wrong.late.lock().push(format!("{at} after {:?}", self.high));
        }
        out.emit(at);
        Ok(())
    }
    fn on_watermark(&mut self, at: EventTime, _: &mut Output<i64>) -> Result<(), BoxError> {
        self.high = self.high.max(Some(at.unix_ms()));
        *self.wrong.restored.lock() += 1;
        Ok(())
    }
}

/// State T16.
#[test]
fn with_the_acknowledger_no_event_is_late_in_any_history_unless_replays_may_be() {
    let test = "with_the_acknowledger_no_event_is_late_in_any_history_unless_replays_may_be";
    let (first, histories) = (tier::seed(test), tier::times(400, 100_000));
    let (heard, late) = (Cell::new(0), Cell::new(0));
    explore(first..first + histories, |simulation| {
        let seed = simulation.seed();
        let (wrong, may_be_late) = (Wrong::default(), seed % 4 == 3);
        let judge = |wrong: &Wrong| {
            let wrong = wrong.clone();
            move || JudgeOfNow { high: None, wrong: wrong.clone() }
        };
        let job = Job::new("moments");
        let moments = || Moments { emitted: 0, instance: 0, says: false };
        let moments = job.stateful_source("moments", moments).parallelism(2);
        let time = |at: &i64| EventTime::from_unix_ms(*at);
        let timed = moments.filter(|at| at % 70 != 0).event_time(time, |w| match may_be_late {
            true => w.replays_may_be_late(),
            false => w,
        });
        let judged =
            timed.operator("fused", judge(&wrong)).global().operator("first", judge(&wrong));
        judged.operator("second", judge(&wrong)).own_thread().for_each(|_| ());
        let guarantee =
            AtLeastOnce::new().backoff(Duration::from_micros(50), Duration::from_millis(1));
        let guarantee: Guarantee = match seed % 3 {
            0 => guarantee.into(),
            _ => guarantee.store_in("/store").every(often()).into(),
        };
        let faults = match seed % 3 {
            0 => Faults::only([Fault::Error, Fault::Panic, Fault::Stall]),
            _ => Faults::all(),
        };
        let history = simulation.faults(faults).run(&job, guarantee);
        // Without a store there is no restart after a failure of `finish`.
        let ended = matches!(history.ended, Ended::Finished(_)) || seed % 3 == 0;
        assert!(ended, "{history}");
        let behind = wrong.late.lock();
        assert!(may_be_late || behind.is_empty(), "{behind:?}: {history}");
        late.set(late.get() + behind.len());
        heard.set(heard.get() + *wrong.restored.lock());
    });
    assert!(heard.get() > histories, "a test that cannot fail: {} watermarks", heard.get());
    assert!(histories < 100 || late.get() > 0, "where replays may be late, none was");
    println!("{test}: {} watermarks, {} late where they may be", heard.get(), late.get());
}
