//! Lives of a job with two instances, as scripts: when, what happens | what is done about it.

use super::*;
use crate::error::{Cause, Permanent};

/// A life, and the script of it.
struct Play {
    life: Lifecycle,
    last: Timestamp,
}

fn with_store() -> Play {
    play(true, Restarts::default())
}

fn without_store() -> Play {
    play(false, Restarts::default())
}

fn play(stored: bool, restarts: Restarts) -> Play {
    let instances = vec![InstanceName::new("source", 0), InstanceName::new("sink", 0)];
    let stop_within = Duration::from_secs(30);
    let options = LifecycleOptions { instances, stored, stop_within, restarts };
    Play { life: Lifecycle::new(options), last: Timestamp(0) }
}

impl Play {
    /// Plays a script. A line is a moment in milliseconds, an event and, behind a bar, the actions.
    #[track_caller]
    fn goes(mut self, script: &str) -> Self {
        let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
        let (mut expected, mut happened) = (Vec::new(), Vec::new());
        for line in lines {
            let (given, actions) = line.split_once('|').expect("a bar in each line");
            let (ms, event) = given.trim().split_once(' ').expect("a moment and an event");
            let ms: u64 = ms.parse().expect("milliseconds");
            self.last = Timestamp(ms * 1_000_000);
            let done = self.life.on(event_of(event.trim()), self.last);
            let done: Vec<String> = done.iter().map(told).collect();
            happened.push(format!("{ms} {} | {}", event.trim(), done.join(", ")));
            expected.push(format!("{ms} {} | {}", event.trim(), actions.trim()));
        }
        assert_eq!(happened.join("\n"), expected.join("\n"));
        self
    }

    /// Up and running from the beginning.
    #[track_caller]
    fn runs(self) -> Self {
        self.goes("0 up |\n 0 up | open")
    }

    /// When it needs its next tick, in milliseconds.
    fn deadline(&self) -> Option<u64> {
        self.life.deadline().map(|at| at.0 / 1_000_000)
    }
}

fn event_of(text: &str) -> Event {
    let words: Vec<&str> = text.split(' ').collect();
    let number = |word: &str| word.parse().expect("a number");
    let ms = |word: &str| Duration::from_millis(word.parse().expect("milliseconds"));
    let failure = |instance: &str, cause| {
        let instance = InstanceName::new(instance, 0);
        Event::Failed(Failure { instance, callback: "apply", cause })
    };
    match words[..] {
        ["tick"] => Event::Tick,
        ["quiet"] => Event::Quiet,
        ["up"] => Event::InstanceUp,
        ["ended", instance] => Event::Ended { instance: number(instance) },
        ["gone", instance] => Event::Gone { instance: number(instance) },
        ["writer", "gone"] => Event::WriterGone,
        ["failed", instance] => failure(instance, Cause::error("bad")),
        ["failed", instance, "for", "good"] => {
            failure(instance, Cause::error(Permanent::new("bad")))
        }
        ["refused", "after", instances, "and", writer] => Event::NotStarted {
            refused: Refused::NoSource { job: "job".to_owned() },
            instances: number(instances),
            writer: writer == "writer",
        },
        ["checkpoint"] => Event::CheckpointComplete { last: false },
        ["last", "checkpoint"] => Event::CheckpointComplete { last: true },
        ["checkpoints", "fail"] => {
            Event::CheckpointsFailed { failures: 5, reason: "full".to_owned() }
        }
        ["stop", "within", time] => Event::StopAsked { end: End::Suspended, within: ms(time) },
        ["drain", "within", time] => Event::StopAsked { end: End::Finished, within: ms(time) },
        ["orphaned"] => Event::Orphaned,
        _ => panic!("no event: {text}"),
    }
}

fn told(action: &Action) -> String {
    match action {
        Action::StartExecution => "start".to_owned(),
        Action::OpenAll => "open".to_owned(),
        Action::TellStop { end, by } => {
            format!("tell {} by {}", end_word(*end), by.0 / 1_000_000)
        }
        Action::TellExit => "tell exit".to_owned(),
        Action::CloseAccount => "close account".to_owned(),
        Action::CancelAll => "cancel".to_owned(),
        Action::DropExecution { gone, writer_gone: true } => format!("let go {gone:?}"),
        Action::DropExecution { gone, writer_gone: false } => format!("let go {gone:?} not writer"),
        Action::Settle(failure) => format!("settle {}", failure.instance),
        Action::Rest { pause, .. } => format!("rest {pause:?}"),
        Action::DropHeld => "give up held".to_owned(),
        Action::ReportEnd(RunEnd::Ended { asked }) => {
            format!("end: {}", asked.map_or("by itself", end_word))
        }
        Action::ReportEnd(RunEnd::Failed(error)) => format!("end: {error}"),
        Action::ReportEnd(RunEnd::Refused(refused)) => format!("refused: {refused}"),
    }
}

fn end_word(end: End) -> &'static str {
    match end {
        End::Suspended => "stop",
        End::Finished => "drain",
    }
}

