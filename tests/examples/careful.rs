//! Edge cases of the examples: locks, the identity of their input, files that are whole or absent, closed outputs,
//! correct figures, a sign of life. Fault F36.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rusqlite::Connection;

use crate::fraud::database::{Decided, DecisionTable};
use crate::fraud::decision::decide;
use crate::fraud::feed::Feed;
use crate::program::{Program, text};

fn system_usage(directory: &Path) -> Program {
    Program::example("system_usage").keeping("--data-dir", directory)
}

fn fraud_detection(directory: &Path) -> Program {
    Program::example("fraud_detection").keeping("--db", &directory.join("fraud.db"))
}

/// A file with the first rows of the repository's, each changed by this.
fn file_of(
    directory: &Path,
    name: &str,
    rows: usize,
    change: impl Fn(usize, &str) -> String,
) -> PathBuf {
    let whole = fs::read_to_string("examples/data/transactions.csv").expect("the data file");
    let rows = whole.lines().take(rows + 1).enumerate().map(|(number, row)| change(number, row));
    let path = directory.join(name);
    fs::write(&path, rows.collect::<Vec<_>>().join("\n")).expect("a small file");
    path
}

fn spawned(program: &Program) -> Child {
    let mut command = program.command();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    child.expect("the example can be started")
}

fn outputs(children: Vec<Child>) -> Vec<Output> {
    children.into_iter().map(|child| child.wait_with_output().expect("it ends")).collect()
}

/// fault F36: `inspect … | head` panicked, and so did all the others.
#[test]
fn an_example_whose_output_is_closed_ends_quietly_with_0() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let small = file_of(directory.path(), "small.csv", 99, |_, row| row.to_owned());
    system_usage(&data).keeping("--input", &small).printed();
    let inspect = |what: &str, of: &str| {
        Program::example("inspect").flag(what).flag(data.join(of).to_str().expect("a plain name"))
    };
    let courses = [
        "custom_source",
        "graceful_stop",
        "hashtags",
        "hello",
        "idempotent",
        "import_records",
        "lambda",
        "stateful_operator",
    ];
    let programs = courses.map(Program::example).into_iter().chain([
        inspect("checkpoints", "exactly-once/checkpoints"),
        inspect("log", "log"),
        system_usage(&data).keeping("--input", &small),
        fraud_detection(directory.path()).keeping("--input", &small),
        Program::example("compare")
            .with("--rounds", 1)
            .with("--events", 1_000)
            .with("--paced-ms", 5),
    ]);
    for program in programs {
        let mut child = spawned(&program);
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        let said = text(&output.stderr);
        assert!(output.status.success(), "{:?}: {} {said}", program.command(), output.status);
        assert!(!said.contains("panicked"), "{:?}: {said}", program.command());
    }
}

/// fault F36: nothing was printed while it ran, unless to a terminal.
#[test]
fn a_comparison_says_how_far_it_is_also_where_there_is_no_terminal() {
    let compare = Program::example("compare").with("--rounds", 1).with("--events", 1_000);
    let said = text(&compare.with("--paced-ms", 5).output().stderr);
    for done in 1..=4 {
        assert!(said.contains(&format!("{done} of 4 measurements so far")), "{said}");
    }
}

/// fault F36: two runs that made one directory left it unusable for good.
#[test]
fn of_two_runs_on_a_fresh_directory_one_is_refused_and_the_directory_stays_usable() {
    let directory = tempfile::tempdir().expect("a directory");
    let small = file_of(directory.path(), "small.csv", 2_000, |_, row| row.to_owned());
    let data = directory.path().join("data");
    let run = || system_usage(&data).keeping("--input", &small).with("--rate", 4_000);
    let ended = outputs(vec![spawned(&run()), spawned(&run())]);
    let (good, bad): (Vec<_>, Vec<_>) = ended.iter().partition(|output| output.status.success());
    assert_eq!((good.len(), bad.len()), (1, 1), "{ended:?}");
    let refused = text(&bad[0].stderr);
    assert!(refused.contains("data is in use by another run"), "{refused}");
    assert!(text(&good[0].stdout).contains("2000 of 2000: right"), "{good:?}");
    assert_eq!(run().figures().number("transactions"), 2_000);
}

/// fault F36: a second run dropped the decisions of the first.
#[test]
fn a_second_run_over_one_fraud_database_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = || fraud_detection(directory.path()).with("--generate", 2_000).with("--rate", 2_000);
    let ended = outputs(vec![spawned(&run()), spawned(&run())]);
    let (good, bad): (Vec<_>, Vec<_>) = ended.iter().partition(|output| output.status.success());
    assert_eq!((good.len(), bad.len()), (1, 1), "{ended:?}");
    assert!(text(&bad[0].stderr).contains("fraud.db is in use by another run"), "{bad:?}");
    assert!(text(&good[0].stdout).contains("decisions   2000 of 2000"), "{good:?}");
}

