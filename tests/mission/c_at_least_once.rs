//! [C1]–[C10]: the acknowledger, replays, tokens, dead letters.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use streamwork::testkit::Collected;
use streamwork::{
    AtLeastOnce, BoxError, Collector, DeadLetter, DeclaredOutput, Instance, Job, JobError,
    Operator, Output, SideOutput, Sink, StatefulOperator, Token,
};

use crate::support::{Faults, counts, wait_until};

fn patient() -> AtLeastOnce {
    AtLeastOnce::new()
        .backoff(Duration::from_micros(100), Duration::from_millis(5))
        .attempts_max(1_000)
}

#[test]
fn a_b_c_with_a_failing_once_is_processed_a_b_c_a() {
    for panics in [false, true] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let processed = Arc::clone(&seen);
        let faults = Faults::once(['A']);
        let job = Job::new("abca");
        job.from_iter("letters", || ['A', 'B', 'C'])
            .try_map(move |letter| {
                processed.lock().push(letter);
                match faults.strike(&letter) {
                    true if panics => panic!("not this time"),
                    true => Err("not this time".into()),
                    false => Ok(letter),
                }
            })
            .for_each(|_| ());
        job.run(AtLeastOnce::new()).unwrap();
        assert_eq!(*seen.lock(), ['A', 'B', 'C', 'A'], "panics: {panics}");
    }
}

#[test]
fn ordered_replay_goes_back_to_the_lowest_unfinished_event() {
    let seen = Collected::new();
    let faults = Faults::once([50_u64, 51, 3_000]);
    let job = Job::new("ordered");
    job.from_iter("numbers", || 0..5_000_u64)
        .try_map(move |n| if faults.strike(&n) { Err("once".into()) } else { Ok(n) })
        .sink("seen", seen.factory());
    job.run(patient().ordered()).unwrap();
    let events = seen.events();
    assert!((0..5_000).all(|n| events.contains(&n)), "an event was lost");
    // After every step back the order is that of the source: nothing jumps ahead for good.
    let last_of = |n: u64| events.iter().rposition(|e| *e == n).unwrap();
    let lasts: Vec<usize> = (0..5_000).map(last_of).collect();
    let jump = lasts.windows(2).position(|pair| pair[0] > pair[1]);
    assert_eq!(jump, None, "the last time of each event is out of order");
}

#[test]
fn every_event_arrives_however_often_and_wherever_something_fails() {
    let faults = Faults::times(3, (0..20_000_u64).filter(|n| n % 7 == 0));
    let panics = Faults::once((0..20_000_u64).filter(|n| n % 997 == 0));
    let flushes = Arc::new(AtomicU64::new(0));
    struct Flaky(Collected<u64>, Vec<u64>, Arc<AtomicU64>);
    impl Sink for Flaky {
        type In = u64;
        fn write(&mut self, event: u64) -> Result<(), BoxError> {
            self.1.push(event);
            Ok(())
        }
        fn flush(&mut self) -> Result<(), BoxError> {
            let events = std::mem::take(&mut self.1);
            if self.2.fetch_add(1, Ordering::Relaxed) % 5 == 3 {
                return Err("the disk is away".into());
            }
            events.into_iter().try_for_each(|event| self.0.write(event))
        }
    }
    let seen = Collected::new();
    let (inner, count) = (seen.clone(), Arc::clone(&flushes));
    let job = Job::new("anything");
    let numbers = job.from_iter("numbers", || 0..20_000_u64);
    numbers
        .key_by(|n| n % 13)
        .try_map(move |n| if faults.strike(&n) { Err("try again".into()) } else { Ok(n) })
        .parallelism(2)
        .shuffle()
        .inspect(move |n| assert!(!panics.strike(n), "once"))
        .parallelism(3)
        .global()
        .sink("flaky", move || Flaky(inner.clone(), Vec::new(), Arc::clone(&count)));
    let metrics = job.run(patient()).unwrap().metrics;
    let counted = counts(seen.events());
    assert_eq!(counted.len(), 20_000, "events were lost");
    assert!(metrics.sum("numbers", |m| m.replayed) >= 3 * 20_000 / 7);
    assert_eq!(metrics.sum("numbers", |m| m.unacknowledged), 0, "the replay buffer is not empty");
    assert_eq!(metrics.sum("numbers", |m| m.dead_lettered), 0);
}

