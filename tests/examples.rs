//! The small examples print what their heads say they print.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than any of them takes on a busy machine, shorter than a hang.
const DEADLINE: Duration = Duration::from_secs(120);

macro_rules! examples {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let name = stringify!($name);
            let expected = expected(name, include_str!(concat!("../examples/", stringify!($name), ".rs")));
            assert_eq!(output(name, &[]), expected, "the head of {name} says otherwise");
            assert!(output(name, &["--help"]).contains("Expected output"), "{name} --help");
        }
    )*};
}

examples! {
    hello custom_source stateful_operator graceful_stop idempotent hashtags import_records lambda
}

/// The block after "Expected output" in the head of a source file.
fn expected(name: &str, source: &str) -> String {
    let head = source.lines().map_while(|line| line.strip_prefix("//!"));
    let block = head
        .skip_while(|line| !line.contains("Expected output"))
        .skip_while(|line| !line.contains("```text"))
        .skip(1)
        .take_while(|line| !line.contains("```"));
    let text: String =
        block.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect();
    assert!(!text.is_empty(), "the head of {name} has no block of expected output");
    text
}

/// What the built example prints. It stands beside the directory of this test, where `cargo test`
/// has put it; `cargo test --test examples` alone builds no examples.
fn output(name: &str, arguments: &[&str]) -> String {
    let mut path: PathBuf = std::env::current_exe().expect("this test is a file");
    path.pop();
    path.set_file_name("examples");
    path.push(name);
    path.set_extension(std::env::consts::EXE_EXTENSION);
    let mut child = Command::new(&path)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} (cargo build --examples): {error}", path.display()));
    let deadline = Instant::now() + DEADLINE;
    while child.try_wait().expect("a child can be asked").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("a child can be ended");
            panic!("{name} did not end within {DEADLINE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("it has ended");
    assert!(output.status.success(), "{name} ended with {}", output.status);
    String::from_utf8(output.stdout).expect("examples print text")
}
