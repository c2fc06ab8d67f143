//! Stored state is restored to the component and type that it was taken from, or refused by name (faults F3, F15, F16
//! and F17).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use streamwork::checkpoint::StateCodec;
use streamwork::testkit::Collected;
use streamwork::{
    AtLeastOnce, AtMostOnce, BoxError, Checkpointed, Collector, DeadLetter, ExactlyOnce, Guarantee,
    Instance, Job, JobError, LinesSource, Next, Operator, Permanent, Refused, RunError, Sink,
    SourceOutput, StatefulOperator, StatefulSource, Stream, TransactionalFiles,
};

/// Keeps a given value, and passes events on.
struct Keeps<S>(S);

impl<S: Clone + Default + Serialize + DeserializeOwned + Send + 'static> StatefulOperator
    for Keeps<S>
{
    type In = u64;
    type Out = u64;
    type State = S;
    fn setup(&mut self, _: &Instance, state: Option<S>) -> Result<(), BoxError> {
        if let Some(state) = state {
            self.0 = state;
        }
        Ok(())
    }
    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        out.emit(n);
        Ok(())
    }
    fn state(&self) -> S {
        self.0.clone()
    }
}

fn exactly_once(directory: &Path) -> Checkpointed {
    ExactlyOnce::checkpoints_in(directory)
}

/// Runs a job of the same name and source, with this in its middle.
fn run(
    guarantee: impl Into<Guarantee>,
    middle: impl FnOnce(Stream<u64>) -> Stream<u64>,
) -> Result<Vec<u64>, RunError> {
    let (job, seen) = (Job::new("types"), Collected::new());
    middle(job.from_iter("numbers", || 0..10_u64)).sink("seen", seen.factory());
    job.run(guarantee).map(|_| seen.events())
}

fn keeps<S>(stream: Stream<u64>, value: S) -> Stream<u64>
where
    S: Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    stream.stateful("keeps", move || Keeps(value.clone()))
}