const SIDE: SideOutput<u64> = SideOutput::new("side");

#[test]
fn fan_out_broadcast_side_outputs_merge_and_early_out_are_all_part_of_the_account() {
    struct Many;
    impl Operator for Many {
        type In = u64;
        type Out = u64;
        const SIDE_OUTPUTS: &'static [DeclaredOutput] = &[SIDE.declared()];
        fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
            // 0: finishes here; 1: one output; 2: three; 3: only on the side output; 4: on both.
            match event % 5 {
                0 => {}
                1 => out.emit(event),
                2 => (0..3).for_each(|_| out.emit(event)),
                3 => out.emit_to(SIDE, event),
                _ => {
                    out.emit(event);
                    out.emit_to(SIDE, event);
                }
            }
            Ok(())
        }
    }
    let failing = Faults::once((0..3_000_u64).filter(|n| n % 11 == 0));
    let also = failing.clone();
    let (main, side) = (Collected::new(), Collected::new());
    let job = Job::new("account");
    let numbers = job.from_iter("numbers", || 0..3_000_u64);
    let many = numbers.operator("many", || Many);
    let copies = many.broadcast().map(|n| n).parallelism(3);
    copies
        .merge(&many)
        .try_map(move |n| if failing.strike(&n) { Err("once".into()) } else { Ok(n) })
        .sink("main", main.factory());
    many.side_output(SIDE)
        .shuffle()
        .map(|n| n)
        .parallelism(2)
        .global()
        .sink("side", side.factory());
    let metrics = job.run(patient()).unwrap().metrics;
    let (main, side) = (counts(main.events()), counts(side.events()));
    for n in 0..3_000_u64 {
        let (expect_main, expect_side) = match n % 5 {
            0 => (0, 0),
            1 => (4, 0),
            2 => (12, 0),
            3 => (0, 1),
            _ => (4, 1),
        };
        let (got_main, got_side) =
            (main.get(&n).copied().unwrap_or(0), side.get(&n).copied().unwrap_or(0));
        assert!(got_main >= expect_main && got_side >= expect_side, "{n}: {got_main} {got_side}");
        if n % 11 != 0 {
            assert_eq!((got_main, got_side), (expect_main, expect_side), "{n} was repeated");
        }
    }
    assert!(also.strike(&1) || metrics.sum("numbers", |m| m.replayed) > 0);
    assert_eq!(metrics.sum("numbers", |m| m.unacknowledged), 0);
}

#[test]
fn the_replay_buffer_is_bounded_and_holds_the_source_back() {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let hold = Arc::clone(&gate);
    let job = Job::new("bounded");
    // A queue that is bounded by its length alone: what holds the source back is the buffer.
    let numbers = job.from_iter("numbers", || 0..10_000_u64).queue_batches(8);
    numbers.for_each(move |_| drop(hold.lock())).own_thread();
    let handle = job.start(AtLeastOnce::new().replay_events_max(100)).unwrap();
    wait_until("the buffer is full", || {
        handle.metrics().sum("numbers", |m| m.unacknowledged) == 100
    });
    assert_eq!(handle.metrics().sum("numbers", |m| m.emitted), 100);
    drop(closed);
    assert_eq!(handle.wait().unwrap().metrics.sum("for_each", |m| m.delivered), 10_000);

    let job = Job::new("bounded in bytes");
    job.from_iter("numbers", || 0..10_000_u64).for_each(|_| ()).own_thread();
    let metrics = job.run(AtLeastOnce::new().replay_bytes_max(1)).unwrap().metrics;
    assert_eq!(metrics.sum("for_each", |m| m.delivered), 10_000);
}

