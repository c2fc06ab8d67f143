//! An operator with state by key: how often each word has come, over two runs of the job.
//!
//! The state of a word is one number, which the engine keeps: `at.state()` is that of the word at hand. `key_by` sends
//! equal words to the same one of two instances. Under `ExactlyOnce` the counts are stored in a directory, together
//! with the position of the source: the second run reads only the new words, and continues counting. (An operator whose
//! state belongs to no key is a `StatefulOperator`.)
//!
//! ```sh
//! cargo run --release --example stateful_operator
//! ```
//!
//! Expected output:
//!
//! ```text
//! first run: 6 words read
//!   be     2
//!   not    1
//!   or     1
//!   to     2
//! second run: 4 words read
//!   be     3
//!   let    1
//!   light  1
//!   not    1
//!   or     1
//!   there  1
//!   to     2
//! ```

mod course;

use std::collections::BTreeMap;
use std::path::Path;

use streamwork::testkit::Collected;
use streamwork::{At, BoxError, Emit, ExactlyOnce, Job, KeyedOperator};

const TEXT: &str = "to be or not to be let there be light";

struct CountWords;

impl KeyedOperator for CountWords {
    type Key = String;
    type In = String;
    type Out = (String, u64);
    type State = u64;
    type Timer = ();

    fn apply(
        &mut self,
        word: String,
        at: &mut At<'_, Self>,
        out: &mut Emit<'_, (String, u64)>,
    ) -> Result<(), BoxError> {
        let count = at.state();
        *count += 1;
        out.emit((word, *count));
        Ok(())
    }
}

/// Counts the first `words` words of the text, and adds the results to the table.
fn run(words: usize, store: &Path, table: &mut BTreeMap<String, u64>) -> Result<u64, BoxError> {
    let heard = Collected::new();
    let job = Job::new("words");
    job.from_iter("words", move || TEXT.split(' ').map(String::from).take(words))
        .key_by(|word| word.clone())
        .keyed_operator("count", || CountWords)
        .parallelism(2)
        .sink("table", heard.factory());
    let report = job.run(ExactlyOnce::checkpoints_in(store))?;
    table.extend(heard.events());
    Ok(report.metrics.sum("words", |m| m.emitted))
}

fn main() -> Result<(), BoxError> {
    course::help(include_str!("stateful_operator.rs"));
    let store = tempfile::tempdir()?;
    let mut table = BTreeMap::new();
    for (life, words) in [("first", 6), ("second", 10)] {
        let read = run(words, store.path(), &mut table)?;
        println!("{life} run: {read} words read");
        for (word, count) in &table {
            println!("  {word:6} {count}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamwork::testkit::KeyedHarness;

    #[test]
    fn words_are_counted_the_same_however_often_the_counter_is_put_back() -> Result<(), BoxError> {
        let mut harness = KeyedHarness::new(String::clone, || CountWords);
        let counted = harness.events(TEXT.split_whitespace().map(String::from))?;
        let be: Vec<u64> =
            counted.iter().filter(|(word, _)| word == "be").map(|(_, n)| *n).collect();
        assert_eq!(be, [1, 2, 3]);
        assert_eq!(counted.last(), Some(&("light".to_owned(), 1)));
        assert_eq!(harness.left()?.entries, 7, "an entry for each word");
        Ok(())
    }
}
