//! Processes of the examples against a server of their own, and what they print.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use incumbent_apiserver::{ApiServer, Listening, Transport};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Where a test runs its processes. All that still run end with it.
pub(crate) struct Stage {
    pub(crate) server: ApiServer,
    _listening: Listening,
    folder: TempDir,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let server = ApiServer::new();
        let address = "127.0.0.1:0".parse().unwrap();
        let listening = server.listen(address, Transport::Https).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kubeconfig"), listening.kubeconfig()).unwrap();
        Self { server, _listening: listening, folder }
    }

    /// Where its programs run.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client that is connected straight to the server.
    pub(crate) fn client(&self) -> kube::Client {
        kube::Client::new(self.server.service(), "default")
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"));
        command
    }

    /// Starts a program, in the folder of this stage, whose output goes to the end of a file there. What several programs
    /// print into one file stands in the order in which they did.
    pub(crate) fn start_into(&self, file: &str, program: &str, arguments: &[&str]) -> Process {
        let mut options = File::options();
        let file = options.create(true).append(true).open(self.folder.path().join(file)).unwrap();
        let child = self.command(program, arguments).stdout(file).spawn().unwrap();
        Process { child, printed: mpsc::unbounded_channel().1 }
    }

    /// Starts a program, in the folder of this stage.
    pub(crate) fn start(&self, program: &str, arguments: &[&str]) -> Process {
        let mut command = self.command(program, arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (print, printed) = mpsc::unbounded_channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = print.send(line);
            }
        });
        Process { child, printed }
    }
}

/// One process. It is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    printed: mpsc::UnboundedReceiver<String>,
}

impl Process {
    /// The next line that it prints; none once it has ended.
    pub(crate) async fn line(&mut self) -> Option<String> {
        within(self.printed.recv()).await
    }

    /// Waits for a line that begins like this, and returns what follows.
    pub(crate) async fn says(&mut self, beginning: &str) -> String {
        loop {
            let line = self.line().await.unwrap_or_else(|| panic!("ended before {beginning:?}"));
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.to_owned();
            }
        }
    }

    /// What it has printed by now and was not read yet.
    pub(crate) fn news(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.printed.try_recv().ok()).collect()
    }

    /// All that it prints from here to its end.
    pub(crate) async fn rest(&mut self) -> Vec<String> {
        let mut rest = Vec::new();
        while let Some(line) = self.line().await {
            rest.push(line);
        }
        rest
    }

    /// How it ended, which it must have begun to do.
    pub(crate) fn status(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }

    /// Asks it to stop, as ctrl-c does, and waits until it has: without an error.
    pub(crate) fn interrupt(&mut self) {
        self.send(Signal::INT);
        assert!(self.child.wait().unwrap().success());
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for what must come; much longer than it takes, so that a test fails rather than hangs.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it came in time")
}

const PATIENCE: Duration = Duration::from_secs(60);
