//! State and timers by key under faults, crashes, another parallelism in each process, and a second version of the job
//! from some process on (RELIABILITY row 27; state K, O, P, B4).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use streamwork::testkit::{Ended, History, Published, Simulation, explore};
use streamwork::{
    At, AtLeastOnce, AtMostOnce, BoxError, Emit, EventTime, ExactlyOnce, Guarantee, Instance, Job,
    KeyedOperator, Next, SourceOutput, StatefulSource, Stored, TimeToLive,
};

use crate::tier;

const EVENTS: u64 = 120;
const KEYS: u64 = 11;
/// Event time between two events.
const STEP: u64 = 10;

/// Emits numbers, a few at a time.
struct Numbers {
    next: u64,
    polls: u64,
}

impl StatefulSource for Numbers {
    type Out = u64;
    type State = u64;
    fn setup(&mut self, _: &Instance, state: Option<u64>) -> Result<(), BoxError> {
        self.next = state.unwrap_or(0);
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        self.polls += 1;
        for _ in 0..self.polls % 5 {
            if self.next < EVENTS {
                out.emit(self.next);
                self.next += 1;
            }
        }
        Ok(match self.polls % 3 {
            _ if self.next == EVENTS => Next::End,
            0 => Next::After(Duration::from_micros(50)),
            _ => Next::Now,
        })
    }
    fn state(&self) -> u64 {
        self.next
    }
}

/// Counts the events of a key, and says each count. Each event sets a timer in event time, which says its time; every
/// fourth clears the one of the event before.
struct Watch<C>(PhantomData<C>);

/// A count, as one of the versions of the job stores it.
trait Count: Serialize + DeserializeOwned + Default + Send + 'static {
    fn stored() -> Stored<Self>;
    /// Counts one more. How many that are.
    fn add(&mut self) -> u64;
}

impl Count for u64 {
    fn stored() -> Stored<Self> {
        Stored::default()
    }
    fn add(&mut self) -> u64 {
        *self += 1;
        *self
    }
}

/// A count of version 2: a stroke for each event.
#[derive(Default, Serialize, Deserialize)]
struct Strokes {
    strokes: String,
}

impl Count for Strokes {
    fn stored() -> Stored<Self> {
        Stored::version(2).migrate_from(1, |old: u64| Self { strokes: "|".repeat(old as usize) })
    }
    fn add(&mut self) -> u64 {
        self.strokes.push('|');
        self.strokes.len() as u64
    }
}

/// A key, and a count below 1,000 or the time of a timer from there on.
type Said = (u64, u64);

fn time_of(n: u64) -> EventTime {
    EventTime::from_unix_ms((n * STEP) as i64)
}

/// When the timer of an event is due.
fn due(n: u64) -> u64 {
    1_000 + n * STEP
}

impl<C: Count> KeyedOperator for Watch<C> {
    type Key = u64;
    type In = u64;
    type Out = Said;
    type State = C;
    type Timer = u64;

    fn stored() -> Stored<C> {
        C::stored()
    }

    fn apply(
        &mut self,
        n: u64,
        at: &mut At<'_, Self>,
        out: &mut Emit<'_, Said>,
    ) -> Result<(), BoxError> {
        let count = at.state().add();
        at.set_timer(EventTime::from_unix_ms(due(n) as i64), n);
        // Never due here, since it waits for hours; it travels with its key.
        at.set_timer_after(Duration::from_secs(360_000), n);
        if n.is_multiple_of(4) && n >= KEYS {
            let before = n - KEYS;
            at.clear_timer(EventTime::from_unix_ms(due(before) as i64), &before);
        }
        out.emit((*at.key(), count));
        Ok(())
    }

    fn on_timer(
        &mut self,
        n: u64,
        at: &mut At<'_, Self>,
        out: &mut Emit<'_, Said>,
    ) -> Result<(), BoxError> {
        assert_eq!(n % KEYS, *at.key());
        out.emit((*at.key(), due(n)));
        Ok(())
    }
}

/// Counts the events of a key up to three, and then forgets it.
struct UpToThree;

impl KeyedOperator for UpToThree {
    type Key = u64;
    type In = u64;
    type Out = (u64, u64);
    type State = u64;
    type Timer = ();

    fn apply(
        &mut self,
        _: u64,
        at: &mut At<'_, Self>,
        out: &mut Emit<'_, (u64, u64)>,
    ) -> Result<(), BoxError> {
        *at.state() += 1;
        let count = *at.state();
        if count == 3 {
            at.forget();
        }
        out.emit((*at.key(), count));
        Ok(())
    }
}

/// What is said if each event counts once.
fn said_once() -> BTreeMap<Said, u64> {
    let mut said = BTreeMap::new();
    for n in 0..EVENTS {
        *said.entry((n % KEYS, n / KEYS + 1)).or_default() += 1;
        let cleared_by = n + KEYS;
        if cleared_by >= EVENTS || !cleared_by.is_multiple_of(4) {
            *said.entry((n % KEYS, due(n))).or_default() += 1;
        }
    }
    said
}

fn counted<T: Ord>(events: Vec<T>) -> BTreeMap<T, u64> {
    let mut counts = BTreeMap::new();
    events.into_iter().for_each(|event| *counts.entry(event).or_default() += 1);
    counts
}

fn often() -> Duration {
    Duration::from_micros(400)
}

/// Some number of instances from 1 to 8 for each process.
fn parallelism(seed: u64, process: u32) -> usize {
    1 + (seed / 7 + u64::from(process) * 5) as usize % 8
}

/// The version of the job that a process runs: from one of the first processes on it is the second.
fn version(seed: u64, process: u32) -> u32 {
    if u64::from(process) < seed / 3 % 5 { 1 } else { 2 }
}

