//! An example as a child process: where it is, how it is run, how it is killed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than any run takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// An example with its arguments.
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<String>,
}

impl Program {
    /// An example, which `cargo test` has built beside this test.
    pub(crate) fn example(name: &str) -> Self {
        let test = std::env::current_exe().expect("this test is a file");
        let profile = test.ancestors().nth(2).expect("it is in target/<profile>/deps");
        let path = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        assert!(path.exists(), "{} is not there: cargo build --examples", path.display());
        Self { path, arguments: Vec::new() }
    }

    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.arguments.extend([name.to_owned(), value.to_string()]);
        self
    }

    pub(crate) fn flag(mut self, name: &str) -> Self {
        self.arguments.push(name.to_owned());
        self
    }

    pub(crate) fn keeping(self, name: &str, path: &Path) -> Self {
        self.with(name, path.display())
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
        command
    }

    /// Runs it to its end, whether it succeeds or fails.
    pub(crate) fn output(&self) -> Output {
        self.command().output().expect("the example can be started")
    }

    /// Runs it to its end, which must be a success, and returns its output.
    pub(crate) fn printed(&self) -> String {
        let output = self.output();
        let (said, complained) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{:?}: {said}{complained}", self.arguments);
        said
    }

    /// As [`printed`](Self::printed), and reads the last line, which is JSON.
    pub(crate) fn figures(self) -> Figures {
        let said = self.flag("--json").printed();
        let last = said.lines().last().unwrap_or_default();
        Figures(serde_json::from_str(last).expect("the last line is JSON"))
    }

    /// Starts it and kills it after a while. Whether it was still running then.
    pub(crate) fn kill_after(&self, time: Duration) -> bool {
        let started = Instant::now();
        let mut command = self.command();
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the example can be started");
        let status = loop {
            let status = child.try_wait().expect("the child can be asked");
            if status.is_some() || started.elapsed() >= time {
                break status;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        assert!(started.elapsed() < PATIENCE, "the example hangs");
        child.kill().expect("the child can be killed");
        let output = child.wait_with_output().expect("the child can be waited for");
        if let Some(status) = status {
            assert!(status.success(), "it failed by itself: {}", text(&output.stderr));
        }
        status.is_none()
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The output of an example with `--json`.
#[derive(Debug)]
pub(crate) struct Figures(Value);

impl Figures {
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_else(|| panic!("{name} is not a number in {self:?}"))
    }

    pub(crate) fn share(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or_else(|| panic!("{name} is not a number in {self:?}"))
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        let fields = self.0.as_object().expect("the last line is an object");
        fields.keys().map(String::as_str).collect()
    }
}
