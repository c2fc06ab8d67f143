//! A side output has one event type, and an event of another type is never lost silently (fault F11).

use streamwork::{
    AtLeastOnce, BoxError, Collector, DeadLetter, DeclaredOutput, Job, Operator, Refused, RunError,
    SideOutput, testkit::Collected,
};

use crate::support::{ALL, guarantee};

const NUMBERS: SideOutput<u64> = SideOutput::new("side");
const TEXTS: SideOutput<String> = SideOutput::new("side");

/// Declares a side output of texts, and sends every event to one of numbers.
struct Aside;

impl Operator for Aside {
    type In = u64;
    type Out = u64;
    const SIDE_OUTPUTS: &'static [DeclaredOutput] = &[TEXTS.declared()];
    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        out.emit_to(NUMBERS, n);
        Ok(())
    }
}

#[test]
fn events_of_another_type_than_the_side_output_is_one_of_fail_by_name_under_every_guarantee() {
    for name in ALL {
        let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
        let job = Job::new("aside");
        let numbers = job.from_iter("numbers", || 0..50_u64);
        let letters: Collected<DeadLetter<u64>> = Collected::new();
        numbers.dead_letter_sink(letters.factory());
        let aside = numbers.operator("aside", || Aside);
        aside.side_output(TEXTS).sink("seen", seen.factory());
        aside.ignore();
        let ended = match name {
            "at-least-once" => job.run(AtLeastOnce::new().attempts_max(2)),
            name => job.run(guarantee(name, directory.path())),
        };
        assert_eq!(seen.len(), 0);
        match ended {
            Ok(report) => {
                let (dropped, dead) = (
                    report.metrics.sum("aside", |m| m.dropped),
                    report.metrics.sum("numbers", |m| m.dead_lettered),
                );
                assert_eq!(dropped + dead, 50, "{name}: lost without a word");
                for letter in letters.events() {
                    let said = letter.failure.to_string();
                    assert!(said.starts_with("aside[0] failed in apply"), "{said}");
                    assert!(said.contains("\"side\"") && said.contains("String"), "{said}");
                }
            }
            Err(error) => {
                let said = error.to_string();
                assert!(said.contains("aside[0]") && said.contains("\"side\""), "{name}: {said}");
            }
        }
    }
}

#[test]
fn a_side_output_that_is_read_as_another_type_than_declared_is_refused_by_name() {
    let job = Job::new("aside");
    let aside = job.from_iter("numbers", || 0..50_u64).operator("aside", || Aside);
    aside.side_output(NUMBERS).for_each(|_| ());
    aside.ignore();
    let ended = job.run(AtLeastOnce::new());
    let Err(RunError::Refused(refused)) = ended else { panic!("it was not refused") };
    let Refused::SideOutputOfOtherType { component, side_output, declared, read_as } = refused
    else {
        panic!("{refused}")
    };
    assert_eq!((&*component, &*side_output, read_as), ("aside", "side", "u64"));
    assert!(declared.contains("String"), "{declared}");
}

#[test]
fn a_side_output_that_is_not_declared_is_refused_by_name() {
    const OTHER: SideOutput<u64> = SideOutput::new("other");
    let job = Job::new("aside");
    let aside = job.from_iter("numbers", || 0..50_u64).operator("aside", || Aside);
    aside.side_output(OTHER).for_each(|_| ());
    aside.ignore();
    let ended = job.run(AtLeastOnce::new());
    let Err(RunError::Refused(refused)) = ended else { panic!("it was not refused") };
    let Refused::SideOutputNotDeclared { component, side_output } = refused else {
        panic!("{refused}")
    };
    assert_eq!((&*component, &*side_output), ("aside", "other"));
}

/// Sends every event to a side output that it has not declared.
struct Undeclared;

impl Operator for Undeclared {
    type In = u64;
    type Out = u64;
    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        out.emit_to(NUMBERS, n);
        Ok(())
    }
}

#[test]
fn an_event_on_a_side_output_that_is_not_declared_fails_by_name_although_nothing_could_read_it() {
    let job = Job::new("undeclared");
    let numbers = job.from_iter("numbers", || 0..3_u64);
    let letters: Collected<DeadLetter<u64>> = Collected::new();
    numbers.dead_letter_sink(letters.factory());
    numbers.operator("undeclared", || Undeclared).ignore();
    job.run(AtLeastOnce::new().attempts_max(1)).unwrap();
    assert_eq!(letters.len(), 3);
    for letter in letters.events() {
        let said = letter.failure.to_string();
        assert!(said.contains("\"side\"") && said.contains("SIDE_OUTPUTS"), "{said}");
    }
}