/// Holds events until it has three, then emits one output that stands for them.
struct Threes(Vec<(u64, Token)>);

impl Operator for Threes {
    type In = u64;
    type Out = Vec<u64>;
    fn apply(&mut self, event: u64, out: &mut Collector<Vec<u64>>) -> Result<(), BoxError> {
        self.0.push((event, out.defer()));
        if self.0.len() == 3 {
            let (events, tokens): (Vec<_>, Vec<_>) = self.0.drain(..).unzip();
            out.emit_anchored(events, tokens);
        }
        Ok(())
    }
    fn finish(&mut self, out: &mut Output<Vec<u64>>) -> Result<(), BoxError> {
        let (events, tokens): (Vec<_>, Vec<_>) = self.0.drain(..).unzip();
        if !events.is_empty() {
            out.emit_anchored(events, tokens);
        }
        Ok(())
    }
}

#[test]
fn an_output_that_stands_for_several_inputs_fails_and_finishes_for_all_of_them() {
    let faults = Faults::once([4_u64, 5, 12]);
    let seen = Collected::new();
    let job = Job::new("groups");
    job.from_iter("numbers", || 0..100_u64)
        .operator("threes", || Threes(Vec::new()))
        .own_thread()
        .try_map(move |three: Vec<u64>| {
            if three.iter().any(|n| faults.strike(n)) { Err("once".into()) } else { Ok(three) }
        })
        .own_thread()
        .sink("seen", seen.factory());
    let metrics = job.run(patient()).unwrap().metrics;
    let counted = counts(seen.events().into_iter().flatten());
    assert_eq!(counted.len(), 100, "an event was lost");
    assert!(
        metrics.sum("numbers", |m| m.replayed) >= 3,
        "all members of a failed group come again"
    );
    assert_eq!(metrics.sum("numbers", |m| m.unacknowledged), 0);
}

#[test]
fn an_event_that_fails_takes_back_an_output_that_stood_for_others_and_they_come_again() {
    /// Holds every even event; an output of the next odd event stands for it. Some odd events fail once after
    /// that output; the first time in the middle of a batch.
    struct Pairs {
        held: Option<(u64, Token)>,
        faults: Faults<u64>,
    }
    impl Operator for Pairs {
        type In = u64;
        type Out = (u64, u64);
        fn apply(&mut self, n: u64, out: &mut Collector<(u64, u64)>) -> Result<(), BoxError> {
            let Some((other, token)) = self.held.take() else {
                self.held = Some((n, out.defer()));
                return Ok(());
            };
            out.emit_anchored((other, n), [token]);
            if self.faults.strike(&n) { Err("once".into()) } else { Ok(()) }
        }
        fn finish(&mut self, out: &mut Output<(u64, u64)>) -> Result<(), BoxError> {
            if let Some((other, token)) = self.held.take() {
                out.emit_anchored((other, u64::MAX), [token]);
            }
            Ok(())
        }
    }
    let faults = Faults::once([3_u64, 11, 501]);
    let seen = Collected::new();
    let job = Job::new("pairs");
    job.from_iter("numbers", || 0..1_000_u64)
        .operator("pairs", move || Pairs { held: None, faults: faults.clone() })
        .sink("seen", seen.factory());
    let metrics = job.run(patient()).unwrap().metrics;
    let shown: BTreeSet<u64> = seen.events().into_iter().flat_map(|(a, b)| [a, b]).collect();
    assert!((0..1_000).all(|n| shown.contains(&n)), "an event was lost");
    assert_eq!(metrics.sum("pairs", |m| m.failed), 3);
    assert!(
        metrics.sum("numbers", |m| m.replayed) >= 6,
        "the failed ones and those they stood for"
    );
    assert_eq!(metrics.sum("numbers", |m| m.unacknowledged), 0);
    assert_eq!(metrics.sum("numbers", |m| m.dead_lettered), 0);
}