#[test]
fn events_flow_when_all_are_up_and_a_job_whose_streams_end_waits_for_its_last_commits() {
    with_store()
        .goes(
            "0 up             |
             1 up             | open
             2 ended 0        |
             3 ended 1        |
             4 checkpoint     |
             5 last checkpoint|
             6 gone 0         |
             7 gone 1         | close account, cancel
             8 writer gone    | let go {0, 1}, give up held, end: by itself",
        )
        .goes("9 tick |");
}

#[test]
fn without_a_store_a_job_is_over_when_its_last_stream_has_ended() {
    without_store().runs().goes(
        "2 ended 1 |
         3 ended 0 | tell exit, close account, cancel
         4 gone 0  |
         5 gone 1  | let go {0, 1}, give up held, end: by itself",
    );
}

#[test]
fn a_failure_while_starting_starts_over_also_without_a_store() {
    let life = without_store().goes(
        "0 up          |
         1 failed sink | close account, cancel
         2 gone 1      |
         3 gone 0      | let go {0, 1}, settle sink[0], rest 10ms",
    );
    assert_eq!(life.deadline(), Some(13));
    life.goes(
        "12 tick |
         13 tick | start
         14 up   |
         15 up   | open",
    );
}

#[test]
fn a_failure_of_a_running_job_ends_it_where_nothing_is_stored() {
    without_store().runs().goes(
        "1 failed sink | close account, cancel
         2 gone 1      |
         3 gone 0      | let go {0, 1}, settle sink[0], end: sink[0] failed in apply: bad (after 0 restarts)",
    );
}

#[test]
fn a_failure_while_stopping_ends_the_job_and_is_its_end() {
    with_store().runs().goes(
        "1 stop within 1000 | tell stop by 1001
         2 failed sink      | close account, cancel
         3 failed source    |
         3 gone 0           |
         4 gone 1           |
         5 writer gone      | let go {0, 1}, settle sink[0], end: sink[0] failed in apply: bad (after 0 restarts)",
    );
}

#[test]
fn a_failure_in_a_last_commit_starts_over() {
    with_store().runs().goes(
        "1 last checkpoint  |
         2 failed sink      | close account, cancel
         3 gone 1           |
         3 gone 0           |
         4 writer gone      | let go {0, 1}, settle sink[0], rest 10ms",
    );
}

#[test]
fn a_stop_during_a_rest_starts_the_job_at_once_and_stops_it_when_it_is_up() {
    with_store().runs().goes(
        "1 failed sink       | close account, cancel
         2 gone 0            |
         2 gone 1            |
         2 writer gone       | let go {0, 1}, settle sink[0], rest 10ms
         3 stop within 1000  | start
         4 up                |
         5 up                | open, tell stop by 1003
         6 last checkpoint   |
         7 gone 0            |
         8 gone 1            | close account, cancel
         9 writer gone       | let go {0, 1}, give up held, end: stop",
    );
}

#[test]
fn a_stop_while_instances_are_being_cancelled_lets_the_failure_be_the_end() {
    with_store().runs().goes(
        "1 failed sink       | close account, cancel
         2 stop within 1000  |
         2 gone 0            |
         2 gone 1            |
         2 writer gone       | let go {0, 1}, settle sink[0], end: sink[0] failed in apply: bad (after 0 restarts)",
    );
}

#[test]
fn a_job_whose_handle_is_dropped_is_stopped_and_one_that_was_stopped_is_not_told_again() {
    with_store().runs().goes("1 orphaned | tell stop by 30001");
    let life = with_store().runs().goes(
        "1 drain within 1000 | tell drain by 1001
         2 orphaned          |",
    );
    assert_eq!(life.deadline(), Some(1001));
}

#[test]
fn how_a_job_ends_is_settled_by_who_asks_first_and_until_when_by_who_asks_last() {
    let life = without_store().goes(
        "0 stop within 5000  |
         1 drain within 1000 |
         2 up                |
         2 up                | open, tell drain by 1001",
    );
    // Told to drain, since nothing is stored that could be resumed; it ends as a stop nevertheless.
    life.goes(
        "3 ended 0 |
         3 ended 1 | tell exit, close account, cancel
         4 gone 0  |
         4 gone 1  | let go {0, 1}, give up held, end: stop",
    );
}

#[test]
fn a_stop_whose_deadline_is_over_names_those_whose_streams_have_not_ended() {
    let life = with_store().runs().goes(
        "1 stop within 1000  | tell stop by 1001
         2 ended 0           |
         1001 tick           | close account, cancel",
    );
    assert_eq!(life.deadline(), Some(1201), "a last moment");
    life.goes(
        "1002 gone 0         |
         1003 writer gone    |
         1201 quiet          | let go {0}, end: not stopped within 1s: still at work: sink[0]",
    );
}

#[test]
fn a_stop_whose_deadline_is_over_during_the_last_commits_names_those_who_commit() {
    with_store().runs().goes(
        "1 stop within 1000  | tell stop by 1001
         2 ended 0           |
         2 ended 1           |
         3 last checkpoint   |
         4 gone 0            |
         1001 tick           | close account, cancel
         1002 writer gone    |
         1003 gone 1         | let go {0, 1}, end: not stopped within 1s: still at work: sink[0]",
    );
}