#[track_caller]
fn assert_refused(result: Result<Vec<u64>, RunError>, reason: &str) {
    match result {
        Err(RunError::Refused(Refused::Incompatible { reason: given, .. })) => {
            assert!(given.contains(reason), "{given}");
            assert!(given.contains("start_anew"), "{given}");
        }
        other => panic!("{other:?}"),
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Balance {
    cents: u64,
    count: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Swapped {
    count: u64,
    cents: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Account {
    cents: u64,
    count: u64,
}

#[test]
fn a_state_of_another_type_is_refused_before_a_thread_starts_and_the_error_says_what_differs() {
    let directory = tempfile::tempdir().unwrap();
    let start =
        |middle: fn(Stream<u64>) -> Stream<u64>| run(exactly_once(directory.path()), middle);
    start(|numbers| keeps(numbers, Balance { cents: 3, count: 7 })).unwrap();
    let swapped = start(|numbers| keeps(numbers, Swapped::default()));
    assert_refused(
        swapped,
        "the state of \"keeps\" was {cents: u64, count: u64} and is {count: u64, cents: u64} now",
    );
    assert_refused(start(|numbers| keeps(numbers, (0.0_f64, 0_u64))), "is (f64, u64) now");
    assert_refused(start(|numbers| keeps(numbers, String::new())), "is str now");
    // The name of the type alone makes no difference.
    start(|numbers| keeps(numbers, Account::default())).unwrap();
}

#[test]
fn a_component_of_another_kind_under_an_old_name_is_refused_unless_it_is_to_start_anew() {
    let directory = tempfile::tempdir().unwrap();
    let first = run(exactly_once(directory.path()), |numbers| keeps(numbers, 5_u64));
    assert_eq!(first.unwrap().len(), 10);
    let stateless = |numbers: Stream<u64>| numbers.map(|n| n).named("keeps");
    let refused = run(exactly_once(directory.path()), stateless);
    assert_refused(refused, "\"keeps\" had state and has none now");
    let gone = run(exactly_once(directory.path()), |numbers| numbers.map(|n| n));
    assert_refused(gone, "it has state of \"keeps\", which the job no longer has");
    let anew = exactly_once(directory.path()).start_anew("keeps");
    assert_eq!(run(anew, stateless).unwrap().len(), 0, "the source has come to its end");
    // Its state is gone from the checkpoint for good.
    assert_eq!(run(exactly_once(directory.path()), stateless).unwrap().len(), 0);
    let unknown = run(exactly_once(directory.path()).start_anew("nobody"), stateless);
    let Err(RunError::Refused(Refused::Option { option, reason })) = unknown else { panic!() };
    assert_eq!(option, "start_anew");
    assert!(reason.contains("nobody"), "{reason}");
}

#[test]
fn a_sink_with_output_to_commit_does_not_become_a_plain_one_without_a_word() {
    let (directory, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files =
        TransactionalFiles::factory(out.path(), |n: &u64, file: &mut Vec<u8>| file.push(*n as u8));
    let job = Job::new("sinks");
    job.from_iter("numbers", || 0..10_u64).transactional_sink("out", files);
    job.run(exactly_once(directory.path())).unwrap();
    let plain = Job::new("sinks");
    plain.from_iter("numbers", || 0..10_u64).sink("out", Collected::new().factory());
    let refused = plain.run(exactly_once(directory.path())).map(|_| Vec::new());
    assert_refused(refused, "\"out\" was a transactional sink and is a plain sink now");
    plain.run(exactly_once(directory.path()).start_anew("out")).unwrap();
}

#[test]
fn a_source_of_another_kind_does_not_go_on_from_a_position_that_is_not_its_own() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "0\n1\n2\n3\n4\n5\n6\n").unwrap();
    let guarantees: [fn(&Path) -> Guarantee; 3] = [
        |path| ExactlyOnce::checkpoints_in(path).into(),
        |path| AtLeastOnce::new().store_in(path).into(),
        |path| AtMostOnce::new().store_in(path).into(),
    ];
    for guarantee in guarantees {
        let directory = tempfile::tempdir().unwrap();
        let job = Job::new("sources");
        job.from_iter("texts", || (0..5).map(|n| n.to_string())).for_each(|_| ());
        job.run(guarantee(directory.path())).unwrap();
        let (job, seen) = (Job::new("sources"), Collected::new());
        job.from_lines("texts", file.path()).sink("seen", seen.factory());
        let error = job.run(guarantee(directory.path())).unwrap_err().to_string();
        assert!(error.contains("texts") && error.contains("start_anew"), "{error}");
        assert_eq!(seen.len(), 0, "nothing was read on in mid-line");
        if let Err(RunError::Failed(JobError::Failed { restarts, .. })) =
            job.run(guarantee(directory.path()))
        {
            assert_eq!(restarts, 0, "no later attempt can mend it");
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let job = Job::new("sources");
    job.from_iter("texts", || (0..5).map(|n| n.to_string())).for_each(|_| ());
    job.run(AtMostOnce::new().store_in(directory.path())).unwrap();
    let (job, seen) = (Job::new("sources"), Collected::new());
    job.from_lines("texts", file.path()).sink("seen", seen.factory());
    job.run(AtMostOnce::new().store_in(directory.path()).start_anew("texts")).unwrap();
    assert_eq!(seen.len(), 7);
}

#[test]
fn what_a_component_has_stored_since_it_started_anew_is_taken_up_when_the_job_starts_over() {
    let directory = tempfile::tempdir().unwrap();
    run(exactly_once(directory.path()), |numbers| keeps(numbers, 5_u64)).unwrap();
    let fails = crate::support::Faults::once([1_500_u64]);
    let (job, seen) = (Job::new("types"), Collected::new());
    job.from_iter("numbers", || 0..2_000_u64)
        .map(|n| {
            std::thread::sleep(std::time::Duration::from_micros(50));
            n
        })
        .stateful("keeps", crate::support::Sum::default)
        .sink("seen", seen.factory());
    job.from_iter("others", || 0..2_000_u64)
        .try_map(move |n| if fails.strike(&n) { Err("once".into()) } else { Ok(n) })
        .for_each(|_| ());
    let guarantee = exactly_once(directory.path())
        .every(std::time::Duration::from_millis(1))
        .start_anew("keeps")
        .start_anew("numbers");
    let report = job.run(guarantee).unwrap();
    assert_eq!(report.metrics.restarts, 1, "a test that cannot fail");
    assert_eq!(seen.events().last(), Some(&(0..2_000).sum()), "each number once");
}

/// A state that is encoded in another way than it is decoded.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Skips {
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<u64>,
    count: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    #[default]
    Nothing,
    Number(u64),
}

/// All guarantees that store states, with this codec.
fn stored(codec: StateCodec) -> [(tempfile::TempDir, Guarantee); 3] {
    [0, 1, 2].map(|number| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let guarantee: Guarantee = match number {
            0 => ExactlyOnce::checkpoints_in(path).state_codec(codec).into(),
            1 => AtLeastOnce::new().store_in(path).state_codec(codec).into(),
            _ => AtMostOnce::new().store_in(path).state_codec(codec).into(),
        };
        (directory, guarantee)
    })
}

#[track_caller]
fn assert_not_given_back<S>(codec: StateCodec, value: S)
where
    S: Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    for (_directory, guarantee) in stored(codec) {
        let value = value.clone();
        let ended = run(guarantee, |numbers| keeps(numbers, value));
        let Err(RunError::Failed(JobError::Failed { failure, restarts })) = ended else {
            panic!("{ended:?}");
        };
        let said = failure.to_string();
        assert!(said.starts_with("keeps[0] failed in state"), "{said}");
        assert!(said.contains("do not give it back") && said.contains("state_codec"), "{said}");
        assert_eq!(restarts, 0, "no later attempt can mend it");
    }
}

#[test]
fn a_state_that_cannot_be_given_back_is_found_when_the_first_of_it_is_taken_and_named() {
    assert_not_given_back(StateCodec::Auto, Skips { last: None, count: 3 });
    assert_not_given_back(StateCodec::Positional, Skips { last: None, count: 3 });
    // Two values that are written alike.
    assert_not_given_back(StateCodec::SelfDescribing, vec![Some(None::<u64>)]);
    assert_not_given_back(StateCodec::SelfDescribing, Some(()));
    for codec in [StateCodec::Auto, StateCodec::SelfDescribing] {
        // Maps come back in another order.
        let map: HashMap<String, u64> = (0..100).map(|n| (n.to_string(), n)).collect();
        for (_directory, guarantee) in stored(codec) {
            let map = map.clone();
            assert_eq!(run(guarantee, |numbers| keeps(numbers, map)).unwrap().len(), 10);
        }
    }
}

/// Keeps a value, and notes the state that it starts from.
struct Tells<S>(S, Collected<Option<S>>);

impl<S> StatefulOperator for Tells<S>
where
    S: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    type In = u64;
    type Out = u64;
    type State = S;
    fn setup(&mut self, _: &Instance, state: Option<S>) -> Result<(), BoxError> {
        let mut told = self.1.factory()();
        Sink::write(&mut told, state)
    }
    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        out.emit(n);
        Ok(())
    }
    fn state(&self) -> S {
        self.0.clone()
    }
}