#[test]
fn a_token_is_answered_later_from_another_thread_and_one_that_is_dropped_is_a_failure() {
    struct Later(std::sync::mpsc::Sender<(u64, Token)>);
    impl Operator for Later {
        type In = u64;
        type Out = u64;
        fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
            self.0.send((event, out.defer()))?;
            Ok(())
        }
    }
    let (sender, receiver) = std::sync::mpsc::channel::<(u64, Token)>();
    let done = Arc::new(Mutex::new(Vec::new()));
    let acknowledged = Arc::clone(&done);
    let worker = std::thread::spawn(move || {
        let (dropped, failed) = (Faults::once([3_u64]), Faults::once([5_u64]));
        for (event, token) in receiver {
            if dropped.strike(&event) {
                drop(token);
            } else if failed.strike(&event) {
                token.fail("not now");
            } else {
                acknowledged.lock().push(event);
                token.ack();
            }
        }
    });
    let job = Job::new("later");
    job.from_iter("numbers", || 0..10_u64)
        .operator("later", move || Later(sender.clone()))
        .ignore();
    let metrics = job.run(patient()).unwrap().metrics;
    drop(job);
    worker.join().unwrap();
    assert_eq!(counts(done.lock().iter().copied()), counts(0..10));
    assert_eq!(metrics.sum("numbers", |m| m.replayed), 2);
    assert_eq!(metrics.sum("later", |m| m.processed), 12);
    assert_eq!(metrics.sum("later", |m| m.delivered), 10);
    assert_eq!(metrics.sum("later", |m| m.failed), 2);
}

#[test]
fn an_event_that_fails_too_often_becomes_a_dead_letter_and_the_others_flow_on() {
    struct Letters(Collected<(u64, u32, String)>);
    impl Sink for Letters {
        type In = DeadLetter<u64>;
        fn write(&mut self, letter: DeadLetter<u64>) -> Result<(), BoxError> {
            self.0.write((letter.event, letter.attempts, letter.failure.to_string()))
        }
    }
    let (seen, dead) = (Collected::new(), Collected::new());
    let inner = dead.clone();
    let job = Job::new("poison");
    let numbers = job.from_iter("numbers", || 0..1_000_u64);
    numbers.dead_letter_sink(move || Letters(inner.clone()));
    numbers
        .shuffle()
        .try_map(|n| if n % 100 == 13 { Err(format!("{n} is poison").into()) } else { Ok(n) })
        .parallelism(2)
        .sink("seen", seen.factory());
    let metrics = job.run(patient().attempts_max(3)).unwrap().metrics;
    assert_eq!(seen.len(), 990);
    let mut letters = dead.events();
    letters.sort();
    assert_eq!(letters.len(), 10);
    for (n, (event, attempts, failure)) in letters.into_iter().enumerate() {
        assert_eq!((event, attempts), (n as u64 * 100 + 13, 3));
        assert!(failure.starts_with("try_map["), "{failure}");
        assert!(failure.contains(&format!("{event} is poison")), "{failure}");
    }
    assert_eq!(metrics.sum("numbers", |m| m.dead_lettered), 10);
}

#[test]
fn dead_letters_that_cannot_be_written_end_the_job_instead_of_vanishing() {
    struct Full;
    impl Sink for Full {
        type In = DeadLetter<u64>;
        fn write(&mut self, _: DeadLetter<u64>) -> Result<(), BoxError> {
            Err("the graveyard is full".into())
        }
    }
    let job = Job::new("full");
    let numbers = job.from_iter("numbers", || 0..10_u64);
    numbers.dead_letter_sink(|| Full);
    numbers.try_for_each(|_| Err("poison".into()));
    let error = job.start(patient().attempts_max(1)).unwrap().wait().unwrap_err();
    let JobError::Failed { failure, .. } = &error else { panic!("{error}") };
    assert!(failure.to_string().contains("the graveyard is full"), "{error}");
}