/// fault F36: another file with as many rows was called "right" with the counts of the first.
#[test]
fn another_file_of_as_many_rows_is_refused_and_the_same_under_another_name_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let same = |_: usize, row: &str| row.to_owned();
    let first = file_of(directory.path(), "first.csv", 500, same);
    let renamed = file_of(directory.path(), "renamed.csv", 500, same);
    // Another amount in one row; fields are separated by commas, since the file has no quotes.
    let whole = fs::read_to_string(&first).expect("the file");
    let header: Vec<&str> = whole.lines().next().expect("a header").split(',').collect();
    let amount = header.iter().position(|name| name.to_lowercase().contains("amount"));
    let amount = amount.expect("a column of amounts");
    let other = file_of(directory.path(), "other.csv", 500, |number, row| {
        let mut fields: Vec<&str> = row.split(',').collect();
        if number == 250 {
            fields[amount] = "1.23";
        }
        fields.join(",")
    });
    let data = directory.path().join("data");
    let run = |file: &Path| system_usage(&data).keeping("--input", file);
    assert_eq!(run(&first).figures().number("transactions"), 500);
    assert_eq!(run(&renamed).figures().number("transactions"), 500);
    let refused = run(&other).output();
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("holds 500 transactions of"), "{said}");
    assert!(said.contains("first.csv") && said.contains("other.csv"), "{said}");
}

/// fault F36: decisions of the fraud job about other transactions were used.
#[test]
fn decisions_about_other_transactions_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let small = file_of(directory.path(), "small.csv", 500, |_, row| row.to_owned());
    fraud_detection(directory.path()).with("--generate", 500).printed();
    let run = system_usage(&directory.path().join("data")).keeping("--input", &small);
    let refused = run.keeping("--fraud-db", &directory.path().join("fraud.db")).output();
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("of the 500 transactions"), "{said}");
}

/// fault F36: a close that could not merge the write-ahead log into the file failed silently, and the file was moved
/// to its place without it.
#[test]
fn a_fraud_database_that_is_not_in_one_file_is_never_taken_for_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("fraud.db");
    let write = |table: &mut DecisionTable| {
        for transaction in Feed::generated(100, 1).transactions() {
            table.write(Decided::untimed(&transaction, decide(&[None, None, None])));
        }
    };
    let mut table = DecisionTable::create(&path).expect("a new database");
    table.flush().expect("it is there");
    // A reader of the empty table keeps the log from being brought into the file, as a full disk would.
    let reader = Connection::open(&path).expect("the database is there");
    reader.execute_batch("BEGIN; SELECT * FROM decisions").expect("it can be read");
    let count = "SELECT count(*) FROM decisions";
    let rows: i64 = reader.query_row(count, (), |row| row.get(0)).expect("a count");
    assert_eq!(rows, 0);
    write(&mut table);
    table.finish().expect_err("the file alone lacks a hundred rows");
    drop(reader);

    let mut table = DecisionTable::create(&path).expect("a new database");
    write(&mut table);
    table.finish().expect("nobody is in the way");
    let alone = directory.path().join("alone.db");
    fs::copy(&path, &alone).expect("a copy of the one file");
    let alone = Connection::open(alone).expect("it is a database");
    let rows: i64 = alone.query_row(count, (), |row| row.get(0)).expect("a count");
    assert_eq!(rows, 100);
}

/// fault F36: a file that could not be written to its end stayed in the way of every later run.
#[test]
fn whatever_could_not_be_written_is_made_anew_by_the_next_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let small = file_of(directory.path(), "small.csv", 2_000, |_, row| row.to_owned());
    let run = |data: &Path| system_usage(data).keeping("--input", &small);
    let whole = run(&directory.path().join("whole")).figures();
    let mut failed = 0;
    // The largest size of a file, in blocks of 512 bytes: a process that ignores the signal gets an error instead.
    for blocks in [0, 1, 8, 60, 100, 200, 300, 400, 600, 900] {
        let data = directory.path().join(format!("limited-{blocks}"));
        let command = run(&data).command();
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
        limited.arg(command.get_program()).args(command.get_args());
        limited.current_dir(env!("CARGO_MANIFEST_DIR"));
        failed += u32::from(!limited.output().expect("it can be started").status.success());
        let again = run(&data).figures();
        for total in ["transactions", "frauds", "expected_frauds"] {
            assert_eq!(again.number(total), whole.number(total), "{blocks} blocks: {total}");
        }
    }
    assert!(failed >= 4, "only {failed} of ten limits kept a run from its end");
}

/// fault F36: "replayed" counted what this process did, so a run after a kill said 0.
#[test]
fn what_a_killed_run_had_begun_counts_as_replayed() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = || {
        // No checkpoint before the kill: all that was begun is begun again.
        system_usage(directory.path()).with("--checkpoint-ms", 600_000)
    };
    let mut child = spawned(&run().with("--rate", 8_000));
    let mut lines = BufReader::new(child.stderr.take().expect("it is a pipe")).lines();
    // fault F36: nothing was printed while it ran, unless to a terminal.
    let line = lines.next().expect("a line while it runs").expect("text");
    child.kill().expect("it can be killed");
    child.wait().expect("it has ended");
    let begun = line.strip_suffix(" of 20000 so far").and_then(|begun| begun.parse::<u64>().ok());
    let begun = begun.unwrap_or_else(|| panic!("{line:?}"));
    assert!(begun > 0 && begun < 20_000, "{line:?}");

    let figures = run().figures();
    assert_eq!(figures.number("transactions"), 20_000, "{figures:?}");
    let replayed = figures.number("replayed");
    assert!((begun..20_000).contains(&replayed), "{replayed} replayed, {begun} begun before");
    // The run that finds nothing left to do says the same.
    assert_eq!(run().figures().number("replayed"), replayed);
}
