//! Under each guarantee the same faults have the consequences that the guarantee promises.

use serde_json::Value;

use crate::program::Program;

/// The row of one guarantee.
fn row<'a>(figures: &'a Value, name: &str) -> &'a Value {
    let rows = figures["semantics"].as_array().expect("there are rows");
    rows.iter().find(|row| row["semantics"] == name).expect("every guarantee has a row")
}

fn number(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap_or_else(|| panic!("{name} is not a number in {row}"))
}

#[test]
fn the_table_shows_what_each_guarantee_loses_and_repeats() {
    let small = Program::example("compare").with("--events", 1000).with("--rounds", 1);
    let printed = small.with("--paced-ms", 1000).with("--faults", 10).flag("--json").printed();
    let last = printed.lines().last().expect("it prints");
    let figures: Value = serde_json::from_str(last).expect("the last line is JSON");
    let wrong = |name| {
        let row = row(&figures, name);
        ["lost", "repeated", "state_error"].map(|figure| number(row, figure))
    };
    assert_eq!(wrong("at-most-once"), [10, 0, 10]);
    assert_eq!(wrong("at-least-once"), [0, 10, 10]);
    let [lost, repeated, state_error] = wrong("at-least-once-checkpoint");
    assert!(lost == 0 && repeated > 0 && state_error > 0, "{figures}");
    assert_eq!(wrong("exactly-once"), [0, 0, 0]);
    for name in ["throughput", "p99_us_without_faults", "p99_us_with_faults"] {
        assert!(number(row(&figures, "exactly-once"), name) > 0, "{name}: {figures}");
    }
    assert_eq!(number(row(&figures, "at-most-once"), "stored_bytes"), 0);
    assert!(number(row(&figures, "exactly-once"), "stored_bytes") > 0, "{figures}");
}
