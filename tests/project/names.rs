//! Which files may use what: names of guarantees, roots and erased types stay in the files that are about them.

use crate::{lines_of_code, read, rust_files};

const GUARANTEES: [&str; 3] = ["AtMostOnce", "AtLeastOnce", "ExactlyOnce"];

#[test]
fn the_names_of_the_guarantees_stay_in_delivery() {
    let mut wrong = Vec::new();
    for file in rust_files("src") {
        if file.starts_with("src/delivery") {
            continue;
        }
        for (number, code) in lines_of_code(&read(&file)) {
            let re_export = file.ends_with("lib.rs") && code.starts_with("pub use delivery::");
            if GUARANTEES.iter().any(|name| code.contains(name)) && !re_export {
                wrong.push(format!("{}:{number}: {}", file.display(), code.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "a guarantee is named outside src/delivery:\n{}", wrong.join("\n"));
}

/// The files that may speak of roots, with the reason. Everything else leaves them to these.
const SPEAK_OF_ROOTS: [(&str, &str); 19] = [
    ("src/id.rs", "defines them"),
    ("src/api/accounts.rs", "says which output came of which event"),
    ("src/api/columns.rs", "a column of them lies beside the events"),
    ("src/api/token.rs", "answers for one"),
    ("src/channel/frame.rs", "an event that leaves a batch leaves its root"),
    ("src/channel/ledger.rs", "collects what is reported of them"),
    ("src/channel/outbox.rs", "deals them out with the events"),
    ("src/channel/push.rs", "says which one of the source is not acknowledged"),
    ("src/channel/routing.rs", "deals them out with the events"),
    ("src/delivery/account.rs", "opens their account"),
    ("src/delivery/at_least_once", "counts under them"),
    ("src/delivery/source_side.rs", "says which one is not acknowledged"),
    ("src/executor/bad_records.rs", "hands them on with events and bad records"),
    ("src/executor/key_panic.rs", "a key that panics fails an event"),
    ("src/executor/node", "hands them from a batch to the accounts and back"),
    ("src/executor/verb.rs", "a filter lets go of some"),
    ("src/job/plan.rs", "bounds the trackers that their numbers have room for"),
    ("src/pieces.rs", "feeds the loops of single pieces"),
    ("src/schedules.rs", "drives the acknowledger"),
];

/// The files in which an event type is erased and recovered, with the reason.
const SPEAK_OF_ANY: [(&str, &str); 10] = [
    (
        "src/api/side_output.rs",
        "side outputs of several types stand in one list, and each is found by its type",
    ),
    ("src/api/weight.rs", "knows the length of some types"),
    ("src/connectors/event_log/instance.rs", "asks an error what it is"),
    ("src/error.rs", "what a panic carries"),
    ("src/executor/named_call.rs", "asks an error what it is"),
    ("src/executor/node/in_place.rs", "what is changed in place goes out as what it came in"),
    ("src/executor/side_port.rs", "the other end of a side output"),
    ("src/executor/verb.rs", "as in place"),
    ("src/job/make.rs", "where types are forgotten and found again"),
    ("src/testkit/simulation/mod.rs", "what a panic carries"),
];

/// Fails for files that have such a line of code without being listed, and for those listed that have none.
fn assert_only(
    listed: &[(&str, &str)],
    what: &str,
    counts: impl Fn(&str) -> bool,
    has: impl Fn(&str) -> bool,
) {
    let speak: Vec<String> = rust_files("src")
        .into_iter()
        .filter(|file| lines_of_code(&read(file)).any(|(_, code)| has(code)))
        .map(|file| file.display().to_string())
        .filter(|file| counts(file))
        .collect();
    let covers = |listed: &str, file: &str| {
        file.strip_prefix(listed)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest.starts_with(".rs"))
    };
    let unlisted = speak.iter().filter(|file| !listed.iter().any(|(of, _)| covers(of, file)));
    let unlisted: Vec<_> = unlisted.collect();
    assert!(unlisted.is_empty(), "{what}, and are not listed here: {unlisted:#?}");
    let silent = listed.iter().filter(|(of, _)| !speak.iter().any(|file| covers(of, file)));
    let silent: Vec<_> = silent.map(|(of, _)| of).collect();
    assert!(silent.is_empty(), "listed here, and no longer do: {what}: {silent:#?}");
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
}

#[test]
fn only_some_files_speak_of_roots() {
    let has = |code: &str| words(code).any(|word| ["Root", "root", "roots"].contains(&word));
    // There it is the top of a directory.
    let elsewhere = |file: &str| !file.starts_with("src/checkpoint");
    assert_only(&SPEAK_OF_ROOTS, "speak of roots", elsewhere, has);
}

#[test]
fn only_some_files_forget_the_type_of_a_value() {
    let has = |code: &str| {
        code.contains("dyn Any") || code.contains("dyn std::any::Any") || code.contains("downcast")
    };
    assert_only(&SPEAK_OF_ANY, "forget a type", |_| true, has);
}
