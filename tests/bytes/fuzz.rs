//! All readers in turn, for a given time: over fresh files, and over files of earlier versions.
//!
//! `STREAMWORK_FUZZ_SECONDS` sets the time; a minute if it is not set. A case depends only on the seed and
//! its number: `STREAMWORK_FUZZ_SEED` and `STREAMWORK_FUZZ_CASE`, which a failure prints, repeat it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::decode::Values;
use crate::log_files::{self, SoundLog};
use crate::memory_disk::Random;
use crate::positions::ReadLines;
use crate::store_files::{self, SoundStore};
use crate::{golden, tier};

/// Damages something; the text describes it in a failure.
type Case = Box<dyn Fn(&mut Random, &str)>;

/// Each reader, and its number of cases in a row: slower readers have fewer.
fn readers() -> Vec<(&'static str, u64, Case)> {
    let values = Values::new();
    let mut readers: Vec<(_, _, Case)> =
        vec![("values", 20, Box::new(move |random, what| values.damage(random, what)))];
    for sound in golden::stores().into_iter().chain([store_files::sound()]) {
        readers.extend(of_a_store(sound));
    }
    for sound in golden::logs().into_iter().chain([log_files::sound()]) {
        readers.extend(of_a_log(sound));
    }
    let read = Rc::new(ReadLines::new());
    let same = Rc::clone(&read);
    readers.push(("file", 1, Box::new(move |random, what| read.damage_file(random, what))));
    readers.push(("position", 1, Box::new(move |random, what| same.lie(random, what))));
    readers
}

fn of_a_store(sound: SoundStore) -> [(&'static str, u64, Case); 2] {
    let sound = Rc::new(sound);
    let same = Rc::clone(&sound);
    [
        ("store", 5, Box::new(move |random, what| store_files::damage(&sound, random, what))),
        ("lying store", 5, Box::new(move |random, what| store_files::lie(&same, random, what))),
    ]
}

fn of_a_log(sound: SoundLog) -> [(&'static str, u64, Case); 2] {
    let sound = Rc::new((sound, log_files::directory()));
    let same = Rc::clone(&sound);
    let damage = move |random: &mut Random, what: &str| {
        log_files::damage(&sound.0, sound.1.path(), random, what);
    };
    let lie = move |random: &mut Random, what: &str| {
        log_files::lie(&same.0, same.1.path(), random, what);
    };
    [("log", 2, Box::new(damage)), ("lying log", 2, Box::new(lie))]
}

fn seed() -> u64 {
    tier::number("STREAMWORK_FUZZ_SEED").unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_nanos() as u64 % 1_000_000_000
    })
}

#[test]
#[ignore = "takes as long as it is told; the checks of the repository run it for a minute"]
fn whatever_is_damaged_is_refused_or_read_as_it_was_written_for_as_long_as_one_likes() {
    let (seed, only) = (seed(), tier::number("STREAMWORK_FUZZ_CASE"));
    let seconds = tier::number("STREAMWORK_FUZZ_SECONDS").unwrap_or(60);
    println!("STREAMWORK_FUZZ_SEED={seed}, {seconds} s");
    let readers = readers();
    // Each case has its reader by its number, so that one can be repeated without those before it.
    let turns: Vec<usize> = readers
        .iter()
        .enumerate()
        .flat_map(|(reader, (_, turns, _))| (0..*turns).map(move |_| reader))
        .collect();
    let mut cases = vec![0_u64; readers.len()];
    let (started, limit) = (Instant::now(), Duration::from_secs(seconds));
    for case in only.unwrap_or(0).. {
        let reader = turns[(case % turns.len() as u64) as usize];
        let (name, _, damage) = &readers[reader];
        let what = format!("STREAMWORK_FUZZ_SEED={seed} STREAMWORK_FUZZ_CASE={case}: {name}");
        let random = &mut Random(Random(seed << 32 ^ case).next());
        let ended = catch_unwind(AssertUnwindSafe(|| damage(random, &what)));
        cases[reader] += 1;
        if let Err(panic) = ended {
            println!("failed: {what}");
            resume_unwind(panic);
        }
        if only.is_some() || started.elapsed() >= limit {
            break;
        }
    }
    for ((name, ..), cases) in readers.iter().zip(&cases) {
        println!("{cases:>8} {name}");
        assert!(*cases > 0 || only.is_some() || seconds < 10, "{name} had no turn");
    }
}
