//! The small examples print what their own source files say they print.

use std::fs;
use std::path::Path;

use crate::program::Program;

/// The examples whose source files have an expected output.
const SMALL: [&str; 8] = [
    "custom_source",
    "graceful_stop",
    "hashtags",
    "hello",
    "idempotent",
    "import_records",
    "lambda",
    "stateful_operator",
];

/// The expected output in the head of a file, under "Expected output:".
fn promised(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).expect("an example");
    let head = text.lines().map_while(|line| line.strip_prefix("//!"));
    let after = head.skip_while(|line| line.trim() != "Expected output:");
    let block = after.skip_while(|line| line.trim() != "```text").skip(1);
    let lines: Vec<_> = block
        .take_while(|line| line.trim() != "```")
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n") + "\n")
}

#[test]
fn each_small_example_prints_what_its_file_says() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names = Vec::new();
    for entry in fs::read_dir(examples).expect("a directory of examples") {
        let path = entry.expect("an entry of it").path();
        let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let Some(promised) = promised(&path) else { continue };
        let output = Program::example(&name).output();
        let (said, complained) = (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        assert!(output.status.success(), "{name}: {said}{complained}");
        assert_eq!(said, promised, "{name}");
        let help = Program::example(&name).flag("--help").output();
        assert!(help.status.success(), "{name} --help");
        assert!(String::from_utf8_lossy(&help.stdout).contains("Expected output"), "{name} --help");
        names.push(name);
    }
    names.sort();
    assert_eq!(names, SMALL);
}
