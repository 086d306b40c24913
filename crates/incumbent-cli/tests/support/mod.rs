//! What the tests of the command share: a server of its own for each test, and the binary against it.

#![allow(dead_code, reason = "each test file uses its own part of this")]

pub(crate) mod browser;
pub(crate) mod dashboard;
pub(crate) mod kubectl;
pub(crate) mod peers;
#[cfg(target_os = "linux")]
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod sidecar;
pub(crate) mod testbed;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use incumbent_apiserver::{ApiServer, Listening, Transport};
use serde_json::Value;
use tempfile::TempDir;

/// An API server on a free port, with its kubeconfig in a folder that goes with it.
pub(crate) struct Cluster {
    pub(crate) server: ApiServer,
    pub(crate) listening: Option<Listening>,
    pub(crate) folder: TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap())
    }

    pub(crate) fn start_on(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let server = ApiServer::new();
        let listening = runtime.block_on(server.listen(address, Transport::Https)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kubeconfig"), listening.kubeconfig()).unwrap();
        Self { server, listening: Some(listening), folder, runtime }
    }

    pub(crate) fn listening(&self) -> &Listening {
        self.listening.as_ref().unwrap()
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// What is stored at this path, if anything is.
    pub(crate) fn stored(&self, path: &str) -> Option<Value> {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        self.runtime.block_on(async {
            kube::Client::new(self.server.service(), "default").request(request).await.ok()
        })
    }

    /// Merges this into what is stored at this path.
    pub(crate) fn patch(&self, path: &str, patch: &Value) {
        let request = http::Request::patch(path)
            .header("Content-Type", "application/merge-patch+json")
            .body(patch.to_string().into_bytes())
            .unwrap();
        let _: Value = self
            .runtime
            .block_on(async {
                kube::Client::new(self.server.service(), "default").request(request).await
            })
            .unwrap();
    }

    /// Deletes what is stored at this path, if anything is.
    pub(crate) fn delete(&self, path: &str) {
        let request = http::Request::delete(path).body(Vec::new()).unwrap();
        let _: Option<Value> = self.runtime.block_on(async {
            kube::Client::new(self.server.service(), "default").request(request).await.ok()
        });
    }

    /// Closes the port and all connections; what is stored stays.
    pub(crate) fn stop(&mut self) {
        let listening = self.listening.take().unwrap();
        self.runtime.block_on(listening.stop());
    }

    /// The same server again, on the same port.
    pub(crate) fn listen_again(&mut self, address: SocketAddr) {
        let listening = self.server.listen(address, Transport::Https);
        self.listening = Some(self.runtime.block_on(listening).unwrap());
    }

    /// The binary with these arguments, split at spaces, against this server.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = incumbent(arguments);
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    pub(crate) fn run(&self, arguments: &str) -> Outcome {
        Outcome::of(self.command(arguments).output().unwrap())
    }
}

/// The binary with these arguments, in an environment that says nothing.
pub(crate) fn incumbent(arguments: &str) -> Command {
    program(Path::new(env!("CARGO_BIN_EXE_incumbent")), arguments)
}

/// A program with these arguments, in an environment that says nothing.
pub(crate) fn program(program: &Path, arguments: &str) -> Command {
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    for name in [
        "KUBECONFIG",
        "KUBERNETES_SERVICE_HOST",
        "KUBERNETES_SERVICE_PORT",
        "POD_NAME",
        "POD_UID",
        "POD_NAMESPACE",
        "RUST_LOG",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
    ] {
        command.env_remove(name);
    }
    command.env("HOME", "/nonexistent");
    command
}

/// Where the chance of a test begins: at what `INCUMBENT_TEST_SEED` names, or anywhere. A test that fails shows it.
pub(crate) fn seed() -> u64 {
    let named = std::env::var("INCUMBENT_TEST_SEED").ok();
    let seed = named.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("chance began at INCUMBENT_TEST_SEED={seed}");
    seed
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A candidate process, ended with the test.
pub(crate) struct Candidate {
    child: Child,
    printed: Arc<Printed>,
    next: usize,
}

/// The lines of a candidate so far, and whether there may be more.
#[derive(Default)]
struct Printed {
    lines: Mutex<(Vec<Value>, bool)>,
    more: Condvar,
}

impl Printed {
    /// Keeps up with the candidate, so that it never waits for its reader.
    fn read(&self, output: ChildStdout) {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let line = serde_json::from_str(&line).unwrap_or_default();
            self.lines.lock().unwrap().0.push(line);
            self.more.notify_all();
        }
        self.lines.lock().unwrap().1 = true;
        self.more.notify_all();
    }
}

impl Candidate {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (output, printed) = (child.stdout.take().unwrap(), Arc::new(Printed::default()));
        let reader = printed.clone();
        std::thread::spawn(move || reader.read(output));
        Self { child, printed, next: 0 }
    }

    /// The next line of this event; others before it are passed over.
    pub(crate) fn event(&mut self, event: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut printed = self.printed.lines.lock().unwrap();
        loop {
            while let Some(line) = printed.0.get(self.next) {
                self.next += 1;
                if line["event"] == event {
                    return line.clone();
                }
            }
            assert!(!printed.1, "the candidate ended without {event:?}");
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "the candidate does not print {event:?}: {:?}",
                printed.0.last()
            );
            printed = self.printed.more.wait_timeout(printed, left).unwrap().0;
        }
    }

    /// All lines so far.
    pub(crate) fn history(&self) -> Vec<Value> {
        self.printed.lines.lock().unwrap().0.clone()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Ends the process as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for the end of the process, and returns its exit code.
    pub(crate) fn end(&mut self) -> i32 {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the candidate does not end");
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All files below this folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    let mut files: Vec<_> = entries.flat_map(below).collect();
    files.sort();
    files
}

/// The contents of the fenced blocks of this language on a page, in order.
pub(crate) fn blocks(page: &str, language: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(page);
    let text = std::fs::read_to_string(file).unwrap();
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == format!("```{language}") {
            let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(block.join("\n"));
        }
    }
    blocks
}