struct Seen {
    said: Published<Said>,
    counts: Published<(u64, u64)>,
    up_to_three: Published<(u64, u64)>,
    history: History,
}

fn run(simulation: &Simulation, guarantee: impl Into<Guarantee>) -> Seen {
    let (said, counts, up_to_three) = (Published::new(), Published::new(), Published::new());
    let job = |process: u32| {
        let job = Job::new("keyed");
        let numbers = job.stateful_source("numbers", || Numbers { next: 0, polls: 0 });
        let keyed = numbers
            .event_time(|n| time_of(*n), |watermarks| watermarks)
            .queue_batches(2)
            .key_by(|n| n % KEYS);
        let instances = parallelism(simulation.seed(), process);
        let version = version(simulation.seed(), process);
        let watch = match version {
            1 => keyed.keyed_operator("watch", || Watch::<u64>(PhantomData)),
            _ => keyed.keyed_operator("watch", || Watch::<Strokes>(PhantomData)),
        };
        let watch = watch.parallelism(instances);
        watch.transactional_sink("said", said.factory()).parallelism(1);
        let forgetful = keyed.keyed_operator("up to three", || UpToThree).parallelism(instances);
        forgetful.transactional_sink("three shown", up_to_three.factory()).parallelism(1);
        let table = match version {
            1 => {
                // Too long to be over: that its times are saved with the counts changes nothing. Some processes have none.
                let ttl = TimeToLive::since_write(Duration::from_secs(3_600)).in_event_time();
                let table = keyed.count();
                let table = if process % 3 == 1 { table } else { table.time_to_live(ttl) };
                table.at_end().named("counts").parallelism(9 - instances)
            }
            _ => {
                let migrated =
                    Stored::version(2).migrate_from(1, |old: u64| "|".repeat(old as usize));
                let table = keyed.fold(String::new(), |strokes, _| strokes.push('|'));
                let table = table.stored(migrated).at_end().named("counts");
                table.parallelism(9 - instances).map(|(key, strokes)| (key, strokes.len() as u64))
            }
        };
        table.transactional_sink("counts shown", counts.factory()).parallelism(1);
        job
    };
    let history = simulation.run_each(job, guarantee);
    assert!(matches!(history.ended, Ended::Finished(_)), "{history}");
    Seen { said, counts, up_to_three, history }
}

#[test]
fn state_and_timers_by_key_are_exact_through_crashes_and_any_parallelism() {
    let test = "state_and_timers_by_key_are_exact_through_crashes_and_any_parallelism";
    let (began, first) = (Instant::now(), tier::seed(test));
    let histories = tier::times(60, 20_000);
    let changed = Cell::new(0);
    explore(first..first + histories, |simulation| {
        // Most histories save what has changed, the others everything each time.
        let above = if simulation.seed().is_multiple_of(4) { u64::MAX } else { 0 };
        let guarantee = ExactlyOnce::checkpoints_in("/checkpoints").every(often());
        let seed = simulation.seed();
        let seen = run(&simulation, guarantee.incremental_above(above));
        let both = version(seed, 1) == 1 && version(seed, seen.history.lives) == 2;
        changed.set(changed.get() + u64::from(both));
        assert_eq!(counted(seen.said.events()), said_once(), "{}", seen.history);
        let counts: BTreeMap<u64, u64> = seen.counts.events().into_iter().collect();
        let expected = counted((0..EVENTS).map(|n| n % KEYS).collect());
        let up_to_three = (0..EVENTS).map(|n| (n % KEYS, n / KEYS % 3 + 1)).collect();
        let (seen_up_to_three, up_to_three) =
            (counted(seen.up_to_three.events()), counted(up_to_three));
        assert_eq!(seen_up_to_three, up_to_three, "{}", seen.history);
        assert_eq!(
            (counts, seen.counts.events().len() as u64),
            (expected, KEYS),
            "{}",
            seen.history
        );
    });
    // In a single history, which is run again by its seed, there may be no change.
    assert!(changed.get() > 0 || histories < 10, "a test that cannot fail: no job has changed");
    tier::report(27, test, histories, "histories", first, began.elapsed());
}

#[test]
fn state_by_key_is_within_what_each_weaker_guarantee_promises_at_any_parallelism() {
    let test = "state_by_key_is_within_what_each_weaker_guarantee_promises_at_any_parallelism";
    let (began, first) = (Instant::now(), tier::seed(test));
    let histories = tier::times(60, 20_000);
    explore(first..first + histories, |simulation| {
        let guarantee: Guarantee = match simulation.seed() % 3 {
            0 => {
                let guarantee = AtLeastOnce::checkpoints_in("/checkpoints").every(often());
                guarantee.incremental_above(0).into()
            }
            1 => {
                let guarantee = AtLeastOnce::new().store_in("/checkpoints").every(often());
                guarantee.incremental_above(0).into()
            }
            _ => {
                let guarantee = AtMostOnce::new().store_in("/checkpoints").every(often());
                guarantee.incremental_above(0).into()
            }
        };
        let name = guarantee.name();
        let seen = run(&simulation, guarantee);
        let counts: BTreeMap<u64, u64> = seen.counts.events().into_iter().collect();
        for (key, times) in counted((0..EVENTS).map(|n| n % KEYS).collect()) {
            let counted = counts.get(&key).copied().unwrap_or(0);
            let holds = match name {
                "at-most-once" => counted <= times,
                _ => counted >= times,
            };
            assert!(holds, "{name}: {counted} of {times} with key {key}: {}", seen.history);
        }
    });
    tier::report(27, test, histories, "histories", first, began.elapsed());
}