/// The state from which the second of two runs starts.
fn given_back<S>(first: impl Into<Guarantee>, second: impl Into<Guarantee>, value: S) -> S
where
    S: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let told = Collected::new();
    for guarantee in [first.into(), second.into()] {
        let (value, told) = (value.clone(), told.clone());
        let tells = move || Tells(value.clone(), told.clone());
        run(guarantee, |numbers| numbers.stateful("tells", tells)).unwrap();
    }
    let mut told = told.events();
    assert_eq!(told.len(), 2, "each run starts once");
    told.pop().flatten().expect("the second run starts from a state")
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    number: u64,
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

/// fault F16: types that serde can only read from what describes itself, without a choice and by name.
#[test]
fn states_that_need_a_codec_that_describes_itself_come_back_under_every_guarantee() {
    for codec in [StateCodec::Auto, StateCodec::SelfDescribing] {
        let value = serde_json::json!({ "a": [1, 2.5, null, "x"], "b": { "c": true } });
        let rest = BTreeMap::from([("more".to_owned(), serde_json::json!([1, "two"]))]);
        let flat = Flat { number: 7, rest };
        for (_directory, guarantee) in stored(codec) {
            let again = guarantee.clone();
            assert_eq!(given_back(guarantee, again, value.clone()), value);
        }
        for (_directory, guarantee) in stored(codec) {
            let again = guarantee.clone();
            assert_eq!(given_back(guarantee, again, flat.clone()), flat);
        }
        for (_directory, guarantee) in stored(codec) {
            let again = guarantee.clone();
            let read = given_back(guarantee, again, vec![Untagged::Number(7), Untagged::Nothing]);
            assert!(matches!(read[..], [Untagged::Number(7), Untagged::Nothing]));
        }
    }
    for (_directory, guarantee) in stored(StateCodec::SelfDescribing) {
        let again = guarantee.clone();
        let read = given_back(guarantee, again, Skips { last: None, count: 3 });
        assert_eq!((read.last, read.count), (None, 3));
    }
}

