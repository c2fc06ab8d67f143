//! The first job: a few lines in, the words in them out.
//!
//! A job is a graph: a source, here made of an iterator, then operators that turn events into other
//! events, then a sink, here a function. `AtMostOnce` says what happens to an event when something
//! fails: it is dropped and counted. Nothing fails here.
//!
//! ```sh
//! cargo run --release --example hello
//! ```
//!
//! Expected output:
//!
//! ```text
//! streams
//! carry
//! events
//! from
//! sources
//! through
//! operators
//! 2 lines in, 7 words out
//! ```

mod course;

use streamwork::{AtMostOnce, BoxError, Job};

const LINES: [&str; 2] = ["Streams carry events", "from sources through / operators"];

fn main() -> Result<(), BoxError> {
    course::help(include_str!("hello.rs"));

    let job = Job::new("hello");
    job.from_iter("lines", || LINES)
        .flat_map(str::split_whitespace)
        .filter(|word| word.chars().all(char::is_alphabetic))
        .map(str::to_lowercase)
        .for_each(|word| println!("{word}"))
        .named("print");

    let report = job.run(AtMostOnce::new())?;
    let lines = report.metrics.sum("lines", |m| m.emitted);
    let words = report.metrics.sum("print", |m| m.delivered);
    println!("{lines} lines in, {words} words out");
    Ok(())
}