#[test]
fn after_a_failure_an_instance_that_does_not_end_in_time_is_named_and_the_job_does_not_start_over()
{
    let life = with_store().runs().goes(
        "1 failed sink  | close account, cancel
         2 gone 1       |
         3 writer gone  |",
    );
    assert_eq!(life.deadline(), Some(30_001));
    life.goes(
        "30000 quiet    |
         30001 quiet    | let go {1}, end: after a failure (sink[0] failed in apply: bad) these did not end within 30s: source[0]",
    );
}

#[test]
fn who_is_gone_is_not_called_stuck_because_nobody_had_read_that_in_time() {
    with_store().runs().goes(
        "1 failed sink      | close account, cancel
         90000 tick         |
         90000 gone 0       |
         90000 gone 1       |
         90000 writer gone  | let go {0, 1}, settle sink[0], rest 10ms",
    );
}

#[test]
fn a_writer_that_leaves_late_is_waited_for_and_one_that_does_not_leave_is_named() {
    let failed = || {
        with_store().runs().goes(
            "1 failed sink  | close account, cancel
             2 gone 0       |
             2 gone 1       |",
        )
    };
    failed().goes("29000 writer gone | let go {0, 1}, settle sink[0], rest 10ms");
    failed().goes(
        "30001 quiet | let go {0, 1} not writer, end: after a failure (sink[0] failed in apply: bad) these did not end within 30s: checkpoint writer[0]",
    );
    // A job that has done all it had to is not called failed for a writer that stays.
    with_store().runs().goes(
        "1 last checkpoint  |
         2 gone 0           |
         2 gone 1           | close account, cancel
         30002 quiet        | let go {0, 1} not writer, give up held, end: by itself",
    );
}

#[test]
fn one_failure_more_than_the_limit_is_the_end_and_says_how_often_the_job_had_started_over() {
    let once = Restarts { limit: 1, backoff_max: Duration::ZERO, ..Restarts::default() };
    play(true, once).runs().goes(
        "1 failed sink    | close account, cancel
         1 gone 0         |
         1 gone 1         |
         1 writer gone    | let go {0, 1}, settle sink[0], rest 0ns, start
         2 up             |
         2 up             | open
         3 checkpoint     |
         4 failed source  | close account, cancel
         4 gone 0         |
         4 gone 1         |
         4 writer gone    | let go {0, 1}, settle source[0], end: source[0] failed in apply: bad (after 1 restarts)",
    );
}

#[test]
fn a_checkpoint_between_two_failures_makes_the_next_pause_short_again() {
    let fails = "1 failed sink | close account, cancel
                 1 gone 0      |
                 1 gone 1      |";
    let twice = |between: &str, pause: &str| {
        let life = with_store().runs().goes(fails);
        let life = life.goes("1 writer gone | let go {0, 1}, settle sink[0], rest 10ms");
        let life = life.goes("11 tick | start\n 11 up |\n 11 up | open").goes(between).goes(fails);
        life.goes(&format!("1 writer gone | let go {{0, 1}}, settle sink[0], rest {pause}"));
    };
    twice("", "20ms");
    twice("12 checkpoint |", "10ms");
}

#[test]
fn a_failure_that_no_later_attempt_can_mend_ends_the_job_at_once() {
    with_store().runs().goes(
        "1 failed sink for good | close account, cancel
         2 gone 0               |
         2 gone 1               |
         2 writer gone          | let go {0, 1}, settle sink[0], end: sink[0] failed in apply: bad (after 0 restarts)",
    );
}

#[test]
fn too_many_checkpoints_that_failed_end_the_job_whoever_leaves_in_time() {
    with_store().runs().goes(
        "1 checkpoints fail | close account, cancel
         2 gone 0           |
         3 writer gone      |
         30001 quiet        | let go {0}, end: 5 checkpoints failed in a row, the last one so: full",
    );
}

#[test]
fn what_was_started_of_an_execution_that_was_refused_is_waited_for() {
    with_store().goes("0 refused after 0 and nothing | close account, cancel, let go {}, refused: job \"job\" has no source");
    with_store().goes(
        "0 refused after 1 and writer | close account, cancel
         1 gone 0                     |
         2 writer gone                | let go {0}, refused: job \"job\" has no source",
    );
}

#[test]
fn checkpoints_are_taken_from_the_opening_to_the_last_one() {
    let takes = |life: &Play| life.life.takes_checkpoints();
    let life = with_store().goes("0 up |");
    assert!(!takes(&life));
    let life = life.goes("0 up | open");
    assert!(takes(&life));
    let life = life.goes("1 stop within 1000 | tell stop by 1001");
    assert!(takes(&life), "the last one is still to come");
    let life = life.goes("2 checkpoint |");
    assert!(takes(&life), "that one was not the last");
    let life = life.goes("3 last checkpoint |");
    assert!(!takes(&life));
}