#[test]
fn a_type_that_does_not_say_what_it_is_made_of_is_refused_by_name_where_it_has_to() {
    for (_directory, guarantee) in stored(StateCodec::Positional) {
        let ended = run(guarantee, |numbers| keeps(numbers, Untagged::Nothing));
        let Err(RunError::Refused(Refused::Option { option: "state_codec", reason })) = ended
        else {
            panic!("{ended:?}")
        };
        assert!(reason.contains("\"keeps\""), "{reason}");
    }
    // One component may choose otherwise.
    for (_directory, guarantee) in stored(StateCodec::Positional) {
        let chosen =
            |numbers| keeps(numbers, Untagged::Nothing).state_codec(StateCodec::SelfDescribing);
        assert_eq!(run(guarantee, chosen).unwrap().len(), 10);
    }
}

#[test]
fn the_plan_says_which_codec_each_state_has_and_why() {
    let directory = tempfile::tempdir().unwrap();
    let job = Job::new("plan");
    let numbers = job.from_iter("numbers", || 0..10_u64);
    keeps(numbers.clone(), 7_u64).named("count").ignore();
    keeps(numbers.clone(), Untagged::Nothing).named("any").ignore();
    let chosen = keeps(numbers, Balance::default()).named("balance");
    chosen.state_codec(StateCodec::SelfDescribing).ignore();
    let said = job.plan(exactly_once(directory.path())).unwrap().to_string();
    for line in [
        "state of \"numbers\": positional",
        "state of \"count\": positional",
        "state of \"any\": self-describing, since its type does not say what it is made of",
        "state of \"balance\": self-describing, as chosen",
    ] {
        assert!(said.contains(line), "{line}:\n{said}");
    }
    assert!(job.plan(AtMostOnce::new()).unwrap().states.is_empty(), "nothing is stored");
}

#[test]
fn the_codec_may_be_another_one_at_the_next_start() {
    let chosen = |path: &Path, codec| ExactlyOnce::checkpoints_in(path).state_codec(codec);
    let (one, other) = (StateCodec::Positional, StateCodec::SelfDescribing);
    for (first, second) in [(one, other), (other, one)] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let value = Balance { cents: 3, count: 7 };
        assert_eq!(given_back(chosen(path, first), chosen(path, second), value.clone()), value);
    }
}

/// A type that has changed as serde's attributes allow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Grown {
    #[serde(alias = "count")]
    times: u64,
    cents: u64,
    #[serde(default)]
    currency: String,
}

#[test]
fn fields_may_come_change_places_and_be_renamed_in_a_state_that_describes_itself() {
    let directory = tempfile::tempdir().unwrap();
    let guarantee =
        || ExactlyOnce::checkpoints_in(directory.path()).state_codec(StateCodec::SelfDescribing);
    run(guarantee(), |numbers| keeps(numbers, Balance { cents: 3, count: 7 })).unwrap();
    let told = Collected::new();
    let tells = {
        let told = told.clone();
        move || Tells(Grown::default(), told.clone())
    };
    run(guarantee(), |numbers| numbers.stateful("keeps", tells)).unwrap();
    let expected = Grown { times: 7, cents: 3, currency: String::new() };
    assert_eq!(told.events(), [Some(expected)]);
}

