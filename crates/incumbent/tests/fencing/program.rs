//! Programs of others: found or skipped, started as servers, and talked to.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The program of this name, in one of `folders` or on the path. `hint` says how to get it.
///
/// # Panics
/// It is missing, and `INCUMBENT_REQUIRE_PEERS` is set.
pub(crate) fn find(name: &str, hint: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = folders.iter().cloned().chain(std::env::split_paths(&path));
    let found = places.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()));
    if found.is_none() {
        missing(name, hint);
    }
    found
}

/// Says it once, past the test runner, which keeps what passing tests print.
fn missing(name: &str, hint: &str) {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    assert!(std::env::var_os("INCUMBENT_REQUIRE_PEERS").is_none(), "missing: {name} ({hint})");
    let mut said = SAID.lock().unwrap();
    if !said.iter().any(|other| other == hint) {
        said.push(hint.to_owned());
        let _ = writeln!(std::io::stderr(), "skipped: {name}, missing here ({hint})");
    }
}

/// A server, which ends with this value.
pub(crate) struct Server {
    process: Child,
    stop: Signal,
    folder: TempDir,
    greeting: String,
}

impl Server {
    /// A folder for a server: short enough for the name of a socket.
    pub(crate) fn folder() -> TempDir {
        tempfile::tempdir_in("/tmp").unwrap()
    }

    /// Starts it, and waits until it says `ready`. `stop` is the signal at which it ends at once.
    pub(crate) fn start(folder: TempDir, command: &[&str], ready: &str, stop: Signal) -> Self {
        let mut process = merged(command).stdin(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.contains(ready)) {
            match lines.next() {
                Some(line) => said.push(line.unwrap()),
                None => panic!("{command:?} did not start: {said:#?}"),
            }
        }
        // Whatever else it says: a full pipe would stop it.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { process, stop, folder, greeting: said.pop().unwrap() }
    }

    /// The line in which it said that it was ready.
    pub(crate) fn greeting(&self) -> &str {
        &self.greeting
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.process), self.stop);
        let _ = self.process.wait();
    }
}

/// A command line that stays open: one connection to a store.
pub(crate) struct Session {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    mark: &'static str,
}

/// What a session prints behind each answer.
const END: &str = "-- end --";

impl Session {
    /// Starts it; `mark` is its own command that prints what follows.
    pub(crate) fn start(command: &[&str], mark: &'static str) -> Self {
        let mut process = merged(command).stdin(Stdio::piped()).spawn().unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, input, output, mark }
    }

    /// What the store answers to `text`, its errors among it.
    pub(crate) fn ask(&mut self, text: &str) -> String {
        self.send(text);
        self.answer()
    }

    /// Sends what may have to wait.
    pub(crate) fn send(&mut self, text: &str) {
        writeln!(self.input, "{text}\n{} \"{END}\"", self.mark).unwrap();
    }

    /// What came of what was sent.
    pub(crate) fn answer(&mut self) -> String {
        let mut answer = String::new();
        while self.output.read_line(&mut answer).unwrap() > 0 {
            if let Some(rest) = answer.trim_end().trim_end_matches('"').strip_suffix(END) {
                return rest.trim_end_matches('"').trim().to_owned();
            }
        }
        panic!("the session ended: {answer}");
    }

    /// What a session prints that goes on printing, up to the line that contains `last`.
    pub(crate) fn lines_until(&mut self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for line in self.output.by_ref().lines().map(Result::unwrap) {
            if line.contains(last) {
                return lines;
            }
            lines.push(line);
        }
        panic!("the session ended: {lines:#?}");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}

/// Runs to its end, which must be a good one; returns what it printed.
pub(crate) fn run(command: &[&str]) -> String {
    let output = merged(command).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{command:?}: {printed}");
    printed
}

/// Output and errors in one pipe, in the order in which they were printed.
fn merged(command: &[&str]) -> Command {
    let mut merged = Command::new("sh");
    merged.args(["-c", "exec stdbuf -oL \"$@\" 2>&1", "sh"]).args(command).stdout(Stdio::piped());
    merged
}