#[test]
fn nothing_is_replayed_for_being_slow_unless_a_timeout_is_set() {
    let seen = Arc::new(AtomicUsize::new(0));
    for timeout in [None, Some(Duration::from_millis(20))] {
        let held: Arc<Mutex<Vec<Token>>> = Arc::default();
        struct Hold(Arc<Mutex<Vec<Token>>>, Arc<AtomicUsize>);
        impl Operator for Hold {
            type In = u64;
            type Out = u64;
            fn apply(&mut self, _: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
                let token = out.defer();
                match self.1.fetch_add(1, Ordering::SeqCst) {
                    0 => self.0.lock().push(token),
                    _ => token.ack(),
                }
                Ok(())
            }
        }
        seen.store(0, Ordering::SeqCst);
        let (keep, count) = (Arc::clone(&held), Arc::clone(&seen));
        let job = Job::new("slow");
        job.from_iter("numbers", || 0..1_u64)
            .operator("hold", move || Hold(Arc::clone(&keep), Arc::clone(&count)))
            .ignore();
        let guarantee = match timeout {
            Some(time) => patient().timeout(time),
            None => patient(),
        };
        let handle = job.start(guarantee).unwrap();
        if timeout.is_none() {
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(seen.load(Ordering::SeqCst), 1, "replayed without a timeout");
            held.lock().drain(..).for_each(Token::ack);
        }
        handle.wait().unwrap();
        assert_eq!(seen.load(Ordering::SeqCst), if timeout.is_some() { 2 } else { 1 });
    }
}

#[test]
fn what_is_held_at_a_stop_comes_again_at_the_next_start_and_what_is_done_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let hoard: Arc<Mutex<Vec<(u64, Token)>>> = Arc::default();
    struct Keep(Arc<Mutex<Vec<(u64, Token)>>>);
    impl Operator for Keep {
        type In = u64;
        type Out = u64;
        fn apply(&mut self, event: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
            let token = out.defer();
            if event >= 90 && self.0.lock().len() < 10 {
                self.0.lock().push((event, token));
            } else {
                token.ack();
                out.emit(event);
            }
            Ok(())
        }
    }
    let seen = Collected::new();
    let build = |hoard: &Arc<Mutex<Vec<(u64, Token)>>>| {
        let hoard = Arc::clone(hoard);
        let job = Job::new("held");
        job.from_iter("numbers", || 0..100_u64)
            .operator("keep", move || Keep(Arc::clone(&hoard)))
            .sink("seen", seen.factory());
        job
    };
    let guarantee =
        || AtLeastOnce::new().store_in(directory.path()).every(Duration::from_millis(2));
    let handle = build(&hoard).start(guarantee()).unwrap();
    wait_until("ten are held", || hoard.lock().len() == 10 && seen.len() == 90);
    handle.stop_within(Duration::from_secs(10)).unwrap();
    build(&hoard).start(guarantee()).unwrap().wait().unwrap();
    let events = counts(seen.events());
    assert_eq!(events.len(), 100, "what was held was lost");
}

#[test]
fn a_state_that_cannot_be_carried_over_after_a_panic_ends_the_job_instead_of_being_lost() {
    struct Unwritable;
    impl serde::Serialize for Unwritable {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("this state cannot be written"))
        }
    }
    impl<'de> serde::Deserialize<'de> for Unwritable {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }
    struct Keeps;
    impl StatefulOperator for Keeps {
        type In = u64;
        type Out = u64;
        type State = Unwritable;
        fn setup(&mut self, _: &Instance, _: Option<Unwritable>) -> Result<(), BoxError> {
            Ok(())
        }
        fn apply(&mut self, event: u64, _: &mut Collector<u64>) -> Result<(), BoxError> {
            assert!(event != 5, "five");
            Ok(())
        }
        fn state(&self) -> Unwritable {
            Unwritable
        }
    }
    let job = Job::new("carried");
    job.from_iter("numbers", || 0..10_u64).stateful("keeps", || Keeps).ignore();
    let error = job.start(patient()).unwrap().wait().unwrap_err();
    let JobError::Failed { failure, .. } = &error else { panic!("{error}") };
    assert_eq!((failure.instance.to_string().as_str(), failure.callback), ("keeps[0]", "state"));
}