/// A source whose position cannot be decoded from its own bytes.
struct Odd(Skips);

impl StatefulSource for Odd {
    type Out = u64;
    type State = Skips;
    fn setup(&mut self, _: &Instance, _: Option<Skips>) -> Result<(), BoxError> {
        Ok(())
    }
    fn get_events(&mut self, out: &mut SourceOutput<u64>) -> Result<Next, BoxError> {
        out.emit(1);
        Ok(Next::End)
    }
    fn state(&self) -> Skips {
        self.0.clone()
    }
}

#[test]
fn a_position_that_cannot_be_given_back_is_found_before_the_first_event() {
    let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
    let job = Job::new("odd");
    job.stateful_source("odd", || Odd(Skips::default())).sink("seen", seen.factory());
    let error = job.run(AtMostOnce::new().store_in(directory.path())).unwrap_err().to_string();
    assert!(error.contains("odd[0] failed in state"), "{error}");
    assert_eq!(seen.len(), 0);
    job.run(AtMostOnce::new()).expect("where nothing is stored, nothing has to come back");
    let described = AtMostOnce::new().store_in(directory.path());
    job.run(described.state_codec(StateCodec::SelfDescribing)).expect("it comes back then");
}

#[test]
fn what_no_later_attempt_can_mend_is_not_attempted_again() {
    let missing = tempfile::tempdir().unwrap().path().join("nothing here");
    let attempts = Arc::new(AtomicU64::new(0));
    struct Broken(Arc<AtomicU64>);
    impl Operator for Broken {
        type In = String;
        type Out = String;
        fn setup(&mut self, _: &Instance) -> Result<(), BoxError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Err(Permanent::new("no model").into())
        }
        fn apply(&mut self, _: String, _: &mut Collector<String>) -> Result<(), BoxError> {
            Ok(())
        }
    }
    type Build = Box<dyn Fn(&Job)>;
    let counted = Arc::clone(&attempts);
    let jobs: [(&str, Build); 4] = [
        ("lines[0] failed in setup", {
            let missing = missing.clone();
            Box::new(move |job| {
                job.from_lines("lines", &missing).for_each(|_| ());
            })
        }),
        ("lines[", {
            let source = LinesSource::new(file!());
            Box::new(move |job| {
                job.lines("lines", source.clone()).parallelism(3).for_each(|_| ());
            })
        }),
        (
            "numbers[",
            Box::new(|job| {
                job.from_iter("numbers", || 0..3_u64).parallelism(2).for_each(|_| ());
            }),
        ),
        (
            "broken[0] failed in setup: no model",
            Box::new(move |job| {
                let counted = Arc::clone(&counted);
                job.from_iter("texts", || ["a".to_owned()])
                    .operator("broken", move || Broken(Arc::clone(&counted)))
                    .for_each(|_| ());
            }),
        ),
    ];
    for (named, build) in &jobs {
        for name in crate::support::ALL {
            let directory = tempfile::tempdir().unwrap();
            let job = Job::new("broken");
            build(&job);
            let ended = job.run(crate::support::guarantee(name, directory.path()));
            let Err(RunError::Failed(JobError::Failed { failure, restarts })) = ended else {
                panic!("{name}: {ended:?}");
            };
            assert!(failure.to_string().contains(named), "{name}: {failure}");
            assert_eq!(restarts, 0, "{name}: {failure}");
        }
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 6, "once under each guarantee");
}

#[test]
fn an_event_that_fails_for_good_is_a_dead_letter_at_once() {
    let letters: Collected<DeadLetter<u64>> = Collected::new();
    let job = Job::new("poison");
    let numbers = job.from_iter("numbers", || 0..10_u64);
    numbers.dead_letter_sink(letters.factory());
    numbers
        .try_map(|n| if n == 7 { Err(Permanent::new("poison").into()) } else { Ok(n) })
        .for_each(|_| ());
    let metrics = job.run(AtLeastOnce::new()).unwrap().metrics;
    assert_eq!(metrics.sum("numbers", |m| m.replayed), 0);
    let letters = letters.events();
    assert_eq!((letters.len(), letters[0].event, letters[0].attempts), (1, 7, 1));
}
