//! A channel has one event type, and an event of another is never lost without a word (fault F11).

use streamwork::{
    AtLeastOnce, BoxError, Channel, Collector, DeadLetter, Job, Operator, Refused, RunError,
    testkit::Collected,
};

use crate::support::{ALL, guarantee};

const NUMBERS: Channel<u64> = Channel::new("side");
const TEXTS: Channel<String> = Channel::new("side");

/// Sends every event to a channel of numbers.
struct Aside;

impl Operator for Aside {
    type In = u64;
    type Out = u64;
    fn apply(&mut self, n: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
        out.emit_to(NUMBERS, n);
        Ok(())
    }
}

#[test]
fn events_of_another_type_than_the_channel_is_read_as_fail_by_name_under_every_guarantee() {
    for name in ALL {
        let (directory, seen) = (tempfile::tempdir().unwrap(), Collected::new());
        let job = Job::new("aside");
        let numbers = job.from_iter("numbers", || 0..50_u64);
        let letters: Collected<DeadLetter<u64>> = Collected::new();
        numbers.dead_letters(letters.factory());
        let aside = numbers.operator("aside", || Aside);
        aside.channel(TEXTS).sink("seen", seen.factory());
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
fn a_channel_that_is_read_as_two_types_is_refused_by_name() {
    let job = Job::new("aside");
    let aside = job.from_iter("numbers", || 0..50_u64).operator("aside", || Aside);
    aside.channel(NUMBERS).for_each(|_| ());
    aside.channel(TEXTS).for_each(|_| ());
    aside.ignore();
    let Err(RunError::Refused(Refused::ChannelOfTwoTypes { component, channel, one, other })) =
        job.run(AtLeastOnce::new())
    else {
        panic!("it was not refused");
    };
    assert_eq!((&*component, &*channel, one), ("aside", "side", "u64"));
    assert!(other.contains("String"), "{other}");
}
